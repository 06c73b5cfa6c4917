"""Training on several GPUs: a process for each, and what the process that started them hears of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from models_py.errors import DuckspectError
from models_py.progress import SilentReport, TrainingReport
from models_py.warehouse.folder_lock import holder_of

EPOCHS, NOW = "epochs.jsonl", "now.json"
_SAY_EVERY = 1.0


class FileReport(SilentReport):
    """A report that the process reads which started this one; when that one is gone, the training ends, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader = holder_of(folder)
        self._next = 0.0

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        if holder_of(self._folder) != self._reader:
            raise SystemExit("the process that started this training is gone")
        self._say("step", epoch, epochs, step, steps, loss)

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        with (self._folder / EPOCHS).open("a") as opened:
            opened.write(json.dumps({"epoch": epoch, "metrics": dict(metrics)}) + "\n")

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:
        self._say("progress", what, done, total, unit, words)

    def _say(self, *found: object) -> None:
        """Steps are many: the latest is written once a second."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SAY_EVERY
            partial = self._folder / f".{NOW}.partial"
            partial.write_text(json.dumps(found))
            partial.replace(self._folder / NOW)


class FileReportReader:
    """Passes on what `Written` wrote."""

    def __init__(self, folder: Path, report: TrainingReport) -> None:
        self._folder = folder
        self._report = report
        self._epochs = 0
        self._now = ""

    def read(self) -> None:
        """Pass on what is new."""
        epochs, now = self._folder / EPOCHS, self._folder / NOW
        lines = epochs.read_text().splitlines() if epochs.exists() else []
        for line in lines[self._epochs :]:
            found = json.loads(line)
            self._report.epoch(found["epoch"], found["metrics"])
        self._epochs = len(lines)
        text = now.read_text() if now.exists() else ""
        if text != self._now:
            self._now = text
            kind, *numbers = json.loads(text)
            (self._report.step if kind == "step" else self._report.progress)(*numbers)


def train_in_processes(folder: Path, count: int, report: TrainingReport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", f"--master_port={port}"]
    command += ["-m", "models_py.tasks.detect.worker", str(folder)]
    reader, words = FileReportReader(folder, report), folder / "stderr.log"
    with words.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:  # noqa: S603 - our own module
        try:
            while process.poll() is None:
                reader.read()
                time.sleep(0.5)
        except BaseException:
            process.terminate()
            raise
    reader.read()
    if process.returncode:
        last = (words.read_text().strip() or f"exit status {process.returncode}").splitlines()[-1]
        raise DuckspectError(f"training on {count} GPUs failed: {last} All its words are in {words}.")
