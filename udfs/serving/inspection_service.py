"""Predict a client's image, store the verdict, and only then return it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

from models_py.errors import DuckspectError
from models_py.model.verdict import Verdict, why_undecided
from models_py.warehouse.location import StoredUris
from udfs.functions.pictures import drawing, inspect
from udfs.functions.types import ImageInfo, RegionRow
from udfs.runtime import (
    PREDICT,
    ImageSource,
    LoadedModel,
    PredictionRequest,
    Query,
    Runtime,
    SingleResult,
    StoredPrediction,
    UnusableImage,
)
from udfs.serving.current_models import CurrentModels
from udfs.serving.kept_images import KeptImages
from udfs.serving.server_metrics import ServerMetrics
from udfs.serving.verdict import as_json, defects_of, regions_of, verdict_of
from udfs.verdicts.journal import VerdictJournal
from udfs.verdicts.records import VerdictRecord, identify

_OUTSIDE = Query(-1, 0)
_Result: TypeAlias = SingleResult[StoredPrediction, ImageInfo, "Future[str] | None"]


class UnusableImageError(DuckspectError):
    """The image of a request could not be opened or decoded."""


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """One image from a client, as bytes or URI. With a unit, line, station or product it becomes an inspection.

    `is_repeatable` means that the client chose the request's id, so the same request may have been sent before.
    """

    reference: str
    request_id: str
    client: str
    is_repeatable: bool = False
    data: bytes | None = None
    uri: str | None = None
    unit_id: str | None = None
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    captured_at: datetime | None = None
    golden: bytes | None = None
    reference_uri: str | None = None
    """The reference image (golden board) beside which it is to be judged: `golden` if it was sent, else at this URI."""

    @property
    def source(self) -> ImageSource:
        beside = _source(self.golden, self.reference_uri)
        given = beside if self.golden or self.reference_uri else None
        return replace(_source(self.data, self.uri), reference=given, product=self.product_type)

    @property
    def is_inspection(self) -> bool:
        return any((self.unit_id, self.line_id, self.station_id, self.product_type))


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """A verdict on record, and what counts of its regions at the thresholds of its time."""

    record: VerdictRecord
    defects: list[RegionRow]
    thresholds: dict[str, float]

    @classmethod
    def of(cls, record: VerdictRecord, verdict: Verdict, thresholds: dict[str, float]) -> RecordedVerdict:
        return cls(record, defects_of(record, verdict), thresholds)

    @property
    def reason(self) -> str | None:
        """Why nothing was decided."""
        record = self.record
        return why_undecided(f"{record.model}@{record.version}") if record.is_defective is None else None

    def described(self) -> dict[str, object]:
        """The body of the response: the fields of `predict`, the defects and the thresholds."""
        record = self.record
        return {
            "request_id": record.request_id,
            "inspection_id": record.inspection_id,
            "image_id": record.image_id,
            "model": record.model,
            "version": record.version,
            "task": record.task,
            "label": record.label,
            "confidence": record.confidence,
            "score": record.score,
            "regions": as_json(record.regions or []),
            "error": None,
            "is_defective": record.is_defective,
            "reason": self.reason,
            "defects": as_json(self.defects),
            "thresholds": self.thresholds,
            "width": record.width,
            "height": record.height,
            "latency_ms": record.latency_ms,
        }


class InspectionService:
    """Answers requests, and lets nobody know before the answer is on record."""

    def __init__(
        self,
        runtime: Runtime,
        models: CurrentModels,
        journal: VerdictJournal,
        images: KeptImages | None,
        metrics: ServerMetrics,
        uris: StoredUris,
    ) -> None:
        self._runtime = runtime
        self._direct = runtime.direct(inspect)
        self._models = models
        self._journal = journal
        self._images = images
        self._metrics = metrics
        self._uris = uris

    async def inspect(self, request: InspectionRequest) -> RecordedVerdict:
        """The verdict; UnusableImageError if the image is at fault."""
        started = time.perf_counter()
        model, result = await self._result(request)
        if isinstance(result, UnusableImage):
            self._metrics.verdicts.labels(model.version.name, model.version.version, "unusable").inc()
            rejection = await asyncio.to_thread(_rejection, request, model, result.error)  # it hashes the whole body
            await asyncio.wrap_future(self._journal.add(rejection))
            raise UnusableImageError(result.error)
        record = _record(request, model, result, await self._uri(request, result))
        verdict = verdict_of(record, model.thresholds)
        latency = (time.perf_counter() - started) * 1000
        record = replace(record, is_defective=verdict.is_defective, latency_ms=latency)
        stored = await self._stored(request, record)
        self._metrics.count_verdict(model, result, is_defective=verdict.is_defective)
        if stored is record:
            return RecordedVerdict.of(record, verdict, model.thresholds)
        thresholds = await asyncio.to_thread(self._journal.thresholds, stored)
        return RecordedVerdict.of(stored, verdict_of(stored, thresholds), thresholds)

    async def _stored(self, request: InspectionRequest, record: VerdictRecord) -> VerdictRecord:
        """What is on record of a request: this one's verdict, or that of an earlier request with its id."""
        if request.is_repeatable:
            known = await asyncio.to_thread(self._journal.find, record)
            if known is not None:
                return known
        return await asyncio.wrap_future(self._journal.add(record))

    async def drawn(self, request: InspectionRequest, verdict: RecordedVerdict) -> bytes:
        """The image with its defects drawn on it, as PNG; beside it the reference, where the model compares the two."""
        visible = [defect for defect in verdict.defects if defect["x1"] is not None]
        version = (await self._models.find(request.reference)).version
        image = PredictionRequest([request.source], _OUTSIDE)
        image = await asyncio.to_thread(self._runtime.beside, image, version)
        maker = drawing(visible, version.params.get("reference", "same"))
        made = await asyncio.to_thread(self._runtime.make, image, [maker])
        if made[0].answer is None:
            raise UnusableImageError(made[0].error or "cannot be drawn")
        return made[0].answer

    async def _result(self, request: InspectionRequest) -> tuple[LoadedModel, _Result | UnusableImage]:
        """The model that answers now, and its answer: work begins on the guess that it is the one of last time."""
        guess, keep = self._models.last(request.reference), self._keep(request)
        future = None if guess is None else self._direct.predict(request.source, guess, PREDICT, keep)
        model = await self._models.find(request.reference)
        if future is None or model is not guess:
            future = self._direct.predict(request.source, model, PREDICT, keep)
        return model, await asyncio.wrap_future(future)

    def _keep(self, request: InspectionRequest) -> Callable[[bytes, ImageInfo], Future[str] | None]:
        """A function that begins to store an upload, if uploads are stored; called as soon as the image is decoded."""

        def keep(data: bytes, facts: ImageInfo) -> Future[str] | None:
            if request.uri is not None or self._images is None:
                return None
            return self._images.keep(data, facts["sha256"], facts["format"])

        return keep

    async def _uri(self, request: InspectionRequest, result: _Result) -> str:
        """The URI of the image; for an upload that is not stored a `urn:`, which cannot be opened."""
        if request.uri is not None:
            return await asyncio.to_thread(self._uris.normal, request.uri)
        if result.kept is None:
            return f"urn:sha256:{result.facts['sha256']}"
        return await asyncio.wrap_future(result.kept)


def _source(data: bytes | None, uri: str | None) -> ImageSource:
    return ImageSource(uri, None) if data is None else ImageSource(None, memoryview(data))


def _common(request: InspectionRequest, model: LoadedModel, uri: str, *parts: object) -> VerdictRecord:
    """What is on record of every request; `parts` tell its images apart."""
    version = model.version
    return VerdictRecord(
        verdict_id=identify(request.request_id, request.reference, *parts),
        request_id=request.request_id,
        model=version.name,
        version=version.version,
        artifact_sha256=version.artifact_sha256,
        task=version.task,
        client=request.client,
        device=model.engine.device,
        judged_at=datetime.now(UTC),
        uri=uri,
    )


def _rejection(request: InspectionRequest, model: LoadedModel, error: str) -> VerdictRecord:
    uri = request.uri or f"urn:sha256:{hashlib.sha256(request.data or b'').hexdigest()}"
    return replace(_common(request, model, uri, error), error=error)


def _record(request: InspectionRequest, model: LoadedModel, result: _Result, uri: str) -> VerdictRecord:
    facts, prediction = result.facts, result.answer
    shown = (request.unit_id, request.line_id, request.station_id, request.product_type, request.captured_at)
    image_id = facts["sha256"]
    return replace(
        _common(request, model, uri, image_id, *shown),
        inspection_id=identify(request.request_id, image_id, *shown) if request.is_inspection else None,
        image_id=image_id,
        format=facts["format"],
        width=facts["width"],
        height=facts["height"],
        channels=facts["channels"],
        size_bytes=result.size_bytes,
        unit_id=request.unit_id or image_id,
        line_id=request.line_id,
        station_id=request.station_id,
        product_type=request.product_type,
        captured_at=request.captured_at,
        label=prediction.label,
        confidence=prediction.confidence,
        score=prediction.score,
        regions=regions_of(prediction),
        brightness=facts["brightness"],
        sharpness=facts["sharpness"],
        is_cached=result.is_cached,
        batch_images=result.batch,
        seconds=result.seconds / result.batch if result.batch else 0.0,
    )
