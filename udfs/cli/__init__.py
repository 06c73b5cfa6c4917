"""The `duckspect` command. Modules import what is heavy inside the functions, so that help is instant."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from udfs.cli.app import app
from udfs.cli.run import say_error, sentence_of

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
        if (words := sentence_of(error)) is None:
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


def _fail(message: str) -> NoReturn:
    sys.exit(say_error(message))
