"""Classification: train, rebuild, measure, and the operating point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from models_py.datasets import DatasetRow
from models_py.datasets.augment import Augment
from models_py.datasets.feature_cache import Extractor
from models_py.datasets.prepared_images import PreparedImage, PreparedImages, stack
from models_py.metrics import MistakeCosts, accuracy, choose, classification_report
from models_py.metrics.predict import image_rates, predict_rows
from models_py.model.architectures import find_architecture
from models_py.model.backbone import parse_stages
from models_py.model.options import TrainingOptions
from models_py.model.preprocess import Preprocess, Size
from models_py.model.trained_model import Array, Model, ModelSpec, Outputs, Prediction, defect_score, ranked
from models_py.model.verdict import EVERY_CLASS, GOOD, decide
from models_py.progress import TrainingReport, counting
from models_py.task import SCORE_RANGES, Metrics, PredictedRows, Threshold, TrainingJob
from models_py.tasks.classify.linear import LabelledFeatures, LinearOnBackbone, find_regression
from models_py.tasks.classify.options import PRIMARY, ClassifyOptions
from models_py.training.loop import Trainable, fit
from models_py.weights.first_weights import start

primary = PRIMARY


class Classifier(Model):
    """A backbone with one output per class."""

    task = "classify"

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        return super().compute(batch).softmax(1)

    def interpret(self, outputs: Outputs, sizes: Sequence[Size], *, pixels: bool = False) -> list[Prediction]:  # noqa: ARG002
        return [self._prediction(row) for row in outputs[0].cpu().numpy()]

    def _prediction(self, scores: Array) -> Prediction:
        probabilities = dict(zip(self.labels, scores.tolist(), strict=True))
        score = defect_score(probabilities)
        verdict = decide(self.task, score, ranked(probabilities), self.spec.thresholds)
        return Prediction(verdict.label, verdict.confidence, score, probabilities=probabilities)

    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """What enters the last linear layer."""
        last = [module for module in self.network.modules() if isinstance(module, nn.Linear)][-1]
        seen: list[torch.Tensor] = []
        hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.compute(batch)
        finally:
            hook.remove()
        return seen[0].float()


class _TrainableClassifier(Trainable):
    def __init__(self, model: Classifier, job: TrainingJob, options: ClassifyOptions) -> None:
        self.network = model.network
        self._model = model
        dataset, preprocess = job.dataset, model.spec.preprocess
        self.data = PreparedImages(dataset.part("train"), model.labels, preprocess, workers=options.workers)
        self._held_out = PreparedImages(dataset.part("val"), model.labels, preprocess, workers=options.workers)
        self.augment = Augment(flip=options.flip, turn=options.turn, zoom=options.zoom, light=options.light)
        counts = dataset.counts("train")
        weights = torch.tensor([max(counts[label], 1) for label in model.labels]).float() ** -options.balance
        self._loss = nn.CrossEntropyLoss(weights / weights.mean(), label_smoothing=options.smoothing)

    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor:
        batch = stack(samples).to(device, non_blocking=True)
        inputs = self._model.spec.preprocess.normalise(batch)
        targets = torch.tensor([int(sample.labels[0]) for sample in samples], device=device)
        found: torch.Tensor = self._loss.to(device)(self.network(inputs).float(), targets)
        return found

    def validate(self) -> Metrics:
        predictions = list(predict_rows(self._model, self._held_out, progress=self.validating))
        metrics = measure(iter(predictions), self._model)[0]
        chances = [prediction.probabilities[row.labels[0]] for row, prediction in predictions]
        loss = float(-np.log(np.clip(chances, 1e-9, 1)).mean())
        named = {f"val/{name}": metrics[name] for name in ("accuracy", "macro_f1", "auroc")}
        # Accuracy decides; among equal ones the surer network, by a margin that one image outweighs.
        return {"fitness": (metrics["accuracy"] or 0.0) - 1e-6 * loss, "val/loss": loss, **named}


def train(job: TrainingJob, report: TrainingReport) -> Model:
    """Train a classifier."""
    options = cast("ClassifyOptions", job.options)
    labels = job.dataset.classes
    preprocess = Preprocess.by(options)
    spec = ModelSpec(
        "classify", job.architecture.name, labels, preprocess, _build_arguments(job.architecture.name, options)
    )
    model = rebuild_empty(spec)
    start(model.network, job.architecture, options.weights, report, spec.labels)
    if isinstance(model.network, LinearOnBackbone):
        _find_head(model.network, job, options, model, report)
        if not options.fine_tune:
            return model
    fit(_TrainableClassifier(model, job, options), options, job.folder, report, resume=job.resume)
    return model


def _find_head(
    network: LinearOnBackbone, job: TrainingJob, options: ClassifyOptions, model: Classifier, report: TrainingReport
) -> None:
    """Fit the linear layer to the features of the training images."""
    train_rows = job.dataset.part("train")
    data = PreparedImages(train_rows, model.labels, model.spec.preprocess, workers=options.workers)
    extractor = Extractor(
        network, lambda batch: (network.pooled(batch),), f"mean and deviation {network.backbone.layers}"
    )
    features = torch.cat([found for (found,) in job.features.features(extractor, data, options, report)])
    numbers = np.array([model.labels.index(row.labels[0]) for row in data.rows])
    labelled = LabelledFeatures(features.double().numpy(), numbers, [row.group for row in data.rows])
    counted = counting(report, "Choosing the regularisation", "strengths")
    found = find_regression(labelled, len(model.labels), options.balance, counted)
    network.set_head(found.weight, found.bias)
    chosen = "for want of units, as set" if found.loss is None else f"by cross-validation: loss {found.loss:.4f}"
    report.note(f"Regularisation C={found.strength:g}, chosen {chosen}.")


def _build_arguments(architecture: str, options: ClassifyOptions) -> dict[str, Any]:
    if architecture == "linear":
        return {"backbone": options.backbone, "layers": parse_stages(options.layers)}
    return {"image_size": options.image_size} if architecture.startswith("vit_") else {}


def rebuild_empty(spec: ModelSpec) -> Classifier:
    """The network without its tensors."""
    build = find_architecture("classify", spec.architecture).build
    return Classifier(spec, build(len(spec.labels), **spec.build))


def rebuild(spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Model:
    """Make a classifier from what was stored."""
    model = rebuild_empty(spec)
    model.network.load_state_dict(dict(tensors))
    return model


def measure(predictions: Iterator[tuple[DatasetRow, Prediction]], model: Model) -> tuple[Metrics, PredictedRows]:
    """Accuracy, macro F1, F1 per class and AUROC by the likeliest class, and what the threshold decides."""
    kept = list(predictions)
    truth = [row.labels[0] for row, _ in kept]
    scores = np.array([[p.probabilities[label] for label in model.labels] for _, p in kept]).reshape(
        -1, len(model.labels)
    )
    predicted = [model.labels[i] for i in scores.argmax(1)]
    return {**classification_report(truth, predicted, scores, model.labels), **at_threshold(kept, model)}, kept


def operating_point(predictions: PredictedRows, model: Model, options: TrainingOptions) -> Threshold | None:
    """The defect probability that costs least on validation rows; none without a class `good`."""
    if GOOD not in model.labels:
        return None
    found = choose(
        [prediction.score for _, prediction in predictions],
        [row.is_defective for row, _ in predictions],
        MistakeCosts(options.escape_cost, options.overkill_cost),
        SCORE_RANGES["classify"],
    )
    return Threshold(found.threshold, found.reason)


def at_threshold(predictions: PredictedRows, model: Model) -> Metrics:
    """Share of verdicts that are right, and shares of images let through and rejected in vain; nothing without one."""
    if EVERY_CLASS not in model.spec.thresholds:
        return {}
    truth = [row.labels[0] for row, _ in predictions]
    verdicts = [
        str(decide(model.task, found.score, ranked(found.probabilities), model.spec.thresholds).label)
        for _, found in predictions
    ]
    return {"verdict_accuracy": accuracy(truth, verdicts), **image_rates(predictions, model)}
