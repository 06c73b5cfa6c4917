"""`interrupt()` of a connection reaches the functions that it runs.

DuckDB looks at its own flag only between calls of a function, and one call may score two thousand images. So the method
is wrapped, once for the class, since its instances take no attributes: it tells the session first, then DuckDB.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

Stop = Callable[[int], None]
_watched: weakref.WeakKeyDictionary[Any, tuple[int, Stop]] = weakref.WeakKeyDictionary()


def watch(con: duckdb.DuckDBPyConnection, stop: Stop) -> None:
    """Call `stop` with the connection's number when it, or a cursor of it, is interrupted."""
    kind = type(con)
    if not getattr(kind.interrupt, "tells_duckspect", False):
        kind.interrupt = _telling(kind.interrupt)  # type: ignore[method-assign]
        kind.cursor = _handing_on(kind.cursor)  # type: ignore[method-assign]
        kind.duplicate = _handing_on(kind.duplicate)  # type: ignore[method-assign]
    _remember(con, stop)


def _remember(con: duckdb.DuckDBPyConnection, stop: Stop) -> None:
    row = con.execute("select current_connection_id()").fetchone()
    if row:
        _watched[con] = (int(row[0]), stop)


def _telling(interrupt: Callable[..., None]) -> Callable[..., None]:
    def told(self: duckdb.DuckDBPyConnection) -> None:
        if self in _watched:
            number, stop = _watched[self]
            stop(number)
        interrupt(self)

    told.tells_duckspect = True  # type: ignore[attr-defined]
    told.__doc__ = interrupt.__doc__
    return told


def _handing_on(cursor: Callable[..., duckdb.DuckDBPyConnection]) -> Callable[..., duckdb.DuckDBPyConnection]:
    def handed(self: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        made = cursor(self)
        if self in _watched:
            _remember(made, _watched[self][1])
        return made

    handed.__doc__ = cursor.__doc__
    return handed
