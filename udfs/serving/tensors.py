"""Parse a request of the Open Inference Protocol: JSON, followed by binary tensors if there are any.

Every list has a limit, and errors name the field and its limit.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from udfs.serving import schemas as forms
from udfs.serving.bodies import RequestError, decoded, sentence, validated

HEADER = "inference-header-content-length"
INPUTS = {"image": "image files: raw in the binary extension, base64 in JSON", "uri": "paths or URLs"}
OUTPUTS = {
    "label": "BYTES",
    "confidence": "FP64",
    "score": "FP64",
    "is_defective": "BOOL",
    "regions": "BYTES",
    "defects": "BYTES",
    "error": "BYTES",
}
MOST_IMAGES = 64
_MOST_DIMENSIONS = 8
_LONGEST_ID, _LONGEST_URI = 200, 4096
_DIGITS = 18


class _TensorModel(BaseModel):
    model_config = ConfigDict(strict=True)


class _TensorParameters(_TensorModel):
    binary_data_size: int | None = Field(None, ge=0)


class _InputTensor(_TensorModel):
    name: Literal["image", "uri"]
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=_MOST_DIMENSIONS)
    parameters: _TensorParameters | None = None
    data: list[Any] | None = None


class _OutputParameters(_TensorModel):
    binary_data: bool | None = None


class _RequestedOutput(_TensorModel):
    name: Literal["label", "confidence", "score", "is_defective", "regions", "defects", "error"]
    parameters: _OutputParameters | None = None

    def is_binary(self, default: bool) -> bool:
        own = None if self.parameters is None else self.parameters.binary_data
        return default if own is None else own


class _RequestParameters(_TensorModel):
    model_config = ConfigDict(strict=True, extra="allow")

    binary_data_output: bool = False


class _InferenceBody(_TensorModel):
    id: str | None = Field(None, max_length=_LONGEST_ID)
    parameters: _RequestParameters | None = None
    inputs: list[_InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[_RequestedOutput] | None = Field(None, max_length=len(OUTPUTS))


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A parsed request: images as bytes or URIs, what they show, and the outputs wanted, each binary or not."""

    id: str | None
    images: list[bytes | str]
    context: dict[str, Any]
    outputs: list[tuple[str, bool]]


def read_inference(body: bytes, header_length: str | None) -> InferenceRequest:
    """Parse a request from a body; raise RequestError if it is not one."""
    cut = len(body) if header_length is None else _length(header_length, len(body))
    request: _InferenceBody = validated(_InferenceBody, body[:cut], status=400)
    given = request.parameters or _RequestParameters()
    names: list[str] = [output.name for output in request.outputs or ()]
    if len(set(names)) < len(names):
        raise RequestError(400, f"outputs: each may be asked for once, but got {', '.join(names)}.")
    is_binary = given.binary_data_output
    wanted: dict[str, bool] = {output.name: output.is_binary(is_binary) for output in request.outputs or ()}
    outputs = [(name, wanted.get(name, is_binary)) for name in names or OUTPUTS]
    return InferenceRequest(request.id, _images(request.inputs[0], body[cut:]), _context(given), outputs)


def _length(text: str, most: int) -> int:
    """The length of the JSON part, from the header."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) <= most):
        shown = text if len(text) <= _DIGITS else f"{text[:_DIGITS]}..."
        raise RequestError(400, f"{HEADER}: must be the length of the JSON part, {most} at most, but is {shown!r}.")
    return int(text)


def _context(given: _RequestParameters) -> dict[str, Any]:
    """What the images show, from those parameters that are ours."""
    extra = given.model_extra or {}
    kept = {name: extra[name] for name in forms.InspectionContext.model_fields if name in extra}
    try:
        return forms.InspectionContext.model_validate(kept).model_dump(exclude_none=True)
    except ValidationError as error:
        raise RequestError(422, sentence(error.errors())) from error


def _images(tensor: _InputTensor, binary: bytes) -> list[bytes | str]:
    size = tensor.parameters and tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise RequestError(400, "inputs: must have either data or the parameter binary_data_size.")
    if (size or 0) != len(binary):
        raise RequestError(400, f"binary_data_size is {size or 0}, but {len(binary)} bytes follow the JSON.")
    items: list[Any] = _flat(tensor.data) if tensor.data is not None else _unpacked(binary)
    if not 0 < len(items) <= MOST_IMAGES:
        raise RequestError(413, f"inputs: must hold 1 to {MOST_IMAGES} images, but holds {_counted(items)}.")
    if math.prod(tensor.shape) != len(items):
        raise RequestError(400, f"inputs: the shape {_shown(tensor.shape)} does not fit {len(items)} images.")
    if tensor.name == "uri":
        return [_uri(item) for item in items]
    return [item if isinstance(item, bytes) else decoded(_text(item)) for item in items]


def _counted(items: list[Any]) -> str:
    return "more" if len(items) > MOST_IMAGES else str(len(items))


def _shown(shape: list[int]) -> str:
    text = str(shape)
    return text if len(text) <= _LONGEST_ID else f"{text[:_LONGEST_ID]}..."


def _flat(data: Any) -> list[Any]:
    """The elements of nested lists in order; stops after one more than allowed."""
    elements: list[Any] = []
    for item in data:
        elements += _flat(item) if isinstance(item, list) else [item]
        if len(elements) > MOST_IMAGES:
            break
    return elements


def _unpacked(binary: bytes) -> list[bytes]:
    """The elements of a binary tensor; stops after one more than allowed."""
    items: list[bytes] = []
    place = 0
    while place < len(binary) and len(items) <= MOST_IMAGES:
        if place + 4 > len(binary):
            raise RequestError(400, "The binary tensor ends too early.")
        (length,) = struct.unpack_from("<I", binary, place)
        place += 4
        if place + length > len(binary):
            raise RequestError(400, "The binary tensor ends too early.")
        items.append(binary[place : place + length])
        place += length
    return items


def _text(item: Any) -> str:
    if not isinstance(item, str):
        raise RequestError(400, f"inputs: data must hold strings, but holds a {type(item).__name__}.")
    return item


def _uri(item: Any) -> str:
    try:
        text = item.decode() if isinstance(item, bytes) else _text(item)
    except UnicodeDecodeError as error:
        raise RequestError(400, f"inputs: a uri must be UTF-8: {error}.") from error
    if not 0 < len(text) <= _LONGEST_URI:
        raise RequestError(400, f"inputs: a uri must have 1 to {_LONGEST_URI} characters, but has {len(text)}.")
    return text
