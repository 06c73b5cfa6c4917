"""Quack, DuckDB's own protocol: any DuckDB attaches with a token, and its queries run in this process."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING

from models_py.errors import DuckspectError, WarehouseError
from udfs.serving.addresses import Address
from udfs.serving.authorize import SqlGuard
from udfs.serving.query_costs import CostlyError
from udfs.serving.tokens import Token, TokenFile
from udfs.serving.writes import RefusedError

if TYPE_CHECKING:
    import duckdb

_SESSIONS_KEPT = 10_000
_SHOWN = 200
_LOOK_EVERY = 0.05
_log = logging.getLogger("duckspect.serve")


def load_quack(con: duckdb.DuckDBPyConnection) -> None:
    """Load the extensions for the protocol and its encryption from their wheels, without a download."""
    import duckdb

    for name in ("httpfs", "quack"):
        try:
            places = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
            extension = places / f"{name}.duckdb_extension"
            if not extension.is_file():
                raise WarehouseError(
                    f"duckdb-extension-{name} is not for DuckDB {duckdb.__version__}. "
                    f"Install the one that is: pip install duckdb-extension-{name}=={duckdb.__version__}."
                )
        except ModuleNotFoundError as error:
            raise WarehouseError(
                f"Quack needs the package duckdb-extension-{name}: pip install 'duckspect[serve]'."
            ) from error
        con.execute("load '{}'".format(str(extension).replace("'", "''")))


class QuackServer:
    """A Quack server on the database of a connection; tokens and roles are checked on every query."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, address: Address, token_file: TokenFile, guard: SqlGuard
    ) -> None:
        self._con = con
        self._uri = f"quack:{address.host}:{address.port}"
        self._token_file = token_file
        self._guard = guard
        self._lock = Lock()
        self._sessions: OrderedDict[str, Token] = OrderedDict()
        self._is_draining = False
        self._on_query: Callable[[str, bool], None] | None = None

    def start(self, on_query: Callable[[str, bool], None]) -> None:
        """Listen; `on_query` is called for every query with the role and whether it was allowed."""
        import duckdb

        self._on_query = on_query
        load_quack(self._con)
        self._answer("authentication", self._authenticate, 3)
        self._answer("authorization", self._authorize, 2)
        self._con.execute("set global TimeZone = 'UTC'")
        # Otherwise a table name in a client's query could mean a Python variable of this process.
        self._con.execute("set global python_enable_replacements = false")
        try:
            self._con.execute(
                "from quack_serve($1, token := $2, allow_other_hostname := true)", [self._uri, secrets.token_hex(32)]
            ).fetchall()
        except duckdb.Error as error:
            raise DuckspectError(f"{self._uri}: cannot be listened on: {str(error).splitlines()[0]}") from error

    def stop(self, seconds: float) -> None:
        """Refuse new queries, wait for those that run, and stop listening."""
        self._is_draining = True
        until = time.monotonic() + seconds
        while self._is_busy() and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)
        self._con.execute("from quack_stop($1)", [self._uri]).fetchall()

    def _answer(self, what: str, call: Callable[..., bool], count: int) -> None:
        """Register a Python function as one of Quack's callbacks."""
        from duckdb.func import FunctionNullHandling

        name, text = f"duckspect_{what}", self._con.type("varchar")
        special = FunctionNullHandling.SPECIAL
        self._con.create_function(
            name, call, [text] * count, self._con.type("boolean"), null_handling=special, side_effects=True
        )
        self._con.execute(f"set global quack_{what}_function = '{name}'")

    def _count(self, role: str, *, is_allowed: bool) -> None:
        if self._on_query is not None:
            self._on_query(role, is_allowed)

    def _is_busy(self) -> bool:
        rows = self._con.execute("select state from quack_active_connections()").fetchall()
        return any(str(state).lower() in ("running", "active", "streaming") for (state,) in rows)

    def _authenticate(self, session: str | None, token: str | None, _server: str | None) -> bool:
        client = self._token_file.find(token or "")
        if client is None or session is None:
            _log.warning("refused: a Quack client with an unknown token")
            self._count("nobody", is_allowed=False)
            return False
        with self._lock:
            self._sessions[session] = client
            while len(self._sessions) > _SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        _log.info("%s (%s) attached over Quack", client.name, client.role)
        return True

    def _authorize(self, session: str | None, sql: str | None) -> bool:
        """Check a query. The protocol tells the client only that it was refused, so the reason goes to the log."""
        with self._lock:
            token = self._sessions.get(session or "")
        role = token.role if token else "nobody"
        try:
            if token is None or not self._token_file.holds(token):
                raise RefusedError("its token has been taken away; attach again")
            if self._is_draining:
                raise RefusedError("the server is stopping")
            self._guard.check(sql or "", token.role)
        except (RefusedError, CostlyError) as error:
            name = token.name if token else "somebody"
            _log.warning("refused: %s (%s) over Quack: %s: %s", name, role, error, _short(sql or ""))
            self._count(role, is_allowed=False)
            return False
        except Exception:  # noqa: BLE001 - a query that cannot be checked is refused
            _log.exception("refused: a query that could not be checked: %s", _short(sql or ""))
            self._count(role, is_allowed=False)
            return False
        self._count(role, is_allowed=True)
        return True


def _short(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
