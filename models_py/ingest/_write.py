"""How rows enter the warehouse: a batch in one transaction, nothing twice."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from models_py.ingest._rows import Added, Row, Rows
from models_py.warehouse import transaction

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
    },
}

# A label set is written whole or not at all, so its presence is all that has to be looked up: a unique index on the
# annotations would cost more than everything else that is written.
_STATEMENTS = {
    "images": "insert into raw.images by name select *, now() as ingested_at from batch on conflict do nothing",
    "inspections": """
        insert into raw.inspections by name select *, now() as ingested_at from batch on conflict do nothing
    """,
    "annotations": """
        insert into raw.annotations by name
        select batch.* from batch anti join raw.annotations as known using (label_set_id)
    """,
    "templates": "insert into raw.templates by name select *, now() as linked_at from batch on conflict do nothing",
    "rejected_files": """
        insert into raw.rejected_files by name
        select *, now() as seen_at from batch anti join raw.rejected_files as known using (uri, reason)
    """,
}
_FORGET = "delete from raw.files using batch where files.uri = batch.uri"
_REMEMBER = "insert into raw.files by name select *, now() as seen_at from batch"


def write(con: duckdb.DuckDBPyConnection, rows: Rows) -> Added:
    """Store a batch: new rows are appended, `raw.files` is brought up to date, in one transaction."""
    with transaction(con):
        added = {table: _run(con, table, getattr(rows, table), sql) for table, sql in _STATEMENTS.items()}
        _run(con, "files", rows.files, _FORGET)
        _run(con, "files", rows.files, _REMEMBER)
    return Added(**added)


def _run(con: duckdb.DuckDBPyConnection, table: str, rows: dict[Any, Row], statement: str) -> int:
    if not rows:
        return 0
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
        changed = con.execute(statement).fetchone()
    finally:
        con.unregister("batch")
    return int(changed[0]) if changed else 0
