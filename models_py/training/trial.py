"""One trial of tuning, in a process of its own, which reports to the process of the study through a pipe."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from models_py.datasets import read_parquet
from models_py.datasets.feature_cache import FeatureCache
from models_py.errors import DuckspectError
from models_py.model.architectures import find_architecture
from models_py.model.options import parse_options
from models_py.task import options_of
from models_py.training.plan import TrainingPlan
from models_py.training.train import fit_plan, keep_result
from models_py.weights.sources import with_trunk

LOOK_EVERY = 1.0
"""Seconds between two progress messages of a trial."""


class _PipeReport:
    """Sends the reports of a training to the study's process; progress at most once a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._next = 0.0

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:  # noqa: ARG002
        self._say(f"epoch {epoch}/{epochs}, step {step}/{steps}")

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        self._pipe.send(("epoch", (epoch, dict(metrics))))

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:  # noqa: ARG002
        self._say(f"{what} {done}/{total}" if total else what)

    def note(self, text: str) -> None:
        """Ignore notes: the study does not show those of single trials."""

    def _say(self, words: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LOOK_EVERY
            self._pipe.send(("words", words))


def make_trial(
    pipe: Connection,
    rows: str,
    task: str,
    architecture: str,
    values: dict[str, Any],
    folder: str,
    features: str,
    threads: int,
) -> None:
    """Run one trial, in a process of its own, and store the model in its folder."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to all processes of a terminal; the study ends this
    torch.set_num_threads(threads)
    try:
        options = parse_options(options_of(task), values)
        planned = TrainingPlan(
            "trial", with_trunk(find_architecture(task, architecture), options), options, read_parquet(Path(rows))
        )
        model, metrics, threshold = fit_plan(planned, Path(folder), _PipeReport(pipe), FeatureCache(Path(features)))
        keep_result(Path(folder), model, metrics, threshold, options)
        pipe.send(("done", metrics))
    except DuckspectError as error:
        pipe.send(("error", str(error)))
    except Exception as error:  # noqa: BLE001 - the study records any error of a trial and goes on
        pipe.send(("error", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
