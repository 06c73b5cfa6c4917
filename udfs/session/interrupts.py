"""Ending a query in the middle of a function's work.

DuckDB looks at its own flag only between calls of a function, and one call may score two thousand images. A connection
does not say from inside a call whether it was interrupted, so whoever interrupts it tells us: `interrupt(con)` first
stops what the session does for the connection, by the number that DuckDB gives it, then has DuckDB end the query.

A number can be asked for only while nothing runs, so connections are noted when they are made: by `connect()` and by
`cursor()`. In our own programs DuckDB's methods do the same (`udfs.session.host`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from udfs.session.host import wrap_connections

if TYPE_CHECKING:
    import duckdb

Stop = Callable[[int], None]
_watched: weakref.WeakKeyDictionary[Any, tuple[int, Stop]] = weakref.WeakKeyDictionary()


def watch(con: duckdb.DuckDBPyConnection, stop: Stop) -> None:
    """Call `stop` with the connection's number when it is interrupted."""
    wrap_connections(_stop, _watch_as)
    row = con.execute("select current_connection_id()").fetchone()
    if row:
        _watched[con] = (int(row[0]), stop)


def cursor(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Make a cursor that `interrupt` ends in the middle of a function; else it is as `con.cursor()`."""
    made = con.cursor()
    _watch_as(con, made)
    return made


def interrupt(con: duckdb.DuckDBPyConnection) -> None:
    """End the query that a connection runs, after the images at work.

    A connection that is neither of `connect()` nor of `cursor()` ends when the running call of a function does, as with
    `con.interrupt()`: a call has up to 2,048 images.
    """
    _stop(con)
    con.interrupt()


def _stop(con: duckdb.DuckDBPyConnection) -> None:
    if con in _watched:
        number, stop = _watched[con]
        stop(number)


def _watch_as(known: duckdb.DuckDBPyConnection, made: duckdb.DuckDBPyConnection) -> None:
    if known in _watched and made not in _watched:
        watch(made, _watched[known][1])
