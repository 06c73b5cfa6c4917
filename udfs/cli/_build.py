"""Commands around the dbt project: build, publish, export-sql."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli._data import Warehouse


def build(
    select: Annotated[list[str] | None, typer.Option("--select", "-s", help="dbt selection. Repeatable.")] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Make every table anew; what was scored stays scored.")
    ] = False,
    variables: Annotated[
        str | None, typer.Option("--vars", help="dbt variables as YAML, such as '{retrain: [pcb]}'.")
    ] = None,
    publishing: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Give readers a copy when all is well.")
    ] = True,
    warehouse: Warehouse = None,
) -> None:
    """Score what is new, build and test every table and KPI view with dbt, and publish a copy for readers.

    Example: duckspect build --vars '{retrain: [pcb]}'
    """
    from udfs.cli.build import run_build

    arguments = ["--full-refresh"] if full_refresh else []
    arguments += [word for item in select or [] for word in ("--select", item)]
    arguments += ["--vars", variables] if variables else []
    run_build(warehouse, arguments, publishing=publishing)


def publish(warehouse: Warehouse = None) -> None:
    """Copy the warehouse for readers beside it, in place of their last copy at once.

    Example: duckspect publish
    """
    from udfs.builds.build import publish as copy
    from udfs.cli.output import emit

    emit(f"Readers find the warehouse as it is now in {copy(warehouse)}.")


def export_sql(
    dialect: Annotated[str, typer.Option(help="snowflake, bigquery, databricks or postgres.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if left out.")
    ] = None,
    warehouse: Warehouse = None,
) -> None:
    """Write the KPI views, the tables that they read and the dimensions, with their comments, for another warehouse.

    Example: duckspect export-sql --dialect postgres --output kpi.sql
    """
    from udfs.cli.build import write_sql

    write_sql(warehouse, dialect, output)
