"""Reports: the interface through which training and other long work tell their progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from models_py.errors import DuckspectError


class TrainingStoppedError(DuckspectError):
    """Training was stopped, and can be resumed."""


class TrainingReport(Protocol):
    """Receives every step and epoch of a training, and the progress of everything else that takes time."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None: ...

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None: ...

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None: ...

    def note(self, text: str) -> None: ...


Counted = Callable[[int, int], None]
"""Called with the number done and the total."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def counting(report: TrainingReport, what: str, unit: str = "images") -> Counted:
    """A callback with done and total that reports the progress of one piece of work."""

    def progress(done: int, total: int) -> None:
        report.progress(what, done, total, unit)

    return progress


class SilentReport:
    """A report that shows nothing."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Ignore a step."""

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        """Ignore an epoch."""

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:
        """Ignore progress."""

    def note(self, text: str) -> None:
        """Ignore a sentence."""
