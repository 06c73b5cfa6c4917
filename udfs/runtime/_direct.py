"""One image outside of any query: read, seen and judged without a thread that waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from models_py.errors import ImageError
from udfs.runtime._answers import Outcome
from udfs.runtime._cache import ByteCache
from udfs.runtime._engine import Kind, Prepared, Ran
from udfs.runtime._images import Decoded, Images, Source, pool
from udfs.runtime._models import Served

Look = Callable[[Decoded], tuple[Any, int]]
"""What a function without a model sees in an image, and how many bytes that is."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was found of one image, or why nothing was; `batch` images shared `seconds` of the device."""

    answer: Any = None
    facts: Any = None
    size_bytes: int = 0
    error: str | None = None
    is_cached: bool = False
    batch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """An image that was read, and the answer that is known of it already."""

    facts: Any
    size_bytes: int
    digest: bytes
    answer: Any = None
    prepared: Prepared | None = None


class Direct:
    """Answers single images through the caches and engines of all queries."""

    def __init__(self, images: Images, results: ByteCache[Outcome], look: Look) -> None:
        self._images = images
        self._results = results
        self._look = look
        self._seen: ByteCache[Any] = ByteCache(8 << 20)

    def tell(self, source: Source, served: Served, kind: Kind) -> Future[Told]:
        """Answer one image; the future never fails for the image's sake."""
        told: Future[Told] = Future()
        told.set_running_or_notify_cancel()
        key = (served.key, kind.name)

        def judge(reading: Future[_Seen]) -> None:
            try:
                seen = reading.result()
            except ImageError as error:
                told.set_result(Told(error=str(error)))
                return
            except Exception as error:  # one odd image must not end in a broken server
                logging.getLogger("duckspect").warning("%s", source.uri or "an image", exc_info=True)
                told.set_result(Told(error=f"cannot be used: {type(error).__name__}: {error}"))
                return
            if seen.prepared is None:
                told.set_result(Told(seen.answer, seen.facts, seen.size_bytes, is_cached=True))
                return
            served.engine.submit(kind, served.thresholds, [seen.prepared]).add_done_callback(
                lambda running: finish(seen, running)
            )

        def finish(seen: _Seen, running: Future[Ran]) -> None:
            error = running.exception()
            if error is not None:
                told.set_exception(error)
                return
            ran = running.result()
            answer = ran.answers[0]
            self._results.put((key, seen.digest), Outcome(answer), kind.size(answer))
            told.set_result(Told(answer, seen.facts, seen.size_bytes, batch=ran.images, seconds=ran.seconds))

        pool().submit(self._see, source, served, key).add_done_callback(judge)
        return told

    def _see(self, source: Source, served: Served, key: Hashable) -> _Seen:
        data, digest = self._images.read(source)
        known, facts = self._results.get((key, digest)), self._seen.get(digest)
        if known is not None and facts is not None:
            return _Seen(facts, len(data), digest, known.answer)

        def use(found: Decoded) -> _Seen:
            facts, size = self._look(found)
            self._seen.put(digest, facts, size)
            if known is not None:
                return _Seen(facts, len(data), digest, known.answer)
            square = served.engine.prepare(found.pixels).permute(1, 2, 0).contiguous()
            return _Seen(
                facts, len(data), digest, prepared=Prepared(square, (found.pixels.shape[1], found.pixels.shape[2]))
            )

        return self._images.decoded(data, digest, use)
