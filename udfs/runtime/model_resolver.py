"""From a reference in SQL to a model at work: resolved once a query, loaded and verified once a process.

Each version is loaded by one thread of a small pool, and only those who asked for it wait: the lock is held while
something is looked up, never while something is loaded.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from models_py.errors import RegistryError
from models_py.model.verdict import with_default
from models_py.registry import Version, find, list_versions, thresholds
from udfs.runtime.batcher import Batcher
from udfs.runtime.calls import Query
from udfs.runtime.devices import use_threads
from udfs.runtime.image_reader import ImageSource

if TYPE_CHECKING:
    import duckdb

_ENGINES_KEPT = 6
_RESOLUTIONS_KEPT = 1024
_LOADS_AT_ONCE = 4

Key = tuple[str, str, tuple[tuple[str, float], ...]]
_EngineKey = tuple[str, str, str]


def _key(version: Version, thresholds: dict[str, float]) -> Key:
    return version.artifact_sha256, _setting("PRECISION"), tuple(sorted(thresholds.items()))


@cache
def _loaders() -> ThreadPoolExecutor:
    """Threads that load models, on one core each; the threads of the devices go on answering."""
    return ThreadPoolExecutor(_LOADS_AT_ONCE, "duckspect-load", initializer=use_threads, initargs=(1,))


def _setting(name: str) -> str:
    return os.environ.get(f"DUCKSPECT_{name}", "auto")


def _engine_key(version: Version) -> _EngineKey:
    return version.artifact_sha256, _setting("DEVICE"), _setting("PRECISION")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A version with the operating points that now hold, and the engine that runs it."""

    version: Version
    engine: Batcher
    thresholds: dict[str, float]

    @property
    def key(self) -> Key:
        """What answers depend on, beside the image."""
        return _key(self.version, self.thresholds)

    def refusal(self, source: ImageSource) -> str | None:
        """Why the model cannot judge an image as it is given: it needs the image's reference."""
        if source.reference is not None or not self.version.needs_reference_image:
            return None
        return (
            f"{source.uri or 'the image'} has no reference image (golden board), and {self.version.reference} judges "
            f"an image beside its reference. Name one with reference := ..., load the pair so that raw.templates links "
            f"them, or choose the product's: duckspect golden set PRODUCT IMAGE"
        )


class ModelResolver:
    """Resolves references; keeps the engines used last."""

    def __init__(self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]) -> None:
        self._cursor = cursor
        self._lock = threading.Lock()
        self._resolved: OrderedDict[tuple[Query, str], tuple[Version, dict[str, float]]] = OrderedDict()
        self._engines: OrderedDict[_EngineKey, Batcher] = OrderedDict()
        self._loading: dict[tuple[_EngineKey, str | None], Future[Batcher]] = {}

    def resolve(self, reference: str | None, query: Query, task: str | None) -> tuple[Version, dict[str, float]]:
        """The version that a reference names in this query, and its operating points; refuses another task."""
        if not reference:
            raise RegistryError(f"model: is missing. Name one after the image, as in 'pcb'. {self._choices(task)}")
        with self._lock:
            found = self._resolved.get((query, reference))
        if found is None:
            with self._cursor() as con:
                version = find(con, reference)
                found = version, with_default(version.task, thresholds(con, version))
            with self._lock:  # whoever came first decides, so that no query sees two versions
                found = self._resolved.setdefault((query, reference), found)
                while len(self._resolved) > _RESOLUTIONS_KEPT:
                    self._resolved.popitem(last=False)
        if task not in (None, found[0].task):
            raise RegistryError(f"model: {reference} is a model to {_VERBS[found[0].task]}. {self._choices(task)}")
        return found

    def serve(
        self,
        reference: str | None,
        query: Query,
        task: str | None,
        wait: Callable[[Future[Batcher]], Batcher] = Future.result,
    ) -> LoadedModel:
        """The model of a reference, loaded and ready; `wait` waits for it."""
        version, points = self.resolve(reference, query, task)
        return LoadedModel(version, wait(self.load(version)), points)

    def key(self, reference: str | None, query: Query, task: str | None) -> tuple[Version, Key]:
        """What answers depend on, without loading the model."""
        version, points = self.resolve(reference, query, task)
        return version, _key(version, points)

    def load(self, version: Version) -> Future[Batcher]:
        """The engine of a version: at work already, or on its way; nobody waits for a version of others."""
        key = _engine_key(version)
        with self._lock:
            found = self._engines.get(key)
            if found is not None and found.compiled_sha256 == version.compiled_sha256:
                self._engines.move_to_end(key)
                ready: Future[Batcher] = Future()
                ready.set_result(found)
                return ready
            loading = self._loading.get((key, version.compiled_sha256))
            if loading is None:
                loading = self._loading[key, version.compiled_sha256] = _loaders().submit(self._load, version, key)
            return loading

    def _load(self, version: Version, key: _EngineKey) -> Batcher:
        try:
            loaded = Batcher.load(version, *key[1:])
            with self._lock:
                self._engines[key] = loaded
                self._engines.move_to_end(key)
                while len(self._engines) > _ENGINES_KEPT:
                    self._engines.popitem(last=False)
            return loaded
        finally:
            with self._lock:
                del self._loading[key, version.compiled_sha256]

    def _choices(self, task: str | None) -> str:
        with self._cursor() as con:
            names = sorted({item.name for item in list_versions(con) if task in (None, item.task)})
        what = f"Models to {_VERBS[task]}" if task else "ModelResolver"
        return f"{what}: {', '.join(names) or 'none yet'}. See them with `duckspect models list`."


_VERBS = {
    "classify": "classify",
    "detect": "detect defects",
    "segment": "segment defects",
    "anomaly": "find anomalies",
}
