"""Convert boxes and polygons from a label file to pixels of the image, and check that they lie inside it."""

from __future__ import annotations

import math

from models_py.errors import ImageError
from models_py.images import ImageFacts
from models_py.images.regions import Box, Polygon, bounds
from models_py.layouts import Label

_ROUNDING = 0.01
"""Pixels by which a box may leave the image through rounding of fractions."""


def polygon_in_pixels(label: Label, facts: ImageFacts) -> Polygon:
    """The points in pixels. One pixel outside is allowed: some tools mean pixels' edges, others their centres."""
    width, height = facts.width, facts.height
    frame_width, frame_height = label.frame or (width, height)
    scales = width / frame_width, height / frame_height
    rings = tuple(tuple(value * scales[i % 2] for i, value in enumerate(ring)) for ring in label.polygon or ())
    outside = [
        (x, y)
        for ring in rings
        for x, y in zip(ring[0::2], ring[1::2], strict=True)
        if not (-1 <= x <= width + 1 and -1 <= y <= height + 1)
    ]
    if outside:
        raise ImageError(
            f"polygon: the point ({outside[0][0]:g}, {outside[0][1]:g}) is out of bounds of the image, "
            f"{width} x {height} pixels"
        )
    return rings


def bounds_in_image(polygon: Polygon, facts: ImageFacts) -> Box:
    """The bounds of a polygon, clipped to the image."""
    x1, y1, x2, y2 = bounds(polygon)
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(facts.width)), min(y2, float(facts.height))
    if x1 >= x2 or y1 >= y2:
        raise ImageError(f"polygon: it is empty, its bounds are ({x1:g}, {y1:g}, {x2:g}, {y2:g})")
    return x1, y1, x2, y2


def box_in_pixels(label: Label, facts: ImageFacts) -> Box | tuple[None, None, None, None]:
    """The box in pixels; raise ImageError if it is empty or leaves the image."""
    if label.box is None:
        return None, None, None, None
    width, height = facts.width, facts.height
    x1, y1, x2, y2 = label.box
    if label.frame is None and 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:
        return label.box
    frame_width, frame_height = label.frame or (width, height)
    scale_x, scale_y = width / frame_width, height / frame_height
    x1, y1, x2, y2 = x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ImageError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is not finite")
    if x1 >= x2 or y1 >= y2:
        raise ImageError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is empty or inverted; x1 < x2 and y1 < y2 must hold")
    if min(x1, y1) < -_ROUNDING or x2 > width + _ROUNDING or y2 > height + _ROUNDING:
        raise ImageError(
            f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) is out of bounds of the image, {width} x {height} pixels"
        )
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
