"""Polygons and masks of defects: a polygon's bounds and pixels, and whether a mask is empty.

Must not import torch: ingestion uses this to check labels. Coordinates are those of boxes: (0, 0) is the upper left
corner of the first pixel, whose centre is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models_py.errors import ImageError

Box = tuple[float, float, float, float]
Ring = tuple[float, ...]
Polygon = tuple[Ring, ...]
"""Rings of x1, y1, x2, y2, ...: several parts of one defect, or the outlines of its holes."""


def bounds(polygon: Sequence[Sequence[float]]) -> Box:
    """The box around all rings."""
    xs = [x for ring in polygon for x in ring[0::2]]
    ys = [y for ring in polygon for y in ring[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def fill_polygon(polygon: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The pixels (height, width) whose centres lie inside the polygon, by the even-odd rule.

    So a ring inside a ring is a hole, in whichever direction its points go; parts outside the image are not drawn.
    """
    height, width = size
    filled = np.zeros(size, bool)
    x1, y1, x2, y2 = bounds(polygon)
    left, right = (min(max(int(x), 0), width) for x in (x1, np.ceil(x2)))
    upper, lower = (min(max(int(y), 0), height) for y in (y1, np.ceil(y2)))
    crossings = np.zeros((lower - upper, right - left + 1), np.uint8)
    for ring in polygon:
        points = np.asarray(ring, np.float64).reshape(-1, 2) - (left, upper)
        for one, other in zip(points, np.roll(points, -1, 0), strict=True):
            _cross(crossings, one, other)
    filled[upper:lower, left:right] = np.bitwise_xor.accumulate(crossings, 1)[:, :-1]
    return filled


def _cross(crossings: np.ndarray[Any, Any], one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    """Mark in each row the first pixel whose centre lies to the right of an edge."""
    height, columns = crossings.shape
    (x_top, top), (x_bottom, bottom) = (one, other) if one[1] < other[1] else (other, one)
    first, end = (min(max(int(np.ceil(y - 0.5)), 0), height) for y in (top, bottom))
    if first < end:
        rows = np.arange(first, end)
        xs = x_top + (rows + 0.5 - top) * ((x_bottom - x_top) / (bottom - top))
        crossings[rows, np.clip(np.ceil(xs - 0.5), 0, columns - 1).astype(int)] ^= 1


def is_empty_mask(data: bytes, format: str) -> bool:  # noqa: A002 - as Pillow calls it
    """Whether no pixel of a mask is set; raise ImageError if it cannot be decoded."""
    from models_py.images.jpeg import check_jpeg
    from models_py.images.pillow import open_image

    try:
        if data.startswith(b"\xff\xd8"):
            check_jpeg(data)
        with open_image(data, format) as opened:
            values = np.asarray(opened if opened.mode in ("1", "L", "P") else opened.convert("RGB"))
    except Exception as error:
        words = str(error).splitlines()
        raise ImageError(f"the mask is damaged: {words[0] if words else type(error).__name__}") from error
    return not values.any()
