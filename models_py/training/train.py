"""Train a model from a SQL query: freeze the rows, train, choose the threshold, register. One function."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models_py.datasets import FrozenDataset, freeze
from models_py.errors import DuckspectError
from models_py.files.durable import put_in_place
from models_py.images.decode import open_bytes
from models_py.metrics.evaluation import evaluate_model
from models_py.model.architectures import Architecture, find_architecture
from models_py.model.devices import find_devices, half
from models_py.model.options import TrainingOptions, as_dict, as_json, parse_options
from models_py.model.trained_model import GOOD, Model
from models_py.progress import SilentReport, TrainingReport, counting
from models_py.registry import GoldenBatch, Origin, Version, check_name, load_artifact, save_artifact
from models_py.task import Metrics, Threshold, TrainingJob, find_task, options_of
from models_py.training.run import TrainingRun
from models_py.warehouse.access import AT_FIRST, WarehouseAccess, access_to
from models_py.warehouse.database import runs_folder
from models_py.weights.first_weights import resolve
from models_py.yolo import ultralytics

if TYPE_CHECKING:
    import duckdb

GOLDEN_IMAGES = 3
_RESULT = "result"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """All that decides a training's result, before any of it runs."""

    name: str
    architecture: Architecture
    options: TrainingOptions
    snapshot: FrozenDataset

    @property
    def run_id(self) -> str:
        """The same plan has the same run, so that a killed one can go on."""
        described = [self.name, self.architecture.name, as_json(self.options), self.snapshot.sha256]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def plan(
    con: duckdb.DuckDBPyConnection,
    *,
    name: str,
    task: str,
    query: str,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    report: TrainingReport | None = None,
) -> TrainingPlan:
    """Check everything that can be checked before training starts, and freeze the rows."""
    check_name(name)
    chosen = find_architecture(task, architecture)
    parsed = parse_options(options_of(task), {**chosen.defaults, **(options or {})})
    if chosen.family == "yolo":
        ultralytics()
    resolve(chosen, parsed.weights)
    half(find_devices(parsed.device)[0], parsed.precision)
    if "," in parsed.device and chosen.family != "yolo":
        raise DuckspectError(f"device: {chosen.name} trains on one device, YOLO on several. Choose one: -o device=0")
    snapshot = freeze(
        con,
        query,
        task,
        validation=parsed.validation,
        test=parsed.test,
        seed=parsed.seed,
        duplicates=parsed.duplicates,
        progress=counting(report or SilentReport(), "Reading images"),
    )
    _check_trainable(snapshot)
    return TrainingPlan(name, chosen, parsed, snapshot)


def _check_trainable(snapshot: FrozenDataset) -> None:
    train, held_out = snapshot.part("train"), snapshot.part("val")
    if snapshot.task == "anomaly" and not train:
        raise DuckspectError(
            "query: every good image is held out, by its split or because its unit or template has defective images "
            "too. Learn from good images alone (where label = 'good'), or add a column split."
        )
    if len(train) < 2 or not held_out:
        raise DuckspectError(
            f"query: too few images: {len(train)} to train on and {len(held_out)} to validate, "
            f"but it takes at least 2 and 1, of different units and templates."
        )
    if snapshot.task == "anomaly":
        return
    images = Counter(label for item in snapshot.examples for label in set(item.labels))
    if snapshot.task == "classify" and len(images) < 2:
        raise DuckspectError(f"query: every image is {next(iter(images))}; classification needs two classes.")
    if lonely := sorted(label for label, count in images.items() if count == 1 and label != GOOD):
        raise DuckspectError(
            f"query: {', '.join(map(repr, lonely))} has one image; a label takes one to train on and one to validate. "
            f"Add images, or leave it out: where label <> '{lonely[0]}'"
        )
    learned = set(snapshot.counts("train"))
    if unlearned := sorted(label for label in set(snapshot.classes) - learned):
        raise DuckspectError(
            f"query: the label {unlearned[0]!r} has no train image: all of its images are held out or of one unit."
        )


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

    A connection stays open throughout, and keeps other processes out. `WarehouseAccess(path)` lets them in while it
    trains.
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
    """Train as planned, and register the result."""
    for text in planned.snapshot.notes:
        report.note(text)
    run = TrainingRun(access_to(warehouse), planned, report, resume=resume)
    try:
        run.start()
        result = read_result(run.folder)
        if result is None:
            result = fit_plan(planned, run.folder, run, resume=resume)
            keep_result(run.folder, *result, planned.options)
        model, metrics, threshold = result
        golden = [open_bytes(item.image) for item in planned.snapshot.sample("val", GOLDEN_IMAGES)]
        origin = Origin(as_dict(planned.options), metrics, planned.snapshot, _parent(planned), run.run_id)
        return run.register(model, golden, threshold, origin)
    except BaseException as error:
        run.fail(error)
        raise
    finally:
        run.close()


def fit_plan(
    planned: TrainingPlan, folder: Path, report: TrainingReport, *, resume: bool = False
) -> tuple[Model, Metrics, Threshold | None]:
    """Train, choose the threshold on the validation rows, and measure there; touches no warehouse."""
    task = find_task(planned.architecture.task)
    torch.manual_seed(planned.options.seed)
    model = task.train(TrainingJob(planned.snapshot, planned.architecture, planned.options, folder, resume), report)
    held_out = planned.snapshot.part("val")
    device = planned.options.device.split(",")[0]
    judged = counting(report, "Evaluating")
    first = evaluate_model(model, held_out, device=device, workers=planned.options.workers, progress=judged)
    threshold = task.operating_point(first.judged, model, planned.options)
    if threshold is None:
        return model, first.metrics, None
    model.spec = replace(model.spec, thresholds={"*": threshold.value})
    scores = {example.sha256: prediction.score for example, prediction in first.judged}
    return model, {**first.metrics, **task.at_threshold(first.judged, model)}, replace(threshold, scores=scores)


def _parent(planned: TrainingPlan) -> str:
    source = resolve(planned.architecture, planned.options.weights)
    return source if source in planned.architecture.weights else str(Path(source).absolute())


def keep_result(
    folder: Path, model: Model, metrics: Metrics, threshold: Threshold | None, options: TrainingOptions
) -> None:
    """Keep what a training came to in its folder, whole or not at all, until it is registered."""
    partial = folder / f"{_RESULT}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_artifact(model, partial / "artifact", GoldenBatch((), ()), None, as_dict(options))
    chosen = None if threshold is None else asdict(threshold)
    (partial / "metrics.json").write_text(json.dumps({"metrics": metrics, "threshold": chosen}))
    put_in_place(partial, folder / _RESULT)


def read_result(folder: Path) -> tuple[Model, Metrics, Threshold | None] | None:
    """What a training came to that was not registered; None if it did not come that far."""
    kept = folder / _RESULT
    if not kept.exists():
        return None
    found = json.loads((kept / "metrics.json").read_text())
    chosen = found["threshold"]
    return load_artifact(kept / "artifact"), found["metrics"], None if chosen is None else Threshold(**chosen)


def can_resume(warehouse: str | Path | None, planned: TrainingPlan) -> bool:
    """Whether a training that was stopped left something to go on from."""
    folder = runs_folder(warehouse) / planned.run_id
    return (folder / _RESULT).exists() or any(folder.glob("last.safetensors"))
