"""Access to a warehouse for long work, such as a training: the file is open only while something is read or written.

DuckDB lets one process write a file, and keeps all others out while it does. A training that held the file for hours
would therefore stop ingestion, builds and every query. So it opens the file, writes, and closes it again:

- `WarehouseAccess.connection()` opens the file for one `with` block, and waits while another process has it.
- `PendingWrites` keeps rows in memory that can wait (epochs, trials). It tries to write at most once per `pause`; while
  another process has the file, the rows stay in memory, in order, and the next call tries again.
- `HeldConnection` is the same interface over a connection that a caller keeps open, as in a notebook or a test.
"""

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
    features_folder,
    file_of,
    open_warehouse,
    runs_folder,
    transaction,
    warehouse_path,
)

if TYPE_CHECKING:
    import duckdb

PATIENCE = 3600.0
"""Seconds to wait for another process at the end of work whose results must not be lost."""
AT_FIRST = 10.0
"""Seconds to wait at the start of work: a short command ends within them, and for a server it is of no use to wait."""
_STEP = 0.2

Say = Callable[[str], None]


def quiet(text: str) -> None:
    """The default for `say`: do nothing."""


def open_patiently(
    open_it: Callable[[], duckdb.DuckDBPyConnection], patience: float, say: Say = quiet
) -> duckdb.DuckDBPyConnection:
    """Open a warehouse; while another process has it, retry for up to `patience` seconds and report the wait once."""
    deadline = time.monotonic() + patience
    is_reported = False
    while True:
        try:
            return open_it()
        except BusyWarehouseError as error:
            if time.monotonic() >= deadline:
                raise
            if not is_reported:
                say(f"{error.file} is in use by another process{error.holder}: waiting for it.")
                is_reported = True
            time.sleep(_STEP)


class WarehouseAccess:
    """Opens a warehouse file for one `with` block at a time."""

    def __init__(self, path: str | Path | None = None, *, patience: float = PATIENCE, pause: float = 1.0) -> None:
        self.file = warehouse_path(path)
        self.runs = runs_folder(path)
        self.features = features_folder(path)
        self.patience = patience
        self.pause = pause
        """Least seconds between two writes that can wait. Opening the file takes about 0.05 s."""

    @contextmanager
    def connection(self, *, patience: float = 0.0, say: Say = quiet) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection and close it afterwards; wait up to `patience` seconds for another process."""
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
    """A connection that the caller keeps open: no other process can have the file, so nothing ever waits."""

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
    """Accept either a connection or an access, and return an access."""
    return warehouse if isinstance(warehouse, WarehouseAccess) else HeldConnection(warehouse)


class PendingWrites:
    """Statements that wait in memory while another process has the warehouse, and are then written in order."""

    def __init__(self, access: WarehouseAccess) -> None:
        self._access = access
        self._waiting: list[tuple[str, list[Sequence[Any]]]] = []
        self._next_try = 0.0

    @property
    def are_waiting(self) -> bool:
        """Whether there is anything that is not written yet."""
        return bool(self._waiting)

    def add(self, statement: str, *rows: Sequence[Any], is_urgent: bool = False) -> None:
        """Write rows now if possible, else later. Urgent rows are tried at once, even within the pause."""
        self._waiting.append((statement, list(rows)))
        if is_urgent:
            self._next_try = 0.0
        self.try_now()

    def try_now(self) -> None:
        """Write what waits, unless another process has the warehouse or the last try is less than a pause ago."""
        if not self._waiting or time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + self._access.pause
        try:
            with self._access.connection() as con:
                self.write(con)
        except BusyWarehouseError:
            return

    def save(self, file: Path) -> None:
        """Save the statements that could not be written to a file."""
        write_file(file, json.dumps(self._waiting, default=str).encode())

    def load(self, file: Path) -> None:
        """Add the statements that `save` put into a file, if it exists, and remove the file."""
        if file.exists():
            self._waiting += [(statement, rows) for statement, rows in json.loads(file.read_text())]
            file.unlink()

    def finish(self, patience: float, say: Say = quiet) -> None:
        """Write what waits, as soon as no other process has the warehouse."""
        if self._waiting:
            with self._access.connection(patience=patience, say=say) as con:
                self.write(con)

    def write(self, con: duckdb.DuckDBPyConnection) -> None:
        """Write what waits through an open connection."""
        if self._waiting:
            # The list is emptied only after the commit, so that a failed write is tried again.
            with transaction(con):
                for statement, rows in self._waiting:
                    con.executemany(statement, rows)
            self._waiting.clear()
