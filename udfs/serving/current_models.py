"""Which loaded version answers a reference now: a new version as soon as it is loaded, until then the one before.

Before every verdict a query asks whether the registry has changed; all requests that wait share one such query. If it
has, references are resolved again. New operating points, and versions that are loaded already, are used at once. Any
other version is loaded in the background, and the previous one answers meanwhile. If loading fails, the previous
version stays in service, and loading is tried again after `_TRY_AGAIN` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from models_py.errors import DuckspectError
from udfs.runtime import LoadedModel, Query, Runtime
from udfs.threads import WorkerPool

if TYPE_CHECKING:
    import duckdb

    from models_py.registry import Version
    from udfs.runtime import Batcher

P = ParamSpec("P")
T = TypeVar("T")
_OUTSIDE = -1  # no connection of DuckDB has this number
_TRY_AGAIN = 30.0
_REFERENCES_KEPT = 32
_STATE = """
prepare duckspect_registry_state as
select count(*), max(epoch_us(created_at)) from ml.model_versions
union all
select count(*) + count(valid_to), max(epoch_us(valid_from)) from ml.alias_history
union all
select count(*), max(epoch_us(valid_from)) from ml.thresholds
union all
select count(*), max(epoch_us(compiled_at)) from ml.compiled_models
"""
"""Run before every verdict, so it is prepared once, which makes it take half a millisecond instead of two.

`epoch_us` around the columns is needed: for a bare max(column) DuckDB's planner inserts the value from the table's
statistics, and the prepared statement would return that value for ever.
"""
_log = logging.getLogger("duckspect.serve")


class UnavailableModelError(DuckspectError):
    """A registered version cannot be loaded, and no earlier one is in service."""


class CurrentModels:
    """Resolves references to loaded models, again whenever the registry has changed."""

    def __init__(self, runtime: Runtime, con: duckdb.DuckDBPyConnection) -> None:
        self._runtime = runtime
        self._con = con.cursor()
        self._con.execute(_STATE)
        self._registry = WorkerPool("registry", 1)  # a thread of its own, so that no other work delays a look-up
        self._state: object = None
        self._generation = 0
        self._found: OrderedDict[str, tuple[int, LoadedModel]] = OrderedDict()
        self._broken: dict[str, tuple[int, float]] = {}
        self._changes: dict[tuple[str, int], tuple[Future[Batcher], asyncio.Task[LoadedModel]]] = {}
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def find(self, reference: str) -> LoadedModel:
        """The loaded model that answers a reference now; RegistryError if there is no such model."""
        await self._look()
        generation, last = self._found.get(reference, (-1, None))
        if last is not None and (generation == self._generation or self._is_waiting(reference)):
            self._found.move_to_end(reference)
            return last
        change, is_loaded = await self._change(reference)
        # Shielded: if this client goes away, the change must go on, since other requests wait for it too.
        return last if last is not None and not is_loaded else await asyncio.shield(change)

    async def load(self, reference: str) -> LoadedModel:
        """As `find`, but wait for a version that is being loaded."""
        await self._look()
        change, _ = await self._change(reference)
        return await asyncio.shield(change)

    def last(self, reference: str) -> LoadedModel | None:
        """The model that answered a reference last, without asking the registry."""
        return self._found.get(reference, (0, None))[1]

    def close(self) -> None:
        """Stop asking the registry."""
        self._registry.shutdown()

    def _is_waiting(self, reference: str) -> bool:
        """Whether loading the version that should answer failed less than `_TRY_AGAIN` seconds ago."""
        generation, until = self._broken.get(reference, (-1, 0.0))
        return generation == self._generation and time.monotonic() < until

    async def _look(self) -> None:
        """Wait for a look at the registry that began after this call; all that wait at one time share it."""
        # A look that runs already may have read the registry before this call, so we wait for the one after it.
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._running))
        await asyncio.shield(self._next)

    async def _look_after(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        state = await self._in_registry_thread(self._read)
        if state != self._state:
            self._state = state
            self._generation += 1

    def _read(self) -> object:
        return self._con.execute("execute duckspect_registry_state").fetchall()

    async def _in_registry_thread(self, call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Call a function in the thread that asks the registry."""
        return await asyncio.get_running_loop().run_in_executor(self._registry, lambda: call(*given, **named))

    async def _change(self, reference: str) -> tuple[asyncio.Task[LoadedModel], bool]:
        """Begin to switch a reference to the version that it names now; return it and whether it is loaded already."""
        generation, models = self._generation, self._runtime.models
        version, points = await self._in_registry_thread(models.resolve, reference, Query(_OUTSIDE, generation), None)
        key = (reference, generation)
        if key not in self._changes:
            loading = models.load(version)
            change = asyncio.create_task(self._loaded(reference, generation, version, points, loading))
            self._changes[key] = loading, change
            change.add_done_callback(lambda done: self._forget(key, done))
        loading, change = self._changes[key]
        return change, loading.done()

    def _forget(self, key: tuple[str, int], change: asyncio.Task[LoadedModel]) -> None:
        del self._changes[key]
        if not change.cancelled():
            change.exception()  # marks it as retrieved, or asyncio logs it; those that wait get it too

    async def _loaded(
        self, reference: str, generation: int, version: Version, points: dict[str, float], loading: Future[Batcher]
    ) -> LoadedModel:
        """The version, once it is loaded; if it cannot be loaded, the one that answered before."""
        try:
            engine = await asyncio.wrap_future(loading)
        except Exception as error:
            last = self.last(reference)
            if not isinstance(error, DuckspectError):
                _log.exception("%s cannot be loaded", version.reference)
            if last is None:
                raise UnavailableModelError(f"{version.reference} cannot be loaded: {error}") from error
            self._broken[reference] = generation, time.monotonic() + _TRY_AGAIN
            _log.error("%s stays in service: %s", last.version.reference, error)
            return last
        served = LoadedModel(version, engine, points)
        if generation < self._found.get(reference, (-1, None))[0]:  # a later change was loaded first
            return served
        self._note(reference, version)
        self._broken.pop(reference, None)
        self._found[reference] = generation, served
        self._found.move_to_end(reference)
        while len(self._found) > _REFERENCES_KEPT:
            self._broken.pop(self._found.popitem(last=False)[0], None)
        return served

    def _note(self, reference: str, version: Version) -> None:
        last = self.last(reference)
        if last is not None and last.version != version:
            form = ", compiled" if version.compiled_sha256 else ""
            _log.info("%s is answered by %s now%s", reference, version.reference, form)

    @property
    def broken(self) -> list[str]:
        """References whose version cannot be loaded, so that an older one answers."""
        return sorted(self._broken)

    @property
    def serving(self) -> dict[str, LoadedModel]:
        """The model that answers each reference that clients have used."""
        return {reference: served for reference, (_, served) in dict(self._found).items()}
