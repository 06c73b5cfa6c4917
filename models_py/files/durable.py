"""Files that survive a power loss: what stands under a name is whole, and once a call returns it is on the disk.

A file is written under another name, its bytes are forced to the disk, and only then is it renamed; then its folder
is forced there too, for until then the name may be lost. The same goes for a folder with all that is in it.
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
    """Have the disk hold what was written to a descriptor."""
    if sys.platform == "darwin":  # where fsync() leaves it in the drive's own memory
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_path(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, so that their names survive too."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_path(folder.parent)


def put_in_place(partial: Path, target: Path) -> None:
    """Rename a file or a folder once all in it is on the disk."""
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
    """A name to write a file under: it takes the file's place at the end, and is removed if anything goes wrong.

    The file keeps its suffix only where a writer insists on one.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.partial{suffix}")
    partial.unlink(missing_ok=True)  # left by a process that was killed, and had our number
    try:
        with writing_in(file.parent):
            yield partial
            put_in_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)  # where a database was written


def remove_leftovers(file: Path) -> None:
    """Remove what `replacing` left beside a file in processes that were killed."""
    for partial in file.parent.glob(f".{glob.escape(file.name)}.*.partial*"):
        number = partial.name.removeprefix(f".{file.name}.").partition("-")[0]
        if number.isdecimal() and not _is_alive(int(number)):
            partial.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def write_file(file: Path, data: bytes) -> None:
    """Write a file whole or not at all; when this returns, a power loss cannot take it away."""
    with replacing(file) as partial:
        partial.write_bytes(data)
