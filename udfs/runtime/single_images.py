"""One image outside of any query: read, seen and judged without a thread that waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from models_py.errors import DuckspectError, ImageError
from udfs.runtime.batcher import BatchResult, OutputKind, PreparedInput
from udfs.runtime.byte_cache import ByteCache
from udfs.runtime.image_reader import DecodedImage, ImageReader, ImageSource, pool
from udfs.runtime.model_resolver import LoadedModel
from udfs.runtime.results import PredictionResult

Look = Callable[[DecodedImage], tuple[Any, int]]
"""What a function without a model sees in an image, and how many bytes that is."""
Keep = Callable[[bytes, Any], Any]
"""What is made of the bytes of an image and what was seen in it, while the device computes."""
_FACTS_KEPT = 8 << 20


@dataclass(frozen=True, slots=True)
class SingleResult:
    """What was found of one image, or why nothing was; `batch` images shared `seconds` of the device."""

    answer: Any = None
    facts: Any = None
    kept: Any = None
    size_bytes: int = 0
    error: str | None = None
    is_cached: bool = False
    batch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _ImageInProgress:
    """An image that was read: its answer is known already, or the device is at it."""

    digest: bytes
    size_bytes: int
    facts: Any
    kept: Any
    known: PredictionResult | None = None
    running: Future[BatchResult] | None = None


class SingleImages:
    """Answers single images through the caches and engines of all queries."""

    def __init__(self, images: ImageReader, results: ByteCache[PredictionResult], look: Look) -> None:
        self._images = images
        self._results = results
        self._look = look
        self._facts: ByteCache[Any] = ByteCache(_FACTS_KEPT)

    def tell(self, source: ImageSource, served: LoadedModel, kind: OutputKind, keep: Keep) -> Future[SingleResult]:
        """Answer one image; what is wrong with it is told, and only what is wrong with us is raised."""
        told: Future[SingleResult] = Future()
        told.set_running_or_notify_cancel()

        def go_on(reading: Future[_ImageInProgress]) -> None:
            error = reading.exception()
            if isinstance(error, ImageError):
                told.set_result(SingleResult(error=str(error)))
            elif isinstance(error, DuckspectError):
                told.set_exception(error)
            elif error is not None:  # one odd image must not end in a broken server
                logging.getLogger("duckspect").warning("%s", source.uri or "an image", exc_info=error)
                told.set_result(SingleResult(error=f"cannot be used: {type(error).__name__}: {error}"))
            else:
                self._finish(reading.result(), served, kind, told)

        pool().submit(self._see, source, served, kind, keep).add_done_callback(go_on)
        return told

    def _finish(
        self, seen: _ImageInProgress, served: LoadedModel, kind: OutputKind, told: Future[SingleResult]
    ) -> None:
        if seen.running is None:
            outcome = seen.known or PredictionResult()
            facts = (seen.facts, seen.kept, seen.size_bytes, outcome.error)
            told.set_result(SingleResult(outcome.answer, *facts, is_cached=True))
            return

        def take(running: Future[BatchResult]) -> None:
            error = running.exception()
            if error is not None:
                told.set_exception(error)
                return
            ran = running.result()
            outcome = ran.outcomes[0]
            self._results.put(_key(served, kind, seen.digest), outcome, kind.size(outcome))
            facts = (seen.facts, seen.kept, seen.size_bytes, outcome.error)
            told.set_result(SingleResult(outcome.answer, *facts, batch=ran.images, seconds=ran.seconds))

        seen.running.add_done_callback(take)

    def _see(self, source: ImageSource, served: LoadedModel, kind: OutputKind, keep: Keep) -> _ImageInProgress:
        data, digest = self._images.read(source)
        known = self._results.get(_key(served, kind, digest))
        facts = self._facts.get(digest)
        if known is not None and facts is not None:
            return _ImageInProgress(digest, len(data), facts, keep(data, facts), known)

        def use(found: DecodedImage) -> _ImageInProgress:
            running = None
            if known is None:  # the device first: there is more to be seen while it computes
                square = served.engine.prepare(found.pixels).permute(1, 2, 0).contiguous()
                size = (found.pixels.shape[1], found.pixels.shape[2])
                running = served.engine.submit(kind, served.thresholds, [PreparedInput(square, size)])
            facts, room = self._look(found)
            self._facts.put(digest, facts, room)
            return _ImageInProgress(digest, len(data), facts, keep(data, facts), known, running)

        return self._images.decoded(data, digest, use)


def _key(served: LoadedModel, kind: OutputKind, digest: bytes) -> Hashable:
    return (served.key, kind.name), digest
