"""What differs between an image and its reference image (golden board), found without any model.

The reference is laid onto the image, and its light made even with that of the image. What then differs by more than
the noise of the two, over more than a thin line, is a region: edges that lie a pixel apart leave only lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from models_py.images.alignment import align

Array = np.ndarray[Any, Any]
_LEAST, _NOISES = 24.0, 6.0
_SMALLEST = 6
_JOINED = 5
_MOST_GAIN = 2.0


@dataclass(frozen=True, slots=True)
class DifferingRegion:
    """A place that differs: its box and area in pixels, and by how much on average, from 0 to 1."""

    x1: int
    y1: int
    x2: int
    y2: int
    area: int
    contrast: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How alike an image and its reference are, the share of what is covered that does not differ, and what does."""

    similarity: float
    shift: tuple[float, float]
    regions: tuple[DifferingRegion, ...]


def compare(image: Array, reference: Array, method: str = "homography") -> Comparison:
    """Compare an image with its reference, both uint8 RGB (height, width, 3); the strongest regions come first."""
    laid = align(image, reference, method)
    covered = cv2.erode(laid.covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    difference = _difference(image, laid.pixels, covered)
    difference[~covered] = 0
    is_different = (difference > _threshold(difference[covered])).astype(np.uint8)
    regions = _regions(is_different, difference)
    differing = sum(region.area for region in regions)
    similarity = 1.0 - differing / max(int(covered.sum()), 1)
    return Comparison(similarity, laid.shift, tuple(sorted(regions, key=lambda item: -item.area * item.contrast)))


def _difference(image: Array, reference: Array, covered: Array) -> Array:
    """The largest difference of the three colours, in even light, without thin lines."""
    even = cv2.absdiff(image.astype(np.float32), _lit_alike(reference, image, covered)).max(2)
    return np.asarray(cv2.morphologyEx(even, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))


def _lit_alike(reference: Array, image: Array, covered: Array) -> Array:
    """The reference in the light of the image, where that changes slowly."""
    side = max(min(image.shape[:2]) // 4, 3) | 1
    greys = [cv2.cvtColor(item, cv2.COLOR_RGB2GRAY) * covered.astype(np.float32) for item in (image, reference)]
    ours, theirs, known = (cv2.blur(item, (side, side)) for item in (*greys, covered.astype(np.float32)))
    gain = np.clip((ours + 8 * known) / (theirs + 8 * known + 1e-6), 1 / _MOST_GAIN, _MOST_GAIN)
    return np.asarray(np.clip(reference * gain[..., None], 0, 255), np.float32)


def _threshold(differences: Array) -> float:
    """What lies far above the usual difference of the two."""
    if not len(differences):
        return _LEAST
    usual = float(np.median(differences))
    return max(_LEAST, usual + _NOISES * 1.5 * float(np.median(np.abs(differences - usual))))


def _regions(is_different: Array, difference: Array) -> list[DifferingRegion]:
    joined = cv2.morphologyEx(is_different, cv2.MORPH_CLOSE, np.ones((_JOINED, _JOINED), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(joined)
    found = []
    for part in range(1, count):
        x, y, width, height, area = map(int, stats[part])
        if area < _SMALLEST:
            continue
        inside = parts[y : y + height, x : x + width] == part
        contrast = float(difference[y : y + height, x : x + width][inside].mean()) / 255
        found.append(DifferingRegion(x, y, x + width, y + height, area, contrast))
    return found
