"""Metrics of detection: COCO's average precision at any overlap, and precision and recall at a threshold.

Overlap (IoU) is intersection over union. 0.33 suits small defects whose outlines are drawn loosely.

Predictions and truths are matched for each image and label as in COCO: predictions in order of falling score, each
takes the truth of its label that it overlaps most and that is still free, if the overlap is large enough. A prediction
with a truth is a hit. Because each step depends on the ones before, this is a loop over predictions, but all overlaps
(0.5 to 0.95) are matched in one pass, as rows of an array. Then the predictions of all images are sorted by score, and
precision is averaged over 101 recalls. The result equals pycocotools' (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_py.metrics.evidence import BoolArray, FloatArray, IntArray, LabelArray, checked_scores, f1, mean, ratio

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_PER_IMAGE = 100  # COCO ranks no more boxes than these per image and class
_COCO_OVERLAPS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of one image: corners left, top, right, bottom (n, 4), labels (n,); scores (n,) if predicted."""

    xyxy: FloatArray
    labels: LabelArray
    scores: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", np.asarray(self.xyxy, dtype=np.float64).reshape(-1, 4))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=object))
        if self.scores is not None:
            object.__setattr__(self, "scores", checked_scores(self.scores))
        sizes = [len(self.xyxy), len(self.labels), *([] if self.scores is None else [len(self.scores)])]
        if len(set(sizes)) > 1:
            raise ValueError(f"boxes: must have a label and a score each, but the lengths are {sizes}.")


@dataclass(frozen=True, slots=True, eq=False)
class _LabelMatches:
    """One label's predictions over all images: `is_hit` (overlaps, n), and each one's rank by score in its image."""

    scores: FloatArray
    places: IntArray
    is_hit: BoolArray
    truths: int


def match(truth: Boxes, predicted: Boxes, iou: float) -> IntArray:
    """Return for every prediction the index of the truth that it matches, or -1.

    From the highest score down, each prediction takes the free truth of its label that it overlaps most, if by at
    least `iou`. Equal scores keep their order.
    """
    matched = np.full(len(predicted.labels), -1, dtype=np.int64)
    for label in set(predicted.labels.tolist()):
        truths = np.flatnonzero(truth.labels == label)
        order, taken = _match_label(truth, predicted, label, np.array([iou]))
        matched[order] = np.where(taken[0] < 0, -1, np.append(truths, -1)[taken[0]])
    return matched


def average_precisions(
    truths: Sequence[Boxes], predictions: Sequence[Boxes], iou: float, labels: Sequence[str]
) -> dict[str, float | None]:
    """Return COCO's 101-point average precision by label, over boxes of all sizes; None for a label without truth."""
    overlaps = np.array([iou])
    return {label: _precisions(_match_all(truths, predictions, label, overlaps))[0] for label in labels}


def detection_report(
    truths: Sequence[Boxes],
    predictions: Sequence[Boxes],
    labels: Sequence[str],
    threshold: float | Mapping[str, float] | None = None,
) -> dict[str, float | None]:
    """Return map33, map50, map50_95 and ap50/<label>; with a threshold precision, recall and f1 at 50 and 33 too.

    `truths` and `predictions` hold one entry per image. Boxes with other labels do not count. A threshold holds for
    all labels or is given by label; a prediction counts when its score is at least that, and the counts of all
    labels are added up before they are divided.
    """
    overlaps = np.array([0.33, *_COCO_OVERLAPS])
    matches = {label: _match_all(truths, predictions, label, overlaps) for label in labels}
    precisions = {label: _precisions(of_label) for label, of_label in matches.items()}
    report = {
        "map33": mean(values[0] for values in precisions.values()),
        "map50": mean(values[1] for values in precisions.values()),
        "map50_95": mean(value for values in precisions.values() for value in values[1:]),
        **{f"ap50/{label}": values[1] for label, values in precisions.items()},
    }
    if threshold is not None:
        by_label = _by_label(threshold, labels)
        report |= _at_threshold(matches, by_label, row=1, suffix="50")
        report |= _at_threshold(matches, by_label, row=0, suffix="33")
    return report


def _by_label(threshold: float | Mapping[str, float], labels: Sequence[str]) -> Mapping[str, float]:
    if not isinstance(threshold, Mapping):
        return dict.fromkeys(labels, threshold)
    if missing := [label for label in labels if label not in threshold]:
        raise ValueError(f"threshold: must name every label, but {', '.join(missing)} is missing. Add it.")
    return threshold


def _at_threshold(
    matches: Mapping[str, _LabelMatches], thresholds: Mapping[str, float], *, row: int, suffix: str
) -> dict[str, float | None]:
    kept = [of_label.is_hit[row, of_label.scores >= thresholds[label]] for label, of_label in matches.items()]
    hits, predicted = sum(int(is_hit.sum()) for is_hit in kept), sum(map(len, kept))
    truths = sum(of_label.truths for of_label in matches.values())
    return {
        f"precision{suffix}": ratio(hits, predicted),
        f"recall{suffix}": ratio(hits, truths),
        f"f1_{suffix}": f1(hits, predicted - hits, truths - hits),
    }


def _match_all(
    truths: Sequence[Boxes], predictions: Sequence[Boxes], label: str, overlaps: FloatArray
) -> _LabelMatches:
    scores: list[FloatArray] = [np.empty(0)]
    places: list[IntArray] = [np.empty(0, np.int64)]
    is_hit: list[BoolArray] = [np.empty((len(overlaps), 0), np.bool_)]
    for truth, predicted in by_image(truths, predictions):
        order, taken = _match_label(truth, predicted, label, overlaps)
        scores.append(_scores(predicted)[order])
        places.append(np.arange(len(order)))
        is_hit.append(taken >= 0)
    count = sum(int(np.count_nonzero(truth.labels == label)) for truth in truths)
    return _LabelMatches(np.concatenate(scores), np.concatenate(places), np.concatenate(is_hit, axis=1), count)


def by_image(truths: Sequence[Boxes], predictions: Sequence[Boxes]) -> Iterator[tuple[Boxes, Boxes]]:
    """Pair truths and predictions by image; raise ValueError unless there are equally many."""
    if len(truths) != len(predictions):
        raise ValueError(
            f"truths and predictions: must be one per image, but got {len(truths):,} and {len(predictions):,}."
        )
    return zip(truths, predictions, strict=True)


def _scores(predicted: Boxes) -> FloatArray:
    if predicted.scores is None:
        if not len(predicted.labels):
            return np.empty(0)
        raise ValueError("predictions: must have scores, but scores is None. Pass truth first, predictions second.")
    return predicted.scores


def _match_label(truth: Boxes, predicted: Boxes, label: str, overlaps: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the label's predictions by falling score, and the truth that each takes at each overlap (overlaps, n)."""
    order = np.flatnonzero(predicted.labels == label)
    order = order[np.argsort(-_scores(predicted)[order], kind="stable")]
    iou = _iou(predicted.xyxy[order], truth.xyxy[truth.labels == label])
    return order, _take(iou, overlaps)


def _take(iou: FloatArray, overlaps: FloatArray) -> IntArray:
    """Assign rows (predictions, best first) to columns (truths), for all overlaps at once."""
    predicted, truths = iou.shape
    taken = np.full((len(overlaps), predicted), -1, dtype=np.int64)
    if not truths:
        return taken
    least = np.minimum(overlaps, 1 - 1e-10)[:, None]  # as in pycocotools, so that an overlap of 1 can be reached
    is_free = np.ones((len(overlaps), truths), dtype=np.bool_)
    for row in np.flatnonzero(iou.max(axis=1) >= least.min()):
        candidates = np.where(is_free & (iou[row] >= least), iou[row], -1.0)
        best = truths - 1 - candidates[:, ::-1].argmax(axis=1)  # of equal overlaps COCO takes the last
        hits = np.flatnonzero(candidates.max(axis=1) >= 0)
        taken[hits, row] = best[hits]
        is_free[hits, best[hits]] = False
    return taken


def _iou(one: FloatArray, other: FloatArray) -> FloatArray:
    first, second = one.reshape(-1, 1, 4), other.reshape(1, -1, 4)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = sides.clip(min=0.0).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    iou: FloatArray = np.divide(shared, areas - shared, out=np.zeros(shared.shape), where=shared > 0)
    return iou


def _precisions(matches: _LabelMatches) -> list[float | None]:
    """Return the average precision at every overlap."""
    if not matches.truths:
        return [None] * len(matches.is_hit)
    ranked = np.flatnonzero(matches.places < _MOST_PER_IMAGE)
    ranked = ranked[np.argsort(-matches.scores[ranked], kind="stable")]
    return [_average_precision(is_hit, matches.truths) for is_hit in matches.is_hit[:, ranked]]


def _average_precision(is_hit: BoolArray, truths: int) -> float:
    hits = np.cumsum(is_hit)
    precision = hits / np.arange(1, len(hits) + 1)
    at_least = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / truths, _RECALLS, side="left")
    return float(np.append(at_least, 0.0)[places].mean())
