"""Long work on a warehouse: it is open for one short piece of work at a time, and others use it in between."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.errors import BusyWarehouseError, WarehouseError
from models_py.files.durable import write_file
from models_py.warehouse.database import (
    artifacts_folder,
    file_of,
    open_warehouse,
    runs_folder,
    transaction,
    warehouse_path,
)

if TYPE_CHECKING:
    import duckdb

PATIENCE = 3600.0
"""Seconds to wait with what must be written until another process has done its work."""
AT_FIRST = 10.0
"""Seconds to wait before anything was done: a reader is soon gone, a server is not."""
_STEP = 0.2

Say = Callable[[str], None]


def quiet(text: str) -> None:
    """Say nothing."""


def open_patiently(
    open_it: Callable[[], duckdb.DuckDBPyConnection], patience: float, say: Say = quiet
) -> duckdb.DuckDBPyConnection:
    """Open a warehouse; while another process has it, try again for so many seconds, and say so once."""
    until = time.monotonic() + patience
    is_said = False
    while True:
        try:
            return open_it()
        except BusyWarehouseError as error:
            if time.monotonic() >= until:
                raise
            if not is_said:
                say(f"{error.file} is in use by another process{error.holder}: waiting for it.")
                is_said = True
            time.sleep(_STEP)


class WarehouseAccess:
    """Opens a warehouse file for a short time, again and again."""

    def __init__(self, path: str | Path | None = None, *, patience: float = PATIENCE, pause: float = 1.0) -> None:
        self.file = warehouse_path(path)
        self.runs = runs_folder(path)
        self.patience = patience
        self.pause = pause
        """Seconds between two writes that can wait: to open a file takes a twentieth of one."""

    @contextmanager
    def connection(self, *, patience: float = 0.0, say: Say = quiet) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed afterwards; while another process has the warehouse, wait so long, and say so once."""
        con = open_patiently(self._open, patience, say)
        try:
            yield con
        finally:
            con.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        if not self.file.exists():
            raise WarehouseError(f"There is no warehouse at {self.file} any more. Put it back where it was.")
        return open_warehouse(self.file, patience=0)


class HeldConnection(WarehouseAccess):
    """The connection of a caller who keeps it open: nobody else is let in, and nobody is waited for."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        artifacts_folder(con)  # refuses a warehouse in memory
        super().__init__(file_of(con), patience=0.0, pause=0.0)
        self._con = con

    @contextmanager
    def connection(
        self,
        *,
        patience: float = 0.0,  # noqa: ARG002 - there is nobody to wait for
        say: Say = quiet,  # noqa: ARG002
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        yield self._con


def access_to(warehouse: duckdb.DuckDBPyConnection | WarehouseAccess) -> WarehouseAccess:
    """What a caller gave, as access."""
    return warehouse if isinstance(warehouse, WarehouseAccess) else HeldConnection(warehouse)


class PendingWrites:
    """Statements that may wait in memory while another process has the warehouse; they are written in order."""

    def __init__(self, access: WarehouseAccess) -> None:
        self._access = access
        self._waiting: list[tuple[str, list[Sequence[Any]]]] = []
        self._next = 0.0

    def add(self, statement: str, *rows: Sequence[Any], is_urgent: bool = False) -> None:
        """Write rows now if that is possible, else later; what is urgent is tried whenever the last try was."""
        self._waiting.append((statement, list(rows)))
        if is_urgent:
            self._next = 0.0
        self.try_now()

    def try_now(self) -> None:
        """Write what waits, unless somebody else writes or the last try was a moment ago."""
        if not self._waiting or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._access.pause
        try:
            with self._access.connection() as con:
                self.write(con)
        except BusyWarehouseError:
            return

    def save(self, file: Path) -> None:
        """Keep what could not be written in a file."""
        write_file(file, json.dumps(self._waiting, default=str).encode())

    def load(self, file: Path) -> None:
        """Take up what was kept in a file, if it is there."""
        if file.exists():
            self._waiting += [(statement, rows) for statement, rows in json.loads(file.read_text())]
            file.unlink()

    def finish(self, patience: float, say: Say = quiet) -> None:
        """Write what waits, once nobody else writes."""
        if self._waiting:
            with self._access.connection(patience=patience, say=say) as con:
                self.write(con)

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write what waits by a connection that is open."""
        if self._waiting:
            with transaction(con):
                for statement, rows in self._waiting:
                    con.executemany(statement, rows)
            self._waiting.clear()
