"""The page About: versions of duckspect and its libraries, the last build, and the dbt graph."""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter

import streamlit as st

from dashboard import charts
from dashboard.filters import PageFilters
from dashboard.published_copy import PublishedCopy
from models_py import __version__
from models_py.warehouse.database import files_folder

FILTERS: tuple[str, ...] = ()
_LIBRARIES = ("duckdb", "torch", "torchvision", "ultralytics", "dbt-core", "dbt-duckdb", "ibis-framework", "streamlit")
_LAYERS = ("source", "staging", "core", "evaluation", "quality", "kpi")


def show(source: PublishedCopy, filters: PageFilters) -> None:  # noqa: ARG001 - this page has no filters
    """Show the page."""
    st.title("About", anchor=False)
    st.markdown("Images, labels, models, predictions and KPIs in one DuckDB file; a model is a SQL function.")
    facts = source.rows("about").iloc[0]
    names = ("images", "inspections", "predictions", "defects", "reviews", "model_versions")
    for place, name in zip(st.columns(6), names, strict=True):
        place.metric(name.replace("_", " ").capitalize(), charts.count(facts[name]), border=True)
    left, right = st.columns(2)
    with left.container(border=True):
        st.subheader("Health", anchor=False)
        st.markdown(f"Last picture taken **{facts['last_captured_at']:%d %b %Y %H:%M}** UTC")
        st.markdown(f"Last image scored **{facts['last_scored_at']:%d %b %Y %H:%M}** UTC")
        st.markdown(f"Published copy: `{source.file.name}`, {source.stamp[2] / 1e6:,.1f} MB")
        st.dataframe(source.rows("scoring"), hide_index=True)
    with right.container(border=True):
        st.subheader("Versions", anchor=False)
        versions = {"duckspect": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES}
        st.dataframe({"package": list(versions), "version": list(versions.values())}, hide_index=True)
    with st.container(border=True):
        st.subheader("Lineage", anchor=False)
        _lineage(source)


def _lineage(source: PublishedCopy) -> None:
    """The dbt graph of the last build, by layer."""
    file = files_folder(source.warehouse) / "dbt" / "target" / "manifest.json"
    if not file.exists():
        charts.empty("The graph appears after the first `duckspect build`.")
        return
    manifest = json.loads(file.read_text())
    layer = dict.fromkeys(manifest["sources"], "source")
    for key, node in manifest["nodes"].items():
        if node["resource_type"] == "model" and node["fqn"][1] in _LAYERS:
            layer[key] = node["fqn"][1]
    edges = [
        (parent, child)
        for child, parents in manifest["parent_map"].items()
        for parent in parents
        if child in layer and parent in layer
    ]
    st.caption(", ".join(f"{number} {name}" for name, number in Counter(layer.values()).items()))
    st.graphviz_chart(_dot(layer, edges), width="stretch")


def _dot(layer: dict[str, str], edges: list[tuple[str, str]]) -> str:
    colours = dict(
        zip(_LAYERS, (charts.GREY, charts.SKY, charts.BLUE, charts.PINK, charts.GREEN, charts.ORANGE), strict=True)
    )
    nodes = [
        f'"{key}" [label="{key.rsplit(".", 1)[-1]}", fillcolor="{colours[name]}"]'
        for key, name in sorted(layer.items())
    ]
    lines = [f'"{parent}" -> "{child}"' for parent, child in edges]
    box = 'shape=box, style="filled,rounded", color="transparent", height=0.25'
    style = f'node [{box}, fontname="sans-serif", fontsize=10, fontcolor=white]; edge [color="{charts.GREY}88"]'
    return f'digraph {{ rankdir=LR; bgcolor="transparent"; {style}; {"; ".join(nodes + lines)} }}'
