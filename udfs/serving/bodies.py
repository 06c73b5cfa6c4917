"""Parse the bodies of requests: large ones in a thread, so that the event loop is free, and with limits."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import pybase64
from fastapi import Request as Call
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from models_py.errors import DuckspectError

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_SMALL = 1 << 20
_MOST_VALUES = 10_000
_LONGEST_FIELD = 4096
_MOST_TOLD, _LONGEST_TOLD = 5, 200


class RequestError(DuckspectError):
    """A request that cannot be read."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def apart(size: int, read: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Call `read`; for a large body in a thread, so that the event loop can answer other clients."""
    if size <= _SMALL:
        return read(*given, **named)
    return await asyncio.to_thread(read, *given, **named)


def validated(form: type[M], body: bytes, *, status: int = 422) -> M:
    """Parse a JSON body. Its values are counted first: many small ones take fifty times the body's size in memory."""
    if sum(body.count(sign) for sign in b",[{") > _MOST_VALUES:
        raise RequestError(413, f"The JSON holds more than {_MOST_VALUES:,} values.")
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise RequestError(status, sentence(error.errors(include_url=False, include_input=False))) from error


def decoded(text: str, name: str = "image") -> bytes:
    """An image from its base64, or from a data URL."""
    try:
        return pybase64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(422, f"{name!r} is not base64: {error}.") from error


async def multipart(call: Call, size: int, most_fields: int) -> tuple[bytes, bytes | None, dict[str, str]]:
    """The image of a form, its reference image if there is one, and the other fields."""
    charset = parse_options_header(call.headers.get("content-type", ""))[1].get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):  # some of Python's take minutes
        raise RequestError(415, f"The form must be in UTF-8, but is in {charset[:40].decode('latin-1')!r}.")
    if size <= _SMALL:
        return await _parts(call, most_fields)
    return await asyncio.to_thread(asyncio.run, _parts(call, most_fields))


async def _parts(call: Call, most_fields: int) -> tuple[bytes, bytes | None, dict[str, str]]:
    try:
        async with call.form(max_files=2, max_fields=most_fields, max_part_size=_LONGEST_FIELD) as form:
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise RequestError(422, "The form needs a file named 'image'.")
            reference = form.get("reference")
            golden = await reference.read() if isinstance(reference, UploadFile) else None
            fields = {name: value for name, value in form.items() if isinstance(value, str) and value}
            return await image.read(), golden or None, fields
    except (MultiPartException, ValueError) as error:
        raise RequestError(400, f"The form cannot be read: {error}") from error


def sentence(errors: Any) -> str:
    """The errors of a validation as one sentence."""
    messages = [f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}" for item in errors[:_MOST_TOLD]]
    shown = "; ".join(text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..." for text in messages)
    more = len(errors) - len(messages)
    return f"{shown}; and {more:,} more." if more > 0 else f"{shown}."
