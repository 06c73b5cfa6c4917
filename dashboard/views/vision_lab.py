"""The Vision Lab: any image by any registered model."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.filters import PageFilters
from dashboard.pictures import drawn
from dashboard.published_copy import PublishedCopy
from models_py.model.verdict import Thresholds, Verdict, decide, why_undecided
from models_py.registry import find, thresholds
from udfs.functions.types import PredictionRow

FILTERS: tuple[str, ...] = ("line", "product")


def show(source: PublishedCopy, filters: PageFilters) -> None:
    """Show the page."""
    st.title("Vision Lab", anchor=False)
    versions = source.rows("versions")
    if versions.empty:
        charts.empty("No model is registered yet. Train one: `duckspect train --help`.")
        return
    left, right = st.columns([2, 3])
    with left:
        uploaded = st.file_uploader("An image of your own", ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"])
        images = source.rows("images", line=filters.line, product=filters.product)
        labels = {row.uri: f"{row.unit_id} · {row.product_type}" for row in images.itertuples()}
        picked = st.selectbox(
            "or one of the plant's", list(labels), format_func=labels.__getitem__, disabled=uploaded is not None
        )
        references = versions["reference"].tolist()
        chosen = st.multiselect(
            "Models, two to compare them",
            references,
            _first(versions),
            max_selections=2,
            key="version",
            bind="query-params",
        )
        threshold = (
            st.slider(
                "Least confidence",
                0.0,
                1.0,
                None,
                0.01,
                help="Filters what is drawn; nothing is computed again",
                key="least",
            )
            if st.toggle("Another threshold than the operating one")
            else None
        )
    image = uploaded.getvalue() if uploaded else picked
    if image is None or not chosen:
        charts.empty("Upload an image or pick one, and choose a model.")
        return
    with right:
        places = st.columns(len(chosen) + (uploaded is None))
        for place, reference in zip(places, chosen, strict=False):
            with place:
                _prediction(source, image, reference, threshold)
        if uploaded is None:
            with places[-1]:
                _truth(source, images, str(picked))
    _sql(chosen, None if uploaded else str(picked))


def _first(versions: pd.DataFrame) -> list[str]:
    champions = versions[versions["aliases"].fillna("").str.contains("champion")]
    return [(champions if len(champions) else versions)["reference"].iloc[0]]


@st.cache_data(max_entries=100, show_spinner="The model is looking at it ...")
def _predict(
    source: PublishedCopy, image: str | bytes, reference: str
) -> tuple[PredictionRow, dict[str, float], bytes | None]:
    """The model's prediction, its operating points, and its heat map if it has one."""
    with source.cursor() as con:
        row = con.execute("select predict($1, $2)", [image, reference]).fetchone()
        assert row is not None  # noqa: S101 - a select without a table has one row
        answer: PredictionRow = row[0]
        points = thresholds(con, find(con, reference))
        heat = None
        if answer["task"] == "anomaly" and answer["error"] is None:
            found = con.execute("select anomaly_map($1, $2)", [image, reference]).fetchone()
            heat = found[0] if found else None
    return answer, points, heat


def verdict_of(answer: PredictionRow, points: Thresholds, threshold: float | None = None) -> Verdict:
    """The verdict at the operating points, or of a detector or segmenter at another threshold for all classes."""
    if threshold is not None and answer["task"] in ("detect", "segment"):
        points = {"*": threshold}
    regions = [(region["label"], region["confidence"]) for region in answer["regions"] or ()]
    return decide(answer["task"], answer["score"] or 0.0, regions, points)


def _prediction(source: PublishedCopy, image: str | bytes, reference: str, threshold: float | None) -> None:
    answer, points, heat = _predict(source, image, reference)
    st.markdown(f"**{reference}** · {answer['task']}")
    if answer["error"]:
        st.warning(answer["error"], icon=":material/broken_image:")
        return
    verdict = verdict_of(answer, points, threshold)
    regions = answer["regions"] or []
    if answer["task"] == "anomaly":
        charts.picture(heat)
        limit = f", threshold {points['*']:.3f}" if "*" in points else ""
        st.markdown(f"{_badge(verdict)} · score {answer['score']:.3f}{limit}")
        if verdict.is_defective is None:
            st.caption(why_undecided(reference))
        return
    if answer["task"] == "classify":
        charts.picture(drawn(source, image, []))
        st.markdown(_badge(verdict))
        for region in regions[:5]:
            st.progress(region["confidence"], f"{region['label']} {region['confidence']:.1%}")
        return
    kept = [regions[place] for place in verdict.defects]
    classes = sorted({region["label"] for region in kept})
    wanted = (
        st.pills("Classes", classes, selection_mode="multi", default=classes, key=f"classes {reference}")
        if classes
        else []
    )
    kept = [region for region in kept if region["label"] in wanted]
    charts.picture(drawn(source, image, kept))
    st.markdown(f"{_badge(verdict)} · {len(kept)} regions")
    if kept:
        with st.expander("Regions"):
            st.dataframe(pd.DataFrame(kept).drop(columns=["mask"]), hide_index=True)


def _badge(verdict: Verdict) -> str:
    if verdict.is_defective is None:
        return ":orange-badge[:material/question_mark: undecided]"
    return ":red-badge[:material/close: defective]" if verdict.is_defective else ":green-badge[:material/check: good]"


def _truth(source: PublishedCopy, images: pd.DataFrame, uri: str) -> None:
    st.markdown("**What people say**")
    image_id = images.loc[images["uri"] == uri, "image_id"].iloc[0]
    rows = source.rows("truth", image_id=image_id)
    boxes = rows.dropna(subset=["x1"]).to_dict("records")
    charts.picture(drawn(source, uri, boxes))
    names = sorted(set(rows["label"]))
    st.markdown(", ".join(names) if names else ":gray[nobody labelled it]")


def _sql(references: list[str], uri: str | None) -> None:
    with st.expander("The SQL that does this", icon=":material/code:"):
        image = "'" + uri.replace("'", "''") + "'" if uri else "'your_image.png'"
        st.code("\n".join(f"select predict({image}, '{reference}');" for reference in references), "sql")
