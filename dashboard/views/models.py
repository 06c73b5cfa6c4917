"""The page Models: versions, metrics, curves, the cost of other thresholds, and promotion."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.filters import PageFilters
from dashboard.published_copy import PublishedCopy
from dashboard.write import promote_version, roll_back

FILTERS: tuple[str, ...] = ()
_SUBSETS = {"unseen": "images it never saw", "validation": "its validation images", "gate": "the gate's images"}


def show(source: PublishedCopy, filters: PageFilters) -> None:  # noqa: ARG001 - models are compared on their frozen rows
    """Show the page."""
    st.title("Models", anchor=False)
    versions = source.rows("versions")
    if versions.empty:
        charts.empty("No model is registered yet. Train one: `duckspect train --help`.")
        return
    name = st.segmented_control(
        "Model",
        sorted(versions["model"].unique()),
        default=versions["model"].iloc[0],
        key="name",
        required=True,
        bind="query-params",
    )
    mine = versions[versions["model"] == name]
    metrics = source.rows("metrics", model=name)
    overview, curves, threshold, history = st.tabs(["Versions", "Curves", "Threshold", "History and promotion"])
    with overview:
        _versions(mine, metrics)
        _confusion(source.rows("confusion", model=name))
    what_if = source.rows("what_if", model=name)
    with curves:
        _curves(what_if)
        _learning(source.rows("training_curves", model=name))
    with threshold:
        _what_if(what_if)
    with history:
        _promotion(source, str(name), mine)
        _history(source.rows("alias_history", model=name))


def _versions(versions: pd.DataFrame, metrics: pd.DataFrame) -> None:
    shown = versions[["reference", "aliases", "task", "architecture", "created_at", "created_by"]]
    st.dataframe(
        shown, hide_index=True, column_config={"created_at": st.column_config.DatetimeColumn(format="D MMM YYYY HH:mm")}
    )
    if metrics.empty:
        charts.empty("No version was evaluated yet: its images are scored by the next `duckspect build`.")
        return
    table = metrics.pivot_table(index=["subset", "metric"], columns="version", values="value", sort=False)
    table.columns = [f"version {number}" for number in table.columns]
    st.dataframe(
        table.reset_index(),
        hide_index=True,
        column_config=dict.fromkeys(table.columns, st.column_config.NumberColumn(format="%.4f")),
    )
    if "verdict_accuracy" in set(metrics["metric"]):
        st.caption("accuracy is by the likeliest class, verdict_accuracy by the verdict at the operating threshold.")


def _subset(rows: pd.DataFrame, size: str, key: str) -> pd.DataFrame:
    """The rows of one subset, which the user chooses; the default is the subset with most images."""
    subsets = [name for name in _SUBSETS if name in set(rows["subset"])]
    largest = rows.groupby("subset")[size].sum().idxmax()
    chosen = st.segmented_control(
        "Measured on", subsets, default=largest, format_func=_SUBSETS.__getitem__, key=key, required=True
    )
    return rows[rows["subset"] == chosen]


def _confusion(rows: pd.DataFrame) -> None:
    st.subheader("What is taken for what", anchor=False)
    if rows.empty:
        charts.empty("There are no labelled images to compare with.")
        return
    rows = _subset(rows, "pair_count", "confusion subset")
    places = st.columns(max(2, rows["version"].nunique()))
    for place, (version, rows_of_version) in zip(places, rows.groupby("version"), strict=False):
        with place:
            st.caption(
                f"version {version}, {rows_of_version['counted'].iloc[0]} by {rows_of_version['counted'].iloc[0]}"
            )
            charts.chart(charts.confusion(rows_of_version))


def _curves(rows: pd.DataFrame) -> None:
    if rows.empty:
        charts.empty("There are no labelled images to draw curves from.")
        return
    rows = _subset(rows, "good_count", "curve subset")
    left, right = st.columns(2)
    with left:
        st.subheader("Precision and recall", anchor=False)
        charts.chart(
            charts.curves(rows.dropna(subset=["image_precision"]), "recall", "image_precision", ("recall", "precision"))
        )
    with right:
        st.subheader("ROC", anchor=False)
        charts.chart(charts.curves(rows, "overkill_rate", "recall", ("good rejected", "defects found")))
    st.caption("Of images: an image is defective if any region reaches the threshold.")


def _learning(rows: pd.DataFrame) -> None:
    st.subheader("How it learned", anchor=False)
    if rows.empty:
        charts.empty("It was not trained here, or in no epochs.")
    else:
        charts.chart(charts.learning(rows))


def _what_if(rows: pd.DataFrame) -> None:
    if rows.empty:
        charts.empty("There are no labelled images to try a threshold on.")
        return
    rows = _subset(rows, "good_count", "threshold subset")
    version = st.segmented_control(
        "Version", sorted(rows["version"].unique()), default=rows["version"].max(), key="what-if version", required=True
    )
    rows = rows[rows["version"] == version].reset_index(drop=True)
    operating = float(rows["operating_threshold"].iloc[0])
    steps = rows["threshold"].round(4).tolist()
    now = min(range(len(steps)), key=lambda place: abs(steps[place] - operating))
    chosen = st.select_slider("Threshold", steps, steps[now], key=f"threshold {version}")
    row, before = rows.iloc[steps.index(chosen)], rows.iloc[now]
    places = st.columns(3)
    for place, (title, name) in zip(
        places, (("Escapes", "escape_count"), ("Overkill", "overkill_count"), ("Cost", "cost")), strict=True
    ):
        difference = float(row[name] - before[name])
        place.metric(title, f"{row[name]:,.0f}", f"{difference:+,.0f}" if difference else None, "inverse", border=True)
    st.caption(
        f"Of {row['defective_count']} defective and {row['good_count']} good images; the operating threshold is "
        f"{operating:.4f}. "
        "To change it: `duckspect models threshold`."
    )
    melted = rows.melt("threshold", ["escape_rate", "overkill_rate"], "rate", "share")
    charts.chart(charts.rates(melted, chosen))


def _promotion(source: PublishedCopy, name: str, versions: pd.DataFrame) -> None:
    champion = versions[versions["aliases"].fillna("").str.contains("champion")]
    others = versions[~versions["reference"].isin(champion["reference"])]["reference"].tolist()
    left, right = st.columns(2)
    with left.container(border=True):
        # Outside the form: a form's values are not known before it is submitted, but the warning must come before that.
        chosen = st.selectbox("Promote", others, placeholder="there is no other version")
        if chosen and (warning := source.limit_warning(chosen)):
            st.warning(warning, icon=":material/warning:")
        with st.form("promote", border=False):
            reason = st.text_input("In spite of the gate, because", help="Left empty, the version must pass the gate")
            if st.form_submit_button("Promote", disabled=not others):
                _changed(
                    lambda: promote_version(source.warehouse, str(chosen), reason or None), f"{chosen} is the champion."
                )
    with right.form("rollback", border=True):
        st.markdown(f"Champion: **{', '.join(champion['reference']) or 'none'}**")
        why = st.text_input("Reason of a rollback")
        if st.form_submit_button("Roll back", disabled=champion.empty):
            _changed(lambda: roll_back(source.warehouse, name, why), f"{name} is rolled back.")


def _changed(work: Any, said: str) -> None:
    with st.spinner("The gate measures both on the frozen validation images ..."):
        work()
    st.toast(said, icon=":material/check:")
    st.rerun()


def _history(rows: pd.DataFrame) -> None:
    if rows.empty:
        charts.empty("No alias was ever given.")
    else:
        st.dataframe(rows, hide_index=True)
