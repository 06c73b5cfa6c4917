"""The server's worker threads: they survive errors of single tasks, and `/readyz` reports their state.

`thread_states` is what `/readyz` shows. A thread is in trouble if its last task failed, if one task has taken too long,
or if it has ended although nobody stopped it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
P = TypeVar("P")

STUCK = 60.0
"""Seconds at one task after which a thread counts as stuck: a disk, network folder or device does not answer."""
_PAUSE = 1.0
_PREFIX = "duckspect-"
_log = logging.getLogger("duckspect.serve")


class WatchedThreads(Protocol):
    """One thread, or several with the same work, whose state is watched."""

    name: str
    is_vital: bool

    def trouble(self) -> str | None:
        """What is wrong, without paths or values, since anybody may read it; None if nothing is."""


_watched: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()


def _watch(thread: WatchedThreads) -> None:
    with _lock:
        _watched.add(thread)


def thread_states() -> dict[str, str]:
    """The state of this process' threads by name: "ok", or what is wrong."""
    return {thread.name.removeprefix(_PREFIX): thread.trouble() or "ok" for thread in _listed()}


def is_able() -> bool:
    """Whether all threads that are needed for a verdict are all right."""
    return not any(thread.is_vital and thread.trouble() for thread in _listed())


def _listed() -> list[WatchedThreads]:
    """The threads sorted by name; of several with one name, one in trouble is last, so that it is the one shown."""
    with _lock:
        threads: list[WatchedThreads] = list(_watched)
    return sorted(threads, key=lambda thread: (thread.name, bool(thread.trouble())))


class WorkerThread(threading.Thread, Generic[T]):
    """A thread that works on one task after the other, until `wait` returns None.

    An error of a task is logged, and shown as trouble until another task succeeds.
    """

    def __init__(
        self, name: str, wait: Callable[[], T | None], work: Callable[[T], object], *, is_vital: bool = True
    ) -> None:
        super().__init__(name=f"{_PREFIX}{name}", daemon=True)
        self.is_vital = is_vital
        self.last_error: Exception | None = None
        self._wait = wait
        self._work = work
        self._began: float | None = None
        self._is_over = False
        _watch(self)
        self.start()

    def run(self) -> None:
        while not self._is_over:
            try:
                self._is_over = self._take_one()
                self.last_error = None
            except Exception as error:  # noqa: BLE001 - the next task may succeed
                self._note(error)
                if self._began is None:  # waiting for a task failed, and would fail again at once
                    time.sleep(_PAUSE)

    def _take_one(self) -> bool:
        self._began = None
        task = self._wait()
        if task is None:
            return True
        self._began = time.monotonic()
        self._work(task)
        return False

    def _note(self, error: Exception) -> None:
        is_new = str(error) != str(self.last_error)
        self.last_error = error
        _log.error("%s: a task failed: %s", self.name, error, exc_info=error if is_new else None)

    def trouble(self) -> str | None:
        if self.ident is not None and not self.is_alive() and not self._is_over:
            return "has ended"
        began = self._began
        if began is not None and time.monotonic() - began > STUCK:
            return f"has been at one task for {time.monotonic() - began:.0f} s"
        return None if self.last_error is None else f"its last task failed: {_words(self.last_error)}"


class WorkerPool(ThreadPoolExecutor):
    """A pool of threads. A task's exception belongs to its caller, so only a task that takes too long is trouble."""

    is_vital = True

    def __init__(self, name: str, count: int, initializer: Callable[[], object] | None = None) -> None:
        self.name = f"{_PREFIX}{name}"
        super().__init__(count, self.name, initializer)
        self._counting = threading.Lock()
        self._at_work = 0
        self._moved = 0.0
        _watch(self)

    def submit(self, work: Callable[..., P], /, *given: Any, **named: Any) -> Future[P]:
        with self._counting:
            if not self._at_work:
                self._moved = time.monotonic()
            self._at_work += 1
        future = super().submit(work, *given, **named)
        future.add_done_callback(self._count)
        return future

    def _count(self, _: Future[Any]) -> None:
        with self._counting:
            self._at_work -= 1
            self._moved = time.monotonic()

    def trouble(self) -> str | None:
        idle = time.monotonic() - self._moved
        return f"has finished nothing for {idle:.0f} s" if self._at_work and idle > STUCK else None


def _words(error: Exception) -> str:
    """A description of an error without paths and values, which anybody may read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}; the log says more"
