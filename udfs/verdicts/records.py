"""The record of one verdict: as a line of the server's journal, and as rows of four tables of the warehouse."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import get_type_hints

import duckdb
import pyarrow as pa

from models_py.model.verdict import with_default
from models_py.warehouse.database import transaction
from models_py.warehouse.location import stored_uris
from udfs.functions import types
from udfs.functions.arrow import arrow_type
from udfs.verdicts.journal_files import JournalLine, read_segments, remove_segments, set_aside

_TRIES = 5
_WRONG = (ValueError, TypeError, OverflowError, pa.ArrowException, duckdb.DataError, duckdb.IntegrityError)
_TYPES = {str: "varchar", int: "bigint", float: "double", bool: "boolean", datetime: "timestamptz"}

_INSERTS = (
    """
    insert into raw.images
    select image_id, any_value(uri), 'http', any_value(format), any_value(width), any_value(height),
        any_value(channels), any_value(size_bytes), min(judged_at)
    from verdict_batch where error is null group by image_id
    on conflict do nothing
    """,
    """
    insert into raw.inspections
    select inspection_id, unit_id, image_id, uri, line_id, station_id, product_type,
        coalesce(captured_at, judged_at), null, judged_at
    from verdict_batch where error is null and inspection_id is not null
    qualify row_number() over (partition by inspection_id) = 1
    on conflict do nothing
    """,
    """
    insert into ml.verdicts by name
    select * exclude (uri, format, width, height, channels, size_bytes, unit_id, line_id, station_id, product_type,
        captured_at, error)
    from verdict_batch where error is null
    qualify row_number() over (partition by verdict_id) = 1
    on conflict do nothing
    """,
    """
    insert into raw.rejected_files
    select uri, error, min(judged_at) from verdict_batch anti join raw.rejected_files as known
        on verdict_batch.uri = known.uri and verdict_batch.error = known.reason
    where error is not null group by uri, error
    """,
)
_OPERATING_POINTS = """
select label, arg_max(threshold, valid_from) from ml.thresholds
where name = ? and version = ? and valid_from <= ? group by label
"""


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """All columns of the rows that one verdict becomes; with `error` only a row of `raw.rejected_files`."""

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
    regions: list[types.RegionRow] | None = None
    is_defective: bool | None = None
    brightness: float | None = None
    sharpness: float | None = None
    is_cached: bool | None = None
    batch_images: int | None = None
    seconds: float | None = None
    latency_ms: float | None = None


_NAMES = tuple(field.name for field in fields(VerdictRecord))
_Read = tuple[JournalLine, VerdictRecord]


def identify(*parts: object) -> str:
    """A hash of the parts, so that a request that is sent twice is stored once."""
    return sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def find_entry(con: duckdb.DuckDBPyConnection, entry: VerdictRecord) -> VerdictRecord | None:
    """The record that an earlier request with the same id left in the warehouse, or None."""
    result = con.execute("select * from ml.verdicts where verdict_id = ?", [entry.verdict_id])
    names = [column[0] for column in result.description or ()]
    row = result.fetchone()
    return None if row is None else replace(entry, **dict(zip(names, row, strict=True)))


def thresholds_of(con: duckdb.DuckDBPyConnection, entry: VerdictRecord) -> dict[str, float]:
    """The operating points that held when an entry was made."""
    known = con.execute(_OPERATING_POINTS, [entry.model, entry.version, entry.judged_at]).fetchall()
    return with_default(entry.task, dict(known))


def load(con: duckdb.DuckDBPyConnection, segments: Sequence[Path]) -> None:
    """Move the records of segments into the warehouse; lines that are no records are set aside."""
    lines, damaged = read_segments(segments)
    entries: list[_Read] = []
    for line in lines:
        try:
            entries.append((line, _entry(line.text)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # not written by us
            damaged.append((line, repr(error)))
    set_aside([*damaged, *_store(con, entries)])
    remove_segments(segments)


def _store(con: duckdb.DuckDBPyConnection, entries: Sequence[_Read]) -> list[tuple[JournalLine, str]]:
    """Insert records; return those that the warehouse refuses, with the error.

    DuckDB does not say which row of a batch is wrong, so a batch that fails is split into halves until it is found.
    """
    if not entries:
        return []
    try:
        _insert(con, [entry for _, entry in entries])
    except _WRONG as error:
        if len(entries) == 1:
            return [(entries[0][0], str(error))]
        half = len(entries) // 2
        return _store(con, entries[:half]) + _store(con, entries[half:])
    return []


def _insert(con: duckdb.DuckDBPyConnection, entries: Sequence[VerdictRecord]) -> None:
    schema, uris = _schema(), stored_uris(con)
    entries = [replace(entry, uri=uris.stored(entry.uri)) for entry in entries]
    columns = [pa.array([getattr(entry, field.name) for entry in entries], field.type) for field in schema]
    con.register("verdict_batch", pa.Table.from_arrays(columns, schema=schema))
    try:
        # DuckDB refuses a commit if another transaction has changed the same rows; then it is tried again.
        for attempt in range(1, _TRIES + 1):
            try:
                with transaction(con):
                    for statement in _INSERTS:
                        con.execute(statement)
            except (duckdb.TransactionException, duckdb.ConstraintException):  # another writer inserted the same image
                if attempt == _TRIES:
                    raise
            else:
                break
    finally:
        con.unregister("verdict_batch")


def text_of(entry: VerdictRecord) -> bytes:
    return json.dumps({name: getattr(entry, name) for name in _NAMES}, default=_plain).encode()


def _entry(text: bytes) -> VerdictRecord:
    row = {name: value for name, value in json.loads(text).items() if name in _NAMES}
    for name in ("judged_at", "captured_at"):
        row[name] = row[name] and datetime.fromisoformat(row[name])
    for region in row["regions"] or ():
        region["mask"] = region["mask"] and base64.b64decode(region["mask"])
    return VerdictRecord(**row)


def _plain(value: datetime | bytes) -> str:
    return value.isoformat() if isinstance(value, datetime) else base64.b64encode(value).decode()


@cache
def _schema() -> pa.Schema:
    hints = get_type_hints(VerdictRecord)
    return pa.schema([(field.name, _arrow(field.name, hints[field.name])) for field in fields(VerdictRecord)])


def _arrow(name: str, hint: object) -> pa.DataType:
    if name == "regions":
        return arrow_type(f"{types.REGION}[]")
    sql = next(sql for kind, sql in _TYPES.items() if hint in (kind, kind | None))
    return arrow_type(sql)
