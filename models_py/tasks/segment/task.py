"""Segmentation: train, rebuild, measure, and the operating point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models_py.datasets import DatasetRow
from models_py.datasets.augment import Augment
from models_py.datasets.prepared_images import PreparedImage, PreparedImages, class_mask, stack
from models_py.metrics import MistakeCosts, SegmentationCounts, auroc, choose, segmentation_report
from models_py.metrics.predict import image_rates, predict_rows
from models_py.model.architectures import find_architecture
from models_py.model.options import TrainingOptions
from models_py.model.prediction import paint
from models_py.model.preprocess import Preprocess, Size
from models_py.model.trained_model import Array, Model, ModelSpec, Outputs, Prediction, Region
from models_py.model.verdict import decide
from models_py.progress import TrainingReport
from models_py.task import SCORE_RANGES, Metrics, PredictedRows, Threshold, TrainingJob
from models_py.tasks.segment.options import PRIMARY, SegmentOptions
from models_py.training.loop import Trainable, fit
from models_py.weights.first_weights import start

primary = PRIMARY


class Segmenter(Model):
    """A network with one channel per class of defect and one for the background."""

    task = "segment"

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        return super().compute(batch).softmax(1)

    def interpret(self, outputs: Outputs, sizes: Sequence[Size], *, pixels: bool = False) -> list[Prediction]:
        return [self._prediction(row, size, pixels) for row, size in zip(outputs[0], sizes, strict=True)]

    def _prediction(self, chances: torch.Tensor, size: Size, pixels: bool) -> Prediction:
        full = functional.interpolate(chances[None], size, mode="bilinear", align_corners=False)[0]
        best, classes = full.max(0)
        regions = self._regions(classes.cpu().numpy().astype(np.uint8), best.cpu().numpy())
        score = max((region.confidence for region in regions), default=float(1 - full[0].min()) / 2)
        verdict = decide(self.task, score, [(item.label, item.confidence) for item in regions], self.spec.thresholds)
        kept = [regions[place] for place in verdict.defects]
        return Prediction(
            verdict.label,
            verdict.confidence,
            score,
            tuple(regions),
            pixels=paint(kept, self.labels, size) if pixels else None,
        )

    def _regions(self, classes: Array, chances: Array) -> list[Region]:
        found: list[Region] = []
        for number in np.unique(classes[classes > 0]):
            count, parts, stats, _ = cv2.connectedComponentsWithStats((classes == number).astype(np.uint8))
            for part in range(1, count):
                x, y, width, height, area = map(int, stats[part])
                if area < self.spec.build.get("smallest", 1):
                    continue
                mask = parts[y : y + height, x : x + width] == part
                chance = float(chances[y : y + height, x : x + width][mask].mean())
                label = self.labels[number - 1]
                found.append(Region(label, chance, x, y, x + width, y + height, float(area), mask))
        return sorted(found, key=lambda region: (-region.confidence, region.x1, region.y1))

    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """The deepest features of the encoder, averaged over the image."""
        inputs = self.spec.preprocess.normalise(batch).contiguous(memory_format=torch.channels_last)
        deepest: torch.Tensor = self.network.encoder(inputs)[-1]  # type: ignore[operator]
        return deepest.mean((2, 3)).float()


class _TrainableSegmenter(Trainable):
    def __init__(self, model: Segmenter, job: TrainingJob, options: SegmentOptions) -> None:
        from segmentation_models_pytorch.losses import DiceLoss

        self.network = model.network
        self._model = model
        dataset, preprocess = job.dataset, model.spec.preprocess
        self.data = PreparedImages(dataset.part("train"), model.labels, preprocess, masks=True, workers=options.workers)
        self._held_out = PreparedImages(dataset.part("val"), model.labels, preprocess, workers=options.workers)
        counts = dataset.counts("train")
        self.weights = np.array([float(counts[item.label]) for item in self.data.rows]) ** -options.balance
        self.augment = Augment(
            flip=options.flip, turn=options.turn, zoom=options.zoom, shift=options.shift, light=options.light
        )
        self.frozen = _lower(model.network, options.freeze)
        self._focus = options.focus
        self._dice = DiceLoss("multiclass")

    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor:
        batch = stack(samples).to(device, non_blocking=True)
        targets = torch.from_numpy(np.stack([sample.mask for sample in samples if sample.mask is not None])).long()
        targets = targets.to(device)
        found = self.network(self._model.spec.preprocess.normalise(batch)).float()
        pixelwise = functional.cross_entropy(found, targets, _rarity(targets, found.shape[1]))
        present = torch.unique(targets)
        self._dice.classes = present[present > 0]  # a class that no image of the batch has would only dilute the mean
        overlap: torch.Tensor = self._dice(found, targets) if len(self._dice.classes) else found.new_zeros(())
        return self._focus * overlap + (1 - self._focus) * pixelwise

    def validate(self) -> Metrics:
        predictions = predict_rows(self._model, self._held_out, pixels=True, progress=self.validating)
        metrics = measure(predictions, self._model)[0]
        named = {f"val/{name}": metrics[name] for name in ("mean_iou", "mean_dice", "defect_iou", "pixel_accuracy")}
        return {"fitness": (metrics["mean_iou"] or 0.0) + (metrics["pixel_accuracy"] or 0.0) * 1e-3, **named}


def _rarity(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Weights of the classes by their pixels in the batch: else a network that sees no defects is almost right."""
    counts = torch.bincount(targets.flatten(), minlength=classes).float()
    weights = counts.clamp(min=1) ** -0.5 * (counts > 0)
    return weights * counts.sum() / (weights * counts).sum()


def train(job: TrainingJob, report: TrainingReport) -> Model:
    """Train a segmenter."""
    options = cast("SegmentOptions", job.options)
    preprocess = Preprocess.by(options)
    build = {"smallest": options.smallest}
    spec = ModelSpec("segment", job.architecture.name, job.dataset.classes, preprocess, build)
    model = rebuild_empty(spec)
    start(model.network, job.architecture, options.weights, report, spec.labels)
    fit(_TrainableSegmenter(model, job, options), options, job.folder, report, resume=job.resume)
    return model


def _lower(network: nn.Module, stages: int) -> tuple[nn.Module, ...]:
    """The modules of the first of five stages of the encoder, their weights fixed."""
    parts = [part for part in network.encoder.modules() if not list(part.children())]  # type: ignore[union-attr]
    lower = tuple(parts[: round(len(parts) * stages / 5)])
    for part in lower:
        part.requires_grad_(requires_grad=False)
    return lower


def rebuild_empty(spec: ModelSpec) -> Segmenter:
    """The network without its tensors."""
    return Segmenter(spec, find_architecture("segment", spec.architecture).build(len(spec.labels)))


def rebuild(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Model:
    """Make a segmenter from what was stored."""
    model = rebuild_empty(spec)
    model.network.load_state_dict(dict(tensors))
    return model


def measure(predictions: Iterator[tuple[DatasetRow, Prediction]], model: Model) -> tuple[Metrics, PredictedRows]:
    """Overlap of classes in pixels of the images as they came, and whether images with defects score higher."""
    counts = SegmentationCounts(len(model.labels))
    kept: list[tuple[DatasetRow, Prediction]] = []
    for row, prediction in predictions:
        if prediction.pixels is None:
            raise ValueError("segmentation is measured on predictions with their pixels")
        counts.add(class_mask(row, model.labels, _size(prediction.pixels)), prediction.pixels)
        kept.append((row, replace(prediction, pixels=None)))
    image_auroc = auroc([p.score for _, p in kept], [e.is_defective for e, _ in kept])
    return {**segmentation_report(counts, model.labels), "image_auroc": image_auroc, **image_rates(kept, model)}, kept


def _size(pixels: Array) -> Size:
    return (pixels.shape[0], pixels.shape[1])


def operating_point(predictions: PredictedRows, model: Model, options: TrainingOptions) -> Threshold | None:  # noqa: ARG001
    """The confidence of a region that costs least on validation images."""
    found = choose(
        [prediction.score for _, prediction in predictions],
        [row.is_defective for row, _ in predictions],
        MistakeCosts(options.escape_cost, options.overkill_cost),
        SCORE_RANGES["segment"],
    )
    return Threshold(found.threshold, found.reason)


def at_threshold(predictions: PredictedRows, model: Model) -> Metrics:
    """Shares of images let through and rejected in vain at the model's threshold."""
    return image_rates(predictions, model)
