"""How `duckspect explain` and `duckspect functions` look."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from models_py.errors import DuckspectError
from udfs import connect
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.functions.catalogue import FUNCTIONS, Function, find_function


def show_estimates(query: str, warehouse: Path | None, *, as_json: bool) -> None:
    """Print what a query asks of each model."""
    import duckdb

    from udfs.statements.explain import explain
    from udfs.statements.guard import check, hints

    check(query)
    with connect(warehouse, read_only=True) as con:
        try:
            found = explain(con, query)
        except duckdb.Error as error:
            raise DuckspectError(str(error)) from error
    said = hints(query)
    if as_json:
        emit_json({"models": [dataclasses.asdict(item) for item in found], "hints": said})
        return
    for hint in said:
        note(f"Hint: {hint}")
    if not found:
        emit("No model would be asked.")
        return
    columns = ["model", "device", "images", "in cache", "predicted before", "seconds"]
    rows = [
        [item.model, item.device, item.images, item.cached, item.predicted, _seconds(item.seconds)] for item in found
    ]
    emit_table(columns, rows)


def _seconds(value: float | None) -> str | float:
    return "unknown: never asked yet" if value is None else round(value, 1)


def show_functions(*, as_json: bool) -> None:
    """Print a line for every function."""
    if as_json:
        emit_json([_described(item) for item in FUNCTIONS])
        return
    emit_table(["function", "what it gives"], [[item.signature, item.title] for item in FUNCTIONS])


def show_function(name: str, *, as_json: bool) -> None:
    """Print all that is known of a function."""
    found = find_function(name)
    if found is None:
        raise DuckspectError(f"function: there is no {name!r}. Choose one of {', '.join(f.name for f in FUNCTIONS)}.")
    if as_json:
        emit_json(_described(found))
        return
    emit(f"{found.signature}\n    {found.title}.\n")
    emit_table(
        ["argument", "type", "default", "meaning"],
        [[item.name, item.type, item.default or "", item.meaning] for item in found.arguments],
    )
    emit(f"Gives   {found.returns}\nNULL    {found.nulls}.\nExample {found.example};")


def _described(function: Function) -> dict[str, Any]:
    return dataclasses.asdict(function) | {"signature": function.signature}
