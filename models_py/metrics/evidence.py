"""Helpers of all metrics: a ratio without a denominator is None, not 0, and NaN scores are refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
LabelArray = NDArray[Any]


def ratio(part: float, whole: float) -> float | None:
    """Divide; None if the denominator is 0."""
    return float(part / whole) if whole else None


def mean(values: Iterable[float | None]) -> float | None:
    """Average the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return ratio(sum(known), len(known))


def f1(hits: float, false_alarms: float, misses: float) -> float | None:
    """Harmonic mean of precision and recall, from counts; for pixels this is the dice coefficient."""
    return ratio(2 * hits, 2 * hits + false_alarms + misses)


def checked_scores(scores: ArrayLike) -> FloatArray:
    """Flatten scores to one dimension, keeping the precision they come in; raise ValueError on NaN."""
    flat = np.ravel(np.asarray(scores))
    if flat.dtype.kind != "f":
        flat = flat.astype(np.float64)
    if missing := int(np.count_nonzero(np.isnan(flat))):
        raise ValueError(f"scores: must be numbers, but {missing:,} of {len(flat):,} are NaN. Drop them first.")
    return flat


def checked_pair(scores: ArrayLike, flags: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Flatten scores and their true-or-false flags; raise ValueError unless there is one flag per score."""
    flat, marks = checked_scores(scores), np.ravel(np.asarray(flags)).astype(bool)
    if len(flat) != len(marks):
        raise ValueError(f"scores and flags: must be equally many, but got {len(flat):,} and {len(marks):,}.")
    return flat, marks
