"""Files that survive a power loss: a file is complete under its name, and on the disk when the call returns.

A file is written under another name and synced, and only then renamed, so nobody reads half a file. Then its folder is
synced too: until that, a power loss could undo the renaming. A folder with all its files is put in place the same way.
"""

from __future__ import annotations

import glob
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models_py.files.full_disk import writing_in

if sys.platform == "darwin":
    import fcntl


def sync(descriptor: int) -> None:
    """Force what was written to a descriptor to the disk."""
    if sys.platform == "darwin":  # there fsync() may leave the data in the drive's own cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """Force a file's data, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, and sync each name."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_path(folder.parent)


def put_in_place(partial: Path, target: Path) -> None:
    """Sync a file, or everything in a folder, and then rename it."""
    for folder, _, names in os.walk(partial):
        for name in names:
            sync_path(Path(folder, name))
        sync_path(Path(folder))
    if not partial.is_dir():
        sync_path(partial)
    partial.replace(target)
    sync_path(target.parent)


@contextmanager
def replacing(file: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path to write to; at the end it replaces the file, after an error it is removed.

    `suffix` is for writers that insist on a file name's ending.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.partial{suffix}")
    partial.unlink(missing_ok=True)  # left by a killed process that had our process id
    try:
        with writing_in(file.parent):
            yield partial
            put_in_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)  # if the file was a DuckDB database


def remove_leftovers(file: Path) -> None:
    """Remove the temporary files of `replacing` whose processes no longer run."""
    for partial in file.parent.glob(f".{glob.escape(file.name)}.*.partial*"):
        number = partial.name.removeprefix(f".{file.name}.").partition("-")[0]
        if number.isdecimal() and not _is_alive(int(number)):
            partial.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs as another user
        return True
    return True


def write_file(file: Path, data: bytes) -> None:
    """Write a file completely or not at all; when this returns, it survives a power loss."""
    with replacing(file) as partial:
        partial.write_bytes(data)
