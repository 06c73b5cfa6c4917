"""Start and stop the server: one session with HTTP and Quack, and a shutdown that finishes what was accepted.

The parts are put on one `ExitStack` in the order in which they depend on each other, so that they are closed in
reverse: first no more commands and requests, then Quack, then the journal, which is moved into the warehouse, and at
last the connection.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import uvicorn

from models_py.errors import DuckspectError
from models_py.warehouse.database import files_folder, warehouse_path
from udfs import connect
from udfs.serving.addresses import Address
from udfs.serving.app import application
from udfs.serving.authorize import SqlGuard
from udfs.serving.current_models import CurrentModels
from udfs.serving.handover import CommandServer, Run
from udfs.serving.header_timeout import impatient
from udfs.serving.inspection_service import InspectionService
from udfs.serving.interpreter import share_fairly
from udfs.serving.kept_images import KeptImages
from udfs.serving.quack import QuackServer
from udfs.serving.request_gate import App, RequestLimits
from udfs.serving.routes import ServerParts
from udfs.serving.server_metrics import ServerMetrics
from udfs.serving.tokens import TokenFile, read_tokens
from udfs.session.session import Session
from udfs.verdicts.journal import VerdictJournal, journal_folder

if TYPE_CHECKING:
    import duckdb

_CHAMPIONS = "select distinct name from ml.model_aliases where alias = 'champion' order by name"
_UNTRIED = """
select distinct name from ml.model_aliases join ml.model_versions using (name, version)
where alias = 'champion' and artifact_sha256 not in (select artifact_sha256 from ml.compiled_models) order by name
"""
_LOOK_EVERY = 0.1
_OTHER_FILES = 256
_log = logging.getLogger("duckspect.serve")


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """Limits for SQL: the database's memory and temporary files, and by role the rows that a query may go through."""

    memory_bytes: int = field(default_factory=lambda: _memory() // 2)
    temporary_bytes: int = 10 << 30
    rows: Mapping[str, float] = field(default_factory=lambda: {"reader": 1e9, "writer": 1e10})

    def apply(self, con: duckdb.DuckDBPyConnection) -> None:
        """Set the limits of a database."""
        con.execute(f"set global memory_limit = '{self.memory_bytes} B'")
        con.execute(f"set global max_temp_directory_size = '{self.temporary_bytes} B'")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of `duckspect serve`."""

    warehouse: Path | None
    tokens: Path
    http: Address | None
    quack: Address | None
    keeps_images: bool = True
    limits: RequestLimits = field(default_factory=RequestLimits)
    sql: SqlLimits = field(default_factory=SqlLimits)
    drain_seconds: float = 30.0


def serve(options: ServerOptions, run: Run, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `run` runs commands that other processes hand over."""
    if not read_tokens(options.tokens):
        raise DuckspectError(
            f"{options.tokens}: holds no token, so nobody could ask anything. "
            f"Make one: `duckspect tokens add line1 --role writer`."
        )
    _log_to_stderr()
    warehouse = warehouse_path(options.warehouse)
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(options.http)) if options.http else None
        con = stack.enter_context(connect(warehouse))
        options.sql.apply(con)
        session = Session.of(con)
        journal = VerdictJournal(session.cursor, journal_folder(warehouse))
        stack.callback(journal.close)
        meters = ServerMetrics()
        meters.kept.set_function(lambda: session.runtime().cached_bytes)
        keyring = TokenFile(options.tokens)
        if options.quack:
            quack = QuackServer(con, options.quack, keyring, SqlGuard(session.cursor, options.sql.rows))
            quack.start(meters.asked)
            stack.callback(quack.stop, options.drain_seconds)
            say(f"Quack  quack:{options.quack.host}:{options.quack.port}")
        models = CurrentModels(session.runtime(), con)
        stack.callback(models.close)
        images = KeptImages(files_folder(warehouse) / "served", session.uris) if options.keeps_images else None
        inspections = InspectionService(session.runtime(), models, journal, images, meters, session.uris)
        app = application(ServerParts(session, inspections, models, meters), keyring, options.limits)

        settings = uvicorn.Config(app, loop="auto", log_config=None)
        runner = stack.enter_context(asyncio.Runner(loop_factory=settings.get_loop_factory()))

        def run_settled(arguments: Sequence[str], folder: Path, out: TextIO, err: TextIO) -> int:
            journal.flush()  # a build sees every verdict that was acknowledged before it
            status = run(arguments, folder, out, err)
            _settle(runner.get_loop(), _warm(models, session))  # what it promoted answers the next request
            return status

        control = CommandServer(warehouse, run_settled)
        stack.callback(control.close)
        if untried := [name for (name,) in con.execute(_UNTRIED).fetchall()]:
            say(f"{', '.join(untried)}: may answer faster after `duckspect models compile`, also while this runs.")
        runner.run(_run(app, listener, options, lambda: _warm(models, session), say))
        say("Stopping: what is at work is finished first.")


@contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    """The server's socket, bound first, so that an address in use is reported at once."""
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family, backlog=1024)
    except OSError as error:
        raise DuckspectError(f"{address.host}:{address.port}: cannot be listened on: {error.strerror}.") from error
    with listener:
        yield listener


def _memory() -> int:
    """The memory in bytes that this process may use; DuckDB's default limit is four fifths of it."""
    import duckdb

    with duckdb.connect() as con:
        row = con.execute("select current_setting('memory_limit')").fetchone()
    number, unit = str(row[0] if row else "4 GiB").split()
    units = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
    return int(float(number) * units[unit] / 0.8)


async def _warm(models: CurrentModels, session: Session) -> None:
    """Load the champions, so that the first client need not wait; a model that cannot be loaded is skipped."""
    with session.cursor() as con:
        names = [name for (name,) in con.execute(_CHAMPIONS).fetchall()]
    for name in dict.fromkeys([*names, *models.serving]):
        try:
            await models.load(name)
        except DuckspectError as error:
            _log.error("%s cannot be served: %s", name, error)


def _settle(loop: asyncio.AbstractEventLoop, work: Coroutine[object, object, None]) -> None:
    """Run a coroutine on the event loop from another thread, and wait for it."""
    if not loop.is_running():
        work.close()
        return
    done = asyncio.run_coroutine_threadsafe(work, loop)
    while loop.is_running() and not wait([done], _LOOK_EVERY).done:
        pass


async def _run(
    app: App,
    listener: socket.socket | None,
    options: ServerOptions,
    warm: Callable[[], Awaitable[None]],
    say: Callable[[str], None],
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await warm()
    share_fairly()
    if listener is None:
        say("Ready.")
        await stopping.wait()
        return
    server = _HttpServer(
        uvicorn.Config(
            app,
            http=impatient(options.limits.header_seconds),
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(options.drain_seconds),
            limit_concurrency=_most_connections(options.limits.at_once),
        )
    )
    serving = asyncio.create_task(server.serve([listener]))
    host, port = listener.getsockname()[:2]
    say(f"HTTP   http://{f'[{host}]' if ':' in host else host}:{port}/docs")
    say("Ready.")
    await asyncio.wait([serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving


def _most_connections(at_once: int) -> int:
    """The number of connections to accept: each is an open file, and the warehouse and images need some as well."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(2 * at_once, min(16 * at_once, files - _OTHER_FILES))


class _HttpServer(uvicorn.Server):
    """Uvicorn's server without its signal handling: it would raise the signal again before we have stored anything."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logger = logging.getLogger("duckspect")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
