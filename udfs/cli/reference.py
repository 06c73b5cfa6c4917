"""Writes docs/ from the lists the program itself runs on: `make docs`. A test fails when docs/ is behind."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import typer

from models_py.layouts import layouts
from models_py.warehouse import migrate
from udfs.cli._app import app

_MADE = "<!-- Made by `make docs`; edit the source it is made from. -->\n"


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "cli.md": "\n".join(_cli()),
        "layouts.md": "\n".join(_layouts()),
        "warehouse.md": "\n".join(_warehouse()),
    }


def _cli() -> Iterator[str]:
    yield f"{_MADE}\n# Commands\n"
    root = typer.main.get_command(app)
    context = root.make_context("duckspect", [], resilient_parsing=True)
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        text, _, example = inspect.cleandoc(command.help).partition("Example: ")
        yield f"## duckspect {name}\n\n{text.strip()}\n\n```\n{example.strip()}\n```\n"
        yield "| option | meaning |\n|---|---|"
        for parameter in command.params:
            spelled = (
                ", ".join(f"`{option}`" for option in parameter.opts)
                if parameter.opts[0][0] == "-"
                else f"`{parameter.name}`"
            )
            yield f"| {spelled} | {parameter.help} |"
        yield ""


def _layouts() -> Iterator[str]:
    yield f"{_MADE}\n# Layouts\n\nIn the order in which `duckspect ingest` tries to recognise them.\n"
    for layout in layouts():
        yield f"## {layout.name}: {layout.title}\n\n{inspect.cleandoc(layout.__doc__ or '')}\n"
        yield f"```\n{layout.example}\n```\n"


def _warehouse() -> Iterator[str]:
    yield f"{_MADE}\n# The warehouse\n"
    with duckdb.connect() as con:
        migrate(con)
        tables = con.execute(
            "select schema_name, table_name, comment from duckdb_tables() where schema_name in ('raw', 'ml') "
            "union all select schema_name, view_name, comment from duckdb_views() where schema_name in ('raw', 'ml') "
            "order by 1 desc, 2"
        ).fetchall()
        for schema, table, comment in tables:
            yield f"## {schema}.{table}\n\n{comment}.\n\n| column | type | meaning |\n|---|---|---|"
            yield from _columns(con, schema, table)
            yield ""


def _columns(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> Iterator[str]:
    rows = con.execute(
        "select column_name, lower(data_type), comment from duckdb_columns() "
        "where schema_name = ? and table_name = ? order by column_index",
        [schema, table],
    ).fetchall()
    for column, kind, comment in rows:
        yield f"| `{column}` | {kind} | {comment} |"


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
