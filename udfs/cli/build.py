"""What building and exporting say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models_py.errors import DuckspectError
from models_py.files.durable import write_file
from models_py.warehouse.database import sql_folder
from udfs import connect
from udfs.builds.assignments import doubts_about_assignments
from udfs.builds.build import build, check_views, limit_warnings, publish
from udfs.builds.export_sql import export_sql
from udfs.cli.context import folder
from udfs.cli.output import emit, emit_table, note
from udfs.cli.progress import display

_KINDS = (("model", "models"), ("test", "tests"), ("unit_test", "unit tests"), ("seed", "seeds"))


def run_build(warehouse: Path | None, arguments: Sequence[str], *, publishing: bool) -> None:
    """Build, say what went wrong, print the KPIs, and publish if all is well."""
    what = "Building with dbt"
    with display() as shown:

        def begin() -> None:
            shown.say(f"{what}.")
            shown.update(what)

        def progress(scored: int) -> None:
            shown.update(what, words=f"images asked about {scored:,} times" if scored else "")

        outcome = build(warehouse, arguments, folder=folder(), begin=begin, progress=progress)
    for warning in outcome.warnings:
        note(f"Warning: {warning}")
    if not outcome.is_good:
        failed = "\n  ".join(outcome.failures)
        kept = " Readers keep the copy they have." if publishing else ""
        raise DuckspectError(f"{len(outcome.failures)} of dbt's steps failed.{kept}\n  {failed}")
    counts = ", ".join(f"{outcome.succeeded[kind]} {words}" for kind, words in _KINDS if kind in outcome.succeeded)
    emit(f"Built in {outcome.seconds:.0f} s: {counts}, none failed.")
    if publishing:
        emit(f"Readers find it in {publish(warehouse).name}.")
    summarise(warehouse)


def summarise(warehouse: Path | None) -> None:
    """Print the plant's KPIs from the views, as any reader would query them."""
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


def write_sql(warehouse: Path | None, dialect: str, output: Path | None) -> None:
    """Write the statements to a file or to standard output."""
    with connect(warehouse, read_only=True) as con:
        statements = list(export_sql(con, dialect))
    text = "\n\n".join(statements)
    if output is None:
        emit(text)
        return
    try:
        write_file(output, f"{text}\n".encode())
    except OSError as error:
        raise DuckspectError(f"{output}: cannot be written: {error.strerror}.") from error
    emit(f"{output}: {len(statements)} statements for {dialect}.")
