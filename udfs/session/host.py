"""What belongs to the whole process, and so is changed only in programs of our own.

`udfs.connect()` works in a notebook or in somebody's server as well, where others use DuckDB, OpenCV and Pillow too.
There it changes nothing of theirs. The command line, the server, the dashboard and dbt, where it is the program, call
`prepare_process()` first; what they gain by it, and how others do, is in docs/python.md.

The settings are made when the library is in use, never at the start, since most commands need none of them.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_FEW_CORES = 2
_is_ours = threading.Event()


def prepare_process() -> None:
    """Say that this process is a program of ours, alone with its libraries."""
    if not _is_ours.is_set():
        _is_ours.set()
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd images, which the program speaks of itself


def is_ours() -> bool:
    """Whether the process is a program of ours."""
    return _is_ours.is_set()


def share_cores(con: duckdb.DuckDBPyConnection, threads: int | None) -> None:
    """Give DuckDB so many threads; in our own programs, unless it is said, one of two cores.

    Its client keeps a core busy waiting whenever another of its threads works, and torch needs two.
    """
    if threads is None and is_ours() and (os.cpu_count() or 1) <= _FEW_CORES:
        threads = 1
    if threads is not None:
        con.execute(f"set threads = {int(threads)}")


def use_one_thread_of_opencv() -> None:
    """Many images are decoded at once, so threads for one of them only get in the way."""
    if is_ours():
        import cv2

        cv2.setNumThreads(1)


Interrupt = Callable[[Any], None]
Cursor = Callable[[Any], Any]


def wrap_connections(before_interrupt: Callable[[Any], None], after_cursor: Callable[[Any, Any], None]) -> None:
    """Have `interrupt()` and `cursor()` of DuckDB's connections say what they do, as dbt calls no others.

    For the class, since its instances take no attributes and are made by DuckDB alone.
    """
    import duckdb

    kind = duckdb.DuckDBPyConnection
    if not is_ours() or hasattr(kind.interrupt, "__wrapped__"):
        return
    wrapped = {"interrupt": _telling(kind.interrupt, before_interrupt)}
    wrapped |= {name: _handing_on(getattr(kind, name), after_cursor) for name in ("cursor", "duplicate")}
    for name, method in wrapped.items():
        setattr(kind, name, method)


def _telling(interrupt: Interrupt, before: Callable[[Any], None]) -> Interrupt:
    def interrupt_and_tell(self: Any) -> None:
        before(self)
        interrupt(self)

    interrupt_and_tell.__wrapped__ = interrupt  # type: ignore[attr-defined]
    interrupt_and_tell.__doc__ = interrupt.__doc__
    return interrupt_and_tell


def _handing_on(cursor: Cursor, after: Callable[[Any, Any], None]) -> Cursor:
    def cursor_and_tell(self: Any) -> Any:
        made = cursor(self)
        after(self, made)
        return made

    cursor_and_tell.__doc__ = cursor.__doc__
    return cursor_and_tell
