"""The `duckspect` command. Modules import what is heavy inside the functions, so that help is instant."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

from udfs.cli.app import app
from udfs.cli.context import CommandContext, on_behalf_of

if TYPE_CHECKING:
    from models_py.errors import BusyWarehouseError


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence and exit status 1, never in a traceback."""
    from models_py.errors import BusyWarehouseError
    from udfs.session.host import prepare_process

    prepare_process()
    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):  # both leave everything in order
        signal.signal(number, interrupt)
    try:
        app()
    except SystemExit:
        if interrupted:
            sys.exit(128 + interrupted[0])
        raise
    except BusyWarehouseError as error:
        _hand_over(error)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if (words := _sentence(error)) is None:
            raise
        _fail(words)


def _hand_over(error: BusyWarehouseError) -> None:
    """Have the server of the warehouse run the command, if it is a server that has it open."""
    from models_py.errors import DuckspectError
    from udfs.serving.handover import hand_over

    streams = {"out": sys.stdout, "err": sys.stderr}

    def write(name: str, text: str) -> None:
        streams[name].write(text)
        streams[name].flush()

    try:
        status = hand_over(error.file, sys.argv[1:], write)
    except DuckspectError as failure:
        _fail(str(failure))
    else:
        if status is None:
            _fail(str(error))
        sys.exit(status)


def run_for(arguments: Sequence[str], folder: Path, out: TextIO, err: TextIO, *, warehouse: Path | None = None) -> int:
    """Run a command of another process in this one, where others go on, and return its exit status."""
    with on_behalf_of(CommandContext(folder, out, err, warehouse)):
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        status = app(list(arguments), standalone_mode=False)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if (words := _sentence(error)) is not None:
            return _say(words)
        import logging

        logging.getLogger("duckspect").exception("a command failed")
        return _say(f"{type(error).__name__}: {error}")
    return status if isinstance(status, int) else 0


def _sentence(error: Exception) -> str | None:
    """What a user is told of an error that he can mend; None of any other."""
    from models_py.errors import DuckspectError
    from models_py.files.full_disk import full_disk

    full = full_disk(error)
    if isinstance(error, DuckspectError):
        return f"{error} {full}" if full is not None and full is not error else str(error)
    return None if full is None else str(full)


def _fail(message: str) -> NoReturn:
    sys.exit(_say(message))


def _say(message: str) -> int:
    from udfs.cli.output import stderr

    stderr().print("[bold red]Error:[/] ", end="")
    stderr().print(message, markup=False)
    return 1
