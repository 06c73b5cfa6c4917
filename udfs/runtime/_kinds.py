"""What can be asked of a model: a verdict, a vector, or a map of what is unusual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from models_py.model import Model, Outputs
from models_py.preprocess import Size
from udfs.runtime._answers import Answer, answer_of
from udfs.runtime._engine import Kind

Array = np.ndarray[Any, Any]


def _judge(model: Model, batch: torch.Tensor) -> Outputs:
    return model.forward(batch)


def _read_verdicts(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Answer]:
    return [answer_of(prediction) for prediction in model.interpret(outputs, sizes)]


def _describe(model: Model, batch: torch.Tensor) -> torch.Tensor:
    return functional.normalize(model.embed(batch).float().flatten(1), dim=1)


def _read_vectors(model: Model, outputs: torch.Tensor, sizes: Sequence[Size]) -> list[Array]:  # noqa: ARG001
    return list(outputs.cpu().numpy())


def _read_maps(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Array]:
    """Maps in the square that the network saw, where 1 is the operating point."""
    unit = model.spec.thresholds.get("*")
    found = [prediction.pixels for prediction in model.interpret(outputs, sizes, pixels=True)]
    return [np.asarray(pixels / (unit or pixels.max() or 1.0), np.float16) for pixels in found if pixels is not None]


PREDICT = Kind("predict", _judge, _read_verdicts, lambda answer: answer.size)
EMBED = Kind("embed", _describe, _read_vectors, lambda vector: 200 + vector.nbytes)
MAP = Kind("map", _judge, _read_maps, lambda pixels: 200 + pixels.nbytes)
