"""What can be asked of a model: a verdict, a vector, or a map of what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from models_py.model.preprocess import Size
from models_py.model.trained_model import Model, Outputs
from udfs.runtime.batcher import OutputKind
from udfs.runtime.results import PredictionResult, answer_of

_NO_NUMBERS = "there is no verdict: the model's outputs for this image are NaN or infinite. Train or import it again."
_OVERHEAD = 200


def _judge(model: Model, batch: torch.Tensor) -> Outputs:
    return model.forward(batch)


def _outcomes(
    outputs: Outputs, sizes: Sequence[Size], read: Callable[[Outputs, list[Size]], list[Any]]
) -> list[PredictionResult]:
    """Read the images whose outputs are numbers; the others have an error."""
    are_numbers = outputs[0].flatten(1).sum(1).isfinite().tolist()
    kept = [size for size, is_good in zip(sizes, are_numbers, strict=True) if is_good]
    chosen = outputs if len(kept) == len(sizes) else tuple(part[are_numbers] for part in outputs)
    answers = iter(read(chosen, kept) if kept else [])
    return [
        PredictionResult(next(answers)) if is_good else PredictionResult(error=_NO_NUMBERS) for is_good in are_numbers
    ]


def _read_verdicts(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[PredictionResult]:
    return _outcomes(outputs, sizes, lambda rows, kept: [answer_of(found) for found in model.interpret(rows, kept)])


def _describe(model: Model, batch: torch.Tensor) -> Outputs:
    return (functional.normalize(model.embed(batch).float().flatten(1), dim=1),)


def _read_vectors(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[PredictionResult]:  # noqa: ARG001
    return _outcomes(outputs, sizes, lambda rows, _: list(rows[0].cpu().numpy()))


def _read_maps(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[PredictionResult]:
    """Maps in the square that the network saw, where 1 is the operating point."""
    unit = model.spec.thresholds.get("*")

    def read(rows: Outputs, kept: list[Size]) -> list[Any]:
        found = [prediction.pixels for prediction in model.interpret(rows, kept, pixels=True)]
        return [
            np.asarray(pixels / (unit or pixels.max() or 1.0), np.float16) for pixels in found if pixels is not None
        ]

    return _outcomes(outputs, sizes, read)


def _size_of_verdict(outcome: PredictionResult) -> int:
    return _OVERHEAD if outcome.error else outcome.answer.size


def _size_of_array(outcome: PredictionResult) -> int:
    return _OVERHEAD + (0 if outcome.error else outcome.answer.nbytes)


PREDICT = OutputKind("predict", _judge, _read_verdicts, _size_of_verdict)
EMBED = OutputKind("embed", _describe, _read_vectors, _size_of_array)
MAP = OutputKind("map", _judge, _read_maps, _size_of_array)
