"""What every reader returns: samples (one image each), their labels, and rejects.

Labels and samples are named tuples because a load makes hundreds of thousands, and a frozen dataclass takes four times
as long to make.
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
"""The label of a defect-free image, whatever word its publisher uses."""

_GOOD_NAMES = frozenset({"good", "ok", "normal", "free", "no_defect", "defect_free", "defect-free"})


def canonical(label: str) -> str:
    """Replace every publisher's word for defect-free by `good`; return names of defects unchanged."""
    return GOOD if label.strip().lower() in _GOOD_NAMES else label.strip()


SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Publishers' folder names for each split."""


def split_of(path: str) -> str | None:
    """The split that a folder of the path names."""
    return next((SPLITS[part] for part in path.split("/")[:-1] if part in SPLITS), None)


def finite(values: Iterable[Any]) -> tuple[float, ...]:
    """Convert coordinates to floats; a ValueError names the first that is not a finite number."""
    numbers = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{value!r} is not a number") from None
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not a finite number")
        numbers.append(number)
    return tuple(numbers)


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

    `sources` are the label files (including masks); when one of them changes, the labels are read again. A sample that
    was not `inspected` (a golden board without its test image) becomes an image in the warehouse but no inspection.
    `has_bad_time` means that a time was stated but cannot be read.
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
