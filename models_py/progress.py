"""Whom training tells how it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from models_py.errors import DuckspectError


class TrainingStoppedError(DuckspectError):
    """A report asked training to stop, as tuning does with a trial that promises nothing."""


class TrainingReport(Protocol):
    """Told of every step and every epoch, and how far whatever else takes time is; may raise StoppedError."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None: ...

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None: ...

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None: ...

    def note(self, text: str) -> None: ...


Counted = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


def counting(report: TrainingReport, what: str, unit: str = "images") -> Counted:
    """A report of one piece of work, for what knows of done and total alone."""

    def progress(done: int, total: int) -> None:
        report.progress(what, done, total, unit)

    return progress


class SilentReport:
    """Tells nobody."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Ignore a step."""

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        """Ignore an epoch."""

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Ignore a sentence."""
