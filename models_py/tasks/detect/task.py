"""Detection: train, rebuild, measure, and the operating point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from models_py.datasets import DatasetRow, write_parquet
from models_py.datasets.augment import Augment
from models_py.datasets.prepared_images import PreparedImage, PreparedImages, stack
from models_py.errors import DuckspectError
from models_py.metrics import Boxes, MistakeCosts, choose_boxes, detection_report
from models_py.metrics.predict import image_rates, predict_rows
from models_py.model.architectures import find_architecture
from models_py.model.devices import find_devices
from models_py.model.options import TrainingOptions
from models_py.model.preprocess import Preprocess, Size
from models_py.model.tensors import read_tensors, write_tensors
from models_py.model.trained_model import Array, Model, ModelSpec, Outputs, Prediction, Region
from models_py.model.verdict import decide, with_default
from models_py.progress import Counted, TrainingReport
from models_py.task import SCORE_RANGES, Metrics, PredictedRows, Threshold, TrainingJob
from models_py.tasks.detect.options import PRIMARY, DetectOptions
from models_py.training.loop import Trainable, fit
from models_py.weights.first_weights import start

primary = PRIMARY


class BoxDetector(Model):
    """A network that gives rows of x1, y1, x2, y2, score, class in the pixels of its square."""

    task = "detect"

    def finish(self, computed: torch.Tensor) -> Outputs:
        return (self.network.choose(computed),)  # type: ignore[operator]

    def interpret(self, outputs: Outputs, sizes: Sequence[Size], *, pixels: bool = False) -> list[Prediction]:  # noqa: ARG002
        return [self._prediction(rows, size) for rows, size in zip(outputs[0].cpu().numpy(), sizes, strict=True)]

    def _prediction(self, rows: Array, size: Size) -> Prediction:
        rows = rows[rows[:, 4] > 0]
        boxes = self.spec.preprocess.boxes_out(rows[:, :4], size)
        regions = tuple(self._region(row, box) for row, box in zip(rows, boxes, strict=True))
        score = max((region.confidence for region in regions), default=0.0)
        verdict = decide(self.task, score, [(item.label, item.confidence) for item in regions], self.spec.thresholds)
        return Prediction(verdict.label, verdict.confidence, score, regions)

    def _region(self, row: Array, box: Array) -> Region:
        x1, y1, x2, y2 = map(float, box)
        return Region(self.labels[int(row[5])], float(row[4]), x1, y1, x2, y2, area=(x2 - x1) * (y2 - y1))

    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """The features that the head sees, averaged over the image."""
        inputs = self.spec.preprocess.normalise(batch).contiguous(memory_format=torch.channels_last)
        found: torch.Tensor = self.network.features(inputs)  # type: ignore[operator]
        return found


class _TrainableDetector(Trainable):
    """Torchvision's detectors in our loop."""

    def __init__(self, model: BoxDetector, job: TrainingJob, options: DetectOptions) -> None:
        self.network = model.network
        self._model = model
        preprocess = model.spec.preprocess
        self.data = PreparedImages(job.dataset.part("train"), model.labels, preprocess, workers=options.workers)
        self._held_out = PreparedImages(job.dataset.part("val"), model.labels, preprocess, workers=options.workers)
        self.augment = Augment(flip=options.flip, zoom=options.zoom, shift=options.shift, light=options.light)

    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor:
        inputs = self._model.spec.preprocess.normalise(stack(samples).to(device))
        boxes = [torch.from_numpy(sample.boxes).to(device) for sample in samples]
        labels = [torch.from_numpy(sample.labels).to(device) for sample in samples]
        found: torch.Tensor = self.network.loss(inputs, boxes, labels)  # type: ignore[operator]
        return found

    def validate(self) -> Metrics:
        predictions = predict_rows(self._model, self._held_out, batch=8, progress=self.validating)
        metrics = measure(predictions, self._model)[0]
        fitness = 0.1 * (metrics["map50"] or 0.0) + 0.9 * (metrics["map50_95"] or 0.0)
        return {"fitness": fitness} | {f"val/{name}": metrics[name] for name in ("map33", "map50", "map50_95")}


def train(job: TrainingJob, report: TrainingReport) -> Model:
    """Train a detector: YOLO by Ultralytics' trainer, the others by our loop."""
    options = cast("DetectOptions", job.options)
    labels = job.dataset.classes
    if not labels:
        raise DuckspectError("query: detection learns from boxes, but no row has one.")
    is_yolo = job.architecture.family == "yolo"
    preprocess = Preprocess.by(options, letterbox=True)
    if is_yolo or job.architecture.family == "difference":
        preprocess = replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    build: dict[str, Any] = {} if is_yolo else {"image_size": options.image_size}
    network = job.architecture.build(len(labels), **build)
    if is_yolo:
        build = {"yaml": network.architecture}
    model = BoxDetector(ModelSpec("detect", job.architecture.name, labels, preprocess, build), network)
    start(network, job.architecture, options.weights, report, labels)
    if is_yolo:
        network.load_state_dict(_train_yolo(job, model, options, report))
        return BoxDetector(model.spec, network)
    fit(_TrainableDetector(model, job, options), options, job.folder, report, resume=job.resume)
    return model


def _train_yolo(
    job: TrainingJob, model: BoxDetector, options: DetectOptions, report: TrainingReport
) -> dict[str, torch.Tensor]:
    from models_py.tasks.detect import processes
    from models_py.yolo import trainer as yolo

    folder = job.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not job.resume:
        for name in (yolo.LAST, yolo.BEST, processes.EPOCHS, processes.NOW):
            (folder / name).unlink(missing_ok=True)
    write_parquet(job.dataset, folder / yolo.ROWS)
    write_tensors(model.network.state_dict(), folder / yolo.FIRST)
    described = {
        "architecture": model.spec.build["yaml"],
        "labels": list(model.labels),
        "preprocess": model.spec.preprocess.as_dict(),
        "precision": options.precision,
        "arguments": _arguments(options),
    }
    (folder / yolo.JOB).write_text(json.dumps(described, indent=2))
    devices = find_devices(options.device)
    if len(devices) > 1:
        processes.train_in_processes(folder, len(devices), report)
    else:
        yolo.train(folder, report, measure_network)
    return read_tensors(folder / yolo.BEST)[0]


def _arguments(options: DetectOptions) -> dict[str, Any]:
    """Our options in Ultralytics' words."""
    return {
        "epochs": options.epochs,
        "time": options.hours or None,
        "batch": options.batch,
        "imgsz": options.image_size,
        "optimizer": "AdamW",
        "lr0": options.learning_rate,
        "momentum": options.momentum,
        "weight_decay": options.weight_decay,
        "warmup_epochs": options.warmup * options.epochs,
        "warmup_bias_lr": 0.0,
        "cos_lr": True,
        "patience": options.patience,
        "seed": options.seed,
        "device": options.device if options.device != "auto" else ("0" if torch.cuda.is_available() else "cpu"),
        "workers": options.workers or 8,
        "cls_pw": options.balance,
        "mosaic": options.mosaic,
        "close_mosaic": min(options.plain_epochs, options.epochs),
        "fliplr": 0.5 * options.flip,
        "flipud": 0.5 * options.flip,
        "scale": options.zoom,
        "translate": options.shift,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": options.light,
        "nbs": options.batch,
    }


def measure_network(
    network: nn.Module, described: Mapping[str, Any], rows: Sequence[DatasetRow], progress: Counted
) -> Metrics:
    """The metrics of a network in training."""
    labels = tuple(described["labels"])
    preprocess = Preprocess.from_dict(described["preprocess"])
    model = BoxDetector(ModelSpec("detect", "", labels, preprocess, {}), network)
    return measure(predict_rows(model, PreparedImages(rows, labels, preprocess), batch=8, progress=progress), model)[0]


def rebuild(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Model:
    """Make a detector from what was stored."""
    network = find_architecture("detect", spec.architecture).build(len(spec.labels), **spec.build)
    network.load_state_dict(dict(tensors))
    return BoxDetector(spec, network)


def measure(predictions: Iterator[tuple[DatasetRow, Prediction]], model: Model) -> tuple[Metrics, PredictedRows]:
    """Average precision per class and mAP; precision, recall and F at the model's threshold where it has one."""
    kept = [(row, replace(prediction, pixels=None)) for row, prediction in predictions]
    truths, found = _boxes(kept)
    report = detection_report(truths, found, model.labels, _thresholds(model))
    return {**report, **image_rates(kept, model)}, kept


def _thresholds(model: Model) -> dict[str, float]:
    points = with_default(model.task, model.spec.thresholds)
    return {label: points.get(label, points["*"]) for label in model.labels}


def at_threshold(predictions: PredictedRows, model: Model) -> Metrics:
    """Precision, recall and F of the boxes, and shares of images let through and rejected in vain."""
    truths, found = _boxes(predictions)
    report = detection_report(truths, found, model.labels, _thresholds(model))
    names = [f"{name}{iou}" for name in ("precision", "recall", "f1_") for iou in ("33", "50")]
    return {**{name: report[name] for name in names}, **image_rates(predictions, model)}


def _boxes(predictions: PredictedRows) -> tuple[list[Boxes], list[Boxes]]:
    truths = [Boxes(np.array(e.boxes), np.array(e.labels[: len(e.boxes)], object)) for e, _ in predictions]
    found = [
        Boxes(
            np.array([(r.x1, r.y1, r.x2, r.y2) for r in p.regions]),
            np.array([r.label for r in p.regions], object),
            np.array([r.confidence for r in p.regions]),
        )
        for _, p in predictions
    ]
    return truths, found


def operating_point(predictions: PredictedRows, model: Model, options: TrainingOptions) -> Threshold | None:  # noqa: ARG001
    """The confidence of a box that costs least on validation rows, each missed or invented box counted."""
    costs = MistakeCosts(options.escape_cost, options.overkill_cost)
    found = choose_boxes(*_boxes(predictions), costs, possible=SCORE_RANGES["detect"])
    return Threshold(found.threshold, found.reason)
