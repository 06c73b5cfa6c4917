"""Find mistakes in SQL with model calls: views that other programs cannot read, and calls for too many images."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from models_py.errors import DuckspectError
from udfs.functions.catalogue import Function, find_function


def parse(sql: str) -> list[exp.Expr]:
    """Parse SQL into statements; an empty list if sqlglot cannot parse it, which DuckDB may still do."""
    quiet = logging.getLogger("sqlglot")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        return [statement.transform(_plain) for statement in sqlglot.parse(sql, dialect="duckdb") if statement]
    except SqlglotError:
        return []
    finally:
        quiet.setLevel(level)


def _plain(node: exp.Expr) -> exp.Expr:
    """Parse predict() as a plain function: sqlglot otherwise reads and writes BigQuery's PREDICT(MODEL ...)."""
    if isinstance(node, exp.Predict):
        given = (node.this, node.args.get("expression"), node.args.get("params_struct"))
        return exp.Anonymous(this="predict", expressions=[item for item in given if item is not None])
    return node


def calls(expression: exp.Expr) -> Iterator[Function]:
    """Our functions that an expression calls, including table functions."""
    for node in expression.find_all(exp.Func):
        called = find_function(node.name) if isinstance(node, exp.Anonymous) else None
        if called is not None:
            yield called


def check(sql: str) -> None:
    """Refuse a view that calls our functions: programs without them, such as BI tools, cannot read it."""
    for statement in parse(sql):
        if not isinstance(statement, exp.Create) or statement.kind != "VIEW":
            continue
        called = next(calls(statement), None)
        if called is not None:
            name = statement.this.sql(dialect="duckdb")
            raise DuckspectError(
                f"view {name}: calls {called.name}(), which only duckspect's sessions know, so it would break BI tools "
                f"and every other program that reads it. Store the rows instead: create table {name} as select ..., "
                f"or a dbt model materialized as a table."
            )


def hints(sql: str) -> list[str]:
    """Hints about model calls in WHERE that run for more images than the query needs."""
    messages: list[str] = []
    for statement in parse(sql):
        for select in statement.find_all(exp.Select):
            messages += _before_joins(select)
    return messages


def _before_joins(select: exp.Select) -> Iterator[str]:
    where = select.args.get("where")
    called = where and next((item for item in calls(where) if item.is_model), None)
    tables = [join.this for join in select.args.get("joins") or [] if isinstance(join.this, exp.Table | exp.Subquery)]
    if called and tables:
        names = ", ".join(table.alias_or_name or "a subquery" for table in tables)
        yield (
            f"{called.name}() in WHERE runs before the join with {names}, for rows that the join may drop. Join "
            f"first: with chosen as materialized (select ... join ...) select ... from chosen where {called.name}(...)"
        )
