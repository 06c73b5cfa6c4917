"""Run commands for a served warehouse inside the server, since only its process may write the file.

A command (`duckspect ingest`, say) sends its arguments and its current folder through a Unix socket, and prints what
comes back. Commands run one at a time. Each client's request is read in a thread of its own before it waits for its
turn, so that a client that sends nothing delays nobody. The server changes neither its current folder nor its standard
output for a command: both are passed to the command as arguments.

The socket is in a folder that only its user may open, and that user could stop the server and write the file anyway.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from models_py.errors import DuckspectError
from udfs.threads import WorkerThread

COMMANDS = ("backup", "build", "golden", "info", "ingest", "models", "publish", "relocate", "review")
"""The commands that may run in a server; training may not, because clients would get no processor time."""
Run = Callable[[Sequence[str], Path, TextIO, TextIO], int]
"""Runs a command for another process: its arguments, its folder, and streams to its standard output and error."""
_LONGEST = 1 << 20
_PATIENCE = 5.0
_LONGEST_PAUSE = 60.0
_log = logging.getLogger("duckspect.serve")


def _folder() -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    folder = base / f"duckspect-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise DuckspectError(f"{folder}: is not a folder that only you can open. Delete it, or set XDG_RUNTIME_DIR.")
    return folder


def _place(warehouse: Path) -> Path:
    """The path of a warehouse's socket: named by a hash, since a socket's path has at most about 100 characters."""
    return _folder() / f"{hashlib.sha256(os.fsencode(warehouse.resolve())).hexdigest()[:24]}.sock"


def hand_over(warehouse: Path, arguments: Sequence[str], write: Callable[[str, str], None]) -> int | None:
    """Let the server of a warehouse run a command; return its exit status, or None if there is no server."""
    if not arguments or arguments[0] not in COMMANDS:
        return None
    if "--watch" in arguments:
        raise DuckspectError(
            f"{warehouse}: is being served, and a watch would hold up all other commands there. Have a timer run "
            "`duckspect ingest` without --watch, every minute say."
        )
    order = {"arguments": list(arguments), "folder": os.getcwd(), "warehouse": os.fspath(warehouse)}
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(_place(warehouse)))
            client.sendall(json.dumps(order).encode() + b"\n")
            for line in client.makefile("r", encoding="utf-8"):
                name, value = json.loads(line)
                if name == "exit":
                    return int(value)
                write(name, value)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    raise DuckspectError("The server stopped before the command was done.")


class CommandServer:
    """Listens for commands, and runs one at a time."""

    def __init__(self, warehouse: Path, run: Run, patience: float = _PATIENCE) -> None:
        self._run = run
        self._patience = patience
        self._running = ""
        self._is_closing = False
        self._place = _place(warehouse)
        self._busy = threading.Lock()
        self._place.unlink(missing_ok=True)  # left by a killed server, which cannot run: we have the warehouse
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(self._place))
        self._place.chmod(0o600)
        self._listener.listen()
        WorkerThread("control", self._accept, self._begin, is_vital=False)

    def close(self) -> None:
        """Take no more commands, wait for the one that runs, and refuse those that wait."""
        self._is_closing = True
        self._listener.close()
        self._place.unlink(missing_ok=True)
        with self._busy:  # held by the command that runs, so this waits for its end
            pass

    def _accept(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except OSError:
            if self._listener.fileno() < 0:  # `close` was called
                return None
            raise

    def _begin(self, client: socket.socket) -> None:
        threading.Thread(target=self._attend, args=(client,), name="duckspect-command", daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        """Read a client's command, wait for its turn, and run it."""
        try:
            with client, client.makefile("rwb") as stream:
                client.settimeout(self._patience)
                order = json.loads(stream.readline(_LONGEST))
                client.settimeout(_LONGEST_PAUSE)  # from here on we only send
                self._take_turn(stream, [str(word) for word in order["arguments"]], Path(order["folder"]))
        except (OSError, ValueError, KeyError, TypeError) as error:  # the client is gone, or sent something else
            _log.warning("a command was not completed: %s", error)

    def _take_turn(self, stream: io.BufferedRWPair, arguments: Sequence[str], folder: Path) -> None:
        err = _ClientStream(stream, "err")
        if not self._busy.acquire(blocking=False):
            err.write(f"The server is busy with `duckspect {self._running}`; this comes next.\n")
            self._busy.acquire()
        try:
            if self._is_closing:
                err.write("Error: The server is stopping. Run the command again.\n")
                _send(stream, "exit", 1)
                return
            err.write("")  # raises if the client is gone, so that its command does not run
            self._running = " ".join(arguments)
            _log.info("command: duckspect %s", self._running)
            _send(stream, "exit", self._status(arguments, folder, _ClientStream(stream, "out"), err))
        finally:
            self._busy.release()

    def _status(self, arguments: Sequence[str], folder: Path, out: TextIO, err: TextIO) -> int:
        """Run a command; its client gets any error, and always an end."""
        try:
            return self._run(arguments, folder, out, err)
        except Exception as error:  # noqa: BLE001 - after any error the client waits for an end
            _log.exception("a command failed")
            err.write(f"Error: {type(error).__name__}: {error}\n")
            return 1


class _ClientStream(io.TextIOBase, TextIO):
    """A text stream that sends every write to the client at once."""

    def __init__(self, stream: io.BufferedRWPair, name: str) -> None:
        self._stream = stream
        self._name = name

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        _send(self._stream, self._name, text)
        return len(text)


def _send(stream: io.BufferedRWPair, name: str, value: object) -> None:
    stream.write(json.dumps([name, value]).encode() + b"\n")
    stream.flush()
