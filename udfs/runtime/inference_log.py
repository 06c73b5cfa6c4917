"""`ml.inference_log`: one row per query and model, kept up to date call by call."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb

from udfs.runtime.calls import Query
from udfs.runtime.results import PredictionResult

if TYPE_CHECKING:
    from udfs.runtime.model_resolver import LoadedModel

_KEPT = 256
_INSERT = "insert into ml.inference_log values (?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = (
    "update ml.inference_log set images = ?, cache_hits = ?, errors = ?, seconds = ? "
    "where model = ? and version = ? and logged_at = ?"
)


@dataclass(slots=True)
class _LogRow:
    logged_at: datetime
    images: int = 0
    hits: int = 0
    errors: int = 0
    seconds: float = 0.0
    until: float = 0.0

    def spend(self, started: float, ended: float) -> None:
        """Count time in which several threads call at once only once."""
        self.seconds += max(0.0, ended - max(started, self.until))
        self.until = max(self.until, ended)


class InferenceLog:
    """Writes with a cursor of its own, so that a query that fails is on record too."""

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]) -> None:
        self._cursor = cursor
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[Query, str, int], _LogRow] = OrderedDict()

    def note(
        self, query: Query, loaded: LoadedModel, outcomes: Sequence[PredictionResult[object]], hits: int, started: float
    ) -> None:
        """Add a call to its query's row."""
        version = loaded.version
        key = (query, version.name, version.version)
        with self._lock:
            is_new = key not in self._entries
            entry = self._entries.setdefault(key, _LogRow(datetime.now(UTC)))
            entry.images += sum(outcome.answer is not None or outcome.error is not None for outcome in outcomes)
            entry.errors += sum(outcome.error is not None for outcome in outcomes)
            entry.hits += hits
            entry.spend(started, time.perf_counter())
            while len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
            try:
                self._write(version.name, version.version, loaded.engine.device, entry, is_new=is_new)
            except duckdb.Error as error:  # the answers are worth more than their record
                logging.getLogger("duckspect").warning("ml.inference_log was not written: %s", error)

    def _write(self, model: str, version: int, device: str, entry: _LogRow, *, is_new: bool) -> None:
        numbers = [entry.images, entry.hits, entry.errors, entry.seconds]
        with self._cursor() as con:
            if is_new:
                con.execute(_INSERT, [model, version, device, *numbers, entry.logged_at])
            else:
                con.execute(_UPDATE, [*numbers, model, version, entry.logged_at])
