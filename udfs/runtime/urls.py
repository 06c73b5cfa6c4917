"""The one spelling of a URL: what is compared with the allowed places is what the client then asks for."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WEB = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_ADDRESS = re.compile(r"^\[[^\]]*\]")
_ROOT = re.compile(rf"{SCHEME.pattern}(?:\[[^\]]*\]|[^:/]*)(?::\d+(?=[:/]|$))?[^:]*|[^:]+")


class OddUrlError(ValueError):
    """A URL that server and client may read in two ways; the message completes a sentence that begins with it."""


def split_roots(text: str) -> list[str]:
    """Folders and URLs separated by colons: those of `s3://` and of `host:8080` separate nothing."""
    return [match[0] for match in _ROOT.finditer(text)]


def plain_url(url: str) -> str:
    """A URL with its scheme, and a web address's host, in small letters and without the usual port."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if "::" in _ADDRESS.sub("", rest):
        raise OddUrlError("must not chain places with '::'")
    if _CONTROL.search(rest):
        raise OddUrlError("must not have control characters")
    if scheme not in _WEB:
        _check_path(rest)
        return f"{scheme}://{rest}"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise OddUrlError(f"is no URL: {error}") from error
    if "@" in parts.netloc or "\\" in parts.netloc or "%" in parts.netloc or not host:
        raise OddUrlError("must name a host, without a user, a backslash or an escape")
    _check_path(parts.path)
    place = f"[{host}]" if ":" in host else host
    place = place if port in (None, _WEB[scheme]) else f"{place}:{port}"
    return urlunsplit((scheme, place, parts.path, parts.query, ""))


def _check_path(path: str) -> None:
    """No segment that goes up, no separator in disguise, however often it is escaped."""
    text, slashes = path, path.count("/")
    while True:
        if "\\" in text or text.count("/") != slashes or _CONTROL.search(text):
            raise OddUrlError("must not have backslashes, or escaped slashes and control characters")
        if any(part.split(";")[0] in (".", "..") for part in text.split("/")):
            raise OddUrlError("must not go up with '..', nor stay with '.'")
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded


def plain_root(url: str) -> str:
    """A URL below which everything may be read, as `is_below` compares it."""
    plain = plain_url(url)
    if "?" in plain and _is_web(plain):
        raise OddUrlError("must not have a question mark")
    return plain.rstrip("/")


def is_below(url: str, place: str) -> bool:
    """Whether a plain URL is that of something in a place; a web address's query is no part of where it is."""
    path = url.partition("?")[0] if _is_web(url) else url
    return path.startswith(f"{place}/")


def _is_web(url: str) -> bool:
    return url.partition("://")[0] in _WEB
