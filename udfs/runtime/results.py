"""What a function answers for one image, small enough to be kept by the ten thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from models_py.images.encode import encode_mask
from models_py.model.trained_model import Prediction, ranked

FAINTEST = 0.01
"""Regions less likely than this are not worth a row: no operating point lies so low."""

Array = np.ndarray[Any, Any]
A_co = TypeVar("A_co", covariant=True)
"""What is asked of an image: a stored prediction, a vector, a map, facts of the image, or a picture made of it."""
_OVERHEAD, _A_MASK = 500, 33
ENTRY_BYTES = 500
"""What a cache of results needs for one beside its answer, measured: the key, the hash and the link."""


@dataclass(frozen=True, slots=True)
class PredictionResult(Generic[A_co]):
    """An answer, or why there is none; neither for NULL."""

    answer: A_co | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A prediction: `numbers` has one row of confidence, x1, y1, x2, y2, area per region."""

    label: str | None
    confidence: float | None
    score: float
    labels: tuple[str, ...]
    numbers: Array
    masks: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        masks = sum(len(mask) + _A_MASK for mask in self.masks)
        return _OVERHEAD + self.numbers.nbytes + 8 * len(self.labels) + masks


_NO_BOX = (np.nan,) * 5


def stored(prediction: Prediction) -> StoredPrediction:
    """Keep what SQL sees; a classifier's classes are regions without a box."""
    if prediction.probabilities:
        classes = ranked(prediction.probabilities)
        numbers = np.array([(chance, *_NO_BOX) for _, chance in classes])
        labels = tuple(label for label, _ in classes)
        return StoredPrediction(prediction.label, prediction.confidence, prediction.score, labels, numbers)
    regions = [region for region in prediction.regions if region.confidence >= FAINTEST]
    numbers = np.array([(r.confidence, r.x1, r.y1, r.x2, r.y2, r.area) for r in regions]).reshape(-1, 6)
    masks = tuple(encode_mask(region.mask) for region in regions if region.mask is not None)
    labels = tuple(region.label for region in regions)
    return StoredPrediction(prediction.label, prediction.confidence, prediction.score, labels, numbers, masks)
