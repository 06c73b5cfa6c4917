"""Large images as overlapping squares at full resolution: where they lie, and how they are cut out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

Array = np.ndarray[Any, Any]


class TilePlace(NamedTuple):
    """The upper left corner of a tile, in pixels of the image."""

    top: int
    left: int


def tile_places(size: tuple[int, int], side: int, overlap: float) -> list[TilePlace]:
    """Corners of squares that cover an image (height, width), evenly spread; neighbours share at least `overlap`."""
    tops, lefts = (_starts(length, side, overlap) for length in size)
    return [TilePlace(top, left) for top in tops for left in lefts]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - overlap)) - 1e-9) + 1
    return [round(number * (length - side) / (count - 1)) for number in range(count)]


def cut_tile(pixels: Array, place: TilePlace, side: int) -> Array:
    """The square at a place of (height, width[, 3]); an image that is smaller than it is mirrored at its end."""
    part = pixels[place.top : place.top + side, place.left : place.left + side]
    below, right = side - part.shape[0], side - part.shape[1]
    if not (below or right):
        return np.ascontiguousarray(part)
    return np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT))


def boxes_inside(boxes: Array, place: TilePlace, side: int, least: float = 0.3) -> tuple[Array, Array]:
    """Boxes (n, 4) in pixels of a tile, clipped to it, and which they are; those with a smaller share inside go."""
    if not len(boxes):
        return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    moved = boxes - np.array([place.left, place.top] * 2)
    clipped = moved.clip(0, side)
    shares = _areas(clipped) / np.maximum(_areas(moved), 1e-9)
    kept = np.flatnonzero(shares >= least)
    return clipped[kept].astype(np.float32), kept


def _areas(boxes: Array) -> Array:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
