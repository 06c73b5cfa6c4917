"""The SQL functions for Ibis, declared with their types: the query still runs in DuckDB.

>>> import ibis
>>> from udfs.functions.ibis_functions import detect
>>> images = ibis.table({"uri": "string"}, name="images")
>>> print(images.mutate(found=detect(images.uri, "pcb")).schema()["found"].value_type.names)
('label', 'confidence', 'x1', 'y1', 'x2', 'y2')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import ibis
import ibis.expr.datatypes as dt
from ibis.backends.sql.datatypes import DuckDBType
from ibis.common.deferred import deferrable

from udfs.functions.catalogue import FUNCTIONS, Argument, Function

_OPEN = ("image", "regions", "region")
"""Arguments of several types, such as a path or bytes, for which Ibis has no type: they are what they are given."""


@cache
def _declared(function: Function, given: tuple[dt.DataType, ...]) -> Callable[..., Any]:
    """Declare a function for what its open arguments are given."""
    types = iter(given)
    hints = {item.name: next(types) if item.name in _OPEN else _type(item.type) for item in function.arguments}

    def stub(*arguments: Any) -> Any:
        raise NotImplementedError

    stub.__name__ = stub.__qualname__ = function.name
    stub.__signature__ = _signature(function, hints)  # type: ignore[attr-defined]
    stub.__annotations__ = {**hints, "return": _type(function.returns)}
    # With its schema: sqlglot would write a bare predict() as BigQuery's statement of that name.
    declared: Callable[..., Any] = ibis.udf.scalar.builtin(stub, database="main")
    return declared


def _signature(function: Function, hints: dict[str, Any]) -> inspect.Signature:
    return inspect.Signature([_parameter(item, hints.get(item.name)) for item in function.arguments])


def _parameter(item: Argument, hint: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if item.default is None else _literal(item.default)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(item.name, kind, default=default, annotation=hint)


def _literal(sql: str) -> Any:
    return None if sql == "null" else float(sql)


def _type(sql: str) -> dt.DataType:
    return DuckDBType.from_string(sql)


def _function(function: Function) -> Callable[..., Any]:
    signature = _signature(function, {})

    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        values = {name: _value(value) for name, value in bound.arguments.items()}
        given = tuple(values[item.name].type() for item in function.arguments if item.name in _OPEN)
        return _declared(function, given)(**values)

    call.__name__ = call.__qualname__ = function.name
    call.__doc__ = f"{function.title}. {function.nulls}."
    call.__signature__ = signature  # type: ignore[attr-defined]
    made: Callable[..., Any] = deferrable(call)
    return made


def _value(value: Any) -> Any:
    return value if isinstance(value, ibis.Expr) or value is None else ibis.literal(value)


_FUNCTIONS = {function.name: _function(function) for function in FUNCTIONS if not function.is_table}
globals().update(_FUNCTIONS)
__all__ = tuple(_FUNCTIONS)
