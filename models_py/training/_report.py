"""Whom training tells how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from models_py.errors import DuckspectError


class StoppedError(DuckspectError):
    """A report asked training to stop, as tuning does with a trial that promises nothing."""


class Report(Protocol):
    """Told of every step and every epoch; may raise StoppedError."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None: ...

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Ignore a step."""

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        """Ignore an epoch."""

    def note(self, text: str) -> None:
        """Ignore a sentence."""
