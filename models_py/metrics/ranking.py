"""Metrics of ranking: how well a score separates defective from good, over images or tens of millions of pixels.

The definitions are scikit-learn's, except that what cannot be measured is None, where it would warn and return 0 or
NaN. Scikit-learn sorts all scores by index, which takes five times as long for 20 million pixels. Only scores of
positives matter as thresholds, so all negatives between two of them are passed to it as one, weighted by their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from models_py.metrics.evidence import BoolArray, FloatArray, IntArray, checked_pair


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Scores as ranks with weights: the positives' distinct scores are odd, the negatives between two of them even."""

    ranks: IntArray
    is_positive: BoolArray
    weights: IntArray
    thresholds: FloatArray
    """The positives' distinct scores, ascending."""

    @property
    def has_both(self) -> bool:
        return bool(self.is_positive.any() and not self.is_positive.all())


def _ranked(scores: ArrayLike, is_positive: ArrayLike) -> _Ranked:
    flat, marks = checked_pair(scores, is_positive)
    thresholds, counts = np.unique(flat[marks], return_counts=True)
    negatives = np.sort(flat[~marks])
    below = np.searchsorted(negatives, thresholds, side="left")
    up_to = np.searchsorted(negatives, thresholds, side="right")
    between = np.append(below, len(negatives)) - np.insert(up_to, 0, 0)
    odd = 2 * np.arange(len(thresholds)) + 1
    ranks = np.concatenate([odd, odd, 2 * np.arange(len(between))])
    weights = np.concatenate([counts, up_to - below, between])
    is_hit = np.arange(len(ranks)) < len(odd)
    used = weights > 0
    return _Ranked(ranks[used], is_hit[used], weights[used], thresholds)


def auroc(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half; None without both."""
    found = _ranked(scores, is_positive)
    if not found.has_both:
        return None
    return float(roc_auc_score(found.is_positive, found.ranks, sample_weight=found.weights))


def average_precision(scores: ArrayLike, is_positive: ArrayLike) -> float | None:
    """Return precision averaged over the steps of recall, without interpolation; None without a positive."""
    found = _ranked(scores, is_positive)
    if not found.is_positive.any():
        return None
    return float(average_precision_score(found.is_positive, found.ranks, sample_weight=found.weights))


def f1_max(scores: ArrayLike, is_positive: ArrayLike) -> tuple[float, float] | None:
    """Return the best F1 and the lowest threshold that reaches it; None without a positive."""
    found = _ranked(scores, is_positive)
    if not found.is_positive.any():
        return None
    precision, recall, ranks = precision_recall_curve(found.is_positive, found.ranks, sample_weight=found.weights)
    precision, recall = precision[:-1], recall[:-1]  # the last point, recall 0, has no threshold
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    best = int(f1.argmax())  # always at a positive's score, since precision only falls between two of them
    return float(f1[best]), float(found.thresholds[ranks[best] // 2])


def recall_at_false_rejects(scores: ArrayLike, is_positive: ArrayLike, rate: float = 0.01) -> float | None:
    """Return the largest recall that falsely rejects at most `rate` (0 to 1) of the negatives; None without both."""
    found = _ranked(scores, is_positive)
    if not found.has_both:
        return None
    shares, recalls, _ = roc_curve(found.is_positive, found.ranks, sample_weight=found.weights, drop_intermediate=False)
    return float(recalls[shares <= rate].max())
