"""Read the bytes of a URL, with a size limit, and check every redirection before following it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

from models_py.errors import ImageError

_REDIRECTIONS = 5
_PART = 1 << 20
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})


def fetch(uri: str, allow: Callable[[str], str] | None, most: int) -> bytes:
    """Read a URL of at most `most` bytes, whatever size its server declares; `allow` is as for `open_bytes`."""
    import fsspec

    try:
        if _is_web(uri):
            return _fetch_web(uri, allow or (lambda target: target), most)
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


def _fetch_web(uri: str, allow: Callable[[str], str], most: int) -> bytes:
    """Read from a web server; every redirection is checked with `allow` before it is followed.

    The HTTP client's own redirects are off: an allowed server could otherwise redirect us to a forbidden address.
    """
    from fsspec.asyn import sync
    from fsspec.implementations.http import HTTPFileSystem

    files, url = HTTPFileSystem(), uri
    for _ in range(_REDIRECTIONS):
        data, target = sync(files.loop, _get, files, url, most)
        if target is None:
            return data
        target = urljoin(url, target)
        if not _is_web(target):
            raise ImageError(f"{uri}: redirects to {target}, which is no web address")
        try:
            url = allow(target)
        except ImageError as error:
            raise ImageError(f"{uri}: redirects elsewhere: {error}") from error
    raise ImageError(f"{uri}: redirects more than {_REDIRECTIONS} times")


async def _get(files: Any, url: str, most: int) -> tuple[bytes, str | None]:
    """The content of a URL, or the address to which it redirects."""
    session = await files.set_session()
    async with session.get(files.encode_url(url), allow_redirects=False) as response:
        response.raise_for_status()
        if response.status in _REDIRECT_STATUS:
            return b"", response.headers.get("Location", "")
        data = bytearray()
        if (response.content_length or 0) > most:
            raise too_large(url, most)
        async for part in response.content.iter_chunked(_PART):
            data += part
            if len(data) > most:
                raise too_large(url, most)
        return bytes(data), None
