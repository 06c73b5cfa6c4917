"""Store images that clients upload, each once, under the hash of its bytes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path

from models_py.errors import FullDiskError, WarehouseError
from models_py.files.durable import make_folders, sync_path, write_file
from models_py.warehouse.location import StoredUris
from udfs.threads import WorkerPool

_AT_ONCE = 16
"""Threads that write and sync: a sync takes 3 to 4 ms, however many wait for it at one time."""


class KeptImages:
    """Stores images with threads of its own, so that the few threads that decode do not wait for the disk."""

    def __init__(self, folder: Path, uris: StoredUris | None = None) -> None:
        self._folder = folder
        self._uris = uris or StoredUris()
        self._pool = WorkerPool("images", _AT_ONCE)
        self._making = threading.Lock()
        self._made: set[Path] = set()

    def keep(self, data: bytes, digest: str, suffix: str) -> Future[str]:
        """A future of the image's URI, done when the file survives a crash; WarehouseError if it cannot be written."""
        return self._pool.submit(self._keep, data, self._folder / digest[:2] / f"{digest}.{suffix}")

    def _keep(self, data: bytes, file: Path) -> str:
        try:
            self._make(file.parent)
            if _holds(file, data):
                sync_path(file.parent)  # another thread may have renamed it but not synced the folder yet
            else:
                write_file(file, data)
        except (OSError, FullDiskError) as error:
            raise WarehouseError(f"{file}: cannot be written: {error}") from error
        return self._uris.normal(os.fspath(file))

    def _make(self, folder: Path) -> None:
        with self._making:
            if folder not in self._made or not folder.is_dir():
                make_folders(folder)
                self._made.add(folder)


def _holds(file: Path, data: bytes) -> bool:
    """Whether a file exists with these bytes, and was not cut off by a power loss or a full disk."""
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except FileNotFoundError:
        return False
