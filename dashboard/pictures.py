"""Draw regions on images with SQL's function `draw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.published_copy import PublishedCopy

_FIELDS = ("label", "confidence", "x1", "y1", "x2", "y2", "area", "mask")
_TYPE = "struct(label varchar, confidence double, x1 double, y1 double, x2 double, y2 double, area double, mask blob)[]"


def drawn(source: PublishedCopy, image: str | bytes, regions: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The image with regions drawn on it as PNG; None if it cannot be read."""
    return _drawn(source, image, tuple(tuple(region.get(name) for name in _FIELDS) for region in regions))


@st.cache_data(max_entries=200, show_spinner=False)
def _drawn(source: PublishedCopy, image: str | bytes, regions: tuple[tuple[Any, ...], ...]) -> bytes | None:
    rows = [dict(zip(_FIELDS, region, strict=True)) for region in regions]
    with source.cursor() as con:
        row = con.execute(f"select draw($1, $2::{_TYPE})", [image, rows]).fetchone()
    return row[0] if row else None
