"""Estimate a query's model calls by running it with models that only count the images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from models_py.errors import DuckspectError
from models_py.warehouse.location import stored_uris
from udfs.statements.guard import parse

if TYPE_CHECKING:
    import duckdb

    from udfs.functions.call_counts import CallCount

_SPEED = """
select sum(seconds) / nullif(sum(images - cache_hits), 0)
from ml.inference_log
where model = $model and version = $version
"""
_PREDICTED = """
select count(distinct files.sha256)
from raw.files
inner join predictions on files.sha256 = predictions.image_id
where predictions.model = $model and predictions.version = $version and files.uri in (select unnest($uris))
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The images that a query would score with one model, and the time for that."""

    model: str
    device: str
    images: int
    cached: int
    predicted: int
    seconds: float | None


def explain(con: duckdb.DuckDBPyConnection, sql: str) -> list[Estimate]:
    """Estimate what a query would cost. It is run with models that return NULL, and changes nothing."""
    from udfs.session.session import Session

    session = Session.of(con)
    query = _reading(sql)
    with con.cursor() as cursor:
        row = cursor.execute("select current_connection_id()").fetchone()
        with session.call_counts.counting(int(row[0]) if row else -1) as count:
            cursor.execute(query)
            while cursor.fetchmany(10_000):
                continue
        return [_estimate(cursor, count, key) for key in count.asked]


def _reading(sql: str) -> str:
    """The SELECT in a statement, without the table that it would write."""
    statements = parse(sql)
    if len(statements) != 1:
        raise DuckspectError(
            f"explain: must be one query, but is {len(statements) or 'none that can be read'}: {sql!r}."
        )
    statement = statements[0]
    if isinstance(statement, exp.Query):
        return sql
    if isinstance(statement, exp.Create | exp.Insert) and isinstance(statement.expression, exp.Query):
        return statement.expression.sql(dialect="duckdb")
    if isinstance(statement, exp.Copy) and isinstance(statement.this, exp.Subquery):
        return statement.this.this.sql(dialect="duckdb")
    raise DuckspectError(
        f"explain: can tell what select, create table as, insert and copy would score, but not {statement.key}."
    )


def _estimate(con: duckdb.DuckDBPyConnection, count: CallCount, key: tuple[str, int]) -> Estimate:
    model, version = key
    images, cached = len(count.asked[key]), len(count.cached[key])
    named = {"model": model, "version": version}
    row = con.execute(_SPEED, named).fetchone()
    each = row[0] if row else None
    called = stored_uris(con).normal
    uris = [called(name) for name in count.asked[key] if isinstance(name, str)]
    return Estimate(
        model=f"{model}@{version}",
        device=_device(),
        images=images,
        cached=cached,
        predicted=_predicted(con, named | {"uris": uris}),
        seconds=None if each is None else each * (images - cached),
    )


def _predicted(con: duckdb.DuckDBPyConnection, named: dict[str, Any]) -> int:
    built = "select 1 from duckdb_tables() where schema_name = 'main' and table_name = 'predictions'"
    if not con.execute(built).fetchone():
        return 0
    row = con.execute(_PREDICTED, named).fetchone()
    return int(row[0]) if row else 0


def _device() -> str:
    from models_py.model.devices import find_devices

    return ", ".join(str(device) for device in find_devices(os.environ.get("DUCKSPECT_DEVICE", "auto")))
