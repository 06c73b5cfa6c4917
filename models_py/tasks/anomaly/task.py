"""Anomaly detection: train, rebuild, measure, and the operating point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch.nn import functional

from models_py.datasets import DatasetRow
from models_py.datasets.feature_cache import Extractor
from models_py.datasets.prepared_images import PreparedImages, class_mask, read_image
from models_py.errors import DuckspectError
from models_py.metrics import MistakeCosts, auroc, choose, f1_max, quantile, recall_at_false_rejects
from models_py.metrics.predict import image_rates
from models_py.model.architectures import find_architecture
from models_py.model.backbone import parse_stages
from models_py.model.devices import find_devices
from models_py.model.options import TrainingOptions
from models_py.model.preprocess import Preprocess, Size
from models_py.model.trained_model import Array, Model, ModelSpec, Outputs, Prediction
from models_py.model.verdict import ANOMALY, decide
from models_py.progress import TrainingReport
from models_py.task import Metrics, PredictedRows, Threshold, TrainingJob
from models_py.tasks.anomaly.dfm import DeepFeatures
from models_py.tasks.anomaly.options import PRIMARY, AnomalyOptions
from models_py.tasks.anomaly.patchcore import PatchCore
from models_py.tasks.anomaly.pretext import CutPaste, SimSiam
from models_py.training.loop import fit
from models_py.weights.first_weights import start

primary = PRIMARY

_PRETEXTS = {"dfm_simsiam": SimSiam, "dfm_cutpaste": CutPaste}


class AnomalyDetector(Model):
    """A measure of how far each place of an image is from what good images look like."""

    task = "anomaly"
    network: DeepFeatures | PatchCore

    def interpret(self, outputs: Outputs, sizes: Sequence[Size], *, pixels: bool = False) -> list[Prediction]:  # noqa: ARG002
        maps = outputs[0]
        places = max(1, round(maps[0].numel() * self.spec.build["top"]))
        scores = maps.flatten(1).topk(places).values.mean(1).cpu().numpy()
        drawn = self._smooth(maps).cpu().numpy() if pixels else [None] * len(scores)
        return [self._prediction(float(score), drawing) for score, drawing in zip(scores, drawn, strict=True)]

    def _prediction(self, score: float, pixels: Array | None) -> Prediction:
        verdict = decide(self.task, score, (), self.spec.thresholds)
        return Prediction(verdict.label, verdict.confidence, score, pixels=pixels)

    def _smooth(self, maps: torch.Tensor) -> torch.Tensor:
        """The maps (n, size, size) in the square that the network saw."""
        side = self.spec.preprocess.size
        return functional.interpolate(maps[:, None], (side, side), mode="bicubic", align_corners=False)[:, 0]

    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """The features of the wanted stages, averaged over the image."""
        inputs = self.spec.preprocess.normalise(batch).contiguous(memory_format=torch.channels_last)
        return self.network.backbone.patches(inputs).mean((2, 3))


def train(job: TrainingJob, report: TrainingReport) -> Model:
    """Learn what good images look like: features first where they are self-supervised, then their distribution."""
    options = cast("AnomalyOptions", job.options)
    good = [row for row in job.dataset.part("train") if not row.is_defective]
    if not good:
        raise DuckspectError("query: anomaly detection learns from good images, but no train row is good.")
    preprocess = Preprocess.by(options)
    build = {"backbone": options.backbone, "layers": parse_stages(options.layers), "top": options.top}
    spec = ModelSpec("anomaly", job.architecture.name, (ANOMALY,), preprocess, build)
    model = rebuild_empty(spec)
    start(model.network.backbone, job.architecture, options.weights, report)
    data = PreparedImages(good, (), preprocess, workers=options.workers)
    if pretext := _PRETEXTS.get(job.architecture.name):
        held_out = [row for row in job.dataset.part("val") if not row.is_defective] or good
        lesson = pretext(
            model.network.backbone,
            preprocess,
            data,
            PreparedImages(held_out, (), preprocess, workers=options.workers),
            options.batch,
        )
        fit(lesson, options, job.folder, report, resume=job.resume)
    _learn(model, data, job, report)
    return model


def _learn(model: AnomalyDetector, data: PreparedImages, job: TrainingJob, report: TrainingReport) -> None:
    """Learn from the maps of good images, which were computed here or are kept from an earlier training."""
    options = cast("AnomalyOptions", job.options)
    device = find_devices(options.device)[0]
    backbone = model.network.backbone
    extractor = Extractor(backbone, lambda batch: (backbone.patches(batch),), "smoothed patches")
    with torch.inference_mode():
        maps = (found.to(device) for (found,) in job.features.features(extractor, data, options, report))
        model.network.learn(maps, options, report)
    model.network = model.network.to("cpu").eval()


def rebuild_empty(spec: ModelSpec) -> AnomalyDetector:
    """The network without its tensors."""
    network = find_architecture("anomaly", spec.architecture).build(spec.build["backbone"], tuple(spec.build["layers"]))
    return AnomalyDetector(spec, network)


def rebuild(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Model:
    """Make a model from what was stored; what it learned of good images has the size it was stored with."""
    model = rebuild_empty(spec)
    for name, buffer in model.network.named_buffers(recurse=False):
        if name in tensors and tensors[name].shape != buffer.shape:
            setattr(model.network, name, torch.zeros_like(tensors[name]))
    model.network.load_state_dict(dict(tensors))
    return model


def measure(predictions: Iterator[tuple[DatasetRow, Prediction]], model: Model) -> tuple[Metrics, PredictedRows]:
    """Recall at 1 % false rejects, image AUROC, F1-max, and where masks are known, pixel AUROC in the square."""
    kept: list[tuple[DatasetRow, Prediction]] = []
    scores: list[Array] = []
    masks: list[Array] = []
    for row, prediction in predictions:
        if prediction.pixels is not None and (row.has_mask or not row.is_defective):
            scores.append(prediction.pixels.ravel())
            masks.append(_mask(row, model))
        kept.append((row, replace(prediction, pixels=None)))
    values = [prediction.score for _, prediction in kept]
    defects = [row.is_defective for row, _ in kept]
    best = f1_max(values, defects)
    return {
        "recall_at_1pct_false_rejects": recall_at_false_rejects(values, defects, 0.01),
        "image_auroc": auroc(values, defects),
        "pixel_auroc": auroc(np.concatenate(scores), np.concatenate(masks)) if masks else None,
        "f1_max": best[0] if best else None,
        **image_rates(kept, model),
    }, kept


def _mask(row: DatasetRow, model: Model) -> Array:
    side = model.spec.preprocess.size
    if not row.has_mask:
        return np.zeros(side * side, bool)
    image = read_image(row.image)
    mask = class_mask(row, sorted(set(row.labels)), (image.shape[1], image.shape[2]))
    return model.spec.preprocess.fit_mask(mask).ravel() > 0


def operating_point(predictions: PredictedRows, model: Model, options: TrainingOptions) -> Threshold | None:  # noqa: ARG001
    """What costs least on validation rows; with good images alone, a quantile of their scores."""
    scores = [prediction.score for _, prediction in predictions]
    defects = [row.is_defective for row, _ in predictions]
    if any(defects) and not all(defects):
        found = choose(scores, defects, MistakeCosts(options.escape_cost, options.overkill_cost))
    else:
        normal = [score for score, defect in zip(scores, defects, strict=True) if not defect]
        if not normal:
            return None
        found = quantile(normal, cast("AnomalyOptions", options).normal_quantile)
    return Threshold(found.threshold, found.reason)


def at_threshold(predictions: PredictedRows, model: Model) -> Metrics:
    """Shares of images let through and rejected in vain at the model's threshold."""
    return image_rates(predictions, model)
