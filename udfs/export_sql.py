"""The KPI layer for other warehouses: the tables that the `kpi_*` views read, and the views, in another dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from models_py.errors import DuckspectError
from udfs.build import KPI_VIEWS

if TYPE_CHECKING:
    import duckdb

DIALECTS = ("snowflake", "bigquery", "databricks", "postgres")

_COLUMNS = """
select column_name, data_type from duckdb_columns()
where database_name = current_database() and schema_name = 'main' and table_name = ? order by column_index
"""


def export_sql(con: duckdb.DuckDBPyConnection, dialect: str) -> Iterator[str]:
    """Yield `create table` and `create view` statements, each of which the dialect's own parser has read back."""
    if dialect not in DIALECTS:
        raise DuckspectError(f"dialect: must be one of {', '.join(DIALECTS)}, but is {dialect!r}.")
    views = view_queries(con)
    if not views:
        raise DuckspectError("This warehouse has no KPI views yet. Build them with `duckspect build`.")
    for table in tables(views):
        yield _written(_table(con, table), dialect)
    for name, query in views.items():
        statement = exp.Create(this=exp.to_table(name), kind="VIEW", replace=True, expression=query)
        yield _written(statement, dialect)


def tables(views: dict[str, exp.Query]) -> list[str]:
    """The tables that views read, by name."""
    found: set[str] = set()
    for query in views.values():
        inner = {cte.alias for cte in query.find_all(exp.CTE)}
        found |= {table.name for table in query.find_all(exp.Table)} - inner
    return sorted(found)


def view_queries(con: duckdb.DuckDBPyConnection) -> dict[str, exp.Query]:
    """The query of each KPI view, its tables without the name of the database."""
    return {name: _query(sql) for name, sql in con.execute(KPI_VIEWS).fetchall()}


def _query(sql: str) -> exp.Query:
    created = sqlglot.parse_one(sql, read="duckdb")
    query = created.expression
    if not isinstance(query, exp.Query):
        raise DuckspectError(f"{sql[:60]}: is no view of a query.")
    for table in query.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    return query


def _table(con: duckdb.DuckDBPyConnection, name: str) -> exp.Create:
    columns = [
        exp.ColumnDef(this=exp.to_identifier(column), kind=exp.DataType.build(kind, dialect="duckdb"))
        for column, kind in con.execute(_COLUMNS, [name]).fetchall()
    ]
    return exp.Create(this=exp.Schema(this=exp.to_table(name), expressions=columns), kind="TABLE", exists=True)


def _written(statement: exp.Expression, dialect: str) -> str:
    try:
        text = statement.sql(dialect=dialect, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
        sqlglot.parse_one(text, read=dialect)
    except SqlglotError as error:
        raise DuckspectError(f"{statement.this.sql()}: cannot be written for {dialect}: {error}") from error
    return f"{text};"
