"""Unpack zip and tar archives beside the warehouse, each content once."""

from __future__ import annotations

import calendar
import glob
import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from models_py.errors import FullDiskError, LayoutError
from models_py.files.durable import make_folders, put_in_place
from models_py.files.full_disk import full_disk

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


_ORIGIN = ".origin"
"""A file with the archive's path, size and time, so that an unchanged archive need not be hashed again."""


def is_archive(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def unpacked(archive: Path, into: Path) -> Path:
    """Unpack an archive and return the folder; the same content is not unpacked twice.

    The folder gets its name only when it is complete, so a killed run leaves no half-unpacked folder behind.
    """
    origin = f"{archive.absolute()} {archive.stat().st_size} {archive.stat().st_mtime_ns}"
    for known in into.glob(f"{glob.escape(_stem(archive))}-*/{_ORIGIN}"):
        if known.read_text() == origin:
            return known.parent
    target = into / f"{_stem(archive)}-{_digest(archive)[:12]}"
    if target.is_dir():
        return target
    make_folders(into)
    partial = into / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _unpack_zip(archive, partial) if zipfile.is_zipfile(archive) else _unpack_tar(archive, partial)
        (partial / _ORIGIN).write_text(origin)
        put_in_place(partial, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if full := full_disk(error, into.absolute()):
            raise full from error
        why = str(error).partition("\n")[0].rstrip(":.")
        raise LayoutError(f"{archive} cannot be unpacked: {why}. Download it again, or unpack it yourself.") from error
    return target


def _stem(archive: Path) -> str:
    name = archive.name
    return next((name[: -len(ending)] for ending in SUFFIXES if name.lower().endswith(ending)), name)


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_free_space(size: int, partial: Path) -> None:
    free = shutil.disk_usage(partial.parent).free
    if size > free:
        raise FullDiskError(partial.parent, f"{size:,} bytes are to be unpacked, but only {free:,} are free")


def _unpack_zip(archive: Path, partial: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        _check_free_space(sum(member.file_size for member in file.infolist()), partial)
        for member in file.infolist():
            made = file.extract(member, partial)  # drops absolute paths and '..'
            if not member.is_dir():
                moment = calendar.timegm((*member.date_time, 0, 0, 0))
                os.utime(made, (moment, moment))


def _unpack_tar(archive: Path, partial: Path) -> None:
    with tarfile.open(archive) as file:
        members = file.getmembers()
        _check_free_space(sum(member.size for member in members), partial)
        file.extractall(partial, members, filter="data")  # refuses paths outside and special files
