"""Metrics of segmentation, from pixels counted over all images, so that a large image weighs more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from models_py.metrics.evidence import IntArray, f1, mean, ratio


class SegmentationCounts:
    """Pixels by true (row) and predicted (column) class; class 0 is background, 1 to `defects` are the defects."""

    def __init__(self, defects: int) -> None:
        self.matrix: IntArray = np.zeros((defects + 1, defects + 1), dtype=np.int64)

    def add(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Count one image, given as two maps of class numbers of the same shape."""
        true, predicted_classes = np.asarray(truth), np.asarray(predicted)
        if true.shape != predicted_classes.shape:
            raise ValueError(
                f"maps: must have one shape, but truth is {true.shape} and predicted {predicted_classes.shape}."
            )
        size = len(self.matrix)
        for what, values in (("truth", true), ("predicted", predicted_classes)):
            _check(what, values, size)
        cells = true.ravel().astype(np.int64) * size + predicted_classes.ravel().astype(np.int64)
        self.matrix += np.bincount(cells, minlength=size * size).reshape(size, size)


def _check(what: str, values: np.ndarray, size: int) -> None:
    if not values.size:
        return
    if values.dtype.kind not in "biu":
        raise ValueError(f"{what}: must be a map of whole numbers, but its type is {values.dtype}.")
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= size:
        raise ValueError(
            f"{what}: must hold classes 0 to {size - 1}, but holds {lowest} to {highest}. "
            "Number the classes in the order of the labels, from 1."
        )


def segmentation_report(counts: SegmentationCounts, labels: Sequence[str]) -> dict[str, float | None]:
    """Return pixel_accuracy, iou/<label>, dice/<label>, their means, and defect_iou and defect_dice.

    `labels` names classes 1, 2, ...; the means are over those that occur in truth or prediction. The defect_ metrics
    treat all defect classes as one.
    """
    matrix = counts.matrix
    if len(labels) + 1 != len(matrix):
        raise ValueError(f"labels: must name {len(matrix) - 1} classes without background, but got {len(labels)}.")
    hits = matrix.diagonal()
    cells = np.stack([hits, matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits], axis=1).tolist()
    ious, dices = [_iou(*row) for row in cells], [f1(*row) for row in cells]
    defect = int(matrix[1:, 1:].sum()), int(matrix[0, 1:].sum()), int(matrix[1:, 0].sum())
    return {
        "pixel_accuracy": ratio(int(hits.sum()), int(matrix.sum())),
        "mean_iou": mean(ious[1:]),
        "mean_iou_with_background": mean(ious),
        "mean_dice": mean(dices[1:]),
        "defect_iou": _iou(*defect),
        "defect_dice": f1(*defect),
        **{f"iou/{label}": value for label, value in zip(labels, ious[1:], strict=True)},
        **{f"dice/{label}": value for label, value in zip(labels, dices[1:], strict=True)},
    }


def _iou(hits: int, false_alarms: int, misses: int) -> float | None:
    return ratio(hits, hits + false_alarms + misses)
