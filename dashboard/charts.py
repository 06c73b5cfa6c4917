"""Charts and number formats of all pages, with one palette for colour-blind people."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#B8A500", "#8A8F98",
)  # fmt: skip
PALETTE = [BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY]
_HEIGHT = 260
Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage; None is a dash, not 0 %."""
    return "no evidence" if value is None or pd.isna(value) else f"{100 * value:.{digits}f} %"


def count(value: Any) -> str:
    """A number with thin spaces between thousands."""
    return "none" if value is None or pd.isna(value) else f"{int(value):,}".replace(",", "\u202f")


def empty(text: str) -> None:
    """Show in place of a chart that there is no data, and why."""
    st.markdown(f":gray[:material/inbox: {text}]")


def picture(data: bytes | None, caption: str | None = None) -> None:
    """Show an image, or a note that it cannot be shown."""
    if data is None:
        empty("The image cannot be read.")
    else:
        st.image(data, caption, width="stretch")


def chart(made: Chart) -> None:
    """Show a chart in the full width of its column."""
    st.altair_chart(made, width="stretch")


def _colour(field: str, title: str | None = None) -> alt.Color:
    return alt.Color(field, title=title, scale=alt.Scale(range=PALETTE))


def pareto(rows: pd.DataFrame) -> Chart:
    """A Pareto chart: bars by falling frequency, and a line with their cumulative share."""
    order = rows["label"].tolist()
    base = alt.Chart(rows).encode(
        x=alt.X("label:N", sort=order, title=None, axis=alt.Axis(labelAngle=-30, labelOverlap=False))
    )
    bars = base.mark_bar(color=BLUE, cornerRadiusTopLeft=3, cornerRadiusTopRight=3).encode(
        y=alt.Y("defect_count:Q", title="defects"), tooltip=["label", "defect_count"]
    )
    line = base.mark_line(color=ORANGE, point=alt.OverlayMarkDef(color=ORANGE)).encode(
        y=alt.Y("cumulative_share:Q", title="of all", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        tooltip=["label", alt.Tooltip("cumulative_share", format=".0%")],
    )
    return alt.layer(bars, line).resolve_scale(y="independent").properties(height=_HEIGHT)


def heatmap(rows: pd.DataFrame) -> Chart:
    """Lines by defects, per thousand units."""
    base = alt.Chart(rows).encode(
        x=alt.X("label:N", title=None, axis=alt.Axis(labelAngle=-30, labelOverlap=False)),
        y=alt.Y("line_id:N", title=None),
    )
    value = "defects_per_thousand_units"
    cells = base.mark_rect().encode(
        color=alt.Color(f"{value}:Q", title="per 1000 units", scale=alt.Scale(scheme="blues")),
        tooltip=["line_id", "label", "defect_count", alt.Tooltip(value, format=".1f")],
    )
    middle = float(rows[value].max() or 0) / 2
    text = base.mark_text(fontSize=11).encode(
        text=alt.Text(f"{value}:Q", format=".0f"),
        color=alt.condition(f"datum.{value} > {middle}", alt.value("white"), alt.value("#1b2733")),
    )
    return alt.layer(cells, text).properties(height=_HEIGHT)


def trend(rows: pd.DataFrame) -> Chart:
    """Defects of each class by day: areas, or bars for a single day."""
    chart = alt.Chart(rows)
    return (
        (chart.mark_area(opacity=0.85) if rows["production_date"].nunique() > 1 else chart.mark_bar(size=40))
        .encode(
            x=alt.X("production_date:T", title=None),
            y=alt.Y("defect_count:Q", title="defects", stack=True),
            color=_colour("label:N"),
            tooltip=[alt.Tooltip("production_date:T"), "label", "defect_count"],
        )
        .properties(height=_HEIGHT)
    )


def confidence(rows: pd.DataFrame) -> Chart:
    """A histogram of the predictions' confidence."""
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("confidence_from:Q", title="confidence", bin=alt.Bin(step=0.05), axis=alt.Axis(format="%")),
            y=alt.Y("defect_count:Q", title="defects"),
            color=_colour("label:N"),
            tooltip=["label", "defect_count"],
        )
        .properties(height=_HEIGHT)
    )


def control(rows: pd.DataFrame) -> Chart:
    """The p-chart of each line: its share of defective units, with control limits."""
    rows = rows.dropna(subset=["defect_rate"])
    base = alt.Chart(rows).encode(x=alt.X("production_date:T", title=None))
    band = base.mark_area(opacity=0.18, color=GREY).encode(
        y=alt.Y("lower_limit:Q", title=None, axis=alt.Axis(format="%")), y2="upper_limit:Q"
    )
    centre = base.mark_line(color=GREY, strokeDash=[4, 3]).encode(y="centre:Q")
    line = base.mark_line(color=BLUE).encode(y="defect_rate:Q")
    points = base.mark_circle(size=45).encode(
        y="defect_rate:Q",
        color=alt.condition("datum.is_out_of_control", alt.value(RED), alt.value(BLUE)),
        tooltip=["line_id", "production_date", "unit_count", alt.Tooltip("defect_rate", format=".1%")],
    )
    return (
        alt.layer(band, centre, line, points)
        .properties(height=120, width=260)
        .facet(alt.Facet("line_id:N", title=None), columns=3)
    )


def curves(rows: pd.DataFrame, x: str, y: str, titles: tuple[str, str]) -> Chart:
    """One curve per version, PR or ROC."""
    return (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X(f"{x}:Q", title=titles[0], axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(f"{y}:Q", title=titles[1], axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            order="threshold:Q",
            color=_colour("version:N", "version"),
            tooltip=[
                "version",
                alt.Tooltip("threshold", format=".4f"),
                alt.Tooltip(x, format=".1%"),
                alt.Tooltip(y, format=".1%"),
            ],
        )
        .properties(height=_HEIGHT)
    )


def confusion(rows: pd.DataFrame) -> Chart:
    """A confusion matrix: truth by prediction."""
    base = alt.Chart(rows).encode(
        x=alt.X("predicted_label:N", title="predicted", axis=alt.Axis(labelAngle=-30, labelOverlap=False)),
        y=alt.Y("true_label:N", title="truth"),
    )
    middle = float(rows["pair_count"].max() or 0) / 2
    text_colour = alt.condition(f"datum.pair_count > {middle}", alt.value("white"), alt.value("#1b2733"))
    cells = base.mark_rect().encode(color=alt.Color("pair_count:Q", legend=None, scale=alt.Scale(scheme="blues")))
    return alt.layer(cells, base.mark_text().encode(text="pair_count:Q", color=text_colour)).properties(height=300)


def learning(rows: pd.DataFrame) -> Chart:
    """Metrics by epoch, one small chart each."""
    return (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=_colour("version:N", "version"),
            tooltip=["version", "metric", "epoch", alt.Tooltip("value", format=".4f")],
        )
        .properties(height=110, width=220)
        .facet(alt.Facet("metric:N", title=None), columns=4)
        .resolve_scale(y="independent")
    )


def change(now: Any, before: Any) -> str | None:
    """The difference to the period before, in points; None if either has no evidence."""
    if any(value is None or math.isnan(value) for value in (now, before)):
        return None
    return f"{100 * (now - before):+.1f} pts"


def rates(rows: pd.DataFrame, threshold: float) -> Chart:
    """Escapes and overkill by threshold, and the threshold that is tried."""
    lines = (
        alt.Chart(rows)
        .mark_line()
        .encode(
            x=alt.X("threshold:Q"),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%")),
            color=alt.Color(
                "rate:N", title=None, scale=alt.Scale(domain=["escape_rate", "overkill_rate"], range=[RED, BLUE])
            ),
        )
    )
    rule = (
        alt.Chart(pd.DataFrame({"threshold": [threshold]}))
        .mark_rule(color=GREY, strokeDash=[4, 3])
        .encode(x="threshold:Q")
    )
    return alt.layer(lines, rule).properties(height=_HEIGHT)
