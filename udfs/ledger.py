"""What was judged is on disk before the client hears of it, and in the warehouse a moment later."""

from __future__ import annotations

import base64
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import duckdb
import pyarrow as pa

from models_py.errors import WarehouseError
from models_py.warehouse import files_folder, transaction
from udfs import types
from udfs.arrow import arrow_type

_MOST = 256
_TRIES = 5
_CLOSED = None
_MOVE_EVERY = 5.0
_SUFFIX = ".verdicts.jsonl"
_TYPES = {str: "varchar", int: "bigint", float: "double", bool: "boolean", datetime: "timestamptz"}
_log = logging.getLogger("duckspect.serve")

_INSERTS = (
    """
    insert into raw.images
    select image_id, any_value(uri), 'http', any_value(format), any_value(width), any_value(height),
        any_value(channels), any_value(size_bytes), min(judged_at)
    from told where error is null group by image_id
    on conflict do nothing
    """,
    """
    insert into raw.inspections
    select inspection_id, unit_id, image_id, uri, line_id, station_id, product_type,
        coalesce(captured_at, judged_at), null, judged_at
    from told where error is null and inspection_id is not null
    qualify row_number() over (partition by inspection_id) = 1
    on conflict do nothing
    """,
    """
    insert into ml.verdicts by name
    select * exclude (uri, format, width, height, channels, size_bytes, unit_id, line_id, station_id, product_type,
        captured_at, error)
    from told where error is null
    qualify row_number() over (partition by verdict_id) = 1
    on conflict do nothing
    """,
    "insert into raw.rejected_files select uri, error, judged_at from told where error is not null",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row for each of the tables that one answer goes to; `error` alone for an image that could not be used."""

    verdict_id: str
    request_id: str
    model: str
    version: int
    artifact_sha256: str
    task: str
    client: str
    device: str
    judged_at: datetime
    uri: str
    error: str | None = None
    inspection_id: str | None = None
    image_id: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    size_bytes: int | None = None
    unit_id: str | None = None
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    captured_at: datetime | None = None
    label: str | None = None
    confidence: float | None = None
    score: float | None = None
    regions: list[dict[str, Any]] | None = None
    is_defective: bool | None = None
    brightness: float | None = None
    sharpness: float | None = None
    is_cached: bool | None = None
    batch_images: int | None = None
    seconds: float | None = None
    latency_ms: float | None = None


_NAMES = tuple(field.name for field in fields(Entry))


def identify(*parts: object) -> str:
    """The same id for the same parts: what is sent twice is stored once."""
    return sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


class Ledger:
    """Two threads: one makes entries durable, many at a time, the other moves them into the warehouse.

    To plan a transaction of DuckDB takes longer than a client should wait, and a build may hold up its commit. So
    what is acknowledged is in a journal on disk, and in the warehouse a moment later; `recover` sees to the rest.
    """

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], folder: Path) -> None:
        self._cursor = cursor
        self._segments = _Segments(folder)
        self._waiting: queue.SimpleQueue[tuple[Entry, Future[None]] | None] = queue.SimpleQueue()
        self._moving = threading.Lock()
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="duckspect-journal", daemon=True)
        self._mover = threading.Thread(target=self._move, name="duckspect-ledger", daemon=True)
        self._writer.start()
        self._mover.start()

    def add(self, entry: Entry) -> Future[None]:
        """The future is done when the entry survives a crash of this process and of the machine."""
        stored: Future[None] = Future()
        self._waiting.put((entry, stored))
        return stored

    def close(self) -> None:
        """Store what waits, and end."""
        self._waiting.put(_CLOSED)
        self._writer.join()
        self._closed.set()
        self._mover.join()
        self.flush()

    def flush(self) -> None:
        """Move what is acknowledged into the warehouse now; entries stay in the journal until that succeeds."""
        with self._moving:
            segments = self._segments.cut()
            if segments:
                with self._cursor() as con:
                    _load(con, segments)

    def _write(self) -> None:
        is_open = True
        while is_open:
            taken = [self._waiting.get()]
            while len(taken) < _MOST and not self._waiting.empty():
                taken.append(self._waiting.get())
            is_open = _CLOSED not in taken
            items = [item for item in taken if item is not None]
            try:
                self._segments.append([entry for entry, _ in items])
            except OSError as error:
                _log.error("%d verdicts could not be stored: %s", len(items), error)
                for _, stored in items:
                    stored.set_exception(WarehouseError(f"The verdict could not be stored, so there is none: {error}"))
            else:
                for _, stored in items:
                    stored.set_result(None)

    def _move(self) -> None:
        while not self._closed.wait(_MOVE_EVERY):
            try:
                self.flush()
            except duckdb.Error:
                _log.warning("verdicts wait in the journal; they are stored later", exc_info=True)


class _Segments:
    """The journal: files of one line an entry, each deleted once its entries are in the warehouse."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: BinaryIO | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries through to the disk."""
        if not entries:
            return
        rows = ({name: getattr(entry, name) for name in _NAMES} for entry in entries)
        text = b"".join(json.dumps(row, default=_plain).encode() + b"\n" for row in rows)
        with self._lock:
            if self._open is None:
                self._open = (self._folder / f"{time.time_ns():020}{_SUFFIX}").open("ab")
            start = self._open.tell()
            try:
                self._open.write(text)
                self._open.flush()
                os.fsync(self._open.fileno())
            except OSError:
                self._open.truncate(start)
                raise

    def cut(self) -> list[Path]:
        """End the present segment, and name all that wait."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None
            return _found(self._folder)


def journal_folder(warehouse: str | Path) -> Path:
    """Where the journal of a warehouse's server is."""
    return files_folder(warehouse) / "serving"


def recover(con: duckdb.DuckDBPyConnection, warehouse: str | Path) -> None:
    """Move into the warehouse what a server that was killed had acknowledged."""
    segments = _found(journal_folder(warehouse))
    if segments:
        _load(con, segments)


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _load(con: duckdb.DuckDBPyConnection, segments: Sequence[Path]) -> None:
    entries: list[Entry] = []
    for segment in segments:
        try:
            entries += _read(segment)
        except (ValueError, TypeError, KeyError, AttributeError):  # not written by us
            _log.exception("%s cannot be read and is put aside", segment)
            segment.rename(segment.with_suffix(".damaged"))
    schema = _schema()
    columns = [pa.array([getattr(entry, field.name) for entry in entries], field.type) for field in schema]
    con.register("told", pa.Table.from_arrays(columns, schema=schema))
    try:
        for attempt in range(1, _TRIES + 1):
            try:
                with transaction(con):
                    for statement in _INSERTS:
                        con.execute(statement)
            except duckdb.TransactionException:  # another writer brought the same image
                if attempt == _TRIES:
                    raise
            else:
                break
    finally:
        con.unregister("told")
    for segment in segments:
        segment.unlink(missing_ok=True)


def _read(segment: Path) -> list[Entry]:
    """The entries of a segment; a last line without its end was never acknowledged."""
    entries = []
    for line in segment.read_bytes().split(b"\n")[:-1]:
        row = {name: value for name, value in json.loads(line).items() if name in _NAMES}
        for name in ("judged_at", "captured_at"):
            row[name] = row[name] and datetime.fromisoformat(row[name])
        for region in row["regions"] or ():
            region["mask"] = region["mask"] and base64.b64decode(region["mask"])
        entries.append(Entry(**row))
    return entries


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else base64.b64encode(value).decode()


@cache
def _schema() -> pa.Schema:
    hints = get_type_hints(Entry)
    return pa.schema([(field.name, _arrow(field.name, hints[field.name])) for field in fields(Entry)])


def _arrow(name: str, hint: Any) -> pa.DataType:
    if name == "regions":
        return arrow_type(f"{types.REGION}[]")
    sql = next(sql for kind, sql in _TYPES.items() if hint in (kind, kind | None))
    return arrow_type(sql)


class Album:
    """Uploaded images, each kept once under the hash of its bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, data: bytes, digest: str, suffix: str) -> str:
        """Write an image unless it is there, and return its path. A crash leaves no half of it under that name."""
        file = self._folder / digest[:2] / f"{digest}.{suffix}"
        if not file.exists():
            partial = file.with_name(f".{digest}.{threading.get_ident()}.partial")
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                partial.write_bytes(data)
                partial.replace(file)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise WarehouseError(f"{file}: cannot be written: {error.strerror}.") from error
        return os.fspath(file)
