"""A lock on a folder for one process at a time: `flock` on a file in it, released by the system when the process ends.

The file holds the process id, but only for messages: whether the folder is in use is decided by trying to lock. The
folder may be removed by whoever holds the lock, so after locking we check that the file we locked still has its name.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from models_py.errors import DuckspectError

_FILE = "lock"
_TRIES, _PAUSE = 20, 0.01
"""`holder_of` takes the lock for a moment to see whether it is free, so a failed try is repeated."""
_held_descriptors: set[int] = set()


def _close_in_child() -> None:
    """Close the lock files in a forked process: it would otherwise keep the lock after its parent is killed."""
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


os.register_at_fork(after_in_child=_close_in_child)


class FolderLock:
    """Holds a folder against other processes and other callers in this one; makes the folder if it is missing."""

    def __init__(self, folder: Path, what: str) -> None:
        file = folder / _FILE
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            if not _take(descriptor):
                holder = _holder(descriptor)
                os.close(descriptor)
                raise DuckspectError(f"{what} already runs in process {holder}. Wait for it, or stop it.")
            if _has_its_name(descriptor, file):
                break
            os.close(descriptor)  # the last holder removed the folder, so we locked a file without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self.folder = folder
        self._descriptor: int | None = descriptor
        _held_descriptors.add(descriptor)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            _held_descriptors.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def clear(self) -> None:
        """Remove everything in the folder except the lock file."""
        import shutil

        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _FILE:
                path.unlink()


def holder_of(folder: Path) -> int | None:
    """The id of the process that holds a folder's lock, or None if nobody does."""
    try:
        descriptor = os.open(folder / _FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _holder(descriptor: int) -> int:
    """The process id that the holder wrote into the file; 0 if it has not written it yet."""
    text = os.pread(descriptor, 32, 0).decode(errors="replace")
    return int(text) if text.isdecimal() else 0


def _has_its_name(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
