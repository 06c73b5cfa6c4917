"""Where the files of a tree are: a local folder, or anything that fsspec knows; and the one name that each file has."""

from __future__ import annotations

import errno
import os
import re
import stat as modes
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol

from models_py.errors import LayoutError

UNFINISHED_SUFFIXES = frozenset({".part", ".partial", ".tmp", ".crdownload", ".filepart"})


class FileStat(NamedTuple):
    """What a listing says of a file; `version` changes when the bytes may have changed.

    Of what cannot be read the size is -1, and the version says why.
    """

    size: int
    version: str
    modified_ns: int | None


MISSING = FileStat(-1, "missing: there is no such file", None)


class FileStore(Protocol):
    """Where the bytes are: list once, read many, say how the warehouse should call a file.

    `root` is the place as it was named, for readers that take a label from its last folder. `uri` is the one name
    that a file has, however it was reached. `prefixes` begin the URIs of all that `list` names, and of nothing that
    it leaves out.
    """

    root: str
    prefixes: tuple[str, ...]

    def stat(self, path: str) -> FileStat: ...
    def list(self) -> Iterator[tuple[str, FileStat]]: ...
    def read(self, path: str) -> bytes: ...
    def uri(self, path: str) -> str: ...


class LocalStore:
    """Files below a local folder (or one file in it); hidden and unfinished files do not exist."""

    def __init__(self, root: str, only: str | None = None) -> None:
        self.root = _absolute(root)
        self.prefixes: tuple[str, ...] = ()
        self._only = only
        self._folders: dict[str, str] = {}  # where listed folders are, and others by their absolute path
        self._uris: dict[str, str] = {}

    def list(self) -> Iterator[tuple[str, FileStat]]:
        if self._only is not None:
            yield self._only, self.stat(self._only)
            return
        real = os.path.realpath(self.root)
        self.prefixes = (_below(real),)
        yield from self._walk(self.root, real, "", frozenset())

    def _walk(self, folder: str, real: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, FileStat]]:
        """List a folder; `real` is where it is when all links are followed."""
        if real in above:  # a symbolic link that leads back up
            return
        self._folders[prefix[:-1]] = real
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise LayoutError(
                f"{folder!r} cannot be listed: {error.strerror}. Check the path and its permissions."
            ) from error
        for entry in entries:
            if is_ignored(entry.name):
                continue
            is_link = entry.is_symlink()
            if entry.is_dir():
                place = os.path.realpath(entry.path) if is_link else _below(real) + entry.name
                if is_link:
                    self.prefixes = (*self.prefixes, _below(place))
                yield from self._walk(entry.path, place, f"{prefix}{entry.name}/", above | {real})
                continue
            try:
                stat = _local_stat(entry.stat())
            except OSError:  # deleted since it was listed, or a dangling link: the reader will say so
                yield prefix + entry.name, MISSING
                continue
            if is_link:
                self._uris[prefix + entry.name] = os.path.realpath(entry.path)
            yield prefix + entry.name, stat

    def stat(self, path: str) -> FileStat:
        return _local_stat(os.stat(os.path.join(self.root, path)))

    def read(self, path: str) -> bytes:
        place = os.path.join(self.root, path)
        if what := _irregular(os.stat(place).st_mode):  # never opened: it could wait forever, or have no end
            raise OSError(errno.EINVAL, what, place)
        with open(place, "rb", 0) as file:
            return file.read()

    def uri(self, path: str) -> str:
        if self._uris and (known := self._uris.get(path)) is not None:
            return known
        folder, _, name = path.rpartition("/")
        if not path.startswith("/") and (real := self._folders.get(folder)) is not None:
            return f"{real}/{name}" if real != "/" else f"/{name}"
        return self._uris.setdefault(path, real_path(os.path.join(self.root, path), self._folders))


def real_path(path: str, folders: dict[str, str]) -> str:
    """Where a file is when all links are followed; those of its folder once for all files in it, kept in `folders`."""
    folder, name = os.path.split(path)
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    if (real := folders.get(folder)) is None:
        real = folders[folder] = os.path.realpath(folder)
    place = _below(real) + name
    return os.path.realpath(place) if os.path.islink(place) else place


def _absolute(root: str) -> str:
    """An absolute path with its last folder as it was named; a `..` behind a link leads out of the link's target."""
    if ".." not in root.split("/"):
        return os.path.abspath(root)
    folder, name = os.path.split(root.rstrip("/"))
    return os.path.realpath(root) if name in (".", "..") else os.path.join(os.path.realpath(folder), name)


def _below(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


_KINDS = {modes.S_IFIFO: "a named pipe", modes.S_IFSOCK: "a socket", modes.S_IFDIR: "a folder"}


def _irregular(mode: int) -> str | None:
    """What there is instead of a regular file."""
    if modes.S_ISREG(mode):
        return None
    return f"it is {_KINDS.get(modes.S_IFMT(mode), 'a device')}, not a regular file"


def _local_stat(stat: os.stat_result) -> FileStat:
    if what := _irregular(stat.st_mode):
        return FileStat(-1, f"unreadable: {what}", None)
    return FileStat(stat.st_size, str(stat.st_mtime_ns), stat.st_mtime_ns)


def is_ignored(name: str) -> bool:
    """Hidden files, macOS resource forks and downloads that are still running."""
    return name.startswith(".") or name == "__MACOSX" or os.path.splitext(name)[1].lower() in UNFINISHED_SUFFIXES


class RemoteStore:
    """Anything fsspec knows: `s3://`, `gs://`, `http://`, `memory://`."""

    def __init__(self, url: str) -> None:
        self.root = normal_url(url).rstrip("/")
        self._fs, self._base = _filesystem(self.root)
        self._at: dict[str, str] = {}
        self.prefixes: tuple[str, ...] = (_below(str(self._fs.unstrip_protocol(self._base))),)

    def list(self) -> Iterator[tuple[str, FileStat]]:
        found: dict[str, dict[str, Any]] = self._fs.find(self._base, detail=True)
        for name in sorted(found):
            path = name[len(self._base) :].lstrip("/") or PurePosixPath(name).name
            if any(is_ignored(part) for part in path.split("/")):
                continue
            info = found[name]
            if info.get("size") is None:  # an index page lists names only
                info = self._fs.info(name)
            self._at[path] = name
            yield path, _remote_stat(info)

    def stat(self, path: str) -> FileStat:
        return _remote_stat(self._fs.info(self._name(path)))

    def read(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(self._name(path))
        return data

    def uri(self, path: str) -> str:
        return normal_url(str(self._fs.unstrip_protocol(self._name(path))))

    def _name(self, path: str) -> str:
        """How the file system calls a file: as it was listed, else below the root."""
        return self._at.get(path, f"{self._base}/{path}")


class _UrlStore:
    """Files a manifest names by full URL."""

    def __init__(self, scheme: str) -> None:
        self.root = f"{scheme}://"
        self.prefixes: tuple[str, ...] = ()
        self._fs, _ = _filesystem(self.root)

    def list(self) -> Iterator[tuple[str, FileStat]]:
        return iter(())

    def stat(self, path: str) -> FileStat:
        return _remote_stat(self._fs.info(normal_url(path)))

    def read(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(normal_url(path))
        return data

    def uri(self, path: str) -> str:
        return normal_url(path)


_URL = re.compile(r"(?P<host>[^:/?#]+://[^/?#]*)(?P<path>/[^?#]*)(?P<rest>.*)", re.DOTALL)
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"})
"""Stores whose keys are plain text: a key with two slashes is another key."""


def normal_url(url: str) -> str:
    """A URL whose path goes straight to the file: without `.`, `..` and, where that means nothing, doubled slashes."""
    match = _URL.fullmatch(url)
    path = match["path"] if match else ""
    if match is None or "::" in url or not ("/." in path or "//" in path):
        return url
    parts: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            parts = parts[:-1]
        elif part != "." and (part or url.split("://", 1)[0].lower() in _OBJECT_STORES):
            parts.append(part)
    return f"{match['host']}/{'/'.join(parts)}{match['rest']}"


@cache
def outside(scheme: str) -> FileStore:
    return _UrlStore(scheme)


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.split("://", 1)[0]
    try:
        fs, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        known = ", ".join(sorted(fsspec.available_protocols()))
        raise LayoutError(f"{scheme}:// cannot be read: {error}. Schemes known here: {known}.") from error
    return fs, str(base).rstrip("/")


_VERSION_KEYS = (
    "ETag",
    "etag",
    "md5Hash",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)


def _remote_stat(info: dict[str, Any]) -> FileStat:
    if info.get("type", "file") == "other":  # what fsspec calls pipes, sockets and devices
        return FileStat(-1, "unreadable: it is not a regular file", None)
    version = next((str(info[key]) for key in _VERSION_KEYS if info.get(key)), "unknown")
    modified = next(
        (info[key] for key in ("LastModified", "mtime", "created") if hasattr(info.get(key), "timestamp")), None
    )
    return FileStat(int(info.get("size") or 0), version, int(modified.timestamp() * 1e9) if modified else None)
