"""What can be asked of a model: a verdict, a vector, or a map of what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.nn import functional

from models_py.model.preprocess import Size
from models_py.model.trained_model import Array, Model, Outputs
from udfs.runtime.results import ENTRY_BYTES, PredictionResult, StoredPrediction, stored

A = TypeVar("A")
_NO_NUMBERS = "there is no verdict: the model's outputs for this image are NaN or infinite. Train or import it again."


@dataclass(frozen=True, slots=True)
class OutputKind(Generic[A]):
    """What is asked of a model: what runs on the device, how its outputs become answers, and how large one is."""

    name: str
    run: Callable[[Model, torch.Tensor], Outputs]
    read: Callable[[Model, Outputs, Sequence[Size]], list[A]]
    size: Callable[[A], int]

    def results(self, model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[PredictionResult[A]]:
        """Read the images whose outputs are numbers; the others have an error."""
        are_numbers = outputs[0].flatten(1).sum(1).isfinite().tolist()
        kept = [size for size, is_good in zip(sizes, are_numbers, strict=True) if is_good]
        chosen = outputs if len(kept) == len(sizes) else tuple(part[are_numbers] for part in outputs)
        answers = iter(self.read(model, chosen, kept) if kept else [])
        return [
            PredictionResult(next(answers)) if is_good else PredictionResult(error=_NO_NUMBERS)
            for is_good in are_numbers
        ]

    def size_of(self, result: PredictionResult[A]) -> int:
        """How many bytes a result takes in a cache."""
        return ENTRY_BYTES + (len(result.error or "") if result.answer is None else self.size(result.answer))


def _forward(model: Model, batch: torch.Tensor) -> Outputs:
    return model.forward(batch)


def _read_predictions(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[StoredPrediction]:
    return [stored(prediction) for prediction in model.interpret(outputs, sizes)]


def _describe(model: Model, batch: torch.Tensor) -> Outputs:
    return (functional.normalize(model.embed(batch).float().flatten(1), dim=1),)


def _read_vectors(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Array]:  # noqa: ARG001
    return list(outputs[0].cpu().numpy())


def _read_maps(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Array]:
    """Maps in the square that the network saw, where 1 is the operating point."""
    unit = model.spec.thresholds.get("*")
    found = [prediction.pixels for prediction in model.interpret(outputs, sizes, pixels=True)]
    return [np.asarray(pixels / (unit or pixels.max() or 1.0), np.float16) for pixels in found if pixels is not None]


PREDICT = OutputKind("predict", _forward, _read_predictions, lambda prediction: prediction.size)
EMBED = OutputKind("embed", _describe, _read_vectors, lambda vector: vector.nbytes)
MAP = OutputKind("map", _forward, _read_maps, lambda pixels: pixels.nbytes)
