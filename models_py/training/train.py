"""Train a model from a SQL query: freeze the rows, train, choose the threshold, register."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models_py.datasets.feature_cache import FeatureCache
from models_py.files.durable import put_in_place
from models_py.images.decode import decode, open_bytes
from models_py.images.encode import encode_png
from models_py.metrics.evaluation import evaluate_model
from models_py.model.options import TrainingOptions, as_dict
from models_py.model.trained_model import Model
from models_py.progress import SilentReport, TrainingReport, counting
from models_py.registry import GoldenBatch, Origin, Version, load_artifact, save_artifact
from models_py.task import Metrics, Threshold, TrainingJob, find_task
from models_py.training.plan import TrainingPlan, plan
from models_py.training.run import TrainingRun
from models_py.warehouse.access import AT_FIRST, WarehouseAccess, access_to
from models_py.warehouse.database import runs_folder
from models_py.weights.sources import offered

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow
    from models_py.registry.artifact import GoldenImage

GOLDEN_IMAGES = 3
_RESULT = "result"


def train(
    warehouse: duckdb.DuckDBPyConnection | WarehouseAccess,
    *,
    name: str,
    task: str,
    query: str,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    report: TrainingReport | None = None,
    resume: bool = False,
) -> Version:
    """Train, evaluate and register a model; it becomes the challenger, or the first champion of its name.

    With a connection the warehouse stays open for the whole training, so no other process can use it. With a
    `WarehouseAccess(path)` it is open only while something is written.
    """
    access = access_to(warehouse)
    with access.connection(patience=AT_FIRST) as con:
        planned = plan(
            con, name=name, task=task, query=query, architecture=architecture, options=options, report=report
        )
    return carry_out(access, planned, report or SilentReport(), resume=resume)


def carry_out(
    warehouse: duckdb.DuckDBPyConnection | WarehouseAccess,
    planned: TrainingPlan,
    report: TrainingReport,
    *,
    resume: bool = False,
) -> Version:
    """Train as planned, and register the result; the caller's random numbers go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        return _carry_out(warehouse, planned, report, resume=resume)


def _carry_out(
    warehouse: duckdb.DuckDBPyConnection | WarehouseAccess,
    planned: TrainingPlan,
    report: TrainingReport,
    *,
    resume: bool,
) -> Version:
    for text in planned.dataset.notes:
        report.note(text)
    run = TrainingRun(access_to(warehouse), planned, report, resume=resume)
    try:
        run.start()
        result = read_result(run.folder)
        if result is None:
            features = FeatureCache(access_to(warehouse).features)
            result = fit_plan(planned, run.folder, run, features, resume=resume)
            # Stored before it is registered: a build may have the warehouse for longer than we wait.
            keep_result(run.folder, *result, planned.options)
        model, metrics, threshold = result
        golden = [_golden_image(item, planned.options.tile) for item in planned.dataset.sample("val", GOLDEN_IMAGES)]
        origin = Origin(as_dict(planned.options), metrics, planned.dataset, _parent(planned), run.run_id)
        return run.register(model, golden, threshold, origin)
    except BaseException as error:
        run.fail(error)
        raise
    finally:
        run.close()


def fit_plan(
    planned: TrainingPlan, folder: Path, report: TrainingReport, features: FeatureCache, *, resume: bool = False
) -> tuple[Model, Metrics, Threshold | None]:
    """Train, choose the threshold on the validation rows, and measure there; does not use the warehouse."""
    task = find_task(planned.architecture.task)
    torch.manual_seed(planned.options.seed)
    job = TrainingJob(planned.dataset, planned.architecture, planned.options, folder, features, resume)
    model = task.train(job, report)
    held_out = planned.dataset.part("val")
    device = planned.options.device.split(",")[0]
    predictions = counting(report, "Evaluating")
    first = evaluate_model(model, held_out, device=device, workers=planned.options.workers, progress=predictions)
    threshold = task.operating_point(first.predictions, model, planned.options)
    if threshold is None:
        return model, first.metrics, None
    model.spec = replace(model.spec, thresholds={"*": threshold.value})
    scores = {row.sha256: prediction.score for row, prediction in first.predictions}
    return model, {**first.metrics, **task.at_threshold(first.predictions, model)}, replace(threshold, scores=scores)


def _golden_image(row: DatasetRow, tile: int) -> GoldenImage:
    image = _middle(row.image, tile)
    return (image, _middle(row.reference, tile)) if row.reference else image


def _middle(uri: str, tile: int) -> bytes:
    """An image file; where images are cut into tiles its middle one, for whole ones may be large."""
    data = open_bytes(uri)
    if not tile:
        return data
    image = decode(data)
    top, left = (max(length - tile, 0) // 2 for length in image.shape[1:])
    return encode_png(image[:, top : top + tile, left : left + tile])


def _parent(planned: TrainingPlan) -> str:
    source = planned.options.weights
    return source if source in offered(planned.architecture) else str(Path(source).absolute())


def keep_result(
    folder: Path, model: Model, metrics: Metrics, threshold: Threshold | None, options: TrainingOptions
) -> None:
    """Store a trained model and its metrics in the run's folder, completely or not at all, until it is registered."""
    partial = folder / f"{_RESULT}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        save_artifact(model, partial / "artifact", GoldenBatch((), ()), None, as_dict(options))
        chosen = None if threshold is None else asdict(threshold)
        (partial / "metrics.json").write_text(json.dumps({"metrics": metrics, "threshold": chosen}))
        put_in_place(partial, folder / _RESULT)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_result(folder: Path) -> tuple[Model, Metrics, Threshold | None] | None:
    """The trained model, metrics and threshold of a run that is not registered yet; None if it was not finished."""
    kept = folder / _RESULT
    if not kept.exists():
        return None
    saved = json.loads((kept / "metrics.json").read_text())
    chosen = saved["threshold"]
    return load_artifact(kept / "artifact"), saved["metrics"], None if chosen is None else Threshold(**chosen)


def can_resume(warehouse: str | Path | None, planned: TrainingPlan) -> bool:
    """Whether a stopped training left a checkpoint or a trained model to resume from."""
    folder = runs_folder(warehouse) / planned.run_id
    return (folder / _RESULT).exists() or any(folder.glob("last.safetensors"))
