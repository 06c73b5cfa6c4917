"""From a client's image to a verdict that is on record."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from models_py.errors import DuckspectError
from models_py.warehouse.location import StoredUris
from udfs.functions.pictures import drawing, inspect
from udfs.runtime import PREDICT, ImageSource, LoadedModel, PredictionRequest, Query, Runtime, SingleResult
from udfs.serving.current_models import CurrentModels
from udfs.serving.kept_images import KeptImages
from udfs.serving.server_metrics import ServerMetrics
from udfs.serving.verdict import as_json, defects_of, regions_of
from udfs.verdicts.journal import VerdictJournal
from udfs.verdicts.records import VerdictRecord, identify

_OUTSIDE = Query(-1, 0)


class UnusableImageError(DuckspectError):
    """The image of a request could not be opened or decoded."""


@dataclass(frozen=True, slots=True)
class InspectionRequest:
    """One image that a client wants judged, by bytes or by URI; what it shows makes it an inspection.

    It is repeatable if the client named the request, so that it may have been sent before.
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

    @property
    def source(self) -> ImageSource:
        return ImageSource(self.uri, None) if self.data is None else ImageSource(None, memoryview(self.data))

    @property
    def is_inspection(self) -> bool:
        return any((self.unit_id, self.line_id, self.station_id, self.product_type))


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """An answer on record, and what counts of it at the thresholds of its time."""

    entry: VerdictRecord
    defects: list[dict[str, Any]]
    thresholds: dict[str, float]

    def described(self) -> dict[str, Any]:
        """The fields of `predict`, and what became of them."""
        entry = self.entry
        return {
            "request_id": entry.request_id,
            "inspection_id": entry.inspection_id,
            "image_id": entry.image_id,
            "model": entry.model,
            "version": entry.version,
            "task": entry.task,
            "label": entry.label,
            "confidence": entry.confidence,
            "score": entry.score,
            "regions": as_json(entry.regions or []),
            "error": None,
            "is_defective": entry.is_defective,
            "defects": as_json(self.defects),
            "thresholds": self.thresholds,
            "width": entry.width,
            "height": entry.height,
            "latency_ms": entry.latency_ms,
        }


class InspectionService:
    """Answers questions, and lets nobody know before the answer is on record."""

    def __init__(
        self,
        runtime: Runtime,
        lineup: CurrentModels,
        ledger: VerdictJournal,
        album: KeptImages | None,
        meters: ServerMetrics,
        uris: StoredUris,
    ) -> None:
        self._runtime = runtime
        self._direct = runtime.direct(inspect)
        self._lineup = lineup
        self._ledger = ledger
        self._album = album
        self._uris = uris
        self._meters = meters

    async def judge(self, question: InspectionRequest) -> RecordedVerdict:
        """The verdict; UnusableImageError if the image is at fault."""
        started = time.perf_counter()
        served, told = await self._told(question)
        if told.error is not None:
            self._meters.verdicts.labels(served.version.name, served.version.version, "unusable").inc()
            rejection = await asyncio.to_thread(_rejection, question, served, told.error)  # it hashes the whole body
            await asyncio.wrap_future(self._ledger.add(rejection))
            raise UnusableImageError(told.error)
        entry = _entry(question, served, told, await self._uri(question, told))
        defects = defects_of(entry, served.thresholds)
        latency = (time.perf_counter() - started) * 1000
        entry = replace(entry, is_defective=bool(defects), latency_ms=latency)
        stored = await self._record(question, entry)
        self._meters.judged(served, told, is_defective=bool(defects))
        if stored is entry:
            return RecordedVerdict(entry, defects, served.thresholds)
        thresholds = await asyncio.to_thread(self._ledger.thresholds, stored)
        return RecordedVerdict(stored, defects_of(stored, thresholds), thresholds)

    async def _record(self, question: InspectionRequest, entry: VerdictRecord) -> VerdictRecord:
        """What is on record of a question: this entry, or that of an earlier request with its id."""
        if question.is_repeatable:
            known = await asyncio.to_thread(self._ledger.find, entry)
            if known is not None:
                return known
        return await asyncio.wrap_future(self._ledger.add(entry))

    async def drawn(self, question: InspectionRequest, verdict: RecordedVerdict) -> bytes:
        """The image with what counts drawn on it, as PNG."""
        asked = PredictionRequest([question.source], _OUTSIDE)
        made = await asyncio.to_thread(self._runtime.make, asked, [drawing(_visible(verdict))])
        if made[0].error is not None:
            raise UnusableImageError(made[0].error)
        return bytes(made[0].answer)

    async def _told(self, question: InspectionRequest) -> tuple[LoadedModel, SingleResult]:
        """The model that answers now, and its answer: work begins on the guess that it is the one of last time."""
        guess = self._lineup.last(question.reference)
        telling = None if guess is None else self._direct.tell(question.source, guess, PREDICT, self._keep(question))
        served = await self._lineup.find(question.reference)
        if telling is None or served is not guess:
            telling = self._direct.tell(question.source, served, PREDICT, self._keep(question))
        return served, await asyncio.wrap_future(telling)

    def _keep(self, question: InspectionRequest) -> Callable[[bytes, dict[str, Any]], Future[str] | None]:
        """Begin to keep an upload, if uploads are kept."""

        def keep(data: bytes, facts: dict[str, Any]) -> Future[str] | None:
            if question.uri is not None or self._album is None:
                return None
            return self._album.keep(data, facts["sha256"], facts["format"])

        return keep

    async def _uri(self, question: InspectionRequest, told: SingleResult) -> str:
        """Where the image is found later; an upload that is not kept has a name that nobody can open."""
        if question.uri is not None:
            return await asyncio.to_thread(self._uris.normal, question.uri)
        if told.kept is None:
            return f"urn:sha256:{told.facts['sha256']}"
        return str(await asyncio.wrap_future(told.kept))


def _visible(verdict: RecordedVerdict) -> list[dict[str, Any]]:
    return [defect for defect in verdict.defects if defect["x1"] is not None]


def _asked(question: InspectionRequest, served: LoadedModel, uri: str, *parts: object) -> VerdictRecord:
    """What is on record of every question; `parts` tell it from others of the same request."""
    version = served.version
    return VerdictRecord(
        verdict_id=identify(question.request_id, question.reference, *parts),
        request_id=question.request_id,
        model=version.name,
        version=version.version,
        artifact_sha256=version.artifact_sha256,
        task=version.task,
        client=question.client,
        device=served.engine.device,
        judged_at=datetime.now(UTC),
        uri=uri,
    )


def _rejection(question: InspectionRequest, served: LoadedModel, error: str) -> VerdictRecord:
    uri = question.uri or f"urn:sha256:{hashlib.sha256(question.data or b'').hexdigest()}"
    return replace(_asked(question, served, uri, error), error=error)


def _entry(question: InspectionRequest, served: LoadedModel, told: SingleResult, uri: str) -> VerdictRecord:
    facts, answer = told.facts, told.answer
    shown = (question.unit_id, question.line_id, question.station_id, question.product_type, question.captured_at)
    image_id = facts["sha256"]
    return replace(
        _asked(question, served, uri, image_id, *shown),
        inspection_id=identify(question.request_id, image_id, *shown) if question.is_inspection else None,
        image_id=image_id,
        format=facts["format"],
        width=facts["width"],
        height=facts["height"],
        channels=facts["channels"],
        size_bytes=told.size_bytes,
        unit_id=question.unit_id or image_id,
        line_id=question.line_id,
        station_id=question.station_id,
        product_type=question.product_type,
        captured_at=question.captured_at,
        label=answer.label,
        confidence=answer.confidence,
        score=answer.score,
        regions=regions_of(answer),
        brightness=facts["brightness"],
        sharpness=facts["sharpness"],
        is_cached=told.is_cached,
        batch_images=told.batch,
        seconds=told.seconds / told.batch if told.batch else 0.0,
    )
