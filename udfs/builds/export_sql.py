"""Export the KPI layer for other warehouses: the `kpi_*` views and the tables that they read, in another dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from models_py.errors import DuckspectError
from udfs.builds.build import KPI_VIEWS

if TYPE_CHECKING:
    import duckdb

DIALECTS = ("snowflake", "bigquery", "databricks", "postgres")
_COMMENTS_APART = ("postgres",)  # dialects whose comments are statements of their own

_PLAIN = re.compile("[a-z_][a-z0-9_]*")
_DIMENSIONS = """
select table_name from duckdb_tables()
where database_name = current_database() and schema_name = 'main' and starts_with(table_name, 'dim_')
"""
_COLUMNS = """
select column_name, data_type, comment from duckdb_columns()
where database_name = current_database() and schema_name = 'main' and table_name = ? order by column_index
"""
_DESCRIPTION = """
select comment from (
    select database_name, schema_name, table_name as name, comment from duckdb_tables()
    union all
    select database_name, schema_name, view_name, comment from duckdb_views()
)
where database_name = current_database() and schema_name = 'main' and name = ?
"""


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table, or the view of a query; columns are names, types and comments."""

    name: str
    description: str
    columns: Sequence[tuple[str, str, str | None]]
    query: exp.Query | None

    @property
    def kind(self) -> str:
        return "TABLE" if self.query is None else "VIEW"


def export_sql(con: duckdb.DuckDBPyConnection, dialect: str) -> Iterator[str]:
    """Yield the statements that create and describe tables and views; each was parsed again by sqlglot's dialect."""
    if dialect not in DIALECTS:
        raise DuckspectError(f"dialect: must be one of {', '.join(DIALECTS)}, but is {dialect!r}.")
    views = view_queries(con)
    if not views:
        raise DuckspectError("This warehouse has no KPI views yet. Build them with `duckspect build`.")
    queries: dict[str, exp.Query | None] = {**dict.fromkeys(tables(con, views)), **views}
    for name, query in queries.items():
        relation = _relation(con, name, query)
        statements = [_created(relation, dialect), *(_comments(relation) if dialect in _COMMENTS_APART else [])]
        yield from (_written(statement, dialect) for statement in statements)


def tables(con: duckdb.DuckDBPyConnection, views: dict[str, exp.Query]) -> list[str]:
    """The tables that views read, and the dimensions that they are joined with, by name."""
    tables = {name for (name,) in con.execute(_DIMENSIONS).fetchall()}
    for query in views.values():
        inner = {cte.alias for cte in query.find_all(exp.CTE)}
        tables |= {table.name for table in query.find_all(exp.Table)} - inner
    return sorted(tables)


def view_queries(con: duckdb.DuckDBPyConnection) -> dict[str, exp.Query]:
    """The query of each KPI view, its tables without the name of the schema."""
    return {name: _query(sql) for name, sql in con.execute(KPI_VIEWS).fetchall()}


def _query(sql: str) -> exp.Query:
    created = sqlglot.parse_one(sql, read="duckdb")
    query = created.expression
    if not isinstance(query, exp.Query):
        raise DuckspectError(f"{sql[:60]}: is no view of a query.")
    for table in query.find_all(exp.Table):  # the user's own schema is the default where the script runs
        table.set("db", None)
        table.set("catalog", None)
    for identifier in query.find_all(exp.Identifier):
        if _PLAIN.fullmatch(identifier.name):  # DuckDB quotes keywords, but in Snowflake a quoted name is in lower case
            identifier.set("quoted", False)
    return query


def _relation(con: duckdb.DuckDBPyConnection, name: str, query: exp.Query | None) -> _Relation:
    row = con.execute(_DESCRIPTION, [name]).fetchone()
    return _Relation(name, str(row[0] or "") if row else "", con.execute(_COLUMNS, [name]).fetchall(), query)


def _created(relation: _Relation, dialect: str) -> exp.Create:
    is_described = dialect not in _COMMENTS_APART
    columns = [
        exp.ColumnDef(
            this=exp.to_identifier(name),
            kind=exp.DataType.build(kind, dialect="duckdb") if relation.query is None else None,
            constraints=[_column_comment(text, dialect)] if text and is_described else [],
        )
        for name, kind, text in relation.columns
    ]
    return exp.Create(
        this=exp.Schema(this=exp.to_table(relation.name), expressions=columns),
        kind=relation.kind,
        exists=relation.query is None,
        replace=relation.query is not None,
        expression=relation.query,
        properties=_comment(relation.description, dialect) if relation.description and is_described else None,
    )


def _comment(text: str, dialect: str) -> exp.Properties:
    literal = exp.Literal.string(text)
    if dialect == "bigquery":
        return exp.Properties(expressions=[exp.Property(this=exp.var("description"), value=literal)])
    return exp.Properties(expressions=[exp.SchemaCommentProperty(this=literal)])


def _column_comment(text: str, dialect: str) -> exp.ColumnConstraint:
    is_option = dialect == "bigquery"
    kind = _comment(text, dialect) if is_option else exp.CommentColumnConstraint(this=exp.Literal.string(text))
    return exp.ColumnConstraint(kind=kind)


def _comments(relation: _Relation) -> Iterator[exp.Comment]:
    targets: list[tuple[str, exp.Expression, str | None]] = [
        (relation.kind, exp.to_table(relation.name), relation.description)
    ]
    targets += [("COLUMN", exp.column(name, table=relation.name), text) for name, _, text in relation.columns]
    for kind, target, text in targets:
        if text:
            yield exp.Comment(this=target, kind=kind, expression=exp.Literal.string(text))


def _written(statement: exp.Expression, dialect: str) -> str:
    try:
        text = statement.sql(dialect=dialect, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
        sqlglot.parse_one(text, read=dialect)
    except SqlglotError as error:
        raise DuckspectError(f"{statement.this.sql()}: cannot be written for {dialect}: {error}") from error
    return f"{text};"
