"""The bytes behind a URL, and where a web server may send us for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

from models_py.errors import ImageError

_REDIRECTIONS = 5
_PART = 1 << 20
_SENT_ON = frozenset({301, 302, 303, 307, 308})


def fetch(uri: str, allow: Callable[[str], str] | None, most: int) -> bytes:
    """Read a URL of at most `most` bytes, whatever its server says of its size; `allow` is as for `open_bytes`."""
    import fsspec

    try:
        if _is_web(uri):
            return _followed(uri, allow or (lambda target: target), most)
        with fsspec.open(uri, "rb") as opened:
            size = getattr(opened, "size", None)
            data: bytes = b"" if size and size > most else opened.read(most + 1)
            if (size and size > most) or len(data) > most:
                raise too_large(uri, most)
            return data
    except ImageError:
        raise
    except Exception as error:
        words = str(error).splitlines()
        raise ImageError(f"{uri}: cannot be read: {words[0] if words else type(error).__name__}") from error


def too_large(uri: str, most: int) -> ImageError:
    return ImageError(f"{uri}: oversized: more than the limit of {most:,} bytes")


def _is_web(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _followed(uri: str, allow: Callable[[str], str], most: int) -> bytes:
    """Read from a web server, asking before every place that it sends to."""
    from fsspec.asyn import sync
    from fsspec.implementations.http import HTTPFileSystem

    files, place = HTTPFileSystem(), uri
    for _ in range(_REDIRECTIONS):
        data, target = sync(files.loop, _get, files, place, most)
        if target is None:
            return data
        target = urljoin(place, target)
        if not _is_web(target):
            raise ImageError(f"{uri}: sends to {target}, which is no web address")
        try:
            place = allow(target)
        except ImageError as error:
            raise ImageError(f"{uri}: sends elsewhere: {error}") from error
    raise ImageError(f"{uri}: sends from place to place, more than {_REDIRECTIONS} times")


async def _get(files: Any, place: str, most: int) -> tuple[bytes, str | None]:
    """What is there, or where the server sends to instead."""
    session = await files.set_session()
    async with session.get(files.encode_url(place), allow_redirects=False) as answer:
        answer.raise_for_status()
        if answer.status in _SENT_ON:
            return b"", answer.headers.get("Location", "")
        data = bytearray()
        if (answer.content_length or 0) > most:
            raise too_large(place, most)
        async for part in answer.content.iter_chunked(_PART):
            data += part
            if len(data) > most:
                raise too_large(place, most)
        return bytes(data), None
