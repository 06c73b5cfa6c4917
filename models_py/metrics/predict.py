"""Run a model over rows: images are prepared by a pool of threads and predicted in batches, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from models_py.datasets import DatasetRow
from models_py.datasets.prepared_images import PreparedImages, stack
from models_py.metrics import operating_rates
from models_py.model.trained_model import Model, Prediction
from models_py.progress import Counted, no_progress


def predict_rows(
    model: Model, data: PreparedImages, *, batch: int = 16, pixels: bool = False, progress: Counted = no_progress
) -> Iterator[tuple[DatasetRow, Prediction]]:
    """Yield every row with the model's prediction; where images are cut into tiles, of the whole image."""
    model.network.eval()
    if model.spec.preprocess.tile:
        yield from _by_tiles(model, data, pixels=pixels, progress=progress)
        return
    done = 0
    for samples in data.batches(range(len(data)), batch):
        with torch.inference_mode():
            outputs = model.forward(stack(samples).to(model.device))
        found = model.interpret(outputs, [sample.size for sample in samples], pixels=pixels)
        yield from zip((sample.row for sample in samples), found, strict=True)
        done += len(samples)
        progress(done, len(data))


def _by_tiles(
    model: Model, data: PreparedImages, *, pixels: bool, progress: Counted
) -> Iterator[tuple[DatasetRow, Prediction]]:
    for done, row in enumerate(data.images, 1):
        yield row, model.judge_tiles(*data.read(row), pixels=pixels)
        progress(done, len(data.images))


def image_rates(predictions: Sequence[tuple[DatasetRow, Prediction]], model: Model) -> dict[str, float | None]:
    """Escape and overkill rate of images at the model's threshold for all classes; empty without such a threshold."""
    if "*" not in model.spec.thresholds:
        return {}
    scores = [prediction.score for _, prediction in predictions]
    return operating_rates(scores, [row.is_defective for row, _ in predictions], model.spec.thresholds["*"])
