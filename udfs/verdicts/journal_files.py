"""The journal's files. They contain every acknowledged record and no refused one, even if the disk fails in between.

Writing. Records are appended to a file called a segment, one line each, and every line begins with a checksum of the
rest. A batch is acknowledged after it is synced. If a write or sync fails, the whole batch is refused, but the segment
may contain all of it, a part, or nothing. So the segment is truncated to its last good length and closed, and the next
batch begins a new one: after a failed sync nobody knows what else of the file is not on the disk.

A failed truncation. Then nobody knows whether the disk holds the batch. Its clients are told so
(`UncertainStorageError`) and to send the request again with the same id, since a record with one id is stored once. It
is settled with the next write that succeeds: the new segment begins with a "void" line that says where each such
segment ends, in one sync with the first batch. Until then nothing is acknowledged, and nothing is moved into the
warehouse. Only a server that starts after a crash takes all that it finds, which is what the clients were told.
Segments are deleted oldest first, so a void line stays at least as long as the segments that it truncates.

Reading. A last line without a newline was never acknowledged, and is ignored. Any other line with a wrong checksum was
damaged later: it is copied to a file beside its segment, the log names it, and all other lines are used.
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
    """A batch could not be stored, and its segment could not be truncated either."""


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A line of a segment as it is on the disk."""

    file: Path
    number: int
    start: int
    raw: bytes

    @property
    def text(self) -> bytes:
        """The record's text; ValueError if its checksum is wrong. Lines of earlier versions have no checksum."""
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
        """Write and sync lines. OSError: none of them is stored; UncertainStorageError: that is not known."""
        with self._lock:
            self._append(texts)

    def cut(self) -> list[Path]:
        """End the current segment, and return all that are to be moved."""
        with self._lock:
            if self._void:
                self._append([])  # raises while the disk fails, so that uncertain records are not moved
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
            if not self._good:  # the first write to this segment: its name must survive, too
                sync_path(self._folder)
        except OSError as error:
            if not self._take_back():
                raise UncertainStorageError(*error.args) from error
            raise
        self._good += len(data)
        self._void.clear()

    def _begin(self) -> None:
        """Create a segment whose name sorts after all others, even if the clock was set back."""
        self._last = max(time.time_ns(), self._last + 1)
        file = self._folder / f"{self._last:020}{_SUFFIX}"
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._file, self._good = file, 0

    def _take_back(self) -> bool:
        """Truncate the segment to its good length and close it; return whether that succeeded."""
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
            with contextlib.suppress(OSError):  # everything acknowledged is synced already
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
    """The files with damaged lines that `set_aside` wrote."""
    return sorted(folder.glob(f"*{_DAMAGED}"))


def read_segments(segments: Sequence[Path]) -> tuple[list[JournalLine], list[tuple[JournalLine, str]]]:
    """The lines with records, and the damaged lines with their errors; lines that a void line cancels are left out."""
    whole: list[JournalLine] = []
    damaged: list[tuple[JournalLine, str]] = []
    ends: dict[str, int] = {}
    for line in (each for segment in segments for each in _lines(segment)):
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
    """The lines of a segment that end with a newline."""
    start = 0
    for number, raw in enumerate(segment.read_bytes().split(b"\n")[:-1], 1):
        yield JournalLine(segment, number, start, raw)
        start += len(raw) + 1


def set_aside(damaged: Sequence[tuple[JournalLine, str]]) -> None:
    """Write lines that cannot be used to a file beside their segment, and log each."""
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
