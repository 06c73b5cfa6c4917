"""The listing of a folder, archive or URL that layouts read: relative paths with size and version."""

from __future__ import annotations

import os
from functools import cached_property

from models_py.layouts._stores import MISSING, FileStat, FileStore, outside
from models_py.warehouse.location import StoredUris

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


class Tree:
    """The listing of one store, made once, with the look-ups that readers share.

    Paths are relative to the root. Absolute paths and URLs, which a manifest may contain, can be read too.
    """

    def __init__(
        self, store: FileStore, files: dict[str, FileStat] | None = None, listed: dict[str, FileStat] | None = None
    ) -> None:
        self.store = store
        self.root = store.root
        self.files = dict(store.list()) if files is None else files
        self.listed = self.files if listed is None else listed
        """All files, including those that readers must not see yet because they may still be written."""
        self.uris = StoredUris()
        """The URI conversion of the warehouse into which the tree is loaded."""

    def stat(self, path: str) -> FileStat | None:
        """Size and version of a file, None if it is missing or cannot be read."""
        known = self._stat(path)
        return known if known.size >= 0 else None

    def why_not(self, path: str) -> str:
        """Why a file for which `stat` is None cannot be read."""
        return self._stat(path).version

    def _stat(self, path: str) -> FileStat:
        if (known := self.files.get(path)) is not None:
            return known
        try:
            return self._store_of(path).stat(path)
        except (OSError, ValueError):
            return MISSING

    def read(self, path: str) -> bytes:
        return self._store_of(path).read(path)

    def uri(self, path: str) -> str:
        """The URI under which the warehouse stores a file."""
        return self.uris.stored(self.full_uri(path))

    def full_uri(self, path: str) -> str:
        """The absolute path or URL of a file."""
        return self._store_of(path).uri(path)

    def _store_of(self, path: str) -> FileStore:
        if "://" in path:
            return outside(path.split("://", 1)[0])
        return self.store

    def text(self, path: str) -> str:
        """Decode a label file as UTF-8; invalid bytes become \ufffd, which the parser then rejects."""
        return self.read(path).decode("utf-8-sig", "replace")

    @cached_property
    def images(self) -> list[str]:
        """Paths with an image's suffix, sorted."""
        return [path for path in self.files if suffix(path) in IMAGE_SUFFIXES]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self.images:
            found.setdefault(stem(path), []).append(path)
        return found

    def images_named(self, name: str) -> list[str]:
        """Images whose file name without suffix is `name`, in any folder."""
        return self._by_stem.get(name, [])

    def having(self, *endings: str) -> list[str]:
        """Paths that end in one of `endings`, case-insensitively."""
        return [path for path in self.files if path.lower().endswith(endings)]


def suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def stem(path: str) -> str:
    return os.path.splitext(path.rsplit("/", 1)[-1])[0]


def folder(path: str) -> str:
    """The folder part of a path, '' at the root."""
    return path.rsplit("/", 1)[0] if "/" in path else ""


def parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))
