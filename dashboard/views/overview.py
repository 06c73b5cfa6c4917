"""The page Overview: yield, defect rates and their trends."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.filters import PageFilters
from dashboard.pictures import drawn
from dashboard.published_copy import PublishedCopy

FILTERS: tuple[str, ...] = ("time", "line", "product", "shift", "model")
_KPIS = (
    ("Yield", "yield_share", "normal", "Units that passed or were graded second, of all that were judged"),
    ("First-pass yield", "first_pass_yield", "normal", "Units that passed at their first inspection"),
    ("Defect rate", "defect_rate", "inverse", "Units in which a model found a defect, of all that it scored"),
    (
        "False-positive rate",
        "false_positive_rate",
        "inverse",
        "Good units, by labels and reviews, that a model flagged",
    ),
    ("Escape rate", "escape_rate", "inverse", "Defective units, by labels and reviews, that passed"),
)
_ICONS = {"drift": "trending_up", "out of control": "ssid_chart", "unreadable": "broken_image", "errors": "error"}


def show(source: PublishedCopy, filters: PageFilters) -> None:
    """Show the page."""
    st.title("Overview", anchor=False)
    values = filters.values
    now = source.rows("quality", **values).iloc[0]
    st.caption(
        f"{filters.since:%d %b %Y} to {filters.until:%d %b %Y} · {charts.count(now['unit_count'])} units inspected, "
        f"{charts.count(now['judged_count'])} judged{_waiting(now)} · changes are against the period before"
    )
    _kpis(source, filters, now)
    st.caption(_evidence(now))
    _alerts(source.rows("alerts", **values))
    left, right = st.columns(2)
    with left.container(border=True):
        st.subheader("Defect Pareto", anchor=False)
        _chart(source.rows("pareto", **values), charts.pareto, "No defect was found in this period.")
    with right.container(border=True):
        st.subheader("Lines by defects", anchor=False)
        _chart(source.rows("defects_by_line", **values), charts.heatmap, "No defect was found in this period.")
    with left.container(border=True):
        st.subheader("Defects per day", anchor=False)
        _chart(source.rows("defects_by_day", **values), charts.trend, "No defect was found in this period.")
    with right.container(border=True):
        st.subheader("How sure the models were", anchor=False)
        _chart(source.rows("confidence", **values), charts.confidence, "No defect was found in this period.")
    with st.container(border=True):
        st.subheader("Is each line in control?", anchor=False)
        _chart(source.rows("control_chart", **values), charts.control, "No unit was scored in this period.")
    _detections(source, values)


def _waiting(now: Any) -> str:
    """How many units still wait for a review, which can change the yield."""
    if not (now["review_count"] > 0):
        return ""
    worst, best = charts.percent(now["yield_pessimistic"]), charts.percent(now["yield_optimistic"])
    return f", {charts.count(now['review_count'])} wait for review, so the yield will be between {worst} and {best}"


def _kpis(source: PublishedCopy, filters: PageFilters, now: Any) -> None:
    before = source.rows("quality", **filters.before).iloc[0]
    days = source.rows("quality_by_day", **filters.values)
    for place, (title, name, colour, meaning) in zip(st.columns(len(_KPIS)), _KPIS, strict=True):
        line = days[name].dropna().tolist()
        change = charts.change(now[name], before[name])
        with place:
            st.metric(
                title,
                charts.percent(now[name]),
                change,
                colour,  # type: ignore[arg-type]
                help=meaning,
                border=True,
                chart_data=[100 * value for value in line] if len(line) > 1 else None,
                delta_description="vs period before" if change else None,
            )


def _evidence(now: Any) -> str:
    """A note on the units on which the false-positive and escape rates were measured."""
    good, defective, labelled = (charts.count(now[f"{kind}_count"]) for kind in ("good", "defective", "labelled"))
    return (
        f"False positives are counted on {good} good units and escapes on {defective} defective ones: those of the "
        f"{labelled} labelled or reviewed units that neither training nor the threshold saw."
    )


def _alerts(rows: pd.DataFrame) -> None:
    if rows.empty:
        st.success(
            "Nothing needs attention: no drift, no line out of control, no unreadable image.", icon=":material/check:"
        )
        return
    what = "1 thing needs" if len(rows) == 1 else f"{len(rows)} things need"
    with st.expander(f"{what} attention", expanded=len(rows) <= 4, icon=":material/notifications:"):
        for row in rows.itertuples():
            st.markdown(f":material/{_ICONS[row.kind]}: **{row.subject}** — {row.kind}: {row.detail}")


def _chart(rows: pd.DataFrame, make: Any, nothing: str) -> None:
    if rows.empty:
        charts.empty(nothing)
    else:
        charts.chart(make(rows))


def _detections(source: PublishedCopy, values: dict[str, Any]) -> None:
    st.subheader("Recent detections", anchor=False)
    rows = source.rows("detections", **values)
    if rows.empty:
        charts.empty("No defect was found in this period.")
        return
    places = st.columns(4)
    for number, row in enumerate(rows.itertuples()):
        with places[number % 4]:
            picture = drawn(source, row.uri, list(row.regions))
            charts.picture(picture, f"{row.label} {row.confidence:.0%} · {row.line_id} · {row.unit_id}")
