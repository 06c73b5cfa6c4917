"""`duckspect shell`, a small prompt: SQL until a semicolon, a few dot commands, history and completion."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models_py.errors import DuckspectError
from models_py.warehouse.database import warehouse_path
from udfs import connect
from udfs.cli.formats import Format
from udfs.cli.options import Warehouse
from udfs.cli.output import emit, note
from udfs.cli.sql import read_query

if TYPE_CHECKING:
    import duckdb

_PROMPT, _CONTINUED = "duckspect> ", "      ...> "
_DATABASE_OBJECTS = """
select schema_name || '.' || table_name from duckdb_tables() where not internal
union all select function_name from duckdb_functions() where function_type like '%macro' and not internal
"""


@dataclass(slots=True)
class ShellSession:
    """An open warehouse and how its answers are printed."""

    con: duckdb.DuckDBPyConnection
    format: Format = Format.table
    is_open: bool = True


def shell(
    read_only: Annotated[bool, typer.Option("--read-only", help="Leave the warehouse to other writers.")] = False,
    warehouse: Warehouse = None,
) -> None:
    """Type SQL at a prompt with history and completion; .help lists what else it knows.

    Example: duckspect shell --read-only
    """
    with connect(warehouse, read_only=read_only) as con, _history(con):
        session = ShellSession(con)
        if sys.stdin.isatty():
            note(f"{warehouse_path(warehouse)}. SQL ends with a semicolon; .help for help, .quit or Ctrl-D to leave.")
        for text in _statements():
            try:
                _answer(session, text)
            except DuckspectError as error:
                note(f"Error: {error}")
            except KeyboardInterrupt:
                note("Interrupted.")
            if not session.is_open:
                break


def _statements() -> Iterator[str]:
    """Yield dot commands and statements; Ctrl-C drops what was typed so far."""
    lines: list[str] = []
    while True:
        try:
            line = input(_CONTINUED if lines else _PROMPT) if sys.stdin.isatty() else _next_line()
        except KeyboardInterrupt:
            note("")
            lines = []
            continue
        except EOFError:
            break
        if not lines and line.strip().startswith("."):
            yield line.strip()
            continue
        lines.append(line)
        if _is_complete("\n".join(lines)):
            yield "\n".join(lines)
            lines = []
    if "".join(lines).strip():
        yield "\n".join(lines)


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _is_complete(text: str) -> bool:
    """Whether the text ends with a semicolon that ends a statement, not one in a string or a comment."""
    if not text.strip():
        return True
    import duckdb

    kinds = duckdb.tokenize(text)
    end = text.rstrip()
    return end.endswith(";") and (not kinds or kinds[-1][0] == len(end) - 1)


def _answer(session: ShellSession, text: str) -> None:
    if text.startswith("."):
        name, _, argument = text[1:].partition(" ")
        command = _COMMANDS.get(name)
        if command is None:
            raise DuckspectError(f".{name}: must be one of {', '.join('.' + known for known in _COMMANDS)}.")
        command(session, argument.strip())
    elif text.strip(" ;\n"):
        from udfs.cli.rows import interruptible

        interruptible(session.con, lambda done: _write(session, text, session.format, done))


def _write(session: ShellSession, query: str, format: Format, done: Callable[[], None]) -> None:  # noqa: A002
    from udfs.cli.rows import WRITERS, AnnouncedRows, execute

    WRITERS[format](AnnouncedRows(execute(session.con, query), done), sys.stdout.buffer)
    sys.stdout.flush()


def _help(_session: ShellSession, _: str) -> None:
    """List these commands."""
    for name, command in _COMMANDS.items():
        emit(f".{name:<8} {command.__doc__}")


def _tables(session: ShellSession, _: str) -> None:
    """List the tables and what each holds."""
    query = """
        select schema_name || '.' || table_name as "table", comment
        from duckdb_tables() where not internal order by all
    """
    _write(session, query, Format.table, lambda: None)


def _columns(session: ShellSession, table: str) -> None:
    """Describe a table: .columns raw.images."""
    schema, _, name = table.rpartition(".")
    query = (
        "select column_name, data_type, comment from duckdb_columns() "
        f"where table_name = '{name.replace(chr(39), '')}' and schema_name = '{schema.replace(chr(39), '') or 'main'}'"
    )
    _write(session, query, Format.table, lambda: None)


def _mode(session: ShellSession, name: str) -> None:
    """Print answers as table, csv or json: .mode json."""
    names = [known.value for known in Format if known is not Format.parquet]
    if name not in names:
        raise DuckspectError(f".mode: must be one of {', '.join(names)}, but got {name!r}.")
    session.format = Format(name)


def _read(session: ShellSession, file: str) -> None:
    """Run the SQL in a file: .read sql/queries/x.sql."""
    _answer(session, read_query(None, Path(file)))


def _quit(session: ShellSession, _: str) -> None:
    """Leave."""
    session.is_open = False


_COMMANDS: dict[str, Callable[[ShellSession, str], None]] = {
    "help": _help,
    "tables": _tables,
    "columns": _columns,
    "mode": _mode,
    "read": _read,
    "quit": _quit,
}


@contextlib.contextmanager
def _history(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep what was typed between sessions, and complete names of tables and functions, where the terminal can."""
    try:
        import readline
    except ImportError:  # a Python built without it
        yield
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "duckspect"
    file = state / "history"
    if sys.stdin.isatty():
        with contextlib.suppress(OSError):
            readline.read_history_file(file)
        names = [row[0] for row in con.execute(_DATABASE_OBJECTS).fetchall()]
        readline.set_completer_delims(" \t\n,()=")
        readline.set_completer(lambda text, state: ([n for n in names if n.startswith(text)] + [None])[state])
        readline.parse_and_bind("tab: complete")
    yield
    if sys.stdin.isatty():
        with contextlib.suppress(OSError):
            state.mkdir(parents=True, exist_ok=True)
            readline.set_history_length(5000)
            readline.write_history_file(file)
