"""Which files a query may open: a SQL function must not be a way to read the whole machine."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass

from models_py.errors import ImageError
from models_py.warehouse.location import StoredUris, is_relative
from udfs.runtime.urls import SCHEME, OddUrlError, is_below, plain_root, plain_url, split_roots

VARIABLE = "DUCKSPECT_ALLOWED_ROOTS"


@dataclass(frozen=True, slots=True)
class AllowedFile:
    """A file that may be opened, and what tells this state of it from another one; nothing of remote ones."""

    uri: str
    identity: tuple[str, int, int] | None


class AllowedRoots:
    """The folders given in DUCKSPECT_ALLOWED_ROOTS, else those of the warehouse's images and everything below."""

    def __init__(self, known: Callable[[], list[str]], uris: StoredUris) -> None:
        self._known = known
        self._uris = uris
        self._lock = threading.Lock()
        self._given: str | None = None
        self._folders: frozenset[str] = frozenset()
        self._places: tuple[str, ...] = ()
        self._odd = ""
        self._is_stale = True
        self._real: dict[str, str] = {}
        self._allowed: dict[str, bool] = {}

    def expire(self) -> None:
        """A new query: more may have been ingested, the variable set, a link turned elsewhere."""
        with self._lock:
            self._is_stale = True
            self._real.clear()
            if os.environ.get(VARIABLE) != self._given:
                self._look()

    def _look(self) -> None:
        self._given = os.environ.get(VARIABLE)
        roots = split_roots(self._given) if self._given is not None else self._known()
        folders, places, odd = set(), set(), []
        for root in filter(None, roots):
            scheme = SCHEME.match(root)
            if not scheme or scheme[1].lower() == "file":
                folders.add(os.path.realpath(os.path.expanduser(root[len(scheme[0]) :] if scheme else root)))
                continue
            try:
                places.add(plain_root(root))
            except OddUrlError as error:
                odd.append(f"{root} {error}")
        self._folders, self._places, self._odd = frozenset(folders), tuple(sorted(places)), "; ".join(odd)
        self._is_stale = False
        self._allowed.clear()

    def open(self, uri: str) -> AllowedFile:
        """Find a file; raise ImageError with the reason if there is none, or if it may not be opened."""
        scheme = SCHEME.match(uri)
        if scheme and scheme[1].lower() != "file":
            return self._remote(uri, scheme[1].lower())
        if "\0" in uri:
            raise ImageError(f"{uri!r}: is no path")
        full = uri[len(scheme[0]) :] if scheme else self._uris.full(uri)
        path = os.path.abspath(os.path.expanduser(full))
        try:
            path = self._realpath(path)
            if not self._may(lambda: path in self._folders or self._is_allowed(os.path.dirname(path))):
                raise ImageError(self._refusal(uri))
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ImageError(self._absence(uri)) from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{uri}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(f"{uri}: is a folder, not an image. For its files: from images('{uri.rstrip('/')}/*')")
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{uri}: is no regular file")
        return AllowedFile(path, (path, found.st_size, found.st_mtime_ns))

    def _may(self, is_allowed: Callable[[], bool]) -> bool:
        """Ask the folders known so far, and look for new ones before a refusal."""
        if is_allowed():
            return True
        with self._lock:
            if self._is_stale:
                self._look()
        return is_allowed()

    def _realpath(self, path: str) -> str:
        """Follow links: the folder's once, for its files are many, and the file's own."""
        folder, name = os.path.split(path)
        real = self._real.get(folder)
        if real is None:
            real = self._real[folder] = os.path.realpath(folder)
        path = os.path.join(real, name)
        return os.path.realpath(path) if os.path.islink(path) else path

    def _is_allowed(self, folder: str) -> bool:
        found = self._allowed.get(folder)
        if found is None:
            above = os.path.dirname(folder)
            found = folder in self._folders or (folder != above and self._is_allowed(above))
            self._allowed[folder] = found
        return found

    def _remote(self, uri: str, scheme: str) -> AllowedFile:
        from fsspec.registry import known_implementations

        if scheme not in known_implementations:
            raise ImageError(f"{uri}: unknown scheme {scheme!r}; known are file, http, https, s3, gs, az and fsspec's")
        try:
            plain = plain_url(uri)
        except OddUrlError as error:
            raise ImageError(f"{uri}: {error}") from error
        if self._may(lambda: any(is_below(plain, place) for place in self._places)):
            return AllowedFile(plain, None)
        raise ImageError(self._refusal(uri))

    def _absence(self, uri: str) -> str:
        if self._uris.folder is None or not is_relative(uri):
            return f"{uri}: there is no such file"
        return (
            f"{uri}: there is no such file in the warehouse's folder. If you mean one in the current folder, "
            f"write ./{uri}"
        )

    def _refusal(self, uri: str) -> str:
        what = f"{VARIABLE} ({self._given})" if self._given is not None else "the folders of this warehouse's images"
        odd = f" (ignored: {self._odd})" if self._odd and self._given is not None else ""
        return f"{uri}: is outside {what}{odd}. Ingest its folder, or name it in {VARIABLE}"
