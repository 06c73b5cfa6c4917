"""One call of a function: what is known is looked up, the rest decoded by a pool while the device computes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import duckdb

from models_py.errors import ImageError
from models_py.warehouse.location import StoredUris
from udfs.image_counter import COUNTER
from udfs.runtime.allowed_roots import AllowedRoots
from udfs.runtime.batcher import Batcher, BatchResult, PreparedInput
from udfs.runtime.byte_cache import ByteCache
from udfs.runtime.calls import Call, Calls, Query
from udfs.runtime.image_reader import ContentClaims, DecodedImage, ImageReader, ImageSource, pool
from udfs.runtime.inference_log import InferenceLog
from udfs.runtime.model_resolver import LoadedModel, ModelResolver
from udfs.runtime.output_kinds import OutputKind
from udfs.runtime.references import NO_REFERENCE_KNOWN, ReferenceResolver
from udfs.runtime.results import PredictionResult
from udfs.runtime.single_images import Look, SingleImages

if TYPE_CHECKING:
    from models_py.registry import Version

_RESULTS_KEPT = 96 << 20
_PREPARED_BYTES = 96 << 20
_BATCHES_IN_FLIGHT = 2
_READ_AHEAD = 64
A = TypeVar("A")
Facts = TypeVar("Facts")
Maker: TypeAlias = Callable[[DecodedImage], bytes | None]
"""Makes an image file of an image; None where there is nothing to show."""


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """The arguments of a call, row by row; None is NULL."""

    sources: Sequence[ImageSource | None]
    query: Query


@dataclass(frozen=True, slots=True)
class _SourceState(Generic[A]):
    """How far a source has come: an outcome, a prepared image, or the content that another source brought."""

    digest: bytes | None = None
    outcome: PredictionResult[A] | None = None
    prepared: PreparedInput | None = None
    is_hit: bool = False


@dataclass(slots=True)
class _CallState(Generic[A]):
    """What one call has found out so far."""

    call: Call
    key: Hashable
    claims: ContentClaims = field(default_factory=ContentClaims)
    of_content: dict[bytes, PredictionResult[A]] = field(default_factory=dict)
    of_source: dict[Hashable, PredictionResult[A]] = field(default_factory=dict)
    digests: dict[Hashable, bytes] = field(default_factory=dict)
    hits: int = 0


class Runtime:
    """Answers calls for one warehouse."""

    def __init__(
        self,
        cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        folders: Callable[[], list[str]],
        uris: StoredUris,
        *,
        is_writable: bool,
    ) -> None:
        self.models = ModelResolver(cursor)
        self.images = ImageReader(AllowedRoots(folders, uris))
        self.calls = Calls()
        self._references = ReferenceResolver(cursor, uris)
        self._results: ByteCache[PredictionResult[Any]] = ByteCache(_RESULTS_KEPT)
        self._journal = InferenceLog(cursor) if is_writable else None
        self._latest: Query | None = None

    @property
    def cached_bytes(self) -> int:
        """What the results take that are kept for images that come again."""
        return self._results.used

    def serve(self, reference: str | None, query: Query, task: str | None) -> LoadedModel:
        """The model of a reference, loaded and ready; an interrupt ends the wait, and others get what was begun."""
        with self.calls.started(query) as call:
            return self.models.serve(reference, query, task, call.wait)

    def look(self, request: PredictionRequest, name: Hashable, look: Look[Facts]) -> list[PredictionResult[Facts]]:
        """Answer by a function of the pixels alone."""
        with self._started(request) as call:
            work: _CallState[Facts] = _CallState(call, name)

            def find(found: DecodedImage) -> PredictionResult[Facts]:
                answer, size = look(found)
                outcome = PredictionResult(answer)
                self._results.put((name, found.sha256), outcome, size)
                return outcome

            def ask(source: ImageSource) -> _SourceState[Facts]:
                return self._attempt(source, work, find)

            self._gather(request, work, ask, _NoBatches[Facts]())
            return _in_order(request, work)

    def compare(self, request: PredictionRequest, name: str, look: Look[Facts]) -> list[PredictionResult[Facts]]:
        """Answer by a function of the pixels of an image and its reference."""
        with self._started(request) as call:
            request = replace(request, sources=self._references.all_beside(request.sources))
            work: _CallState[Facts] = _CallState(call, ("compare", name))

            def ask(source: ImageSource) -> _SourceState[Facts]:
                if source.reference is None:
                    return _SourceState(outcome=PredictionResult(error=NO_REFERENCE_KNOWN))
                sizes: list[int] = []

                def find(found: DecodedImage) -> PredictionResult[Facts]:
                    answer, size = look(found)
                    sizes.append(size)
                    return PredictionResult(answer)

                state = self._attempt(source, work, find)
                if sizes and state.digest is not None and state.outcome is not None:
                    self._results.put((work.key, state.digest), state.outcome, sizes[0])
                return state

            self._gather(request, work, ask, _NoBatches[Facts]())
            return _in_order(request, work)

    def score(self, request: PredictionRequest, loaded: LoadedModel, kind: OutputKind[A]) -> list[PredictionResult[A]]:
        """Answer by a model."""
        started = time.perf_counter()
        with self._started(request) as call:
            request = replace(request, sources=self._references.beside(request.sources, loaded.version))
            work: _CallState[A] = _CallState(call, (loaded.key, kind.name))

            def ask(source: ImageSource) -> _SourceState[A]:
                if refusal := loaded.refusal(source):
                    return _SourceState(outcome=PredictionResult(error=refusal))
                if not loaded.engine.is_tiled:
                    return self._attempt(source, work, loaded.engine.prepared)
                return self._by_tiles(source, work, loaded, kind)

            self._gather(request, work, ask, _BatchQueue(self._results, loaded, kind, work))
            outcomes = _in_order(request, work)
        if self._journal:
            self._journal.note(request.query, loaded, outcomes, work.hits, started)
        return outcomes

    def _by_tiles(
        self, source: ImageSource, work: _CallState[A], loaded: LoadedModel, kind: OutputKind[A]
    ) -> _SourceState[A]:
        """Answer a large image by its tiles while it is decoded; the thread that decoded it waits for the device."""

        def judge(found: DecodedImage) -> PredictionResult[A]:
            return loaded.engine.by_tiles(kind, loaded.thresholds, found, work.call.stopped.is_set)

        state = self._attempt(source, work, judge)
        if state.digest is not None and state.outcome is not None and state.outcome.answer is not None:
            self._results.put((work.key, state.digest), state.outcome, kind.size_of(state.outcome))
        return state

    def beside(self, request: PredictionRequest, version: Version) -> PredictionRequest:
        """The request with the reference images beside which a version judges the images, if it needs any."""
        return replace(request, sources=self._references.beside(request.sources, version))

    def make(self, request: PredictionRequest, makers: Sequence[Maker | None]) -> list[PredictionResult[bytes]]:
        """Make something of each image, each by its own maker; nothing is kept."""
        with self._started(request) as call:
            waiting: deque[Future[_SourceState[bytes]]] = deque()
            outcomes: list[PredictionResult[bytes]] = []

            def ask(source: ImageSource | None, maker: Maker | None) -> _SourceState[bytes]:
                if source is None or maker is None:
                    return _SourceState(outcome=PredictionResult())
                work: _CallState[bytes] = _CallState(call, None)
                return self._attempt(source, work, lambda found: PredictionResult(maker(found)))

            for source, maker in zip(request.sources, makers, strict=True):
                waiting.append(pool().submit(ask, source, maker))
                while len(waiting) > _READ_AHEAD:
                    outcomes.append(call.wait(waiting.popleft()).outcome or PredictionResult())
            outcomes += [call.wait(future).outcome or PredictionResult() for future in waiting]
            COUNTER.add(len(outcomes))
            return outcomes

    def direct(self, look: Look[Facts]) -> SingleImages[Facts]:
        """For single images outside of any query, with `look` at each."""
        return SingleImages(self.images, self._results, self._references, look)

    def known(
        self, request: PredictionRequest, reference: str | None, task: str | None, kind: OutputKind[A]
    ) -> tuple[Version, list[ImageSource], list[bool]]:
        """The version that would answer, the images, and which answers are in the cache; nothing is loaded."""
        with self._started(request):
            version, key = self.models.key(reference, request.query, task)
            sources = [source for source in request.sources if source is not None]
            judged = [source for source in self._references.beside(sources, version) if source is not None]
            return version, sources, [self._is_cached(source, (key, kind.name)) for source in judged]

    def _is_cached(self, source: ImageSource, key: Hashable) -> bool:
        try:
            digest = self.images.known_digest(source)
        except ImageError:
            return False
        return digest is not None and (key, digest) in self._results

    def _started(self, request: PredictionRequest) -> AbstractContextManager[Call]:
        if request.query != self._latest:
            self.images.roots.expire()
            self._latest = request.query
        return self.calls.started(request.query)

    def _gather(
        self,
        request: PredictionRequest,
        work: _CallState[A],
        ask: Callable[[ImageSource], _SourceState[A]],
        batches: _NoBatches[A],
    ) -> None:
        """Bring every distinct source to an outcome."""
        reading = _ReadQueue(work, ask, batches)
        try:
            for source in {source.key: source for source in request.sources if source is not None}.values():
                step = self._known(source, work)
                if step is None:
                    reading.add(source)
                else:
                    _note(source, step, work)
            reading.finish()
        finally:
            reading.cancel()

    def _known(self, source: ImageSource, work: _CallState[A]) -> _SourceState[A] | None:
        """The outcome of a source that needs no reading: it may not be opened, or was answered before."""
        try:
            digest = self.images.known_digest(source)
        except ImageError as error:
            return _SourceState(outcome=PredictionResult(error=str(error)))
        return None if digest is None else self._cached(digest, work)

    def _cached(self, digest: bytes, work: _CallState[A]) -> _SourceState[A] | None:
        found: PredictionResult[A] | None = self._results.get((work.key, digest))
        return None if found is None else _SourceState(digest, found, is_hit=True)

    def _attempt(
        self,
        source: ImageSource,
        work: _CallState[A],
        use: Callable[[DecodedImage], PreparedInput | PredictionResult[A]],
    ) -> _SourceState[A]:
        """Read, hash, decode and use; whatever is wrong with one image stays with it."""
        digest = None
        try:
            files = self.images.read(source)
            digest = files.digest
            cached = self._cached(digest, work)
            if cached is not None:
                return cached
            if not work.claims.take(digest):
                return _SourceState(digest)
            found = self.images.decoded(files, use)
        except ImageError as error:
            return _SourceState(digest, PredictionResult(error=str(error)))
        except Exception as error:  # one odd image must not cost the others their answers
            logging.getLogger("duckspect").warning("%s", source.uri or "an image", exc_info=True)
            return _SourceState(digest, PredictionResult(error=f"cannot be used: {type(error).__name__}: {error}"))
        return (
            _SourceState(digest, outcome=found)
            if isinstance(found, PredictionResult)
            else _SourceState(digest, prepared=found)
        )


def _note(source: ImageSource, step: _SourceState[A], work: _CallState[A]) -> None:
    """Take down a step; only the thread of the call does, so nothing is counted by two at once."""
    work.hits += step.is_hit
    if step.digest is not None:
        work.digests[source.key] = step.digest
        if step.outcome is not None:
            work.of_content[step.digest] = step.outcome
    elif step.outcome is not None:
        work.of_source[source.key] = step.outcome


def _in_order(request: PredictionRequest, work: _CallState[A]) -> list[PredictionResult[A]]:
    """The outcome of every row; a twin has that of its content."""
    COUNTER.add(len(request.sources))
    none: PredictionResult[A] = PredictionResult()
    return [
        none
        if source is None
        else work.of_source[source.key]
        if source.key in work.of_source
        else work.of_content[work.digests[source.key]]
        for source in request.sources
    ]


class _ReadQueue(Generic[A]):
    """Sources on their way through the pool, in groups, for a task has its price; no more ahead than there is room."""

    def __init__(
        self, work: _CallState[A], ask: Callable[[ImageSource], _SourceState[A]], batches: _NoBatches[A]
    ) -> None:
        self._work = work
        self._ask = ask
        self._batches = batches
        self._group: list[ImageSource] = []
        self._waiting: deque[tuple[list[ImageSource], Future[list[_SourceState[A]]]]] = deque()
        self._ahead = 0

    def add(self, source: ImageSource) -> None:
        self._group.append(source)
        if len(self._group) >= self._batches.group:
            self._submit()
        while self._ahead > self._batches.ahead:
            self._take()

    def finish(self) -> None:
        if self._group:
            self._submit()
        while self._waiting:
            self._take()
        self._batches.finish()

    def cancel(self) -> None:
        for _, future in self._waiting:
            future.cancel()
        self._batches.cancel()

    def _submit(self) -> None:
        group, self._group = self._group, []
        self._waiting.append((group, pool().submit(lambda: [self._ask(source) for source in group])))
        self._ahead += len(group)

    def _take(self) -> None:
        group, future = self._waiting.popleft()
        self._ahead -= len(group)
        steps: list[_SourceState[A]] = self._work.call.wait(future)
        for source, step in zip(group, steps, strict=True):
            _note(source, step, self._work)
            if step.prepared is not None and step.digest is not None:
                self._batches.add(step.digest, step.prepared)


class _NoBatches(Generic[A]):
    """Nothing is left to compute once an image is read."""

    @property
    def ahead(self) -> int:
        """How many images may be read ahead."""
        return _READ_AHEAD

    @property
    def group(self) -> int:
        """How many images a thread of the pool reads in one go."""
        return 4

    def add(self, digest: bytes, prepared: PreparedInput) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """There is nothing to wait for."""

    def cancel(self) -> None:
        """There is nothing to call off."""


class _BatchQueue(_NoBatches[A]):
    """Prepared images on their way through a device, a few batches at a time."""

    def __init__(
        self, results: ByteCache[PredictionResult[Any]], loaded: LoadedModel, kind: OutputKind[A], work: _CallState[A]
    ) -> None:
        self._results = results
        self._loaded = loaded
        self._kind = kind
        self._work = work
        self._gathered: list[tuple[bytes, PreparedInput]] = []
        self._flights: deque[tuple[list[bytes], Future[BatchResult[A]]]] = deque()
        self._square_bytes = 1

    @property
    def ahead(self) -> int:
        """As many as keep what is prepared within its bytes."""
        engine: Batcher = self._loaded.engine
        return max(4, min(2 * engine.batch, _PREPARED_BYTES // self._square_bytes))

    @property
    def group(self) -> int:
        """Small ones together, large ones alone."""
        return max(1, min(8, self._loaded.engine.batch // 8))

    def add(self, digest: bytes, prepared: PreparedInput) -> None:
        self._square_bytes = prepared.square.nbytes
        self._gathered.append((digest, prepared))
        if len(self._gathered) >= self._loaded.engine.batch:
            self._launch()

    def finish(self) -> None:
        if self._gathered:
            self._launch()
        while self._flights:
            self._land()

    def cancel(self) -> None:
        for _, future in self._flights:
            future.cancel()

    def _launch(self) -> None:
        digests = [digest for digest, _ in self._gathered]
        items = [prepared for _, prepared in self._gathered]
        self._gathered = []
        self._flights.append((digests, self._loaded.engine.submit(self._kind, self._loaded.thresholds, items)))
        while len(self._flights) > _BATCHES_IN_FLIGHT:
            self._land()

    def _land(self) -> None:
        digests, future = self._flights.popleft()
        outcomes = self._work.call.wait(future).results
        for digest, outcome in zip(digests, outcomes, strict=True):
            self._work.of_content[digest] = outcome
            self._results.put((self._work.key, digest), outcome, self._kind.size_of(outcome))
