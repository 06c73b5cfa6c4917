"""How far a command is: a bar on a terminal, in a log a line every ten seconds. All on stderr."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_py.errors import DuckspectError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ENVIRONMENT_VARIABLE = "DUCKSPECT_PROGRESS_SECONDS"
_EVERY = 10.0
_BAR, _REST = 16, 14
"""Characters of a bar, and of the time and the gaps beside it; words get what is left of a terminal's width."""
_TEXTS = ("description", "fields[facts]", "fields[words]")


@dataclass(slots=True)
class Stage:
    """One piece of work and how far it is; its rate counts from when it was first heard of."""

    what: str
    unit: str
    started: float
    first: int
    done: int
    total: int | None
    words: str = ""

    @property
    def title(self) -> str:
        return f"{self.what}, {self.words}" if self.words else self.what

    def facts(self, now: float) -> str:
        """What is done, how fast, and how long the rest will take."""
        seconds = now - self.started
        if not self.done and not self.total:
            return f"{duration(seconds)} so far"
        found = [f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"]
        rate = (self.done - self.first) / seconds if seconds > 0 else 0.0
        if rate:
            found.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total:
                found.append(f"{duration((self.total - self.done) / rate)} left")
        return ", ".join(found)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Display:
    """Shows one stage at a time; what comes back to a stage goes on with its rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stages: dict[str, Stage] = {}
        self._lock = threading.Lock()
        self.stage: Stage | None = None

    def update(self, what: str, done: int = 0, total: int | None = None, unit: str = "images", words: str = "") -> None:
        """Say how far a piece of work is."""
        with self._lock:
            stage = self._stages.get(what)
            if stage is None or done < stage.done:
                stage = self._stages[what] = Stage(what, unit, self._clock(), done, done, total)
            stage.done, stage.total, stage.words = done, total, words
            is_new, self.stage = stage is not self.stage, stage
        self.show(stage, is_new=is_new)

    def say(self, text: str) -> None:
        """Say a sentence."""
        from udfs.cli.output import note

        note(text)

    def show(self, stage: Stage, *, is_new: bool) -> None:
        """A stage has gone on."""

    def close(self) -> None:
        """Make way for the result."""


class LogDisplay(Display):
    """A line about the present stage now and then, from a thread of its own, for some work tells nothing for long."""

    def __init__(self, every: float = _EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._closed = threading.Event()
        self._every = every

    def start(self) -> None:
        """Begin to write."""
        # The thread says things to whom this command runs for, which a server keeps in a context variable.
        run = copy_context().run
        threading.Thread(target=run, args=(self._run,), name="duckspect-progress", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.wait(self._every):
            self.write()

    def write(self) -> None:
        """One line."""
        with self._lock:
            stage = self.stage
            line = "" if stage is None else f"{stage.title}: {stage.facts(self._clock())}"
        if line and not self._closed.is_set():
            self.say(line)

    def close(self) -> None:
        self._closed.set()


class BarDisplay(Display):
    """A bar below what is said."""

    def __init__(self, bar: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._bar = bar
        self._task: TaskID | None = None

    def show(self, stage: Stage, *, is_new: bool) -> None:
        facts = stage.facts(self._clock()) if stage.done or stage.total else ""
        room = self._bar.console.width - len(stage.what) - len(facts) - _BAR - _REST
        words = stage.words[: max(0, room)]
        if is_new:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(
                stage.what, total=stage.total, completed=stage.done, facts=facts, words=words
            )
        elif self._task is not None:
            self._bar.update(self._task, total=stage.total, completed=stage.done, facts=facts, words=words)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def display() -> Iterator[Display]:
    """Show how far a command is while it runs."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from udfs.cli.output import stderr

    console = stderr()
    if not console.is_terminal:
        log = LogDisplay(_every())
        log.start()
        try:
            yield log
        finally:
            log.close()
        return
    what, facts, words = (TextColumn(f"{{task.{name}}}", markup=False) for name in _TEXTS)
    columns = (what, BarColumn(_BAR), facts, TimeElapsedColumn(), words)
    with Progress(*columns, console=console, transient=True) as bar:
        yield BarDisplay(bar)


def _every() -> float:
    text = os.environ.get(ENVIRONMENT_VARIABLE, str(_EVERY))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise DuckspectError(f"{ENVIRONMENT_VARIABLE}: must be seconds between two lines, such as 10, but is {text!r}.")
    return seconds
