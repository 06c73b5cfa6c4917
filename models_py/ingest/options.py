"""The options of a load, and the report about it."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

from models_py.images import ImageLimits
from models_py.ingest.contradictions import Contradiction
from models_py.ingest.new_rows import RowCounts
from models_py.ingest.relocate import FolderMove
from models_py.times import TimeLimits


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a load reads its images, and the line, station, product and source of inspections whose layout gives none."""

    layout: str | None = None
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    source: str | None = None
    classes: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    times: TimeLimits = field(default_factory=TimeLimits)
    workers: int | None = None
    again: bool = False
    patience: float = 0.0
    """Seconds for which an incomplete file may still be growing, and is left for the next pass."""

    @property
    def stated(self) -> dict[str, str]:
        """The values that hold for every inspection, by the name of the option."""
        values = {"line": self.line_id, "station": self.station_id, "product": self.product_type}
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one load found and did."""

    root: str
    layout: str
    evidence: str
    samples: int
    unchanged: int
    other_files: int
    added: RowCounts
    bytes_read: int
    seconds: float
    moved: tuple[FolderMove, ...] = ()
    vanished: int = 0
    vanished_files: tuple[str, ...] = ()
    """The first few of those that vanished."""
    several_frames: tuple[str, ...] = ()
    """Files read in this load that have several frames, of which the first is used."""
    contradictions: tuple[Contradiction, ...] = ()
    """Files of this load whose bytes have other labels under another name."""

    @property
    def has_changed(self) -> bool:
        """Whether the load wrote anything that readers see."""
        return self.bytes_read > 0 or bool(self.moved) or any(astuple(self.added))
