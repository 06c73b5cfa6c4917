"""Which version answers a reference now: a new one as soon as it is loaded, and until then the one before it.

Before every verdict the registry is asked whether it has changed. If it has, references are looked up again: new
operating points, and versions that are loaded already, hold at once. A version that must be loaded first is loaded in
the background, while what answered so far goes on; if it cannot be loaded, that stays, and is tried again later.
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
"""Asked before every verdict, so it is planned once: half a millisecond instead of two.

Without a function around the column DuckDB would put in what it knows of the table when it plans, and never look again.
"""
_log = logging.getLogger("duckspect.serve")


class UnavailableModelError(DuckspectError):
    """A registered version cannot be loaded, and no earlier one is in service."""


class CurrentModels:
    """References to models at work, looked up again as soon as the registry has changed."""

    def __init__(self, runtime: Runtime, con: duckdb.DuckDBPyConnection) -> None:
        self._runtime = runtime
        self._con = con.cursor()
        self._con.execute(_STATE)
        self._registry = WorkerPool("registry", 1)  # nobody else's work is in front of a look
        self._state: object = None
        self._generation = 0
        self._found: OrderedDict[str, tuple[int, LoadedModel]] = OrderedDict()
        self._broken: dict[str, tuple[int, float]] = {}
        self._changes: dict[tuple[str, int], tuple[Future[Batcher], asyncio.Task[LoadedModel]]] = {}
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def find(self, reference: str) -> LoadedModel:
        """What answers a reference now; RegistryError if there is no such model."""
        await self._look()
        generation, last = self._found.get(reference, (-1, None))
        if last is not None and (generation == self._generation or self._is_waiting(reference)):
            self._found.move_to_end(reference)
            return last
        change, is_loaded = await self._change(reference)
        return last if last is not None and not is_loaded else await asyncio.shield(change)

    async def load(self, reference: str) -> LoadedModel:
        """As `find`, but wait for a version that is on its way."""
        await self._look()
        change, _ = await self._change(reference)
        return await asyncio.shield(change)

    def last(self, reference: str) -> LoadedModel | None:
        """What answered a reference last."""
        return self._found.get(reference, (0, None))[1]

    def close(self) -> None:
        """Ask the registry nothing more."""
        self._registry.shutdown()

    def _is_waiting(self, reference: str) -> bool:
        """Whether the version that should answer was broken a moment ago."""
        generation, until = self._broken.get(reference, (-1, 0.0))
        return generation == self._generation and time.monotonic() < until

    async def _look(self) -> None:
        """Wait for a look at the registry that began after this call; all who wait at once share one."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._running))
        await asyncio.shield(self._next)

    async def _look_after(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        state = await self._asked(self._read)
        if state != self._state:
            self._state = state
            self._generation += 1

    def _read(self) -> object:
        return self._con.execute("execute duckspect_registry_state").fetchall()

    async def _asked(self, call: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """What a function says that asks the registry."""
        return await asyncio.get_running_loop().run_in_executor(self._registry, lambda: call(*given, **named))

    async def _change(self, reference: str) -> tuple[asyncio.Task[LoadedModel], bool]:
        """The change of a reference to the version that it names now, and whether that is loaded already."""
        generation, models = self._generation, self._runtime.models
        version, points = await self._asked(models.resolve, reference, Query(_OUTSIDE, generation), None)
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
            change.exception()  # whoever waits has it

    async def _loaded(
        self, reference: str, generation: int, version: Version, points: dict[str, float], loading: Future[Batcher]
    ) -> LoadedModel:
        """What answers once the version is loaded: that, or if it cannot be loaded what answered so far."""
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
        if generation < self._found.get(reference, (-1, None))[0]:  # a later change was loaded sooner
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
        """References whose version cannot be loaded, while an older one answers."""
        return sorted(self._broken)

    @property
    def serving(self) -> dict[str, LoadedModel]:
        """What answers each reference that was asked for."""
        return {reference: served for reference, (_, served) in dict(self._found).items()}
