"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from typing import IO, TYPE_CHECKING, Any

from udfs.cli.context import err, out

if TYPE_CHECKING:
    from rich.console import Console


def stderr() -> Console:
    from rich.console import Console

    return Console(file=err(), highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Say something to the person watching, not to the script reading."""
    print(text, file=err(), flush=True)


def emit(text: str) -> None:
    """Write a line of the result."""
    print(text, file=out(), flush=True)


def emit_json(value: Any) -> None:
    emit(json.dumps(value, indent=2, default=str))


def emit_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], stream: IO[bytes] | None = None) -> None:
    """Write rows as a table, numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    text = out() if stream is None or stream is getattr(out(), "buffer", None) else StringIO()
    console = Console(file=text, highlight=False)
    if not console.is_terminal:  # a pipe has no width to fit
        console.width = 10_000
    console.print(table)
    if stream is not None and isinstance(text, StringIO):
        stream.write(text.getvalue().encode())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
