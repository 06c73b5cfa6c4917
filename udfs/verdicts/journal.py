"""What was judged is on disk before the client hears of it, and in the warehouse a moment later."""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb

from models_py.errors import WarehouseError
from models_py.warehouse.database import files_folder
from udfs.threads import WorkerThread
from udfs.verdicts.journal_files import JournalFiles, UncertainStorageError, find_segments
from udfs.verdicts.records import VerdictRecord, find_entry, load, text_of, thresholds_of

_MOST = 256
_KNOWN = 4096
_CLOSED = None
_MOVE_EVERY = 5.0
_log = logging.getLogger("duckspect.serve")
_Waiting = tuple[VerdictRecord, "Future[VerdictRecord]"]


class VerdictJournal:
    """Two threads: one makes entries durable, many at a time, the other moves them into the warehouse.

    To plan a transaction of DuckDB takes longer than a client should wait, and a build may hold up its commit. So
    what is acknowledged is in a journal on disk, and in the warehouse a moment later; `recover` sees to the rest.
    """

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], folder: Path) -> None:
        self._cursor = cursor
        self._segments = JournalFiles(folder)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._known: OrderedDict[str, Future[VerdictRecord]] = OrderedDict()
        self._knowing = threading.Lock()
        self._moving = threading.Lock()
        self._closed = threading.Event()
        self._is_open = True
        self._is_in_trouble = False
        self._writer = WorkerThread("journal", self._gather, self._write)
        self._mover = WorkerThread("ledger", self._pause, lambda _: self.flush(), is_vital=False)

    def add(self, entry: VerdictRecord) -> Future[VerdictRecord]:
        """The entry on record under this id, once it survives a crash of this process and of the machine.

        It is an earlier one if the same was asked a moment ago. Nobody can cancel it: an entry that waits is written.
        """
        with self._knowing:
            known = self._known.get(entry.verdict_id)
            if known is not None:
                return known
            stored: Future[VerdictRecord] = Future()
            stored.set_running_or_notify_cancel()
            self._known[entry.verdict_id] = stored
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._waiting.put((entry, stored))
        return stored

    def find(self, entry: VerdictRecord) -> VerdictRecord | None:
        """The entry as an earlier request with its id put it on record in the warehouse, if one did."""
        with self._cursor() as con:
            return find_entry(con, entry)

    def thresholds(self, entry: VerdictRecord) -> dict[str, float]:
        """The operating points that held when an entry was made."""
        with self._cursor() as con:
            return thresholds_of(con, entry)

    def close(self) -> None:
        """Store what waits, and end; what the warehouse does not take now stays in the journal."""
        self._waiting.put(_CLOSED)
        self._writer.join()
        self._closed.set()
        self._mover.join()
        try:
            self.flush()
        except (OSError, duckdb.Error) as error:
            _log.error("verdicts stay in the journal until the warehouse is opened again: %s", error)

    def flush(self) -> None:
        """Move what is acknowledged into the warehouse now; entries stay in the journal until that succeeds."""
        with self._moving:
            segments = self._segments.cut()
            if segments:
                with self._cursor() as con:
                    load(con, segments)

    def _gather(self) -> list[_Waiting] | None:
        """All that waits; nothing, now and then, to try whether a disk that refused entries takes them again."""
        if not self._is_open:
            return None
        try:
            taken = [self._waiting.get(timeout=_MOVE_EVERY if self._is_in_trouble else None)]
        except queue.Empty:
            return []
        while len(taken) < _MOST and not self._waiting.empty():
            taken.append(self._waiting.get())
        self._is_open = _CLOSED not in taken
        return [item for item in taken if item is not None]

    def _write(self, items: Sequence[_Waiting]) -> None:
        try:
            self._segments.append([text_of(entry) for entry, _ in items])
        except BaseException as error:
            self._is_in_trouble = True
            with self._knowing:
                for entry, _ in items:
                    self._known.pop(entry.verdict_id, None)
            for _, stored in items:
                stored.set_exception(WarehouseError(_refusal(error)))
            raise
        self._is_in_trouble = False
        for entry, stored in items:
            stored.set_result(entry)

    def _pause(self) -> bool | None:
        return None if self._closed.wait(_MOVE_EVERY) else True


def _refusal(error: BaseException) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, UncertainStorageError):
        return (
            f"It is not certain whether the verdict was stored: {words}. Send the request again with the same "
            f"X-Request-Id; it is recorded once."
        )
    return f"The verdict could not be stored, so there is none: {words}."


def journal_folder(warehouse: str | Path) -> Path:
    """Where the journal of a warehouse's server is."""
    return files_folder(warehouse) / "serving"


def recover(con: duckdb.DuckDBPyConnection, warehouse: str | Path) -> None:
    """Move into the warehouse what a server that was killed had acknowledged."""
    segments = find_segments(journal_folder(warehouse))
    if segments:
        load(con, segments)
