"""A session is an ordinary DuckDB connection to a warehouse whose schema is up to date, with the SQL functions."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import WarehouseError
from models_py.warehouse.location import stored_uris
from udfs.functions.call_counts import CallCounts
from udfs.session.host import share_cores, use_one_thread_of_opencv

if TYPE_CHECKING:
    import duckdb

    from udfs.runtime import Runtime

_IMAGE_FOLDERS = r"select distinct parse_dirpath(regexp_replace(uri, '^(https?://[^?#]*).*', '\1')) from raw.files"


def connect(
    path: str | Path | None = None, *, read_only: bool = False, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the warehouse (the argument, else `DUCKSPECT_WAREHOUSE`, else `warehouse.duckdb`), made if it is missing.

    `threads` are DuckDB's, for everybody in this process who has the warehouse open; left out they stay as they are.
    """
    from models_py.warehouse.database import open_warehouse

    con = open_warehouse(path, read_only=read_only)
    try:
        equip(con, read_only=read_only, threads=threads)
    except BaseException:
        con.close()
        raise
    return con


def equip(con: duckdb.DuckDBPyConnection, *, read_only: bool = False, threads: int | None = None) -> Session:
    """Give the SQL functions to a connection, and with it to every other one to the same database."""
    from udfs.functions.macros import install
    from udfs.functions.register import register
    from udfs.session.interrupts import watch

    session = Session.find(con)
    if session is None or threads is not None:
        share_cores(con, threads)
    if session is None:
        session = Session(con, read_only=read_only)
        session.keep(register(con, session.runtime, session.call_counts))
        weakref.finalize(con, session.rest)
        session.recover(con)
    watch(con, session.stop)
    install(con, read_only=read_only)
    return session


_sessions: dict[str, Session] = {}
"""By database. A file that is opened anew has lost its functions, and gets a new session in place of the old one."""
_in_memory: list[Session] = []
"""Two databases in memory may have one name, so their functions are kept for good; they are small without models."""


class Session:
    """What the functions of one database share; it holds no connection open that its user has closed."""

    @staticmethod
    def find(con: duckdb.DuckDBPyConnection) -> Session | None:
        """The session of a connection's database, if it has one."""
        known = con.execute("select 1 from duckdb_functions() where function_name = 'duckspect_predict'").fetchone()
        return _sessions.get(_database(con)[1]) if known else None

    @staticmethod
    def is_held_here(path: Path) -> bool:
        """Whether this process has a warehouse open, so that no other can."""
        session = _sessions.get(str(path))
        con = None if session is None else session._con()
        if con is None:
            return False
        import duckdb

        try:
            con.execute("select 1")
        except duckdb.ConnectionException:  # closed
            return False
        return True

    @staticmethod
    def of(con: duckdb.DuckDBPyConnection) -> Session:
        """The session of a connection's database."""
        found = Session.find(con)
        if found is None:
            raise WarehouseError("This connection has no SQL functions. Open the warehouse with udfs.connect(path).")
        return found

    def __init__(self, con: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        self._path, self.database = _database(con)
        self.call_counts = CallCounts()
        self.uris = stored_uris(con)
        self._read_only = read_only
        self._con = weakref.ref(con)
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._functions: Sequence[object] = ()

    def recover(self, con: duckdb.DuckDBPyConnection) -> None:
        """Take in verdicts of a server that was killed, and say of trainings that were that they are over."""
        if self._path is not None and not self._read_only:
            from models_py.registry import stop_dead_runs
            from udfs.verdicts.journal import recover

            recover(con, self._path)
            stop_dead_runs(con)

    def runtime(self) -> Runtime:
        """Made at the first call, for it loads torch."""
        with self._lock:
            found = self._runtime
            if found is None:
                from udfs.runtime import Runtime

                use_one_thread_of_opencv()
                found = self._runtime = Runtime(self.cursor, self._folders, self.uris, is_writable=not self._read_only)
            return found

    def keep(self, functions: Sequence[object]) -> None:
        """Keep the functions alive for as long as DuckDB may call them."""
        self._functions = functions
        _sessions[self.database] = self
        if self._path is None:
            _in_memory.append(self)

    def rest(self) -> None:
        """Let go of models and threads; another connection to the database that goes on makes them again.

        Without the lock: this runs whenever Python collects the connection, also in a thread that holds it.
        """
        self._runtime = None

    def stop(self, connection: int) -> None:
        """Stop what a connection has the functions do."""
        if self._runtime is not None:
            with self.cursor() as con:  # the next query's transaction is younger than this one
                row = con.execute("select txid_current()").fetchone()
            self._runtime.calls.stop(connection, int(row[0]) if row else 0)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the same database; it sees what is committed."""
        cursor = self._open()
        try:
            yield cursor
        finally:
            cursor.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        con = self._con()
        try:
            if con is not None:
                return con.cursor()
        except duckdb.ConnectionException:  # closed, while a cursor of it goes on
            if self._path is None:
                raise
        return duckdb.connect(self._path or ":memory:", read_only=self._read_only)

    def _folders(self) -> list[str]:
        from models_py.warehouse.database import files_folder

        with self.cursor() as con:
            known = [str(folder) for (folder,) in con.execute(_IMAGE_FOLDERS).fetchall()]
        found = list(self.uris.folders(known))
        return [*found, str(files_folder(self._path))] if self._path else found


def _database(con: duckdb.DuckDBPyConnection) -> tuple[str | None, str]:
    """The file of a database, and what tells it from others: a database in memory is its first connection's."""
    row = con.execute(
        "select path, database_oid from duckdb_databases() where database_name = current_database()"
    ).fetchone()
    path, number = row or (None, 0)
    return path, path or f":memory:{number}"
