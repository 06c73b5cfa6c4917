"""Evaluate a model on labelled rows: run it, and compute its task's metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models_py.datasets import DatasetRow, FrozenDataset, freeze
from models_py.datasets.prepared_images import PreparedImages
from models_py.errors import DuckspectError
from models_py.metrics.predict import predict_rows
from models_py.model.devices import find_devices, mixed
from models_py.model.trained_model import Model, Prediction
from models_py.task import Metrics, PredictedRows, find_task

if TYPE_CHECKING:
    import duckdb

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics, and the prediction for each image."""

    metrics: Metrics
    predictions: PredictedRows


def evaluate_model(
    model: Model,
    rows: Sequence[DatasetRow],
    *,
    device: str = "auto",
    precision: str = "fp32",
    workers: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Predict the rows and compute the task's metrics at the model's threshold."""
    if not rows:
        raise DuckspectError("query: there are no rows to evaluate on.")
    place = find_devices(device)[0]
    model.network.to(place)
    data = PreparedImages(rows, model.labels, model.spec.preprocess, workers=workers)
    pixels = model.task in ("segment", "anomaly") and any(row.has_mask for row in rows)
    predictions = predict_rows(model, data, batch=8, pixels=pixels or model.task == "segment")
    with torch.inference_mode(), mixed(place, precision):
        metrics, kept = find_task(model.task).measure(_counted(predictions, len(rows), progress), model)
    model.network.to("cpu")
    return Evaluation(metrics, kept)


def _counted(
    predictions: Iterator[tuple[DatasetRow, Prediction]], total: int, progress: Progress | None
) -> Iterator[tuple[DatasetRow, Prediction]]:
    for number, item in enumerate(predictions, 1):
        if progress:
            progress(number, total)
        yield item


def evaluate(
    con: duckdb.DuckDBPyConnection, model: Model, query: str, *, device: str = "auto", progress: Progress | None = None
) -> tuple[Evaluation, FrozenDataset]:
    """Evaluate on the rows of any labelled query, in whatever split they are."""
    dataset = freeze(con, query, model.task, split="test", references=bool(model.spec.preprocess.reference))
    check_labels(dataset, model)
    return evaluate_model(model, dataset.rows, device=device, progress=progress), dataset


def check_labels(dataset: FrozenDataset, model: Model) -> None:
    """Refuse labels that the model does not have: they would silently count as its mistakes."""
    unknown = sorted(set(dataset.classes) - set(model.labels)) if model.task != "anomaly" else []
    if unknown:
        raise DuckspectError(
            f"query: the label {unknown[0]!r} is not one of {model.spec.architecture}'s {', '.join(model.labels)}. "
            f"Leave it out with: where label <> '{unknown[0]}', or train with it."
        )
