"""Rows of a query, however many, run so that Ctrl-C ends it and printed without holding them all."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from models_py.errors import DuckspectError
from udfs import interrupt
from udfs.cli.formats import Format
from udfs.cli.output import emit_table, note
from udfs.cli.printable import as_text, rows
from udfs.cli.progress import display
from udfs.functions.catalogue import names_function
from udfs.image_counter import COUNTER

_ROWS_SHOWN = 200
_ROWS_AT_ONCE = 10_000
_LOOK_EVERY = 0.2

Done = Callable[[], None]


class AnnouncedRows:
    """Batches of rows that say when the last one has come, so that a progress bar makes way for them."""

    def __init__(self, batches: pa.RecordBatchReader, done: Done) -> None:
        self.schema: pa.Schema = batches.schema
        self._batches = batches
        self._done = done

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self._batches
        self._done()


def interruptible(con: duckdb.DuckDBPyConnection, work: Callable[[Done], None]) -> None:
    """Do the work in a thread: this one then sees Ctrl-C while DuckDB computes, and shows how many images are done."""
    before = COUNTER.images
    with ThreadPoolExecutor(1) as pool, display() as shown:
        future = pool.submit(work, shown.close)
        try:
            while wait([future], _LOOK_EVERY).not_done:
                if COUNTER.images > before:
                    shown.update("Scoring", COUNTER.images - before)
            future.result()
        except KeyboardInterrupt:
            interrupt(con)
            wait([future])
            raise


def execute(con: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """Run SQL; a mistake in it becomes a sentence with DuckDB's words."""
    if names_function(query):
        from udfs.statements.guard import check, hints

        check(query)
        for hint in hints(query):
            note(f"Hint: {hint}")
    try:
        con.execute(query)
        if (odd := as_text(con, query)) is not None:
            con.execute(odd)
        return con.to_arrow_reader(_ROWS_AT_ONCE)
    except duckdb.Error as error:
        raise DuckspectError(_explain(str(error))) from error


def _explain(text: str) -> str:
    if "read-only mode" in text:
        return f"{text.splitlines()[0]} Add --write to let `duckspect sql` change the warehouse."
    return text


def _rows(batches: AnnouncedRows) -> Iterator[list[Any]]:
    try:
        for batch in batches:
            yield from rows(batch)
    except (pa.ArrowException, OSError) as error:  # an error in the middle of a result
        raise DuckspectError(str(error)) from error


def _as_json(value: Any) -> Any:
    """Bytes as base64, NaN and infinities as null, dates and the rest as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, str | int | None):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, dict | list):
        return json.dumps(_as_json(value))
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else value


def _write_table(batches: AnnouncedRows, stream: IO[bytes]) -> None:
    shown: list[list[Any]] = []
    more = 0
    for row in _rows(batches):
        if len(shown) < _ROWS_SHOWN:
            shown.append([_as_text(value) for value in row])
        else:
            more += 1
    emit_table(batches.schema.names, shown, stream=stream)
    if more:
        note(f"{more:,} more rows; --format csv prints them all.")


def _write_csv(batches: AnnouncedRows, stream: IO[bytes]) -> None:
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(batches.schema.names)
    for row in _rows(batches):
        writer.writerow([_as_json(value) if isinstance(value, bytes) else _as_text(value) for value in row])
    text.detach()


def _write_json(batches: AnnouncedRows, stream: IO[bytes]) -> None:
    names = batches.schema.names
    stream.write(b"[")
    for number, row in enumerate(_rows(batches)):
        stream.write(b",\n " if number else b"\n ")
        stream.write(json.dumps(_as_json(dict(zip(names, row, strict=True))), ensure_ascii=False).encode())
    stream.write(b"\n]\n")


def _write_parquet(batches: AnnouncedRows, stream: IO[bytes]) -> None:
    with pq.ParquetWriter(stream, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


WRITERS: dict[Format, Callable[[AnnouncedRows, IO[bytes]], None]] = {
    Format.table: _write_table,
    Format.csv: _write_csv,
    Format.json: _write_json,
    Format.parquet: _write_parquet,
}
