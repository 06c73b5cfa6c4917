"""Values that neither Arrow nor Python carries over as DuckDB means them are printed as DuckDB writes them.

Most are known by the type of their column; dates beyond Python's years 1 to 9999 only when they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

_AS_TEXT = {"bignum", "bit", "geometry", "interval", "time with time zone", "time_ns", "uhugeint", "union", "variant"}
_NESTED = {"array", "list", "map", "struct"}


def as_text(con: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """The query that a connection just ran with its odd columns as text; None if it has none, or is no single SELECT.

    The types are those of the result: to ask for them before would open files twice, of which a pipe can be read once.
    """
    described = con.description or []
    if not any(_is_odd(kind) for _, kind, *_ in described):
        return None
    statements = con.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        return None
    columns = [f"c{number}" for number in range(len(described))]
    chosen = (
        f"{column}::varchar as {_quoted(name)}" if _is_odd(kind) else f"{column} as {_quoted(name)}"
        for column, (name, kind, *_) in zip(columns, described, strict=True)
    )
    text = statements[0].query.strip().rstrip(";")
    return f"select {', '.join(chosen)} from (\n{text}\n) as found ({', '.join(columns)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_odd(kind: Any) -> bool:
    """Whether a type has to be written by DuckDB, or holds one that has."""
    if kind.id in _AS_TEXT or str(kind) in ("TIME WITH TIME ZONE", "TIME_NS"):
        return True
    if kind.id not in _NESTED:
        return False
    children = [child for child in kind.children if not isinstance(child[1], int)]  # an array's size is among them
    is_unnamed = kind.id == "struct" and not all(name for name, _ in children)
    has_odd_keys = kind.id == "map" and children[0][1].id in _NESTED
    return is_unnamed or has_odd_keys or any(_is_odd(child) for _, child in children)


def rows(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """The rows of a batch as Python values."""
    columns = [_values(column) for column in batch.columns]
    return (list(row) for row in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    try:
        found: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    except (OverflowError, ValueError):  # a date that Python does not have
        table = pa.table({"found": column})
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            con.register("given", table)
            found = [text for (text,) in con.execute("select found::varchar from given").fetchall()]
    return found
