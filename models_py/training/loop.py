"""The training loop of every network that Ultralytics does not train: seeded, resumable, early-stopping.

A task gives a `Trainable` (data, loss, validation); `fit` does the rest. Every epoch is seeded by seed and epoch alone,
and augmentation by seed, epoch and the image's place, so a run that was killed and resumed ends with the same weights.
One epoch is: train, measure the batch norms anew, validate, save a checkpoint. The epoch with the best `fitness` is
kept, and training ends early when it has not improved for `patience` epochs, or when the time limit is over. The
learning rate follows the time if that is further on than the steps, so that it has fallen to its end when the time is
over.
"""

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

_BATCH_NORM_STEPS = 12
"""Batches from which the statistics of batch norms are measured; twelve are enough for them to settle."""


class Trainable(ABC):
    """What a task brings to the loop: network, data, loss, and metrics on validation rows."""

    network: nn.Module
    data: PreparedImages
    augment: Augment | None = None
    weights: np.ndarray[Any, Any] | None = None
    """How often each row is drawn; None: each once in an epoch."""
    validating: Counted = staticmethod(no_progress)
    """A callback to which `validate` reports its progress."""
    frozen: tuple[nn.Module, ...] = ()
    """Modules that are not trained; their batch norms keep their statistics."""

    @abstractmethod
    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor: ...

    @abstractmethod
    def validate(self) -> dict[str, float | None]:
        """Metrics on the validation rows; the epoch with the highest `fitness` is kept."""

    def parameters(self, options: TrainingOptions) -> list[dict[str, object]]:
        """Parameter groups for the optimizer: no weight decay on biases and norms; frozen parameters are left out."""
        decayed = [p for p in self.network.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.requires_grad and p.ndim <= 1]
        return [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def fit(
    trainable: Trainable, options: TrainingOptions, folder: Path, report: TrainingReport, *, resume: bool = False
) -> dict[str, float | None]:
    """Train in place and return the best epoch's metrics; with `resume`, start from the last complete epoch."""
    device = find_devices(options.device)[0]
    network = trainable.network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(trainable.parameters(options), lr=options.learning_rate, fused=device.type == "cuda")
    checkpoint = Checkpoint(folder, network, optimizer)
    progress = checkpoint.load() if resume else Progress()
    steps = max(1, math.ceil(len(trainable.data) / options.batch))
    trainable.validating = counting(report, "Validating")
    started = time.monotonic()
    while progress.epoch < options.epochs and not _is_over(progress, options, started):
        epoch = progress.epoch
        torch.manual_seed(options.seed * 100_003 + epoch)  # by epoch, so that a resumed run continues as a whole one
        loss = _epoch(trainable, options, optimizer, epoch, steps, device, report, started)
        _measure_batch_norms(trainable, options, device, report)
        network.eval()
        with torch.inference_mode(), mixed(device, options.precision):
            metrics = {"train/loss": loss, **trainable.validate()}
        progress = progress.after(metrics, metrics.pop("fitness"))
        # The checkpoint comes first: a run that is killed in between writes the metrics of this epoch when it resumes.
        checkpoint.save(progress)
        report.epoch(epoch + 1, metrics)
    checkpoint.load_best()
    network.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return progress.best_metrics


def _epoch(
    trainable: Trainable,
    options: TrainingOptions,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    steps: int,
    device: torch.device,
    report: TrainingReport,
    started: float,
) -> float:
    trainable.network.train()
    for module in trainable.frozen:
        module.eval()
    total = 0.0
    order = trainable.data.shuffled(options.seed, epoch, trainable.weights)
    batches = trainable.data.batches(order, options.batch, augment=trainable.augment, seed=(options.seed, epoch))
    for step, samples in enumerate(batches):
        done = max((epoch * steps + step) / (options.epochs * steps), _time_done(options, started))
        rate = options.learning_rate * schedule(min(done, 1.0), options.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with mixed(device, options.precision):
            loss = trainable.loss(samples, device)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainable.network.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += float(loss.detach())
        report.step(epoch + 1, options.epochs, step + 1, steps, total / (step + 1))
    return total / steps


def _measure_batch_norms(
    trainable: Trainable, options: TrainingOptions, device: torch.device, report: TrainingReport
) -> None:
    """Measure the batch norms' statistics again on a few batches with the weights as they are now.

    A few hundred images make too few steps for the running statistics to follow the weights: a classifier that had
    learned its task gave the same answer for every image in evaluation mode.
    """
    kept = {module for part in trainable.frozen for module in part.modules()}
    norms = [
        module for module in trainable.network.modules() if isinstance(module, nn.BatchNorm2d) and module not in kept
    ]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # torch then takes the plain average of all batches
    order = trainable.data.shuffled(options.seed, 0, trainable.weights)[: _BATCH_NORM_STEPS * options.batch]
    done = 0
    with torch.no_grad(), mixed(device, options.precision):
        for samples in trainable.data.batches(order, options.batch):
            trainable.loss(samples, device)
            done += len(samples)
            report.progress("Settling batch norms", done, len(order))
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def schedule(done: float, warmup: float) -> float:
    """The learning rate's factor: rises over the share `warmup`, then falls along a cosine to 0.01."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _time_done(options: TrainingOptions, started: float) -> float:
    """The share of the time limit that is used up; 0 without a limit."""
    return (time.monotonic() - started) / (options.hours * 3600) if options.hours else 0.0


def _is_over(progress: Progress, options: TrainingOptions, started: float) -> bool:
    return _time_done(options, started) >= 1 or progress.epoch - progress.best_epoch >= options.patience
