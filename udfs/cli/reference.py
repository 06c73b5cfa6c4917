"""Writes docs/ from the lists the program itself runs on: `make docs`. A test fails when docs/ is behind."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import typer

from models_py.layouts import layouts
from models_py.model.architectures import TASKS, list_architectures
from models_py.model.options import describe
from models_py.task import options_of
from models_py.warehouse.database import migrate
from models_py.weights.sources import offered, with_default_trunk
from udfs.cli.app import app
from udfs.functions.catalogue import FUNCTIONS

_MADE = "<!-- Made by `make docs`; edit the source it is made from. -->\n"


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    return {
        "architectures.md": "\n".join(_architectures()),
        "cli.md": "\n".join(_cli()),
        "functions.md": "\n".join(_functions()),
        "layouts.md": "\n".join(_layouts()),
        "warehouse.md": "\n".join(_warehouse()),
    }


def _cli() -> Iterator[str]:
    yield f"{_MADE}\n# Commands\n"
    for name, command in commands():
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


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, those of groups included."""

    def walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        context = group.make_context("duckspect", [], resilient_parsing=True)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if hasattr(found, "list_commands"):
                yield from walk(found, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", found

    yield from walk(typer.main.get_command(app), "")


def function_table() -> str:
    """The table in docs/sql.md."""
    rows = [f"| `{item.signature}` | {item.title} |" for item in FUNCTIONS]
    return "\n".join(["| function | what it gives |", "|---|---|", *rows])


def _functions() -> Iterator[str]:
    yield f"{_MADE}\n# SQL functions\n"
    yield "Each is a macro in `sql/macros/`. NULL in, NULL out, unless it is said otherwise.\n"
    for item in FUNCTIONS:
        yield f"## {item.signature}\n\n{item.title}.\n\n| argument | type | default | meaning |\n|---|---|---|---|"
        for argument in item.arguments:
            yield f"| `{argument.name}` | {argument.type} | {argument.default or ''} | {argument.meaning} |"
        yield f"\nGives `{item.returns}`. {item.nulls[0].upper()}{item.nulls[1:]}.\n\n```sql\n{item.example};\n```\n"


def _architectures() -> Iterator[str]:
    yield f"{_MADE}\n# Architectures\n"
    yield "Without a GPU a task's default is the one that is marked so; with one it is the first that is not."
    yield "Of the weights, the best at hand are taken: see [training](training.md)."
    for task in TASKS:
        yield f"\n## {task}\n\n| architecture | what it is | weights |\n|---|---|---|"
        for item in list_architectures(task):
            title = f"{item.title}{' The default without a GPU.' * item.is_cpu_default}"
            yield f"| `{item.name}` | {title} | {', '.join(offered(with_default_trunk(item)))} |"
        yield "\n| option | default | meaning |\n|---|---|---|"
        for name, default, meaning in describe(options_of(task)):
            yield f"| `{name}` | {default} | {meaning} |"
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
