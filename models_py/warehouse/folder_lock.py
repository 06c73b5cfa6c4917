"""A folder that one process at a time works in. The operating system frees it, however the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from models_py.errors import DuckspectError

_FILE = "lock"
_TRIES, _MOMENT = 20, 0.01
"""Somebody who only looks holds the lock for a moment, too."""
_open: set[int] = set()


def _close_in_child() -> None:
    """A copy of this process, which reads images say, does not hold the lock when this one is killed."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)


class FolderLock:
    """Keeps other processes, and other callers of this one, out of a folder, which is made if it is missing."""

    def __init__(self, folder: Path, what: str) -> None:
        file = folder / _FILE
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            if not _take(descriptor):
                holder = _holder(descriptor)
                os.close(descriptor)
                raise DuckspectError(f"{what} already runs in process {holder}. Wait for it, or stop it.")
            if _is_still(descriptor, file):
                break
            os.close(descriptor)  # whoever had it took the folder away
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self.folder = folder
        self._descriptor: int | None = descriptor
        _open.add(descriptor)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others in."""
        if self._descriptor is not None:
            _open.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def clear(self) -> None:
        """Remove what is in the folder."""
        import shutil

        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _FILE:
                path.unlink()


def holder_of(folder: Path) -> int | None:
    """The process that works in a folder, or None: whoever could take the lock knows that nobody does."""
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
            time.sleep(_MOMENT)
        else:
            return True
    return False


def _holder(descriptor: int) -> int:
    """The number that the holder wrote; 0 in the moment before it has."""
    text = os.pread(descriptor, 32, 0).decode(errors="replace")
    return int(text) if text.isdecimal() else 0


def _is_still(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
