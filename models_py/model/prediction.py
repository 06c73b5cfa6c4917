"""What a model says of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Region:
    """One defect: its box in pixels of the image, and for masks the pixels inside that box."""

    label: str
    confidence: float
    x1: float
    y1: float
    x2: float
    y2: float
    area: float
    mask: Array | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image; `score` is how defective it is, what the operating threshold is compared with.

    Label and confidence are None where nothing can be decided: see `models_py.model.verdict`.
    """

    label: str | None
    confidence: float | None
    score: float
    regions: tuple[Region, ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    pixels: Array | None = None


def paint(regions: list[Region], labels: tuple[str, ...], size: tuple[int, int]) -> Array:
    """Class numbers of the pixels of an image (height, width): 0 background, i + 1 for labels[i]."""
    painted = np.zeros(size, np.uint8)
    for region in regions:
        if region.mask is None:
            continue
        inside = painted[int(region.y1) : int(region.y2), int(region.x1) : int(region.x2)]
        inside[region.mask] = labels.index(region.label) + 1
    return painted
