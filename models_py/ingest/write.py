"""Write batches of rows to the `raw` tables: one transaction for each, and no row twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa

from models_py.ingest.new_rows import NewRows, Row, RowCounts
from models_py.warehouse.database import transaction

_TEXT, _INT, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC")

_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "images": {
        "image_id": _TEXT,
        "uri": _TEXT,
        "source": _TEXT,
        "format": _TEXT,
        "width": _INT,
        "height": _INT,
        "channels": _INT,
        "size_bytes": _INT,
    },
    "inspections": {
        "inspection_id": _TEXT,
        "unit_id": _TEXT,
        "image_id": _TEXT,
        "uri": _TEXT,
        "line_id": _TEXT,
        "station_id": _TEXT,
        "product_type": _TEXT,
        "captured_at": _TIME,
        "attributes": _TEXT,
        "is_unit_stated": pa.bool_(),
        "is_time_stated": pa.bool_(),
    },
    "annotations": {
        "annotation_id": _TEXT,
        "image_id": _TEXT,
        "uri": _TEXT,
        "kind": _TEXT,
        "label": _TEXT,
        "x1": _REAL,
        "y1": _REAL,
        "x2": _REAL,
        "y2": _REAL,
        "mask_uri": _TEXT,
        "split": _TEXT,
        "annotator": _TEXT,
        "annotated_at": _TIME,
        "label_set_id": _TEXT,
        "polygon": pa.list_(pa.list_(_REAL)),
    },
    "templates": {"image_id": _TEXT, "template_image_id": _TEXT, "uri": _TEXT},
    "rejected_files": {"uri": _TEXT, "reason": _TEXT},
    "files": {
        "uri": _TEXT,
        "size_bytes": _INT,
        "version": _TEXT,
        "role": _TEXT,
        "sha256": _TEXT,
        "layout": _TEXT,
        "label_set_id": _TEXT,
        "first_uri": _TEXT,
    },
}

# A label set is written completely or not at all, so it is enough to look up its id. A unique index on the annotations
# would take longer than everything else that is written.
_APPEND = {
    "images": "insert into raw.images by name select *, now() as ingested_at from batch on conflict do nothing",
    "annotations": """
        insert into raw.annotations by name
        select batch.* from batch anti join raw.annotations as known using (label_set_id) returning kind
    """,
    "templates": "insert into raw.templates by name select *, now() as linked_at from batch on conflict do nothing",
    "rejected_files": """
        insert into raw.rejected_files by name
        select *, now() as seen_at from batch anti join raw.rejected_files as known using (uri, reason)
    """,
}
_ADD_INSPECTIONS = """
insert into raw.inspections by name
select * exclude (is_unit_stated, is_time_stated), now() as ingested_at from batch on conflict do nothing
"""
_DELETE_FILES = "delete from raw.files using batch where files.uri = batch.uri"
_ADD_FILES = "insert into raw.files by name select *, now() as seen_at from batch"

# A value that a load states replaces the stored one. A missing value, or one made from the file's name or time, does
# not.
_CORRECTED = """
create or replace temp table corrected_inspections as
select
    known.inspection_id,
    if(batch.is_unit_stated, batch.unit_id, known.unit_id) as unit_id,
    coalesce(batch.line_id, known.line_id) as line_id,
    coalesce(batch.station_id, known.station_id) as station_id,
    coalesce(batch.product_type, known.product_type) as product_type,
    if(batch.is_time_stated, batch.captured_at, known.captured_at) as captured_at,
    coalesce(batch.attributes::json, known.attributes) as attributes
from batch
inner join raw.inspections as known using (inspection_id)
where
    (batch.is_unit_stated and batch.unit_id <> known.unit_id)
    or (batch.line_id is not null and batch.line_id is distinct from known.line_id)
    or (batch.station_id is not null and batch.station_id is distinct from known.station_id)
    or (batch.product_type is not null and batch.product_type is distinct from known.product_type)
    or (batch.is_time_stated and batch.captured_at is distinct from known.captured_at)
    or (batch.attributes is not null and batch.attributes is distinct from known.attributes::varchar)
"""
_SUPERSEDE = """
insert into raw.superseded_inspections by name
select inspections.*, now() as superseded_at, $command as superseded_by
from raw.inspections
semi join corrected_inspections using (inspection_id)
"""
_CORRECT = """
update raw.inspections
set
    unit_id = corrected.unit_id,
    line_id = corrected.line_id,
    station_id = corrected.station_id,
    product_type = corrected.product_type,
    captured_at = corrected.captured_at,
    attributes = corrected.attributes
from corrected_inspections as corrected
where inspections.inspection_id = corrected.inspection_id
"""

_KINDS = {"boxes": "box", "polygons": "polygon", "masks": "mask", "classes": "class"}


def write(con: duckdb.DuckDBPyConnection, rows: NewRows, command: str) -> RowCounts:
    """Store a batch in one transaction: correct known inspections, append new rows, bring `raw.files` up to date."""
    with transaction(con):
        # raw.files is written last: a file that is recorded there is not read again, so its rows must be stored.
        correction, insertion = _run(con, "inspections", rows.inspections, _CORRECTED, _ADD_INSPECTIONS)
        corrected = _count(correction)
        _correct(con, corrected, command)
        results = {table: _run(con, table, getattr(rows, table), sql)[0] for table, sql in _APPEND.items()}
        _run(con, "files", rows.files, _DELETE_FILES, _ADD_FILES)
    kinds = Counter(kind for (kind,) in results.pop("annotations"))
    added = {table: _count(result) for table, result in results.items()}
    of_kind = {name: kinds[kind] for name, kind in _KINDS.items()}
    return RowCounts(inspections=_count(insertion), annotations=kinds.total(), corrected=corrected, **added, **of_kind)


def correct(con: duckdb.DuckDBPyConnection, inspections: dict[str, Row], command: str) -> RowCounts:
    """Correct inspections whose files are unchanged by the values that a load states."""
    with transaction(con):
        corrected = _count(_run(con, "inspections", inspections, _CORRECTED)[0])
        _correct(con, corrected, command)
    return RowCounts(corrected=corrected)


def _correct(con: duckdb.DuckDBPyConnection, count: int, command: str) -> None:
    """Copy the rows that are corrected to raw.superseded_inspections, and change them."""
    if count:
        con.execute(_SUPERSEDE, {"command": command})
        con.execute(_CORRECT)
    con.execute("drop table if exists corrected_inspections")


def _run(con: duckdb.DuckDBPyConnection, table: str, rows: dict[Any, Row], *statements: str) -> list[list[Any]]:
    """Run statements that read the rows as `batch`; return the result of each, which for an insert is a count."""
    if not rows:
        return [[] for _ in statements]
    columns = _COLUMNS[table]
    batch = pa.table(
        [
            pa.array(values, kind)
            for values, kind in zip(zip(*rows.values(), strict=True), columns.values(), strict=True)
        ],
        names=list(columns),
    )
    con.register("batch", batch)
    try:
        return [con.execute(statement).fetchall() for statement in statements]
    finally:
        con.unregister("batch")


def _count(result: list[Any]) -> int:
    return int(result[0][0]) if result else 0
