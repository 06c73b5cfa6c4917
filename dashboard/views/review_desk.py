"""The page Review desk: the review queue, most valuable first, one image at a time, with a key for each verdict."""

from __future__ import annotations

import base64
import io
import threading
import time
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from PIL import Image

from dashboard import charts
from dashboard.filters import PageFilters
from dashboard.pictures import drawn
from dashboard.published_copy import PublishedCopy, Stamp
from dashboard.write import save_review
from udfs.review import GOOD, Box, Review, known_labels

FILTERS: tuple[str, ...] = ("line", "product", "model")
_CLAIM_SECONDS = 600.0
_WIDE = 520


class ReviewClaims:
    """The inspections that reviewers of this dashboard look at now, and those reviewed since the last build."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}
        self._done: set[str] = set()

    def take(self, queue: list[str], reviewer: str, skipped: set[str]) -> str | None:
        """The most valuable inspection that nobody else looks at; it is reserved for this reviewer for ten minutes."""
        now = time.monotonic()
        with self._lock:
            for inspection in queue:
                holder, since = self._held.get(inspection, (reviewer, now))
                is_free = holder == reviewer or now - since > _CLAIM_SECONDS
                if is_free and inspection not in self._done and inspection not in skipped:
                    self._held[inspection] = reviewer, now
                    return inspection
        return None

    def finish(self, inspection: str) -> None:
        """Mark an inspection as reviewed."""
        with self._lock:
            self._done.add(inspection)

    def left(self, queue: list[str]) -> int:
        """The number of inspections that wait."""
        return sum(inspection not in self._done for inspection in queue)


@st.cache_resource(max_entries=2, show_spinner=False)
def _claims(stamp: Stamp) -> ReviewClaims:  # noqa: ARG001 - a build makes a new queue
    return ReviewClaims()


def show(source: PublishedCopy, filters: PageFilters) -> None:
    """Show the page."""
    st.title("Review desk", anchor=False)
    reviewer = st.text_input(
        "Your name", key="reviewer", bind="query-params", placeholder="it is on record with every verdict"
    )
    queue = source.rows("queue", line=filters.line, product=filters.product, model=filters.model)
    if queue.empty:
        charts.empty("The queue is empty: every verdict is sure, or reviewed.")
        return
    if not reviewer.strip():
        charts.empty(f"{len(queue)} images wait. Say who you are to begin.")
        return
    claims = _claims(source.stamp)
    ids = queue["inspection_id"].tolist()
    skipped: set[str] = st.session_state.setdefault("skipped", set())
    chosen = claims.take(ids, reviewer.strip(), skipped)
    st.caption(f"{claims.left(ids)} of {len(ids)} wait · the next build counts what you say")
    _notice()
    if chosen is None:
        charts.empty("Nothing is left for you: the rest is done, skipped, or on somebody else's desk.")
        return
    item = queue[queue["inspection_id"] == chosen].iloc[0]
    left, right = st.columns([3, 2])
    with left:
        box = _picture(source, item)
    with right:
        _facts(item)
        _verdicts(source, claims, item, reviewer.strip(), box)


def _notice() -> None:
    said = st.session_state.pop("said", None)
    if said:
        st.toast(said, icon=":material/check:")


def _labels(source: PublishedCopy, item: Any) -> list[str]:
    """The classes of defects that the inspection may have."""
    with source.cursor() as con:
        return [label for label in known_labels(con, str(item["inspection_id"]), str(item["model"])) if label != GOOD]


def _picture(source: PublishedCopy, item: Any) -> Box | None:
    """Show the image with the model's regions; return the box that the inspector has drawn, if drawing is on."""
    regions = source.rows("found", inspection_id=item["inspection_id"]).to_dict("records")
    picture = drawn(source, item["uri"], regions)
    if picture is None:
        charts.empty(f"The image cannot be read: {item['uri']}")
        return None
    if not st.toggle("Draw a missed defect", key="draw"):
        st.image(picture, width="stretch")
        return None
    size = Image.open(io.BytesIO(picture)).size
    key = f"canvas {item['inspection_id']}"
    state: Any = st.altair_chart(_canvas(picture, size), width="content", theme=None, key=key, on_select="rerun")
    drawn_box = (state or {}).get("selection", {}).get("box", {})
    if "x" not in drawn_box or "y" not in drawn_box:
        st.caption("Drag over the image to draw a box.")
        return None
    (x1, x2), (y1, y2) = sorted(drawn_box["x"]), sorted(drawn_box["y"])
    return max(0.0, x1), max(0.0, y1), min(float(size[0]), x2), min(float(size[1]), y2)


def _canvas(picture: bytes, size: tuple[int, int]) -> alt.Chart:
    width, height = size
    rows = pd.DataFrame(
        {"x": [width / 2], "y": [height / 2], "url": [f"data:image/png;base64,{base64.b64encode(picture).decode()}"]}
    )
    tall = round(_WIDE * height / width)
    return (
        alt.Chart(rows)
        .mark_image(width=_WIDE, height=tall)
        .encode(
            x=alt.X("x:Q", scale=alt.Scale(domain=[0, width], nice=False), axis=None),
            y=alt.Y("y:Q", scale=alt.Scale(domain=[height, 0], nice=False), axis=None),
            url="url:N",
        )
        .add_params(alt.selection_interval(name="box"))
        .properties(width=_WIDE, height=tall)
    )


def _facts(item: Any) -> None:
    st.subheader(f"{item['predicted_label'] or 'no verdict'}", anchor=False)
    sure = "" if pd.isna(item["confidence"]) else f" · {item['confidence']:.0%} sure"
    st.markdown(f":blue-badge[{item['reason']}] {item['model']}@{item['version']}{sure}")
    st.markdown(f"Unit **{item['unit_id']}** · {item['line_id']} · {item['station_id']} · {item['product_type']}")
    if item["challenger_label"]:
        st.markdown(f"The challenger says **{item['challenger_label']}**.")


def _verdicts(source: PublishedCopy, claims: ReviewClaims, item: Any, reviewer: str, box: Box | None) -> None:
    first, second = st.columns(2)
    said = item["predicted_label"]
    if first.button("Confirm", icon=":material/check:", shortcut="Y", type="primary", width="stretch"):
        _save(source, claims, item, "confirmed", said, reviewer)
    if second.button("Reject", icon=":material/close:", shortcut="X", width="stretch", help="There is no defect"):
        _save(source, claims, item, "rejected", None, reviewer)
    labels = _labels(source, item)
    is_new = st.toggle("A new class", key="new", help="One that nothing of this product had so far")
    label = st.selectbox(
        "Class", labels, None, accept_new_options=is_new, placeholder="the class that you see", key="label"
    )
    first, second = st.columns(2)
    if first.button("Relabel", icon=":material/label:", shortcut="L", width="stretch", disabled=not label):
        _save(source, claims, item, "relabelled", label, reviewer, is_new=is_new)
    if second.button("Missed", icon=":material/add_box:", shortcut="M", width="stretch", disabled=not (label and box)):
        _save(source, claims, item, "missed", label, reviewer, box, is_new=is_new)
    if st.button("Skip", icon=":material/skip_next:", shortcut="N"):
        st.session_state["skipped"].add(item["inspection_id"])
        st.rerun()
    if box:
        st.caption("Box: " + ", ".join(f"{side:.0f}" for side in box))


def _save(
    source: PublishedCopy,
    claims: ReviewClaims,
    item: Any,
    verdict: str,
    label: str | None,
    reviewer: str,
    box: Box | None = None,
    *,
    is_new: bool = False,
) -> None:
    judged = str(item["model"]), int(item["version"])
    review = Review(str(item["inspection_id"]), verdict, label, reviewer, *judged, box, is_new)
    others = save_review(source.warehouse, review)
    if verdict != "missed":  # there may be more than one
        claims.finish(review.inspection_id)
    too = f" {', '.join(others)} reviewed it today, too; the latest counts." if others else ""
    st.session_state["said"] = f"{item['unit_id']}: {verdict}.{too}"
    st.rerun()
