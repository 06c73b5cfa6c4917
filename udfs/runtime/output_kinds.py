"""What can be asked of a model: a verdict, a vector, or a map of what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.nn import functional

from models_py.images.tiles import TilePlace
from models_py.model.preprocess import Size
from models_py.model.tiles import PlacedPrediction, merge_tiles
from models_py.model.trained_model import Array, Model, ModelSpec, Outputs, Prediction
from udfs.runtime.results import ENTRY_BYTES, PredictionResult, StoredPrediction, stored

A = TypeVar("A")
P = TypeVar("P")
_NO_NUMBERS = "there is no verdict: the model's outputs for this image are NaN or infinite. Train or import it again."


@dataclass(frozen=True, slots=True)
class TileKind(Generic[P, A]):
    """What is asked of each tile of an image that is cut, and how that becomes the answer for the image."""

    kind: OutputKind[P]
    merge: Callable[[ModelSpec, Sequence[tuple[TilePlace, P]], Size], A]


@dataclass(frozen=True, slots=True)
class OutputKind(Generic[A]):
    """What is asked of a model: what runs on the device, how its outputs become answers, and how large one is."""

    name: str
    run: Callable[[Model, torch.Tensor], Outputs]
    read: Callable[[Model, Outputs, Sequence[Size]], list[A]]
    size: Callable[[A], int]
    of_tiles: TileKind[Any, A] | None = None

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


def _read_tiles(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Prediction]:
    return model.interpret(outputs, sizes)


def _read_tiles_with_maps(model: Model, outputs: Outputs, sizes: Sequence[Size]) -> list[Prediction]:
    return model.interpret(outputs, sizes, pixels=True)


def _merge_predictions(spec: ModelSpec, parts: Sequence[tuple[TilePlace, Prediction]], size: Size) -> StoredPrediction:
    return stored(merge_tiles(spec, [PlacedPrediction(*part) for part in parts], size))


def _merge_vectors(spec: ModelSpec, parts: Sequence[tuple[TilePlace, Array]], size: Size) -> Array:  # noqa: ARG001
    mean = np.mean([vector for _, vector in parts], axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def _merge_maps(spec: ModelSpec, parts: Sequence[tuple[TilePlace, Prediction]], size: Size) -> Array:
    whole = merge_tiles(spec, [PlacedPrediction(*part) for part in parts], size, pixels=True).pixels
    assert whole is not None  # noqa: S101 - maps were asked for
    return np.asarray(whole / (spec.thresholds.get("*") or whole.max() or 1.0), np.float16)


_TILE: OutputKind[Prediction] = OutputKind("predict tiles", _forward, _read_tiles, lambda _: 0)
_TILE_MAP: OutputKind[Prediction] = OutputKind("map tiles", _forward, _read_tiles_with_maps, lambda _: 0)
_TILE_VECTOR = OutputKind("embed tiles", _describe, _read_vectors, lambda vector: vector.nbytes)
PREDICT = OutputKind(
    "predict", _forward, _read_predictions, lambda prediction: prediction.size, TileKind(_TILE, _merge_predictions)
)
EMBED = OutputKind(
    "embed", _describe, _read_vectors, lambda vector: vector.nbytes, TileKind(_TILE_VECTOR, _merge_vectors)
)
MAP = OutputKind("map", _forward, _read_maps, lambda pixels: pixels.nbytes, TileKind(_TILE_MAP, _merge_maps))
