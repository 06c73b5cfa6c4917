"""What a writer's SQL may change: one schema, and the tables of `raw` that inspections are made of, by adding rows."""

from __future__ import annotations

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from models_py.errors import DuckspectError
from udfs.statements import guard

_WRITES = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.TruncateTable,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
)
_MADE = {"TABLE", "VIEW"}
_COPIED = (
    exp.DefaultColumnConstraint,
    exp.NotNullColumnConstraint,
    exp.PrimaryKeyColumnConstraint,
    exp.UniqueColumnConstraint,
)
"""Constraints that rows also meet in the copy for readers, in whatever order it is written."""
_OWN = "work"
"""The schema that writers may do with as they like; all others are duckspect's and dbt's."""
_APPENDED = {"annotations", "images", "inspections", "rejected_files", "reviews", "templates"}
"""Tables of `raw` that a writer may add to. Not `files`, which says what may be read, nor what corrections replaced."""


class RefusedError(DuckspectError):
    """SQL that the client's role does not allow."""


def parse_write(sql: str) -> exp.Expr:
    """The one statement, if it is of a kind that writers may use."""
    try:
        statements = parse(sql, dialect="duckdb")
    except SqlglotError as error:
        raise RefusedError(f"it cannot be checked: {str(error).splitlines()[0]}") from error
    if len(statements) != 1 or statements[0] is None:
        raise RefusedError("one statement at a time")
    statement = statements[0]
    kind = str(statement.args.get("kind") or "").upper()
    is_change = isinstance(statement, exp.Create | exp.Drop) and kind in _MADE and not _has_properties(statement)
    if not isinstance(statement, _WRITES) and not is_change:
        raise RefusedError(f"a writer may not {type(statement).__name__.upper()} {kind}".rstrip())
    return statement


def check_changes(sql: str, statement: exp.Expr, database: str) -> list[exp.Table]:
    """Raise RefusedError for a change that is not a writer's to make; return the tables that are only read."""
    targets = _targets(statement)
    for target in targets:
        _check_target(statement, target, database)
    for constraint in statement.find_all(exp.ColumnConstraintKind, exp.Reference, exp.ForeignKey):
        if not isinstance(constraint, _COPIED):
            raise RefusedError(
                f"{constraint.sql(dialect='duckdb')} may stop the copy for readers; a table of {_OWN} may have "
                "NOT NULL, DEFAULT, PRIMARY KEY and UNIQUE"
            )
    try:
        guard.check(sql)
    except DuckspectError as error:
        raise RefusedError(str(error)) from error
    changed = {id(target) for target in targets}
    return [table for table in statement.find_all(exp.Table) if id(table) not in changed]


def _check_target(statement: exp.Expr, target: exp.Table, database: str) -> None:
    schema, name = target.db.lower(), target.name.lower()
    is_here = target.catalog.lower() in ("", database)
    if is_here and schema == _OWN and name:
        return
    if is_here and schema == "raw" and name in _APPENDED and _is_append(statement):
        return
    what = f"{type(statement).__name__.upper()} {target.sql(dialect='duckdb')}"
    raise RefusedError(
        f"a writer may not {what}: it may change what is in the schema {_OWN} (named in full, {_OWN}.notes), "
        f"and add rows to {', '.join(sorted(_APPENDED))} of raw"
    )


def _targets(statement: exp.Expr) -> list[exp.Table]:
    """The tables that a statement changes, makes or drops; the rest of those in it are read."""
    if isinstance(statement, exp.Transaction | exp.Commit | exp.Rollback):
        return []
    is_list = isinstance(statement, exp.Drop | exp.TruncateTable)
    found = list((statement if is_list else statement.this).find_all(exp.Table))
    if not found:
        raise RefusedError(f"{type(statement).__name__.upper()} of nothing that has a name")
    return found


def _has_properties(statement: exp.Expr) -> bool:
    """Whether it says TEMPORARY, or anything else beside the name."""
    return any(statement.args.get(each) for each in ("properties", "temporary", "materialized", "concurrently"))


def _is_append(statement: exp.Expr) -> bool:
    """Whether a statement adds rows, and leaves those that are there as they are."""
    if not isinstance(statement, exp.Insert):
        return False
    conflict = statement.args.get("conflict")
    is_kept = conflict is None or (str(conflict.args.get("action")).upper(), conflict.expressions) == ("DO NOTHING", [])
    return is_kept and str(statement.args.get("alternative") or "ignore").lower() == "ignore"
