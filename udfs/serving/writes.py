"""Check a writer's SQL: it may change the schema `work`, and add rows to six tables of `raw`."""

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
"""The constraints allowed: rows also fulfil them in the copy for readers, in whatever order its tables are written."""
_OWN = "work"
"""The schema in which writers may do anything; all others belong to duckspect and dbt."""
_APPENDED = {"annotations", "images", "inspections", "rejected_files", "reviews", "templates"}
"""Tables of `raw` that a writer may add to. Not `files`, which says what may be read, nor what corrections replaced."""


class RefusedError(DuckspectError):
    """SQL that the client's role does not allow."""


def parse_write(sql: str) -> exp.Expr:
    """Parse the one statement; raise RefusedError if it is of a kind that writers may not use."""
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
    """Raise RefusedError for a change that writers may not make; return the tables that are only read."""
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
    """The tables that a statement changes, creates or drops; it only reads the others."""
    if isinstance(statement, exp.Transaction | exp.Commit | exp.Rollback):
        return []
    is_list = isinstance(statement, exp.Drop | exp.TruncateTable)
    found = list((statement if is_list else statement.this).find_all(exp.Table))
    if not found:
        raise RefusedError(f"{type(statement).__name__.upper()} of nothing that has a name")
    return found


def _has_properties(statement: exp.Expr) -> bool:
    """Whether the statement has TEMPORARY or any other property."""
    return any(statement.args.get(each) for each in ("properties", "temporary", "materialized", "concurrently"))


def _is_append(statement: exp.Expr) -> bool:
    """Whether a statement only adds rows and leaves existing ones unchanged."""
    if not isinstance(statement, exp.Insert):
        return False
    conflict = statement.args.get("conflict")
    is_kept = conflict is None or (str(conflict.args.get("action")).upper(), conflict.expressions) == ("DO NOTHING", [])
    return is_kept and str(statement.args.get("alternative") or "ignore").lower() == "ignore"
