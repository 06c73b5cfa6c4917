"""The rows of one batch, keyed so that none is stored twice. Must stay quick to import."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

Row = tuple[Any, ...]

TABLES = ("images", "inspections", "annotations", "templates", "rejected_files", "files")


@dataclass(slots=True)
class NewRows:
    """Rows by table and primary key; of two rows with one key the first is kept, as in a run without threads."""

    images: dict[str, Row] = field(default_factory=dict)
    inspections: dict[str, Row] = field(default_factory=dict)
    annotations: dict[str, Row] = field(default_factory=dict)
    templates: dict[tuple[str, str], Row] = field(default_factory=dict)
    rejected_files: dict[tuple[str, str], Row] = field(default_factory=dict)
    files: dict[str, Row] = field(default_factory=dict)
    several_frames: list[str] = field(default_factory=list)
    """Files with several frames, of which the first is used."""
    samples: int = 0
    bytes_read: int = 0

    def add(self, other: NewRows) -> None:
        """Append the rows of a later chunk."""
        for table in TABLES:
            mine = getattr(self, table)
            for key, row in getattr(other, table).items():
                mine.setdefault(key, row)
        self.several_frames += other.several_frames
        self.samples += other.samples
        self.bytes_read += other.bytes_read

    def reject(self, uri: str, reason: str) -> None:
        uri = uri.encode("utf-8", "backslashreplace").decode()
        self.rejected_files[uri, reason] = (uri, reason)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many rows of each table were new, how many annotations of each kind, how many inspections were corrected."""

    images: int = 0
    inspections: int = 0
    annotations: int = 0
    templates: int = 0
    rejected_files: int = 0
    corrected: int = 0
    boxes: int = 0
    polygons: int = 0
    masks: int = 0
    classes: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
