"""What every reader speaks: samples (one inspected image each), their labels, and rejects.

Labels and samples are named tuples: they are made by the hundred thousand, in a quarter of a frozen dataclass's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from models_py.images.regions import Polygon

Kind = Literal["class", "box", "polygon", "mask"]
Box = tuple[float, float, float, float]

GOOD = "good"
"""The one label of a defect-free image, whatever its publisher calls it."""

_GOOD_NAMES = frozenset({"good", "ok", "normal", "free", "no_defect", "defect_free", "defect-free"})


def canonical(label: str) -> str:
    """Spell every publisher's word for defect-free as `good`; leave defect names alone."""
    return GOOD if label.strip().lower() in _GOOD_NAMES else label.strip()


SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""How publishers call the folders of a split."""


def split_of(path: str) -> str | None:
    """Name the split that a folder of the path stands for."""
    return next((SPLITS[part] for part in path.split("/")[:-1] if part in SPLITS), None)


def finite(values: Iterable[Any]) -> tuple[float, ...]:
    """Read coordinates; a ValueError names the first that is no finite number."""
    found = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{value!r} is not a number") from None
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not a finite number")
        found.append(number)
    return tuple(found)


class Label(NamedTuple):
    """One annotation as its publisher wrote it.

    `box` is xyxy, `polygon` rings of x, y, x, y, ...; both in pixels of `frame`, the image size the publisher drew them
    for ((1, 1) for fractions); without a frame, in pixels of the image itself. `mask` is a path in the tree; `mask_png`
    holds a mask that a reader drew (from run lengths, say).
    """

    kind: Kind
    label: str
    box: Box | None = None
    frame: tuple[float, float] | None = None
    mask: str | None = None
    mask_png: bytes | None = None
    split: str | None = None
    annotator: str | None = None
    annotated_at: datetime | None = None
    polygon: Polygon | None = None


class Sample(NamedTuple):
    """One image file and where its labels are.

    `sources` are the label files (masks among them) whose change makes the labels stale. A sample that was not
    `inspected` (a golden board without its test image) is an image in the warehouse but no inspection. It has a bad
    time if one was stated that cannot be read.
    """

    image: str
    sources: tuple[str, ...] = ()
    template: str | None = None
    labels: tuple[Label, ...] = ()
    inspected: bool = True
    unit_id: str | None = None
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    captured_at: datetime | None = None
    has_bad_time: bool = False
    attributes: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """A file, or one annotation in it, that cannot be used; `path` is relative to the tree."""

    path: str
    reason: str
