"""How well a class is told from the others, one label per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from models_py.metrics.evidence import IntArray, LabelArray, f1, mean, ratio
from models_py.metrics.ranking import auroc


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return the share of labels that are right; None without any."""
    true, said = _paired(truth, predicted)
    return ratio(int(np.count_nonzero(true == said)), len(true))


def confusion(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> IntArray:
    """Count images by label: rows are the truth, columns the prediction, both in the order of `labels`.

    Raises:
        ValueError: A label is not among `labels`: dropping its images would flatter every metric.
    """
    true, said = _paired(truth, predicted)
    size = len(labels)
    cells = _indices(true, labels, "truth") * size + _indices(said, labels, "predicted")
    return np.bincount(cells, minlength=size * size).astype(np.int64).reshape(size, size)


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return the mean F1 of the labels that occur in truth or prediction; None without any."""
    true, said = _paired(truth, predicted)
    labels = sorted({*true.tolist(), *said.tolist()})
    return mean(_f1_by_class(confusion(true, said, labels)))


def classification_report(
    truth: ArrayLike, predicted: ArrayLike, probabilities: ArrayLike, labels: Sequence[str]
) -> dict[str, float | None]:
    """Return accuracy, macro_f1, auroc and f1/<label>.

    `probabilities` has a row per image and a column per label of `labels`. auroc is the mean, over the classes that
    occur in the truth, of each class against the rest; it needs two of them.
    """
    true, said = _paired(truth, predicted)
    columns = np.asarray(probabilities, dtype=np.float64)
    if columns.shape != (len(true), len(labels)):
        raise ValueError(
            f"probabilities: must be {len(true):,} rows (images) of {len(labels)} columns (labels), "
            f"but the shape is {columns.shape}."
        )
    by_class = _f1_by_class(confusion(true, said, labels))
    return {
        "accuracy": accuracy(true, said),
        "macro_f1": mean(by_class),
        "auroc": mean(auroc(columns[:, place], true == label) for place, label in enumerate(labels)),
        **{f"f1/{label}": value for label, value in zip(labels, by_class, strict=True)},
    }


def _f1_by_class(counts: IntArray) -> list[float | None]:
    hits = counts.diagonal()
    false_alarms, misses = counts.sum(axis=0) - hits, counts.sum(axis=1) - hits
    return [f1(*cells) for cells in zip(hits.tolist(), false_alarms.tolist(), misses.tolist(), strict=True)]


def _paired(truth: ArrayLike, predicted: ArrayLike) -> tuple[LabelArray, LabelArray]:
    true, said = np.asarray(truth, dtype=object), np.asarray(predicted, dtype=object)
    if true.shape != said.shape or true.ndim != 1:
        raise ValueError(
            f"truth and predicted: must be one label per image, but the shapes are {true.shape} and {said.shape}."
        )
    return true, said


def _indices(values: LabelArray, labels: Sequence[str], what: str) -> IntArray:
    place = {label: index for index, label in enumerate(labels)}
    if unknown := {str(value) for value in values if value not in place}:
        raise ValueError(
            f"{what}: must be among {', '.join(map(str, labels))}, but got {', '.join(sorted(unknown))}. "
            "Add them to the labels."
        )
    return np.array([place[value] for value in values], dtype=np.int64)
