"""The four tasks and the few functions each of their packages has."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from models_py.errors import DuckspectError
from models_py.model.architectures import TASKS, Architecture
from models_py.model.options import TrainingOptions

if TYPE_CHECKING:
    import torch

    from models_py.datasets import DatasetRow, FrozenDataset
    from models_py.datasets.feature_cache import FeatureCache
    from models_py.model.trained_model import Model, ModelSpec, Prediction
    from models_py.progress import TrainingReport

SCORE_RANGES = {"classify": (0.0, 1.0), "detect": (0.0, 1.0), "segment": (0.0, 1.0)}
"""The lowest and highest possible score of a task; those of anomaly detection are distances, with any offset."""

PredictedRows = Sequence[tuple["DatasetRow", "Prediction"]]
Metrics = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training, fully described."""

    dataset: FrozenDataset
    architecture: Architecture
    options: TrainingOptions
    folder: Path
    features: FeatureCache
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Threshold:
    """An operating point, why it was chosen, and the scores of the validation images by the hash of their bytes."""

    value: float
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)


class Task(Protocol):
    """What every task package offers in its module `task`."""

    primary: str
    """The metric by which versions are compared; more is better."""

    def train(self, job: TrainingJob, report: TrainingReport) -> Model:
        """Train a model on the snapshot's train rows, watching its val rows."""

    def rebuild(self, spec: ModelSpec, tensors: Mapping[str, torch.Tensor]) -> Model:
        """Make a model from what was stored."""

    def measure(
        self, predictions: Iterator[tuple[DatasetRow, Prediction]], model: Model
    ) -> tuple[Metrics, PredictedRows]:
        """Compute the task's metrics over predicted rows at the model's threshold; return these without pixels."""

    def at_threshold(self, predictions: PredictedRows, model: Model) -> Metrics:
        """Compute what depends on the model's threshold, from predicted rows."""

    def operating_point(self, predictions: PredictedRows, model: Model, options: TrainingOptions) -> Threshold | None:
        """Choose the threshold on validation rows; None where the task has no defect-free class to choose against."""


def find_task(name: str) -> Task:
    """The functions of a task."""
    if name not in TASKS:
        raise DuckspectError(f"task: must be one of {', '.join(TASKS)}, but is {name!r}.")
    return cast("Task", importlib.import_module(f"models_py.tasks.{name}.task"))


def primary_of(task: str) -> str:
    """The metric by which versions of a task are compared, without loading torch."""
    options_of(task)
    found: str = importlib.import_module(f"models_py.tasks.{task}.options").PRIMARY
    return found


def options_of(task: str) -> type[TrainingOptions]:
    """The options of a task, without loading torch."""
    if task not in TASKS:
        raise DuckspectError(f"task: must be one of {', '.join(TASKS)}, but is {task!r}.")
    found: type[TrainingOptions] = importlib.import_module(f"models_py.tasks.{task}.options").OPTIONS
    return found
