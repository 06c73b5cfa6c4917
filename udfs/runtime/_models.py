"""From a reference in SQL to a model at work: resolved once a query, loaded and verified once a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_py.errors import RegistryError
from models_py.model import DEFAULT_THRESHOLDS
from models_py.registry import Version, find, list_versions, thresholds
from udfs.runtime._calls import Query
from udfs.runtime._engine import Engine

if TYPE_CHECKING:
    import duckdb

_ENGINES_KEPT = 6
_RESOLUTIONS_KEPT = 1024


Key = tuple[str, str, tuple[tuple[str, float], ...]]


def _key(version: Version, thresholds: dict[str, float]) -> Key:
    return version.artifact_sha256, _setting("PRECISION"), tuple(sorted(thresholds.items()))


def _setting(name: str) -> str:
    return os.environ.get(f"DUCKSPECT_{name}", "auto")


@dataclass(frozen=True, slots=True)
class Served:
    """A version with the operating points that now hold, and the engine that runs it."""

    version: Version
    engine: Engine
    thresholds: dict[str, float]

    @property
    def key(self) -> Key:
        """What answers depend on, beside the image."""
        return _key(self.version, self.thresholds)


class Models:
    """Resolves references; keeps the engines used last."""

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]) -> None:
        self._cursor = cursor
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._resolved: OrderedDict[tuple[Query, str], tuple[Version, dict[str, float]]] = OrderedDict()
        self._engines: OrderedDict[tuple[str, str, str], Engine] = OrderedDict()

    def resolve(self, reference: str | None, query: Query, task: str | None) -> tuple[Version, dict[str, float]]:
        """The version that a reference names in this query, and its operating points; refuses another task."""
        if not reference:
            raise RegistryError(f"model: is missing. Name one after the image, as in 'pcb'. {self._choices(task)}")
        with self._lock:
            found = self._resolved.get((query, reference))
        if found is None:
            with self._cursor() as con:
                version = find(con, reference)
                default = DEFAULT_THRESHOLDS.get(version.task)
                points = {} if default is None else {"*": default}
                found = version, points | thresholds(con, version)
            with self._lock:  # whoever came first decides, so that no query sees two versions
                found = self._resolved.setdefault((query, reference), found)
                while len(self._resolved) > _RESOLUTIONS_KEPT:
                    self._resolved.popitem(last=False)
        if task not in (None, found[0].task):
            raise RegistryError(f"model: {reference} is a model to {_VERBS[found[0].task]}. {self._choices(task)}")
        return found

    def serve(self, reference: str | None, query: Query, task: str | None) -> Served:
        """The model of a reference, loaded and ready."""
        version, points = self.resolve(reference, query, task)
        return Served(version, self._engine(version), points)

    def key(self, reference: str | None, query: Query, task: str | None) -> tuple[Version, Key]:
        """What answers depend on, without loading the model."""
        version, points = self.resolve(reference, query, task)
        return version, _key(version, points)

    def _engine(self, version: Version) -> Engine:
        device, precision = _setting("DEVICE"), _setting("PRECISION")
        key = (version.artifact_sha256, device, precision)
        with self._loading:
            found = self._engines.get(key)
            if found is None or found.compiled_sha256 != version.compiled_sha256:
                self._engines[key] = Engine.load(version, device, precision)
                while len(self._engines) > _ENGINES_KEPT:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(key)
            return self._engines[key]

    def _choices(self, task: str | None) -> str:
        with self._cursor() as con:
            names = sorted({item.name for item in list_versions(con) if task in (None, item.task)})
        what = f"Models to {_VERBS[task]}" if task else "Models"
        return f"{what}: {', '.join(names) or 'none yet'}. See them with `duckspect models list`."


_VERBS = {
    "classify": "classify",
    "detect": "detect defects",
    "segment": "segment defects",
    "anomaly": "find anomalies",
}
