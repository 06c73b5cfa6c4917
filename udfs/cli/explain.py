"""`duckspect explain` and `duckspect functions`: what a query would score, and what there is to score with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from models_py.errors import DuckspectError
from udfs import connect
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.cli.sql import read_query
from udfs.functions.catalogue import FUNCTIONS, Function, find_function


def explain(
    query: Annotated[
        str | None, typer.Argument(help="SQL to look at; - or nothing reads it from standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file.")] = None,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Say how many images a query would score, with which models, and how long that would take; nothing is scored.

    Example: duckspect explain "select detect(uri, 'pcb') from raw.inspections"
    """
    import duckdb

    from udfs.statements.explain import explain as estimate
    from udfs.statements.guard import check, hints

    text = read_query(query, file)
    check(text)
    with connect(warehouse, read_only=True) as con:
        try:
            found = estimate(con, text)
        except duckdb.Error as error:
            raise DuckspectError(str(error)) from error
    said = hints(text)
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


def functions(
    name: Annotated[str | None, typer.Argument(help="Only this function, with its arguments.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the SQL functions, or describe one.

    Example: duckspect functions detect
    """
    if name is not None:
        _show_function(name, as_json=as_json)
    elif as_json:
        emit_json([_described(item) for item in FUNCTIONS])
    else:
        emit_table(["function", "what it gives"], [[item.signature, item.title] for item in FUNCTIONS])


def _show_function(name: str, *, as_json: bool) -> None:
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
