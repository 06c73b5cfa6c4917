"""The Open Inference Protocol, version 2, with its binary extension: what Triton's and KServe's clients speak."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path
from fastapi import Request as Call
from fastapi.responses import JSONResponse, Response

from models_py import __version__
from models_py.registry import Version, find, list_versions
from udfs.serving.bodies import RequestError, apart
from udfs.serving.inspection_service import InspectionRequest, RecordedVerdict, UnusableImageError
from udfs.serving.request_gate import named_by_client, token_of
from udfs.serving.routes import _PROBLEMS, ServerParts, _some
from udfs.serving.tensors import HEADER, INPUTS, MOST_IMAGES, OUTPUTS, InferenceRequest, read_inference
from udfs.serving.verdict import as_json
from udfs.threads import is_able
from udfs.verdicts.records import VerdictRecord

_PACKED = {"FP64": "<d", "BOOL": "<?"}
_EMPTY: dict[str, str | float | bool] = {"FP64": 0.0, "BOOL": False, "BYTES": ""}
Value: TypeAlias = str | float | bool
"""An element of an output tensor."""
Name = Annotated[str, Path(description="Model name; its champion answers")]
Number = Annotated[str, Path(description="Version number, or an alias", examples=["1"])]
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "parameters": {"type": "object"},
                    "inputs": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["name", "shape", "datatype", "data"],
                            "properties": {
                                "name": {"enum": list(INPUTS)},
                                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                "datatype": {"const": "BYTES"},
                                "data": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_IMAGES},
                            },
                        },
                    },
                    "outputs": {
                        "type": "array",
                        "maxItems": len(OUTPUTS),
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"enum": list(OUTPUTS)}},
                        },
                    },
                },
            }
        }
    },
}


def protocol(service: ServerParts) -> APIRouter:
    """The protocol's routes, on a service."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    described: dict[str, Any] = {"responses": _PROBLEMS, "openapi_extra": {"requestBody": _BODY}}

    @router.get("", summary="The server")
    def server() -> dict[str, Any]:
        return {"name": "duckspect", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", summary="Whether the server runs")
    def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Whether it can judge", responses={503: {"description": "It cannot"}})
    def ready() -> JSONResponse:
        return JSONResponse({"ready": is_able()}, 200 if is_able() else 503)

    @router.get("/models/{name}", summary="A model", responses=_some(401, 404))
    @router.get("/models/{name}/versions/{version}", summary="A version", responses=_some(401, 404))
    def model(name: Name, version: str | None = None) -> dict[str, Any]:
        with service.session.cursor() as con:
            found = find(con, _reference(name, version))
            return _described(found, [item.version for item in list_versions(con, found.name)])

    @router.get("/models/{name}/ready", summary="Whether a model can judge", responses=_some(401, 404))
    @router.get(
        "/models/{name}/versions/{version}/ready", summary="Whether a version can judge", responses=_some(401, 404)
    )
    async def model_ready(name: Name, version: str | None = None) -> dict[str, Any]:
        model = await service.models.find(_reference(name, version))
        return {"name": model.version.name, "ready": True}

    @router.post("/models/{name}/infer", summary="Judge images", **described)
    @router.post("/models/{name}/versions/{version}/infer", summary="Judge images by one version", **described)
    async def infer(call: Call, name: Name, version: str | None = None) -> Response:
        body = await call.body()
        request = await apart(len(body), read_inference, body, call.headers.get(HEADER))
        found = await _judged(service, request, _reference(name, version), call)
        usable = [item for item in found if isinstance(item, RecordedVerdict)]
        if not usable:
            raise RequestError(422, str(found[0]))
        return await asyncio.to_thread(_answer, request, found, usable[0].record)

    return router


def _reference(name: str, version: str | None) -> str:
    return name if version is None else f"{name}@{version}"


def _described(version: Version, numbers: list[int]) -> dict[str, Any]:
    return {
        "name": version.name,
        "versions": [str(number) for number in sorted(numbers)],
        "platform": f"duckspect_{version.task}",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
    }


async def _judged(
    service: ServerParts, request: InferenceRequest, reference: str, call: Call
) -> list[RecordedVerdict | UnusableImageError]:
    """Verdicts in order; a bad image costs the others nothing."""
    request_id = call.scope["state"]["request_id"]
    client = token_of(call.scope).name
    requests = [
        InspectionRequest(
            reference,
            request_id if len(request.images) == 1 else f"{request_id}.{place}",
            client,
            named_by_client(call.scope),
            data=image if isinstance(image, bytes) else None,
            uri=image if isinstance(image, str) else None,
            **request.context,
        )
        for place, image in enumerate(request.images)
    ]
    found = await asyncio.gather(
        *(service.inspections.inspect(request) for request in requests), return_exceptions=True
    )
    judged: list[RecordedVerdict | UnusableImageError] = []
    for item in found:
        if not isinstance(item, RecordedVerdict | UnusableImageError):
            raise item
        judged.append(item)
    return judged


def _values(found: list[RecordedVerdict | UnusableImageError], name: str) -> list[Value]:
    if name == "error":
        return [item.reason or "" if isinstance(item, RecordedVerdict) else str(item) for item in found]
    empty: Value = _EMPTY[OUTPUTS[name]]
    read: Callable[[RecordedVerdict], Value] = {
        "label": lambda verdict: verdict.record.label or "",
        "confidence": lambda verdict: verdict.record.confidence or 0.0,
        "score": lambda verdict: verdict.record.score,
        "is_defective": lambda verdict: bool(verdict.record.is_defective),
        "regions": lambda verdict: json.dumps(as_json(verdict.record.regions or [])),
        "defects": lambda verdict: json.dumps(as_json(verdict.defects)),
    }[name]
    return [read(item) if isinstance(item, RecordedVerdict) else empty for item in found]


def _answer(
    request: InferenceRequest, found: list[RecordedVerdict | UnusableImageError], record: VerdictRecord
) -> Response:
    outputs, binary = [], b""
    for name, is_binary in request.outputs:
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(found)]}
        values = _values(found, name)
        if is_binary:
            packed = b"".join(_packed(OUTPUTS[name], value) for value in values)
            output["parameters"] = {"binary_data_size": len(packed)}
            binary += packed
        else:
            output["data"] = values
        outputs.append(output)
    described = {"model_name": record.model, "model_version": str(record.version), "outputs": outputs}
    if request.id is not None:
        described["id"] = request.id
    if not binary:
        return JSONResponse(described)
    header = json.dumps(described).encode()
    return Response(header + binary, media_type="application/octet-stream", headers={HEADER: str(len(header))})


def _packed(kind: str, value: Value) -> bytes:
    if kind in _PACKED:
        return struct.pack(_PACKED[kind], value)
    data = str(value).encode()
    return struct.pack("<I", len(data)) + data
