"""How well a score ranks the defective above the good, over images or over tens of millions of pixels.

Only the positives' own scores matter as thresholds: between two of them recall stands still while false alarms grow.
So negatives are sorted once and looked up; a curve has as many points as there are distinct positive scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models_py.metrics.evidence import FloatArray, IntArray, checked_pair


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Counts at `score >= threshold`, thresholds ascending."""

    thresholds: FloatArray
    hits: IntArray
    false_alarms: IntArray
    positives: int
    negatives: int


def _curve(scores: ArrayLike, is_positive: ArrayLike) -> _Curve:
    flat, marks = checked_pair(scores, is_positive)
    thresholds, counts = np.unique(flat[marks], return_counts=True)
    negatives = np.sort(flat[~marks])
    return _Curve(
        thresholds=thresholds,
        hits=np.cumsum(counts[::-1])[::-1],
        false_alarms=len(negatives) - np.searchsorted(negatives, thresholds, side="left"),
        positives=int(counts.sum()),
        negatives=len(negatives),
    )


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half; None without both."""
    flat, marks = checked_pair(scores, is_positive)
    thresholds, counts = np.unique(flat[marks], return_counts=True)
    negatives = np.sort(flat[~marks])
    pairs = int(counts.sum()) * len(negatives)
    if not pairs:
        return None
    below = np.searchsorted(negatives, thresholds, side="left")
    up_to = np.searchsorted(negatives, thresholds, side="right")
    return int(counts @ (below + up_to)) / (2 * pairs)


def average_precision(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Return precision averaged over the steps of recall, without interpolation; None without a positive."""
    curve = _curve(scores, is_positive)
    if not curve.positives:
        return None
    gained = -np.diff(curve.hits, append=0)
    precision = curve.hits / (curve.hits + curve.false_alarms)
    return float(gained @ precision) / curve.positives


def f1_max(scores: ArrayLike, is_positive: ArrayLike) -> tuple[float, float] | None:
    """Return the best F1 and the lowest threshold that reaches it; None without a positive."""
    curve = _curve(scores, is_positive)
    if not curve.positives:
        return None
    f1 = 2 * curve.hits / (curve.hits + curve.false_alarms + curve.positives)
    best = int(f1.argmax())
    return float(f1[best]), float(curve.thresholds[best])


def recall_at_false_rejects(scores: ArrayLike, is_positive: ArrayLike, rate: float = 0.01) -> float | None:
    """Return the largest recall that falsely rejects at most `rate` (0 to 1) of the negatives; None without both."""
    curve = _curve(scores, is_positive)
    if not curve.positives or not curve.negatives:
        return None
    affordable = curve.hits[curve.false_alarms / curve.negatives <= rate]
    return int(affordable.max(initial=0)) / curve.positives
