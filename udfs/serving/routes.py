"""The routes of our own HTTP interface: verdicts, models, health, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pybase64
from fastapi import APIRouter, Path, Query
from fastapi import Request as Call
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError

from models_py.registry import Version, aliases, find, list_versions
from udfs.serving import schemas as forms
from udfs.serving.bodies import RequestError, apart, decoded, multipart, sentence, validated
from udfs.serving.current_models import CurrentModels
from udfs.serving.inspection_service import InspectionRequest, InspectionService
from udfs.serving.request_gate import named_by_client, token_of
from udfs.serving.server_metrics import ServerMetrics
from udfs.session.session import Session
from udfs.threads import is_able, thread_states

_PNG = "image/png"
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": forms.ErrorBody, "description": "The request cannot be read"},
    401: {"model": forms.ErrorBody, "description": "The token is missing or unknown"},
    403: {"model": forms.ErrorBody, "description": "The token's role is too low"},
    404: {"model": forms.ErrorBody, "description": "There is no such model"},
    408: {"model": forms.ErrorBody, "description": "The body came too slowly"},
    413: {"model": forms.ErrorBody, "description": "The body is too large"},
    415: {"model": forms.ErrorBody, "description": "The body is of an unknown kind"},
    422: {"model": forms.ErrorBody, "description": "The image or a field cannot be used"},
    429: {"model": forms.ErrorBody, "description": "Too many requests wait; see Retry-After"},
    503: {"model": forms.ErrorBody, "description": "The verdict could not be stored, or the model not be loaded"},
    504: {"model": forms.ErrorBody, "description": "There was no answer in time; ask again with the same X-Request-Id"},
}
_FIELDS = forms.InspectionContext.model_json_schema()["properties"]
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Request"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "format": "binary"},
                    "reference": {"type": "string", "format": "binary"},
                    **_FIELDS,
                },
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
Reference = Annotated[
    str, Path(description="name, name@alias or name@version; a bare name is its champion", examples=["pcb@champion"])
]


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The parts of the server that the routes use."""

    session: Session
    inspections: InspectionService
    models: CurrentModels
    meters: ServerMetrics


def routes(service: ServerParts) -> APIRouter:
    """All routes of a server."""
    router = APIRouter()

    @router.post(
        "/v1/models/{reference}/predict",
        summary="Judge an image",
        response_model=forms.PredictResponse,
        responses={**_PROBLEMS, 200: {"content": {_PNG: {}}, "description": "The verdict, on record"}},
        openapi_extra={"requestBody": _BODY},
        tags=["verdicts"],
    )
    async def predict(
        reference: Reference,
        call: Call,
        context: Annotated[forms.QueryParameters, Query()],
    ) -> Response:
        request = await _inspection_request(reference, call, context)
        verdict = await service.inspections.inspect(request)
        if _PNG in call.headers.get("accept", ""):
            return Response(await service.inspections.drawn(request, verdict), media_type=_PNG)
        described = verdict.described()
        if context.picture:
            drawn = await service.inspections.drawn(request, verdict)
            return await apart(len(drawn), lambda: JSONResponse(described | {"picture": _base64(drawn)}))
        return JSONResponse(described)

    @router.get("/v1/models", summary="List the registered versions", tags=["models"], responses=_some(401))
    def models() -> list[forms.ModelInfo]:
        with service.session.cursor() as con:
            named = {item.name: aliases(con, item.name) for item in list_versions(con)}
            return [_model(item, named[item.name]) for item in list_versions(con)]

    @router.get("/v1/models/{reference}", summary="Show one version", tags=["models"], responses=_some(401, 404))
    def model(reference: Reference) -> forms.ModelInfo:
        with service.session.cursor() as con:
            version = find(con, reference)
            return _model(version, aliases(con, version.name))

    @router.get("/healthz", summary="Whether the server runs", tags=["health"], response_class=PlainTextResponse)
    def alive() -> str:
        return "ok"

    @router.get(
        "/readyz",
        summary="Whether it can judge",
        tags=["health"],
        response_model=forms.HealthBody,
        responses={503: {"model": forms.HealthBody, "description": "It cannot, and which thread is in trouble"}},
    )
    def ready() -> JSONResponse:
        serving = {reference: model.version.reference for reference, model in service.models.serving.items()}
        found = forms.HealthBody(ready=is_able(), models=serving, broken=service.models.broken, threads=thread_states())
        return JSONResponse(found.model_dump(), 200 if found.ready else 503)

    @router.get(
        "/metrics", summary="For Prometheus", tags=["health"], responses=_some(401), response_class=PlainTextResponse
    )
    def metrics() -> Response:
        return Response(service.meters.text(), media_type="text/plain; version=0.0.4")

    return router


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _PROBLEMS[status] for status in statuses}


def _model(version: Version, named: dict[str, int]) -> forms.ModelInfo:
    return forms.ModelInfo(
        name=version.name,
        version=version.version,
        task=version.task,
        architecture=version.architecture,
        labels=list(version.labels),
        aliases=[alias for alias, number in named.items() if number == version.version],
        metrics=version.metrics,
        created_at=version.created_at,
    )


async def _inspection_request(reference: str, call: Call, context: forms.QueryParameters) -> InspectionRequest:
    """The image and what it shows, from a body of any of the three kinds; the query string fills what is left out."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    given = context.model_dump(exclude={"picture"}, exclude_none=True)
    data: bytes | None = None
    golden: bytes | None = None
    uri: str | None = None
    body = await call.body()
    if kind == "application/json":
        form, data, golden = await apart(len(body), _from_json, body)
        uri = form.uri
        given |= form.model_dump(exclude={"image", "uri", "reference"}, exclude_none=True)
    elif kind == "multipart/form-data":
        data, golden, fields = await multipart(call, len(body), len(_FIELDS))
        given |= _context(fields)
    elif kind == "application/octet-stream" or kind.startswith("image/"):
        data = body
    else:
        raise RequestError(
            415,
            f"Content-Type: must be application/json, multipart/form-data, application/octet-stream or image/..., "
            f"but is {kind or 'missing'}.",
        )
    if uri is None and not data:
        raise RequestError(422, "The image is empty.")
    request_id, client = call.scope["state"]["request_id"], token_of(call.scope).name
    named = named_by_client(call.scope)
    return InspectionRequest(reference, request_id, client, named, data or None, uri, golden=golden, **given)


def _from_json(body: bytes) -> tuple[forms.PredictRequest, bytes | None, bytes | None]:
    form = validated(forms.PredictRequest, body)
    if (form.image is None) == (form.uri is None):
        raise RequestError(422, "The body needs either 'image', the file in base64, or 'uri'.")
    golden = None if form.reference is None else decoded(form.reference, "reference")
    return form, None if form.image is None else decoded(form.image), golden


def _context(fields: dict[str, str]) -> dict[str, Any]:
    try:
        return forms.InspectionContext.model_validate(fields).model_dump(exclude_none=True)
    except ValidationError as error:
        raise RequestError(422, sentence(error.errors())) from error


def _base64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()
