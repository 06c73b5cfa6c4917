"""The Open Inference Protocol, version 2, with its binary extension: what Triton's and KServe's clients speak."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi import Request as Call
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from models_py import __version__
from models_py.registry import Version, find, list_versions
from udfs.serving import _forms as forms
from udfs.serving._front import token_of
from udfs.serving._judge import Question, UnusableImageError, Verdict
from udfs.serving._routes import _PROBLEMS, RequestError, Service, _decoded, _some, sentence
from udfs.serving._verdict import as_json

_HEADER = "inference-header-content-length"
_INPUTS = {"image": "image files: raw in the binary extension, base64 in JSON", "uri": "paths or URLs"}
_OUTPUTS = {
    "label": "BYTES",
    "confidence": "FP64",
    "score": "FP64",
    "is_defective": "BOOL",
    "regions": "BYTES",
    "defects": "BYTES",
    "error": "BYTES",
}
_PACKED = {"FP64": "<d", "BOOL": "<?"}
_MOST_IMAGES = 64
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
                                "name": {"enum": list(_INPUTS)},
                                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                "datatype": {"const": "BYTES"},
                                "data": {"type": "array", "items": {"type": "string"}, "maxItems": _MOST_IMAGES},
                            },
                        },
                    },
                    "outputs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"enum": list(_OUTPUTS)}},
                        },
                    },
                },
            }
        }
    },
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request for inference."""

    id: str | None
    images: list[bytes | str]
    context: dict[str, Any]
    outputs: list[tuple[str, bool]]


def protocol(service: Service) -> APIRouter:
    """The protocol's routes, on a service."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    described: dict[str, Any] = {"responses": _PROBLEMS, "openapi_extra": {"requestBody": _BODY}}

    @router.get("", summary="The server")
    def server() -> dict[str, Any]:
        return {"name": "duckspect", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", summary="Whether the server runs")
    def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Whether it can judge")
    def ready() -> dict[str, bool]:
        return {"ready": True}

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
        served = await service.lineup.find(_reference(name, version))
        return {"name": served.version.name, "ready": True}

    @router.post("/models/{name}/infer", summary="Judge images", **described)
    @router.post("/models/{name}/versions/{version}/infer", summary="Judge images by one version", **described)
    async def infer(call: Call, name: Name, version: str | None = None) -> Response:
        asked = _read(await call.body(), call.headers.get(_HEADER))
        found = await _judged(service, asked, _reference(name, version), call)
        usable = [item for item in found if isinstance(item, Verdict)]
        if not usable:
            raise RequestError(422, str(found[0]))
        return _answer(asked, found, usable[0].served.version)

    return router


def _reference(name: str, version: str | None) -> str:
    return name if version is None else f"{name}@{version}"


def _described(version: Version, numbers: list[int]) -> dict[str, Any]:
    return {
        "name": version.name,
        "versions": [str(number) for number in sorted(numbers)],
        "platform": f"duckspect_{version.task}",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in _INPUTS],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in _OUTPUTS.items()],
    }


async def _judged(service: Service, asked: _Asked, reference: str, call: Call) -> list[Verdict | UnusableImageError]:
    """Verdicts in order; a bad image costs the others nothing."""
    request_id = call.scope["state"]["request_id"]
    client = token_of(call.scope).name
    questions = [
        Question(
            reference,
            request_id if len(asked.images) == 1 else f"{request_id}.{place}",
            client,
            data=image if isinstance(image, bytes) else None,
            uri=image if isinstance(image, str) else None,
            **asked.context,
        )
        for place, image in enumerate(asked.images)
    ]
    found = await asyncio.gather(*(service.judge.judge(question) for question in questions), return_exceptions=True)
    judged: list[Verdict | UnusableImageError] = []
    for item in found:
        if not isinstance(item, Verdict | UnusableImageError):
            raise item
        judged.append(item)
    return judged


def _read(body: bytes, header_length: str | None) -> _Asked:
    """The JSON, and behind it the binary tensors if there are any."""
    if header_length is not None and not (header_length.isdecimal() and int(header_length) <= len(body)):
        raise RequestError(400, f"{_HEADER}: must be the length of the JSON part, but is {header_length!r}.")
    cut = len(body) if header_length is None else int(header_length)
    try:
        request = json.loads(body[:cut])
        inputs = request["inputs"]
        outputs = request.get("outputs") or [{"name": name} for name in _OUTPUTS]
        parameters = request.get("parameters") or {}
        is_binary = bool(parameters.get("binary_data_output", False))
        wanted = [
            (item["name"], bool((item.get("parameters") or {}).get("binary_data", is_binary))) for item in outputs
        ]
        if len(inputs) != 1 or inputs[0]["name"] not in _INPUTS or inputs[0]["datatype"] != "BYTES":
            raise RequestError(400, f"inputs: must be one of {' or '.join(_INPUTS)}, of datatype BYTES.")
        images = _images(inputs[0], body[cut:])
        kept = {name: parameters[name] for name in forms.Context.model_fields if name in parameters}
        context = forms.Context.model_validate(kept).model_dump(exclude_none=True)
    except ValidationError as error:
        raise RequestError(422, sentence(error.errors())) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise RequestError(400, f"The request is not one of the Open Inference Protocol: {error!r}.") from error
    unknown = next((name for name, _ in wanted if name not in _OUTPUTS), None)
    if unknown is not None:
        raise RequestError(400, f"outputs: there is no {unknown!r}. There are {', '.join(_OUTPUTS)}.")
    if not 0 < len(images) <= _MOST_IMAGES:
        raise RequestError(413, f"inputs: must hold 1 to {_MOST_IMAGES} images, but holds {len(images)}.")
    return _Asked(request.get("id"), images, context, wanted)


def _images(tensor: dict[str, Any], binary: bytes) -> list[bytes | str]:
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is None:
        texts = [str(item) for item in _flat(tensor["data"])]
        return [_decoded(text) for text in texts] if tensor["name"] == "image" else list(texts)
    if size != len(binary):
        raise RequestError(400, f"binary_data_size is {size}, but {len(binary)} bytes follow the JSON.")
    items, place = [], 0
    while place < len(binary):
        (length,) = struct.unpack_from("<I", binary, place)
        place += 4
        if place + length > len(binary):
            raise RequestError(400, "The binary tensor ends too early.")
        items.append(binary[place : place + length])
        place += length
    return list(items) if tensor["name"] == "image" else [item.decode() for item in items]


def _flat(data: Any) -> list[Any]:
    return [inner for item in data for inner in (_flat(item) if isinstance(item, list) else [item])]


def _values(found: list[Verdict | UnusableImageError], name: str) -> list[Any]:
    if name == "error":
        return ["" if isinstance(item, Verdict) else str(item) for item in found]
    empty = {"FP64": 0.0, "BOOL": False, "BYTES": ""}[_OUTPUTS[name]]
    read: Callable[[Verdict], Any] = {
        "label": lambda verdict: verdict.answer.label,
        "confidence": lambda verdict: verdict.answer.confidence,
        "score": lambda verdict: verdict.answer.score,
        "is_defective": lambda verdict: bool(verdict.defects),
        "regions": lambda verdict: json.dumps(as_json(verdict.regions)),
        "defects": lambda verdict: json.dumps(as_json(verdict.defects)),
    }[name]
    return [read(item) if isinstance(item, Verdict) else empty for item in found]


def _answer(asked: _Asked, found: list[Verdict | UnusableImageError], version: Version) -> Response:
    outputs, binary = [], b""
    for name, is_binary in asked.outputs:
        output: dict[str, Any] = {"name": name, "datatype": _OUTPUTS[name], "shape": [len(found)]}
        values = _values(found, name)
        if is_binary:
            packed = b"".join(_packed(_OUTPUTS[name], value) for value in values)
            output["parameters"] = {"binary_data_size": len(packed)}
            binary += packed
        else:
            output["data"] = values
        outputs.append(output)
    described = {"model_name": version.name, "model_version": str(version.version), "outputs": outputs}
    if asked.id is not None:
        described["id"] = asked.id
    if not binary:
        return JSONResponse(described)
    header = json.dumps(described).encode()
    return Response(header + binary, media_type="application/octet-stream", headers={_HEADER: str(len(header))})


def _packed(kind: str, value: Any) -> bytes:
    if kind in _PACKED:
        return struct.pack(_PACKED[kind], value)
    data = str(value).encode()
    return struct.pack("<I", len(data)) + data
