"""Calls in progress, and how they are stopped: DuckDB tells a function nothing of an interrupt.

`udfs.interrupt(con)` stops those of a connection (`udfs.session.interrupts`). A query that ended early in another way
leaves its call behind: a connection runs one query at a time, so the next query's call stops it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from models_py.errors import DuckspectError

T = TypeVar("T")
_LOOK_EVERY = 0.1


class QueryStoppedError(DuckspectError):
    """The query was interrupted."""


@dataclass(frozen=True, slots=True)
class Query:
    """Who asks: the connection, and its transaction, which for a single statement is the statement's own."""

    connection: int
    transaction: int


@dataclass(eq=False, slots=True)
class Call:
    """One call of a function."""

    query: Query
    stopped: threading.Event = field(default_factory=threading.Event)

    def wait(self, future: Future[T]) -> T:
        """The result, or StoppedError soon after the query was interrupted."""
        while True:
            if self.stopped.is_set():
                raise QueryStoppedError("The query was interrupted.")
            try:
                return future.result(_LOOK_EVERY)
            except NotYet:
                if future.done():  # the work itself ran out of time
                    raise


class Calls:
    """All calls in progress."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Call] = set()
        self._interrupted: dict[int, int] = {}

    @contextmanager
    def started(self, query: Query) -> Iterator[Call]:
        call = Call(query)
        with self._lock:
            for other in self._running:
                if other.query.connection == query.connection and other.query != query:
                    other.stopped.set()
            if query.transaction < self._interrupted.get(query.connection, 0):
                call.stopped.set()
            self._running.add(call)
        try:
            yield call
        except KeyboardInterrupt:  # it can arrive here, for DuckDB may call from the main thread
            self.stop(query.connection)
            raise
        finally:
            with self._lock:
                self._running.discard(call)

    def stop(self, connection: int, before: int = 0) -> None:
        """Stop what a connection runs, and what its transactions older than `before` are about to run."""
        with self._lock:
            self._interrupted[connection] = before
            for call in self._running:
                if call.query.connection == connection:
                    call.stopped.set()
