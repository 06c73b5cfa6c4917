"""The journal's files: what was acknowledged is in them, what was refused is not, whatever the disk does in between.

Entries are appended to a segment, a line each, and every line begins with a checksum of the rest: only a whole line
counts. A batch is acknowledged once the disk holds it. If a write or a sync fails, none of the batch is, and the
segment may hold all of it, some, or pieces. So it is cut back to its last good length, through the descriptor, and is
given up: the next batch begins a new one, for after a failed sync nobody knows what else of a file is not on the disk.

Cutting back can fail too. Nobody knows then whether the disk holds the batch, and its clients are told so
(`UncertainError`) and to ask again with the same id, since an entry is stored once however often it is written. It is
certain again as soon as the disk takes anything: the next segment begins with a line that says where each of those
before it ends, written in one sync with its first batch. Until then nothing is acknowledged, and nothing is moved into
the warehouse (but by a server that starts after a crash: it takes what it finds, as the clients were told). Segments
are deleted oldest first, so such a line stays for as long as what it makes void.

A last line without its end was never acknowledged, and is left out. Any other line that is not whole was damaged: it is
kept in a file beside its segment, with a message that names it, and costs its neighbours nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_py.files.durable import make_folders, sync, sync_path, write_file

_SUFFIX = ".verdicts.jsonl"
_DAMAGED = ".damaged"
_CHECKSUM = 9
_VOID = b"void "
_log = logging.getLogger("duckspect.serve")


class UncertainStorageError(OSError):
    """A batch could neither be stored nor taken back."""


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A line of a segment as it is on the disk."""

    file: Path
    number: int
    start: int
    raw: bytes

    @property
    def text(self) -> bytes:
        """What was written; ValueError unless it is whole. Segments of earlier versions have no checksums."""
        if self.raw.startswith(b"{"):
            return self.raw
        text = self.raw[_CHECKSUM:]
        if self.raw != _line(text):
            raise ValueError("its checksum is wrong")
        return text


def _line(text: bytes) -> bytes:
    return b"%08x " % zlib.crc32(text) + text


class JournalFiles:
    """Appends to the segments in a folder."""

    def __init__(self, folder: Path) -> None:
        make_folders(folder)
        self._folder = folder
        self._lock = threading.Lock()
        self._file: Path | None = None
        self._descriptor = -1
        self._good = 0
        self._void: dict[str, int] = {}
        self._last = max((int(file.name.removesuffix(_SUFFIX)) for file in find_segments(folder)), default=0)

    def append(self, texts: Sequence[bytes]) -> None:
        """Have the disk hold lines. OSError: it holds none of them; UncertainError: nobody knows."""
        with self._lock:
            self._append(texts)

    def cut(self) -> list[Path]:
        """End the present segment, and name all that wait."""
        with self._lock:
            if self._void:
                self._append([])
            self._end()
            return find_segments(self._folder)

    def _append(self, texts: Sequence[bytes]) -> None:
        if self._file is None:
            self._begin()
            texts = [_VOID + json.dumps(self._void).encode(), *texts]
        data = b"".join(_line(text) + b"\n" for text in texts)
        try:
            _write(self._descriptor, data, self._good)
            sync(self._descriptor)
            if not self._good:
                sync_path(self._folder)
        except OSError as error:
            if not self._take_back():
                raise UncertainStorageError(*error.args) from error
            raise
        self._good += len(data)
        self._void.clear()

    def _begin(self) -> None:
        """A new file whose name sorts behind all others, whatever the clock says."""
        self._last = max(time.time_ns(), self._last + 1)
        file = self._folder / f"{self._last:020}{_SUFFIX}"
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._file, self._good = file, 0

    def _take_back(self) -> bool:
        """Give the segment up at its good length; whether the disk holds no more of it."""
        assert self._file is not None  # noqa: S101 - an append has begun it
        try:
            if self._good:
                os.ftruncate(self._descriptor, self._good)
                sync(self._descriptor)
            else:
                self._file.unlink()
                sync_path(self._folder)
        except OSError as error:
            _log.error("%s cannot be cut back to %d bytes: %s", self._file, self._good, error)
            self._void[self._file.name] = self._good
            return False
        finally:
            self._end()
        return True

    def _end(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # all that counts was synced before
                os.close(self._descriptor)
            self._file = None


def _write(descriptor: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, place)
        rest, place = rest[written:], place + written


def find_segments(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    return sorted(file for file in folder.glob(f"*{_SUFFIX}") if file.name.removesuffix(_SUFFIX).isdecimal())


def find_damaged(folder: Path) -> list[Path]:
    """What was set aside of segments that could not be read in full."""
    return sorted(folder.glob(f"*{_DAMAGED}"))


def read_segments(segments: Sequence[Path]) -> tuple[list[JournalLine], list[tuple[JournalLine, str]]]:
    """The lines that hold entries, and those that are damaged, with what is wrong with each."""
    whole: list[JournalLine] = []
    damaged: list[tuple[JournalLine, str]] = []
    ends: dict[str, int] = {}
    for line in (found for segment in segments for found in _lines(segment)):
        try:
            if line.text.startswith(_VOID):
                ends |= json.loads(line.text.removeprefix(_VOID))
            else:
                whole.append(line)
        except (ValueError, TypeError) as error:
            damaged.append((line, str(error)))

    def holds(line: JournalLine) -> bool:
        return line.start < ends.get(line.file.name, line.start + 1)

    return [line for line in whole if holds(line)], [item for item in damaged if holds(item[0])]


def _lines(segment: Path) -> Iterable[JournalLine]:
    """The lines of a segment that have an end."""
    start = 0
    for number, raw in enumerate(segment.read_bytes().split(b"\n")[:-1], 1):
        yield JournalLine(segment, number, start, raw)
        start += len(raw) + 1


def set_aside(damaged: Sequence[tuple[JournalLine, str]]) -> None:
    """Keep lines that cannot be used beside their segment, and say so."""
    for file in dict.fromkeys(line.file for line, _ in damaged):
        kept = file.with_suffix(_DAMAGED)
        write_file(kept, b"".join(line.raw + b"\n" for line, _ in damaged if line.file == file))
        for line, reason in damaged:
            if line.file == file:
                _log.error("%s: line %d cannot be stored and is kept in %s: %s", file, line.number, kept, reason)


def remove_segments(segments: Sequence[Path]) -> None:
    """Delete segments whose entries are in the warehouse, oldest first."""
    for segment in sorted(segments):
        segment.unlink(missing_ok=True)
