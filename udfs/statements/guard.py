"""What SQL with model calls should not do, found by reading it: views that would break, and work done too early."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from models_py.errors import DuckspectError
from udfs.functions.catalogue import Function, find_function


def parse(sql: str) -> list[exp.Expr]:
    """The statements; none where sqlglot does not understand what DuckDB may."""
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
    """Take predict() for a function: sqlglot reads and writes it as BigQuery's statement of that name."""
    if isinstance(node, exp.Predict):
        given = (node.this, node.args.get("expression"), node.args.get("params_struct"))
        return exp.Anonymous(this="predict", expressions=[item for item in given if item is not None])
    return node


def calls(expression: exp.Expr) -> Iterator[Function]:
    """The functions of the catalogue that an expression calls, tables included."""
    for node in expression.find_all(exp.Func):
        found = find_function(node.name) if isinstance(node, exp.Anonymous) else None
        if found is not None:
            yield found


def check(sql: str) -> None:
    """Refuse a view over the functions: every program without them would break on it."""
    for statement in parse(sql):
        if not isinstance(statement, exp.Create) or statement.kind != "VIEW":
            continue
        found = next(calls(statement), None)
        if found is not None:
            name = statement.this.sql(dialect="duckdb")
            raise DuckspectError(
                f"view {name}: calls {found.name}(), which only duckspect's sessions know, so it would break BI tools "
                f"and every other program that reads it. Store the rows instead: create table {name} as select ..., "
                f"or a dbt model materialized as a table."
            )


def hints(sql: str) -> list[str]:
    """Sentences on model calls in WHERE that run for more images than the query needs."""
    found: list[str] = []
    for statement in parse(sql):
        for select in statement.find_all(exp.Select):
            found += _before_joins(select)
    return found


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
