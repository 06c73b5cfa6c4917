"""The server's durable journal of verdicts: on disk before the client gets its answer, in the warehouse seconds later.

DuckDB needs 10 to 20 ms to plan a transaction over three tables, and a build may hold up its commit. A line should not
wait for that, so a verdict is acknowledged as soon as it is in the journal. Two threads work on it:

- The writer takes all records that wait (at most `_BATCH`), appends them to the journal's file with one fsync, about 1
  ms, and then completes their futures. So many clients share one fsync.
- The mover ends the current file every few seconds (`JournalFiles.cut`) and inserts all ended files into the warehouse.
  A file is deleted only after its records are committed there.

A record's id is a hash of the request's id, the model and the image, and every insert ignores ids that exist, so it
does no harm to move a file twice. `recover` moves the files that a killed server left, whenever the warehouse is opened
for writing.

Locks: `_known_lock` guards the map of recent ids, and is never held during I/O. `_move_lock` lets one thread at a time
move files, since `flush` is also called by commands that must see every acknowledged verdict. They are never held
together.
"""

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

_BATCH = 256
"""Records that one fsync stores at most."""
_RECENT = 4096
"""Recent ids that are answered from memory, when a client repeats its request."""
_CLOSED = None
_MOVE_EVERY = 5.0
_log = logging.getLogger("duckspect.serve")
_Waiting = tuple[VerdictRecord, "Future[VerdictRecord]"]


class VerdictJournal:
    """Stores verdicts durably, many at a time, and moves them into the warehouse."""

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], folder: Path) -> None:
        self._cursor = cursor
        self._segments = JournalFiles(folder)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._known: OrderedDict[str, Future[VerdictRecord]] = OrderedDict()
        self._known_lock = threading.Lock()
        self._move_lock = threading.Lock()
        self._closed = threading.Event()
        self._is_open = True
        self._is_in_trouble = False
        self._writer = WorkerThread("journal", self._gather, self._write)
        self._mover = WorkerThread("verdict rows", self._pause, lambda _: self.flush(), is_vital=False)

    def add(self, entry: VerdictRecord) -> Future[VerdictRecord]:
        """A future of the record stored under this id, done when it survives a crash of the process and the machine.

        For a request that was repeated it is the earlier record. It cannot be cancelled: a waiting record is written.
        """
        with self._known_lock:
            known = self._known.get(entry.verdict_id)
            if known is not None:
                return known
            stored: Future[VerdictRecord] = Future()
            stored.set_running_or_notify_cancel()
            self._known[entry.verdict_id] = stored
            if len(self._known) > _RECENT:
                self._known.popitem(last=False)
        self._waiting.put((entry, stored))
        return stored

    def find(self, entry: VerdictRecord) -> VerdictRecord | None:
        """The record that an earlier request with the same id left in the warehouse, or None."""
        with self._cursor() as con:
            return find_entry(con, entry)

    def thresholds(self, entry: VerdictRecord) -> dict[str, float]:
        """The operating points that held when an entry was made."""
        with self._cursor() as con:
            return thresholds_of(con, entry)

    def close(self) -> None:
        """Store what waits, and stop the threads; what cannot be moved to the warehouse now stays in the journal."""
        self._waiting.put(_CLOSED)
        self._writer.join()
        self._closed.set()
        self._mover.join()
        try:
            self.flush()
        except (OSError, duckdb.Error) as error:
            _log.error("verdicts stay in the journal until the warehouse is opened again: %s", error)

    def flush(self) -> None:
        """Move everything acknowledged into the warehouse now; it stays in the journal until that succeeds."""
        with self._move_lock:
            segments = self._segments.cut()
            if segments:
                with self._cursor() as con:
                    load(con, segments)

    def _gather(self) -> list[_Waiting] | None:
        """The records that wait.

        After a failed write an empty list is returned every few seconds, so that `_write` tries whether the disk works
        again even if no client asks.
        """
        if not self._is_open:
            return None
        try:
            taken = [self._waiting.get(timeout=_MOVE_EVERY if self._is_in_trouble else None)]
        except queue.Empty:
            return []
        while len(taken) < _BATCH and not self._waiting.empty():
            taken.append(self._waiting.get())
        self._is_open = _CLOSED not in taken
        return [item for item in taken if item is not None]

    def _write(self, items: Sequence[_Waiting]) -> None:
        try:
            self._segments.append([text_of(entry) for entry, _ in items])
        except BaseException as error:
            self._is_in_trouble = True
            # Forget the ids first, so that a client that repeats its request is not given the failed future again.
            with self._known_lock:
                for entry, _ in items:
                    self._known.pop(entry.verdict_id, None)
            for _, stored in items:
                stored.set_exception(WarehouseError(_refusal(error)))
            raise
        self._is_in_trouble = False
        # Only now: a client may act on its verdict, so the verdict must survive a power loss.
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
    """The folder of the journal of a warehouse's server."""
    return files_folder(warehouse) / "serving"


def recover(con: duckdb.DuckDBPyConnection, warehouse: str | Path) -> None:
    """Move the verdicts that a killed server had acknowledged into the warehouse."""
    segments = find_segments(journal_folder(warehouse))
    if segments:
        load(con, segments)
