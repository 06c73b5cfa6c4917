"""Estimate from its plan how much a query would do, and refuse too much before it begins.

Quack 1.5 can neither cancel a query nor tell that its client has gone, so it cannot be stopped later. Two things are
checked: how many rows the plan's steps go through, by DuckDB's estimates; and functions that make a long value out of a
short one, because DuckDB's memory limit does not count a single value.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import duckdb

from models_py.errors import DuckspectError

_MULTIPLYING = {"CROSS_PRODUCT", "NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN"}
_RECURSIVE = {"REC_CTE", "RECURSIVE_CTE", "REC_KEY_CTE", "RECURSIVE_KEY_CTE"}
_SECONDS_OF_PLANNING = 10.0
_GROWING = {
    "array_resize": (1,),
    "bitstring": (1,),
    "generate_series": (0, 1),
    "list_resize": (1,),
    "lpad": (1,),
    "range": (0, 1),
    "repeat": (1,),
    "rpad": (1,),
}
"""By function, the arguments that determine the length of its result."""
LONGEST_VALUE = 10_000


class CostlyError(DuckspectError):
    """A query that would go through more rows than its role may."""


class QueryCosts:
    """Limits queries by their plans; `rows` is how many rows a query of each role may go through, without it any."""

    def __init__(
        self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], rows: Mapping[str, float]
    ) -> None:
        self._cursor = cursor
        self._rows = rows

    def check(self, sql: str, role: str) -> None:
        """Raise CostlyError if a query is too large. One that cannot be planned passes: it fails when it runs."""
        most = self._rows.get(role)
        if most is None:
            return
        plan = self._plan(sql)
        if plan is None:
            return
        if any(name in _RECURSIVE for name in _names(plan)):
            raise CostlyError("WITH RECURSIVE is for admins: how long it goes on cannot be told before")
        _, rows = _rows(plan)
        if rows > most:
            raise CostlyError(
                f"by its plan it goes through {rows:.3g} rows, and a {role}'s may go through {most:.3g}; "
                "join on a key, or read fewer rows"
            )

    def _plan(self, sql: str) -> Any:
        with self._cursor() as con:
            impatient = threading.Timer(_SECONDS_OF_PLANNING, con.interrupt)
            impatient.start()
            try:
                row = con.execute(f"explain (format json) {sql}").fetchone()
            except duckdb.InterruptException as error:
                raise CostlyError(f"it cannot be planned within {_SECONDS_OF_PLANNING:g} s") from error
            except duckdb.Error:
                return None
            finally:
                impatient.cancel()
        return {"name": "", "children": json.loads(row[1])} if row else None


def check_call(name: str, arguments: list[Any]) -> None:
    """Refuse a call whose result may be very long: its length is large or is not a literal."""
    for place in _GROWING.get(name, ()):
        if place >= len(arguments):
            continue
        value = (arguments[place].get("value") or {}).get("value")
        if not isinstance(value, int | float) or abs(value) > LONGEST_VALUE:
            raise CostlyError(
                f"{name}() as a value must have a length that is written down, {LONGEST_VALUE:,} at most"
                + ("; as a table, as in `from range(100000)`, it has no such limit" if name == "range" else "")
            )


def _names(step: Any) -> Iterator[str]:
    yield str(step["name"]).strip()
    for child in step["children"]:
        yield from _names(child)


def _rows(step: Any) -> tuple[float, float]:
    """The rows that a step returns, and the rows that it and all steps below it go through.

    A step without an estimate adds nothing, unless it is a cross product.
    """
    below = [_rows(child) for child in step["children"]]
    widest = max((out for out, _ in below), default=0.0)
    through = sum(rows for _, rows in below)
    extra = step.get("extra_info")
    estimate = extra.get("Estimated Cardinality") if isinstance(extra, dict) else None
    if str(step["name"]).strip() in _MULTIPLYING:
        out = math.prod(max(out, 1.0) for out, _ in below)
        return out, through + out
    if estimate is None:
        return widest, through
    return float(estimate), through + float(estimate)
