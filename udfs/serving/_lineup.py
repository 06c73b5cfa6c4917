"""Which version answers a reference now: a promotion holds from the next request on, a broken artifact for none."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from models_py.errors import DuckspectError, RegistryError
from udfs.runtime import Query, Runtime, Served

if TYPE_CHECKING:
    import duckdb

_OUTSIDE = -1  # no connection of DuckDB has this number
_TRY_AGAIN = 30.0
_STATE = """
prepare duckspect_registry_state as
select count(*), max(created_at) from ml.model_versions
union all
select count(*) + count(valid_to), max(valid_from) from ml.alias_history
union all
select count(*), max(valid_from) from ml.thresholds
union all
select count(*), max(compiled_at) from ml.compiled_models
"""
"""Asked before every verdict, so it is planned once: a quarter of a millisecond instead of two."""
_log = logging.getLogger("duckspect.serve")


class UnavailableModelError(DuckspectError):
    """A registered version cannot be loaded, and no earlier one is in service."""


class Lineup:
    """References to models at work, looked up again as soon as the registry has changed."""

    def __init__(self, runtime: Runtime, con: duckdb.DuckDBPyConnection) -> None:
        self._runtime = runtime
        self._con = con.cursor()
        self._con.execute(_STATE)
        self._state: object = None
        self._generation = 0
        self._found: dict[str, tuple[int, Served]] = {}
        self._broken: dict[str, tuple[int, float]] = {}
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def find(self, reference: str) -> Served:
        """The model of a reference as the registry names it at this moment; RegistryError if there is none."""
        await self._look()
        generation, served = self._found.get(reference, (-1, None))
        if served is not None and (generation == self._generation or self._is_waiting(reference)):
            return served
        return await asyncio.to_thread(self._load, reference, self._generation)

    def last(self, reference: str) -> Served | None:
        """What answered a reference last."""
        return self._found.get(reference, (0, None))[1]

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
        state = await asyncio.to_thread(self._read)
        if state != self._state:
            self._state = state
            self._generation += 1

    def _read(self) -> object:
        return self._con.execute("execute duckspect_registry_state").fetchall()

    def _load(self, reference: str, generation: int) -> Served:
        query = Query(_OUTSIDE, generation)
        self._runtime.models.resolve(reference, query, None)  # an unknown name is the client's mistake
        try:
            served = self._runtime.models.serve(reference, query, None)
        except RegistryError as error:
            _, last = self._found.get(reference, (-1, None))
            if last is None:
                raise UnavailableModelError(str(error)) from error
            self._broken[reference] = generation, time.monotonic() + _TRY_AGAIN
            _log.error("%s stays in service: %s", last.version.reference, error)
            return last
        previous = self._found.get(reference)
        if previous is not None and previous[1].version != served.version:
            form = ", compiled" if served.version.compiled_sha256 else ""
            _log.info("%s is answered by %s now%s", reference, served.version.reference, form)
        self._found[reference] = generation, served
        self._broken.pop(reference, None)
        return served

    @property
    def broken(self) -> list[str]:
        """References whose version cannot be loaded, while an older one answers."""
        return sorted(self._broken)

    @property
    def serving(self) -> dict[str, Served]:
        """What answers each reference that was asked for."""
        return {reference: served for reference, (_, served) in self._found.items()}
