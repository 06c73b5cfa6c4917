"""Aliases such as `champion`: which version each names now, and which it named before."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class AliasPeriod:
    """One period in which an alias named a version."""

    alias: str
    version: int
    valid_from: datetime
    valid_to: datetime | None
    changed_by: str
    reason: str


def aliases(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, int]:
    """The current aliases of a model, with their versions."""
    rows = con.execute("select alias, version from ml.model_aliases where name = ? order by alias", [name]).fetchall()
    return {str(alias): int(version) for alias, version in rows}


def history(con: duckdb.DuckDBPyConnection, name: str) -> list[AliasPeriod]:
    """Every change of a model's aliases, oldest first."""
    rows = con.execute(
        "select alias, version, valid_from, valid_to, changed_by, reason from ml.alias_history where name = ? "
        "order by valid_from, alias",
        [name],
    ).fetchall()
    return [AliasPeriod(*row) for row in rows]


def point(con: duckdb.DuckDBPyConnection, name: str, alias: str, version: int | None, reason: str) -> None:
    """Make an alias name a version, or none, from now on; the caller must have begun a transaction."""
    con.execute(
        "update ml.alias_history set valid_to = now() where name = ? and alias = ? and valid_to is null", [name, alias]
    )
    if version is not None:
        con.execute(
            "insert into ml.alias_history values (?, ?, ?, now(), null, ?, ?)", [name, alias, version, who(), reason]
        )


CHAMPION, CHALLENGER = "champion", "challenger"


def who() -> str:
    """The name of the user who runs this process, for reasons and histories."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"
