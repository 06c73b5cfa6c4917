"""Metrics of classification, with one label per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from models_py.metrics.evidence import IntArray, LabelArray, mean
from models_py.metrics.ranking import auroc


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return the share of labels that are right; None without any."""
    true, guess = _paired(truth, predicted)
    return float(accuracy_score(true, guess)) if len(true) else None


def confusion(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[str]) -> IntArray:
    """Count images by label: rows are the truth, columns the prediction, both in the order of `labels`.

    Raises:
        ValueError: A label is not among `labels`: dropping its images would flatter every metric.
    """
    true, guess = _paired(truth, predicted)
    _check_known(true, labels, "truth")
    _check_known(guess, labels, "predicted")
    if not len(true):  # scikit-learn refuses to count nothing
        return np.zeros((len(labels), len(labels)), np.int64)
    counts: IntArray = confusion_matrix(true, guess, labels=list(labels))
    return counts


def macro_f1(truth: ArrayLike, predicted: ArrayLike) -> float | None:
    """Return the mean F1 of the labels that occur in truth or prediction; None without any."""
    true, guess = _paired(truth, predicted)
    return mean(_f1_by_class(true, guess, sorted({*true.tolist(), *guess.tolist()})))


def classification_report(
    truth: ArrayLike, predicted: ArrayLike, probabilities: ArrayLike, labels: Sequence[str]
) -> dict[str, float | None]:
    """Return accuracy, macro_f1, auroc and f1/<label>.

    `probabilities` has a row per image and a column per label of `labels`. auroc is the mean, over the classes that
    occur in the truth, of each class against the rest; it needs two of them.
    """
    true, guess = _paired(truth, predicted)
    columns = np.asarray(probabilities, dtype=np.float64)
    if columns.shape != (len(true), len(labels)):
        raise ValueError(
            f"probabilities: must be {len(true):,} rows (images) of {len(labels)} columns (labels), "
            f"but the shape is {columns.shape}."
        )
    _check_known(true, labels, "truth")
    _check_known(guess, labels, "predicted")
    by_class = _f1_by_class(true, guess, labels)
    return {
        "accuracy": accuracy(true, guess),
        "macro_f1": mean(by_class),
        "auroc": mean(auroc(columns[:, place], true == label) for place, label in enumerate(labels)),
        **{f"f1/{label}": value for label, value in zip(labels, by_class, strict=True)},
    }


def _f1_by_class(true: LabelArray, guess: LabelArray, labels: Sequence[str]) -> list[float | None]:
    """F1 of each label, None for one that neither occurs nor is predicted."""
    if not len(true):
        return [None] * len(labels)
    found = f1_score(true, guess, labels=list(labels), average=None, zero_division=np.nan)
    return [None if np.isnan(value) else float(value) for value in found]


def _paired(truth: ArrayLike, predicted: ArrayLike) -> tuple[LabelArray, LabelArray]:
    true, guess = np.asarray(truth, dtype=object), np.asarray(predicted, dtype=object)
    if true.shape != guess.shape or true.ndim != 1:
        raise ValueError(
            f"truth and predicted: must be one label per image, but the shapes are {true.shape} and {guess.shape}."
        )
    return true, guess


def _check_known(values: LabelArray, labels: Sequence[str], what: str) -> None:
    if unknown := {str(value) for value in set(values.tolist()) - set(labels)}:
        raise ValueError(
            f"{what}: must be among {', '.join(map(str, labels))}, but got {', '.join(sorted(unknown))}. "
            "Add them to the labels."
        )
