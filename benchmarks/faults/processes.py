"""Real `duckspect` commands as processes that start at once: a server that has imported torch forks each of them."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

_IMPORTED = (
    *("torch", "torchvision", "duckdb", "pandas", "pyarrow", "cv2", "rich.table", "rich.progress"),
    *(
        "models_py.training.train",
        "models_py.registry.transfer",
        "udfs.functions.register",
        "udfs.functions.macros",
        "udfs.verdicts.journal",
        "udfs.runtime",
    ),
    *("udfs.cli._ingest", "udfs.cli._registry", "udfs.cli._reports", "udfs.cli._train"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(_IMPORTED))
_HANGS = 300.0
_LOOK_EVERY = 0.0005
_ENDS = 30.0
SAID_TRACEBACK = "Traceback (most recent call last)"


def _run(arguments: Sequence[str], log: str, folder: str, environment: dict[str, str]) -> None:
    os.setsid()
    with open(log, "wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["duckspect", *arguments]
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), line_buffering=True) for number in (1, 2))
    from udfs.cli import main

    main()


@cache
def _logs() -> tempfile.TemporaryDirectory[str]:
    """Where commands print to: not on the disk that is full."""
    return tempfile.TemporaryDirectory(prefix="torture-")


class Command:
    """One command at work in a session of its own; what it prints is in a file."""

    def __init__(self, arguments: Sequence[str], folder: Path, **environment: str) -> None:
        self.arguments = [str(word) for word in arguments]
        self.folder = folder
        self.log = Path(_logs().name) / f"said-{time.monotonic_ns()}.log"
        self.log.touch()
        given = (self.arguments, str(self.log), str(folder), environment)
        self.process: BaseProcess = _context.Process(target=_run, args=given)
        self.started = time.perf_counter()
        self.process.start()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def wait(self) -> int:
        """Its exit status: negative for a signal, -99 for a hang."""
        self.process.join(_HANGS)
        if self.process.is_alive():
            self.kill()
            return -99
        found = self.process.exitcode
        return -98 if found is None else found

    def kill(self) -> None:
        """End it and all that it started as a loss of power would, and wait until they are gone."""
        leader = int(self.process.pid or 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
        self.process.join()
        until = time.monotonic() + _ENDS
        while _is_at_work(leader) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)

    def terminate(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.process.pid or 0), signal.SIGTERM)
        return self.wait()

    def crash(self, status: int) -> str | None:
        """Why its end was no orderly one, in words."""
        if status < 0:
            return f"{self.arguments} hung" if status == -99 else f"{self.arguments} died of signal {-status}"
        if SAID_TRACEBACK in self.said():
            return f"{self.arguments} printed a traceback: {self.said()[-400:]}"
        return None


def _is_at_work(group: int) -> bool:
    """Whether a process of a group still has its files open."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, member = stat.read_text().rpartition(")")[2].split()[:3]
            if int(member) == group and state not in "ZX":
                return True
    return False


def run(arguments: Sequence[str], folder: Path, **environment: str) -> tuple[int, str, str | None]:
    """Run a command to its end: exit status, what it said, and in words if it crashed."""
    command = Command(arguments, folder, **environment)
    status = command.wait()
    return status, command.said(), command.crash(status)


def changes(command: Command, looked_at: Callable[[], object]) -> Iterator[float]:
    """Seconds from its start at which something that is looked at changed, until the command ends."""
    before = looked_at()
    while command.is_alive():
        now = looked_at()
        if now != before:
            before = now
            yield time.perf_counter() - command.started
        time.sleep(_LOOK_EVERY)


def state_of(folder: Path) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the files below a folder, without what commands print."""
    found: list[tuple[str, int]] = []
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.name.endswith(".log"):
                    with contextlib.suppress(FileNotFoundError):
                        found.append((entry.path, entry.stat().st_size))
    return tuple(sorted(found))


def resident_megabytes(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
