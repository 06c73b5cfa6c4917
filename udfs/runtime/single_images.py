"""One image outside of any query: read, described and predicted without a thread that waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from models_py.errors import DuckspectError, ImageError
from udfs.runtime.batcher import BatchResult
from udfs.runtime.byte_cache import ByteCache
from udfs.runtime.image_reader import DecodedImage, ImageReader, ImageSource, pool
from udfs.runtime.model_resolver import LoadedModel
from udfs.runtime.output_kinds import OutputKind
from udfs.runtime.references import ReferenceResolver
from udfs.runtime.results import PredictionResult

A = TypeVar("A")
Facts = TypeVar("Facts")
Kept = TypeVar("Kept")
Look: TypeAlias = Callable[[DecodedImage], tuple[Facts, int]]
"""What a function without a model finds in an image, and how many bytes that is."""
Keep: TypeAlias = Callable[[bytes, Facts], Kept]
"""What is made of the bytes of an image and what was found in it, while the device computes."""
_FACTS_KEPT = 8 << 20


@dataclass(frozen=True, slots=True)
class SingleResult(Generic[A, Facts, Kept]):
    """What was found of one image; `batch` images shared `seconds` of the device."""

    answer: A
    facts: Facts
    kept: Kept
    size_bytes: int
    is_cached: bool = False
    batch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class UnusableImage:
    """Why nothing was found of an image."""

    error: str


SingleFuture: TypeAlias = Future[SingleResult[A, Facts, Kept] | UnusableImage]


@dataclass(frozen=True, slots=True)
class _ReadImage(Generic[A, Facts, Kept]):
    """An image that was read: its answer is known already, or the device is at it."""

    digest: bytes
    size_bytes: int
    facts: Facts
    kept: Kept
    result: PredictionResult[A] | Future[BatchResult[A]]


class SingleImages(Generic[Facts]):
    """Answers single images through the caches and batchers of all queries."""

    def __init__(
        self,
        images: ImageReader,
        results: ByteCache[PredictionResult[Any]],
        references: ReferenceResolver,
        look: Look[Facts],
    ) -> None:
        self._images = images
        self._references = references
        self._results = results
        self._look = look
        self._facts: ByteCache[Facts] = ByteCache(_FACTS_KEPT)

    def predict(
        self, source: ImageSource, model: LoadedModel, kind: OutputKind[A], keep: Keep[Facts, Kept]
    ) -> SingleFuture[A, Facts, Kept]:
        """Answer one image. What is wrong with the image is a result; an exception is a fault of the server's own."""
        future: SingleFuture[A, Facts, Kept] = Future()
        future.set_running_or_notify_cancel()

        def go_on(reading: Future[_ReadImage[A, Facts, Kept]]) -> None:
            error = reading.exception()
            if isinstance(error, ImageError):
                future.set_result(UnusableImage(str(error)))
            elif isinstance(error, DuckspectError):
                future.set_exception(error)
            elif error is not None:  # one odd image must not end in a broken server
                logging.getLogger("duckspect").warning("%s", source.uri or "an image", exc_info=error)
                future.set_result(UnusableImage(f"cannot be used: {type(error).__name__}: {error}"))
            else:
                self._finish(reading.result(), model, kind, future)

        pool().submit(self._read, source, model, kind, keep).add_done_callback(go_on)
        return future

    def _finish(
        self,
        image: _ReadImage[A, Facts, Kept],
        model: LoadedModel,
        kind: OutputKind[A],
        future: SingleFuture[A, Facts, Kept],
    ) -> None:
        if not isinstance(image.result, Future):
            future.set_result(_single(image, image.result))
            return

        def take(running: Future[BatchResult[A]]) -> None:
            error = running.exception()
            if error is not None:
                future.set_exception(error)
                return
            batch = running.result()
            result = batch.results[0]
            self._results.put(_key(model, kind, image.digest), result, kind.size_of(result))
            future.set_result(_single(image, result, batch))

        image.result.add_done_callback(take)

    def _read(
        self, source: ImageSource, model: LoadedModel, kind: OutputKind[A], keep: Keep[Facts, Kept]
    ) -> _ReadImage[A, Facts, Kept]:
        beside = self._references.beside([source], model.version)[0] or source
        if refusal := model.refusal(beside):
            raise ImageError(refusal)
        files = self._images.read(beside)
        data, digest = files.data, files.digest
        known: PredictionResult[A] | None = self._results.get(_key(model, kind, digest))
        facts = self._facts.get(files.sha256)
        if known is not None and facts is not None:
            return _ReadImage(digest, len(data), facts, keep(data, facts), known)

        def use(image: DecodedImage) -> _ReadImage[A, Facts, Kept]:
            result: PredictionResult[A] | Future[BatchResult[A]] | None = known
            if result is None:  # the device first: there is more to be found while it computes
                result = model.engine.answer(kind, model.thresholds, image)
            facts, room = self._look(image)
            self._facts.put(files.sha256, facts, room)
            return _ReadImage(digest, len(data), facts, keep(data, facts), result)

        return self._images.decoded(files, use)


def _single(
    image: _ReadImage[A, Facts, Kept], result: PredictionResult[A], batch: BatchResult[A] | None = None
) -> SingleResult[A, Facts, Kept] | UnusableImage:
    if result.answer is None:
        return UnusableImage(result.error or "there is no verdict")
    known = (result.answer, image.facts, image.kept, image.size_bytes)
    if batch is None:
        return SingleResult(*known, is_cached=True)
    return SingleResult(*known, batch=batch.images, seconds=batch.seconds)


def _key(model: LoadedModel, kind: OutputKind[A], digest: bytes) -> Hashable:
    return (model.key, kind.name), digest
