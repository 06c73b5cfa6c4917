"""Checkpoints in safetensors: the last epoch with its optimizer, to resume from, and the best epoch's weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from models_py.model.tensors import read_metadata, read_tensors, write_tensors

LAST = "last.safetensors"


def last_epoch(folder: Path) -> tuple[int, dict[str, float | None]] | None:
    """The epoch that a run in a folder would resume from, and its metrics; None if there is none."""
    file = folder / LAST
    if not file.exists():
        return None
    progress = json.loads(read_metadata(file)["progress"])
    return progress["epoch"], progress.get("last_metrics", {})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, and its best epoch so far."""

    epoch: int = 0
    best_epoch: int = 0
    best_fitness: float | None = None
    best_metrics: dict[str, float | None] = field(default_factory=dict)
    last_metrics: dict[str, float | None] = field(default_factory=dict)

    def after(self, metrics: Mapping[str, float | None], value: float | None) -> Progress:
        """The progress after one more epoch with this fitness; of two equally good epochs the earlier is kept."""
        epoch = self.epoch + 1
        if self.best_epoch and (value is None or (self.best_fitness is not None and value <= self.best_fitness)):
            return dataclasses.replace(self, epoch=epoch, last_metrics=dict(metrics))
        return Progress(epoch, epoch, value, dict(metrics), dict(metrics))


class Checkpoint:
    """The checkpoints of one run in one folder; each file is replaced atomically."""

    def __init__(self, folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._last, self._best = folder / LAST, folder / "best.safetensors"
        self._network = network
        self._optimizer = optimizer

    def save(self, progress: Progress) -> None:
        weights = {f"network.{key}": value for key, value in self._network.state_dict().items()}
        state = {
            f"optimizer.{number}.{key}": value
            for number, values in self._optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        if progress.best_epoch == progress.epoch:
            write_tensors(weights, self._best)
        write_tensors(weights | state, self._last, {"progress": json.dumps(dataclasses.asdict(progress))})

    def load(self) -> Progress:
        """Load the last complete epoch; without one, the progress is that of a new run."""
        if not self._last.exists():
            return Progress()
        tensors, metadata = read_tensors(self._last)
        self._restore(tensors)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = value
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})
        return Progress(**json.loads(metadata["progress"]))

    def load_best(self) -> None:
        self._restore(read_tensors(self._best)[0])

    def _restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        weights = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
        self._network.load_state_dict(weights)
