"""What, beside the tensors, makes a model again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models_py.model.preprocess import Preprocess


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is needed, beside the tensors, to build a model again: it is stored as JSON."""

    task: str
    architecture: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    build: dict[str, Any]
    thresholds: dict[str, float] = field(default_factory=dict)
