"""The training loop of every network that Ultralytics does not train: seeded, resumable, early-stopping."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models_py.datasets.augment import Augment
from models_py.datasets.prepared_images import PreparedImage, PreparedImages
from models_py.model.devices import find_devices, mixed
from models_py.model.options import TrainingOptions
from models_py.progress import Counted, TrainingReport, counting, no_progress
from models_py.training.checkpoint import Checkpoint, Progress

_SETTLING_STEPS = 12


class Trainable(ABC):
    """What a task teaches: its data, its loss, and how well the network does on held-out rows."""

    network: nn.Module
    data: PreparedImages
    augment: Augment | None = None
    weights: np.ndarray[Any, Any] | None = None
    """How often each example is drawn; every one once an epoch without."""
    validating: Counted = staticmethod(no_progress)
    """Whom `validate` tells how far it is."""
    frozen: tuple[nn.Module, ...] = ()
    """Modules that do not learn: their batch norms keep their statistics."""

    @abstractmethod
    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor: ...

    @abstractmethod
    def validate(self) -> dict[str, float | None]:
        """Metrics on the held-out rows; `fitness` decides which epoch is kept, more is better."""

    def parameters(self, options: TrainingOptions) -> list[dict[str, object]]:
        """Parameter groups: no decay on biases and norms; frozen parameters are left out."""
        decayed = [p for p in self.network.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.requires_grad and p.ndim <= 1]
        return [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def fit(
    lesson: Trainable, options: TrainingOptions, folder: Path, report: TrainingReport, *, resume: bool = False
) -> dict[str, float | None]:
    """Train in place, keep the best epoch, and return its metrics; a killed run goes on from its last whole epoch."""
    device = find_devices(options.device)[0]
    network = lesson.network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(lesson.parameters(options), lr=options.learning_rate, fused=device.type == "cuda")
    checkpoint = Checkpoint(folder, network, optimizer)
    progress = checkpoint.load() if resume else Progress()
    steps = max(1, math.ceil(len(lesson.data) / options.batch))
    lesson.validating = counting(report, "Validating")
    started = time.monotonic()
    while progress.epoch < options.epochs and not _is_over(progress, options, started):
        epoch = progress.epoch
        torch.manual_seed(options.seed * 100_003 + epoch)
        loss = _epoch(lesson, options, optimizer, epoch, steps, device, report, started)
        _settle(lesson, options, device, report)
        network.eval()
        with torch.inference_mode(), mixed(device, options.precision):
            metrics = {"train/loss": loss, **lesson.validate()}
        progress = progress.after(metrics, metrics.pop("fitness"))
        checkpoint.save(progress)
        report.epoch(epoch + 1, metrics)
    checkpoint.load_best()
    network.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return progress.best_metrics


def _epoch(
    lesson: Trainable,
    options: TrainingOptions,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    steps: int,
    device: torch.device,
    report: TrainingReport,
    started: float,
) -> float:
    lesson.network.train()
    for module in lesson.frozen:
        module.eval()
    total = 0.0
    order = lesson.data.shuffled(options.seed, epoch, lesson.weights)
    batches = lesson.data.batches(order, options.batch, augment=lesson.augment, seed=(options.seed, epoch))
    for step, samples in enumerate(batches):
        done = max((epoch * steps + step) / (options.epochs * steps), _time_done(options, started))
        rate = options.learning_rate * schedule(min(done, 1.0), options.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with mixed(device, options.precision):
            loss = lesson.loss(samples, device)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(lesson.network.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += float(loss.detach())
        report.step(epoch + 1, options.epochs, step + 1, steps, total / (step + 1))
    return total / steps


def _settle(lesson: Trainable, options: TrainingOptions, device: torch.device, report: TrainingReport) -> None:
    """Measure the statistics of the batch norms anew: in a short training the running ones lag behind the weights."""
    held = {module for part in lesson.frozen for module in part.modules()}
    norms = [module for module in lesson.network.modules() if isinstance(module, nn.BatchNorm2d) and module not in held]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # a plain average
    order = lesson.data.shuffled(options.seed, 0, lesson.weights)[: _SETTLING_STEPS * options.batch]
    done = 0
    with torch.no_grad(), mixed(device, options.precision):
        for samples in lesson.data.batches(order, options.batch):
            lesson.loss(samples, device)
            done += len(samples)
            report.progress("Settling batch norms", done, len(order))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def schedule(done: float, warmup: float) -> float:
    """Rise over the first `warmup` share of the steps, then fall along a cosine to one percent."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _time_done(options: TrainingOptions, started: float) -> float:
    """The share of the time limit that is used up, so that the learning rate has fallen when the time is over."""
    return (time.monotonic() - started) / (options.hours * 3600) if options.hours else 0.0


def _is_over(progress: Progress, options: TrainingOptions, started: float) -> bool:
    return _time_done(options, started) >= 1 or progress.epoch - progress.best_epoch >= options.patience
