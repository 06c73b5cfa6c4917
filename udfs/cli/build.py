"""`duckspect build`, `publish` and `export-sql`: the dbt project, and what it makes for readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from models_py.errors import DuckspectError
from models_py.warehouse.database import sql_folder
from udfs import connect
from udfs.cli.context import folder
from udfs.cli.options import Warehouse
from udfs.cli.output import emit, emit_table, note
from udfs.cli.progress import display

_KINDS = (("model", "models"), ("test", "tests"), ("unit_test", "unit tests"), ("seed", "seeds"))


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
    arguments = ["--full-refresh"] if full_refresh else []
    arguments += [word for item in select or [] for word in ("--select", item)]
    arguments += ["--vars", variables] if variables else []
    run_build(warehouse, arguments, publishing=publishing)


def publish(warehouse: Warehouse = None) -> None:
    """Copy the warehouse for readers beside it, in place of their last copy at once.

    Example: duckspect publish
    """
    from udfs.builds.build import publish as copy

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
    from models_py.files.durable import write_file
    from udfs.builds.export_sql import export_sql as write

    with connect(warehouse, read_only=True) as con:
        statements = list(write(con, dialect))
    text = "\n\n".join(statements)
    if output is None:
        emit(text)
        return
    try:
        write_file(output, f"{text}\n".encode())
    except OSError as error:
        raise DuckspectError(f"{output}: cannot be written: {error.strerror}.") from error
    emit(f"{output}: {len(statements)} statements for {dialect}.")


def run_build(warehouse: Path | None, arguments: Sequence[str], *, publishing: bool) -> None:
    """Build, say what went wrong, print the KPIs, and publish if all is well."""
    from udfs.builds.build import build as run_dbt
    from udfs.builds.build import publish as copy

    what = "Building with dbt"
    with display() as shown:

        def begin() -> None:
            shown.say(f"{what}.")
            shown.update(what)

        def progress(scored: int) -> None:
            shown.update(what, words=f"images asked about {scored:,} times" if scored else "")

        outcome = run_dbt(warehouse, arguments, folder=folder(), begin=begin, progress=progress)
    for warning in outcome.warnings:
        note(f"Warning: {warning}")
    if not outcome.is_good:
        failed = "\n  ".join(outcome.failures)
        kept = " Readers keep the copy they have." if publishing else ""
        raise DuckspectError(f"{len(outcome.failures)} of dbt's steps failed.{kept}\n  {failed}")
    counts = ", ".join(f"{outcome.succeeded[kind]} {words}" for kind, words in _KINDS if kind in outcome.succeeded)
    emit(f"Built in {outcome.seconds:.0f} s: {counts}, none failed.")
    if publishing:
        emit(f"Readers find it in {copy(warehouse).name}.")
    _summarise(warehouse)


def _summarise(warehouse: Path | None) -> None:
    """Print the plant's KPIs from the views, as any reader would query them."""
    from udfs.builds.assignments import doubts_about_assignments
    from udfs.builds.build import check_views, limit_warnings

    file = sql_folder() / "queries" / "kpis_of_the_plant.sql"
    with connect(warehouse, read_only=True) as con:
        built = con.execute(
            "select 1 from duckdb_views() where view_name = 'kpi_summary' and schema_name = 'main'"
        ).fetchone()
        if built is None:  # a selection left it out
            return
        check_views(con)
        found = con.execute(file.read_text())
        columns = [column[0] for column in found.description or ()]
        rows = found.fetchall()
        for sentence in doubts_about_assignments(con) + limit_warnings(con):
            note(f"Warning: {sentence}")
    emit(f"\nKPIs, from sql/queries/{file.name}:")
    emit_table(columns, rows)
