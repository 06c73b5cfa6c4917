"""The `duckspect` command. Modules import what is heavy inside the functions, so that help is instant."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from udfs.cli._app import app


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence and exit status 1, never in a traceback."""
    from models_py.errors import DuckspectError

    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        app()
    except SystemExit:
        if interrupted:
            sys.exit(130)
        raise
    except DuckspectError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str) -> None:
    from udfs.cli._output import stderr

    stderr().print("[bold red]Error:[/] ", end="")
    stderr().print(message, markup=False)
    sys.exit(1)
