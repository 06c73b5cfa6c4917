"""Commands that ask the warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli._data import AsJson, Warehouse
from udfs.cli.formats import Format


def sql(
    query: Annotated[str | None, typer.Argument(help="SQL to run; - or nothing reads it from standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file.")] = None,
    format: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.table,  # noqa: A002 - the option's name
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Allow the SQL to change the warehouse.")] = False,
    warehouse: Warehouse = None,
) -> None:
    """Run SQL on the warehouse and print a table, CSV, JSON or Parquet.

    Example: duckspect sql "select label, count(*) from raw.annotations group by label" --format csv
    """
    from udfs.cli._sql import read_query, run_query

    run_query(read_query(query, file), warehouse, format, output, write=write)


def shell(
    read_only: Annotated[bool, typer.Option("--read-only", help="Leave the warehouse to other writers.")] = False,
    warehouse: Warehouse = None,
) -> None:
    """Type SQL at a prompt with history and completion; .help lists what else it knows.

    Example: duckspect shell --read-only
    """
    from udfs.cli._shell import run_shell

    run_shell(warehouse, read_only=read_only)


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
    from udfs.cli._explain import show_estimates
    from udfs.cli._sql import read_query

    show_estimates(read_query(query, file), warehouse, as_json=as_json)


def functions(
    name: Annotated[str | None, typer.Argument(help="Only this function, with its arguments.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the SQL functions, or describe one.

    Example: duckspect functions detect
    """
    from udfs.cli._explain import show_function, show_functions

    if name is None:
        show_functions(as_json=as_json)
    else:
        show_function(name, as_json=as_json)
