"""Helpers for drawing all product families: images with their defects, and smooth noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]
Rng = np.random.Generator
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect as an annotator would mark it: its class and its box, xyxy in pixels."""

    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture and its defects; `masks` has one mask for each class, in families that have masks."""

    picture: Grey
    defects: tuple[Defect, ...] = ()
    masks: dict[str, Grey] = field(default_factory=dict)


def smooth(rng: Rng, width: int, height: int, cells_x: int, cells_y: int | None = None) -> Field:
    """Noise in -1..1 without sharp edges: random values on a coarse grid, interpolated."""
    grid = rng.integers(0, 256, (max(2, cells_y or cells_x), max(2, cells_x)), dtype=np.uint8)
    fine = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(fine, np.float32) / np.float32(127.5) - np.float32(1)


def to_grey(values: NDArray[Any]) -> Grey:
    grey: Grey = np.clip(values, 0, 255).astype(np.uint8)
    return grey


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> Box | None:
    """The tight box around a mask with a margin, inside the picture; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
        min(height, int(rows[-1]) + 1 + margin),
    )
