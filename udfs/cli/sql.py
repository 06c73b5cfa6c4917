"""`duckspect sql`: a query and its rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from models_py.errors import DuckspectError
from udfs import connect
from udfs.cli.formats import Format
from udfs.cli.options import Warehouse


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
    from udfs.cli.rows import WRITERS, AnnouncedRows, execute, interruptible

    text = read_query(query, file)
    if format is Format.parquet and output is None and sys.stdout.isatty():
        raise DuckspectError("--format parquet: is not for a terminal. Add --output rows.parquet.")
    with connect(warehouse, read_only=not write) as con:

        def print_rows(done: Callable[[], None]) -> None:
            with _target(output) as stream:
                WRITERS[format](AnnouncedRows(execute(con, text), done), stream)

        interruptible(con, print_rows)


@contextmanager
def _target(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is written whole or not at all."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    from models_py.files.durable import replacing

    try:
        with replacing(output) as partial, partial.open("wb") as file:
            yield file
    except OSError as error:
        raise DuckspectError(f"--output: {output} cannot be written: {error.strerror}.") from error


def read_query(query: str | None, file: Path | None) -> str:
    """Take the SQL from the argument, a file or standard input."""
    if query is not None and file is not None:
        raise DuckspectError("sql: give the SQL as an argument or with --file, not both.")
    if file is not None:
        try:
            return file.read_text()
        except OSError as error:
            raise DuckspectError(f"--file: {file} cannot be read: {error.strerror}.") from error
    text = sys.stdin.read() if query in (None, "-") else query or ""
    if not text.strip():
        raise DuckspectError('sql: there is no SQL to run. Example: duckspect sql "from raw.images limit 5"')
    return text
