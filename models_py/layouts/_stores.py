"""Access to the files of a tree: a local folder, or a URL of any kind that fsspec supports.

A store also gives each file exactly one URI, however it was reached: links are resolved and URLs normalised.
"""

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
    """Size and version of a file as listed; `version` changes when the bytes may have changed.

    For a file that cannot be read the size is -1, and the version is the reason.
    """

    size: int
    version: str
    modified_ns: int | None


MISSING = FileStat(-1, "missing: there is no such file", None)


class FileStore(Protocol):
    """A place with files: list them once, read them, and give each its URI.

    `root` is the place as the user wrote it, because some readers take a label from its last folder. `prefixes` are
    the folders whose files are all in `list`: a known file below one of them that is not listed has vanished.
    """

    root: str
    prefixes: tuple[str, ...]

    def stat(self, path: str) -> FileStat: ...
    def list(self) -> Iterator[tuple[str, FileStat]]: ...
    def read(self, path: str) -> bytes: ...
    def uri(self, path: str) -> str: ...


class LocalStore:
    """Files below a local folder (or one file in it), without hidden and unfinished files."""

    def __init__(self, root: str, only: str | None = None) -> None:
        self.root = _absolute(root)
        self.prefixes: tuple[str, ...] = ()
        self._only = only
        self._folders: dict[str, str] = {}  # resolved paths of folders, so that links are not followed for each file
        self._uris: dict[str, str] = {}  # URIs of files that are links themselves

    def list(self) -> Iterator[tuple[str, FileStat]]:
        if self._only is not None:
            yield self._only, self.stat(self._only)
            return
        real = os.path.realpath(self.root)
        self.prefixes = (_below(real),)
        yield from self._walk(self.root, real, "", frozenset())

    def _walk(self, folder: str, real: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, FileStat]]:
        """List a folder; `real` is its path with all links resolved."""
        if real in above:  # a symbolic link to a folder above: following it would never end
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
            except OSError:  # deleted since it was listed, or a dangling link: it becomes a reject later
                yield prefix + entry.name, MISSING
                continue
            if is_link:
                self._uris[prefix + entry.name] = os.path.realpath(entry.path)
            yield prefix + entry.name, stat

    def stat(self, path: str) -> FileStat:
        return _local_stat(os.stat(os.path.join(self.root, path)))

    def read(self, path: str) -> bytes:
        place = os.path.join(self.root, path)
        if what := _irregular(os.stat(place).st_mode):  # reading a pipe or device could block or never end
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
    """A file's path with all links resolved; `folders` caches the resolved folders, so each is resolved once."""
    folder, name = os.path.split(path)
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    if (real := folders.get(folder)) is None:
        real = folders[folder] = os.path.realpath(folder)
    place = _below(real) + name
    return os.path.realpath(place) if os.path.islink(place) else place


def _absolute(root: str) -> str:
    """An absolute path whose last folder keeps the name that the user wrote; `..` is resolved as the system does it."""
    if ".." not in root.split("/"):
        return os.path.abspath(root)
    folder, name = os.path.split(root.rstrip("/"))
    return os.path.realpath(root) if name in (".", "..") else os.path.join(os.path.realpath(folder), name)


def _below(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


_KINDS = {modes.S_IFIFO: "a named pipe", modes.S_IFSOCK: "a socket", modes.S_IFDIR: "a folder"}


def _irregular(mode: int) -> str | None:
    """Describe what is there if it is not a regular file."""
    if modes.S_ISREG(mode):
        return None
    return f"it is {_KINDS.get(modes.S_IFMT(mode), 'a device')}, not a regular file"


def _local_stat(stat: os.stat_result) -> FileStat:
    if what := _irregular(stat.st_mode):
        return FileStat(-1, f"unreadable: {what}", None)
    return FileStat(stat.st_size, str(stat.st_mtime_ns), stat.st_mtime_ns)


def is_ignored(name: str) -> bool:
    """Whether to skip a name: hidden files, macOS resource forks and unfinished downloads."""
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
            if info.get("size") is None:  # a web server's index page has names but no sizes
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
        """The file system's name of a file: as it was listed, else below the root."""
        return self._at.get(path, f"{self._base}/{path}")


class _UrlStore:
    """Files outside the tree that a manifest names by their full URL."""

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
    """A URL without `.` and `..` in its path and, except for object stores, without double slashes."""
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
