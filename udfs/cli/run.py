"""Running a command for another process, and what a user is told of an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from udfs.cli.context import CommandContext, on_behalf_of


def run_for(
    command: Callable[..., Any],
    arguments: Sequence[str],
    folder: Path,
    out: TextIO,
    err: TextIO,
    *,
    warehouse: Path | None = None,
) -> int:
    """Run a command line of another process in this one, where others go on, and return its exit status.

    `command` is the whole of `duckspect`; without `--warehouse` it is for `warehouse`, if there is one.
    """
    with on_behalf_of(CommandContext(folder, out, err, warehouse)):
        return _run(command, arguments)


def _run(command: Callable[..., Any], arguments: Sequence[str]) -> int:
    try:
        status = command(list(arguments), standalone_mode=False)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if (words := sentence_of(error)) is not None:
            return say_error(words)
        logging.getLogger("duckspect").exception("a command failed")
        return say_error(f"{type(error).__name__}: {error}")
    return status if isinstance(status, int) else 0


def sentence_of(error: Exception) -> str | None:
    """What a user is told of an error that he can mend; None of any other."""
    from models_py.errors import DuckspectError
    from models_py.files.full_disk import full_disk

    full = full_disk(error)
    if isinstance(error, DuckspectError):
        return f"{error} {full}" if full is not None and full is not error else str(error)
    return None if full is None else str(full)


def say_error(message: str) -> int:
    """Say that a command failed, and return its exit status."""
    from udfs.cli.output import stderr

    stderr().print("[bold red]Error:[/] ", end="")
    stderr().print(message, markup=False)
    return 1
