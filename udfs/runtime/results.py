"""What a function answers for one image, small enough to be kept by the ten thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models_py.images.encode import encode_mask
from models_py.model.trained_model import Prediction

FAINTEST = 0.01
"""Regions less likely than this are not worth a row: no operating point lies so low."""

Array = np.ndarray[Any, Any]
_OVERHEAD = 400


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """An answer, or why there is none."""

    answer: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPrediction:
    """A prediction: `numbers` has one row of confidence, x1, y1, x2, y2, area per region."""

    label: str
    confidence: float
    score: float
    labels: tuple[str, ...]
    numbers: Array
    masks: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        return _OVERHEAD + self.numbers.nbytes + 8 * len(self.labels) + sum(map(len, self.masks))


_NO_BOX = (np.nan,) * 5


def answer_of(prediction: Prediction) -> StoredPrediction:
    """Keep what SQL sees; a classifier's classes are regions without a box."""
    if prediction.probabilities:
        ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        numbers = np.array([(chance, *_NO_BOX) for _, chance in ranked])
        return StoredPrediction(
            prediction.label, prediction.confidence, prediction.score, tuple(label for label, _ in ranked), numbers
        )
    regions = [region for region in prediction.regions if region.confidence >= FAINTEST]
    numbers = np.array([(r.confidence, r.x1, r.y1, r.x2, r.y2, r.area) for r in regions]).reshape(-1, 6)
    masks = tuple(encode_mask(region.mask) for region in regions if region.mask is not None)
    labels = tuple(region.label for region in regions)
    return StoredPrediction(prediction.label, prediction.confidence, prediction.score, labels, numbers, masks)
