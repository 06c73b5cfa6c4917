"""The plant's production: lines, cameras, products, shifts, and three problems that the KPIs should show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from models_py.plant import boards, plates, steel, tiles
from models_py.plant.drawing import Rng

T = TypeVar("T")

DAYS = 30
START = datetime(2026, 10, 1, tzinfo=UTC)
LABELLED_SHARE = 0.75
POSITIONS = 24
"""Board positions of a product, each with its golden board."""


@dataclass(frozen=True, slots=True)
class ProductionLine:
    """A production line: its products, place and camera."""

    line_id: str
    family: str
    zone: str
    cameras: tuple[tuple[str, str], ...]
    products: tuple[str, ...]


LINES = (
    ProductionLine(
        "AUSTIN_L1", "boards", "America/Chicago", (("AOI-1", "CAM-A1"), ("AOI-2", "CAM-A2")), ("PCB-A1", "PCB-B4")
    ),
    ProductionLine("AUSTIN_L2", "boards", "America/Chicago", (("AOI-3", "CAM-A3"),), ("PCB-A1", "PCB-B4")),
    ProductionLine(
        "AUSTIN_L3", "boards", "America/Chicago", (("AOI-4", "CAM-A4"), ("AOI-5", "CAM-A5")), ("PCB-B4", "PCB-C7")
    ),
    ProductionLine("GARY_L1", "steel", "America/Chicago", (("MILL-1", "CAM-G1"), ("MILL-2", "CAM-G2")), ("STRIP-2MM",)),
    ProductionLine("BREMEN_L1", "plates", "Europe/Berlin", (("LGP-1", "CAM-B1"),), ("LGP-15", "LGP-24")),
    ProductionLine(
        "OSAKA_L1", "tiles", "Asia/Tokyo", (("TILE-1", "CAM-O1"), ("TILE-2", "CAM-O2")), ("TILE-S", "TILE-M")
    ),
)

FAMILIES = (
    *("boards", "steel", "boards", "plates", "boards", "tiles", "boards", "steel", "boards", "plates"),
    *("boards", "tiles", "boards", "steel", "boards", "plates", "boards", "tiles", "boards", "steel"),
)
"""The order of the families: half boards, a fifth steel, the rest plates and tiles, so that a small plant has all."""

DEFECTIVE_SHARE = {"boards": 0.3, "steel": 0.6, "plates": 0.3, "tiles": 0.35}
CLASSES = {
    "boards": tuple(boards.DEFECTS),
    "steel": tuple(steel.DEFECTS),
    "plates": plates.DEFECTS,
    "tiles": tuple(tiles.DEFECTS),
}

SHIFTS = ((6, 8, 0.45), (14, 8, 0.35), (22, 8, 0.20))
"""Start hour in local time, hours, share of the day's units."""


@dataclass(frozen=True, slots=True)
class RisingShorts:
    """A line whose boards short-circuit more often from one day on."""

    line_id: str = "AUSTIN_L2"
    label: str = "short"
    from_day: int = 18
    share: float = 0.4


@dataclass(frozen=True, slots=True)
class BlurringCamera:
    """A camera that slowly loses focus: pixels of blur on the last day."""

    camera_id: str = "CAM-O2"
    final_blur: float = 2.4


@dataclass(frozen=True, slots=True)
class LabelSwap:
    """A product whose annotator confuses two classes."""

    product_type: str = "PCB-C7"
    annotator: str = "novak"
    swap: tuple[str, str] = ("spur", "mousebite")

    def written(self, product_type: str, label: str) -> str:
        """The label that the annotator writes for a defect of class `label`."""
        if product_type != self.product_type or label not in self.swap:
            return label
        return self.swap[1 - self.swap.index(label)]


SHORTS, FOCUS, MISTAKE = RisingShorts(), BlurringCamera(), LabelSwap()
_ANNOTATORS = ("kim", "ortega", "schmidt")


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """One inspection to draw, with all that is decided before drawing."""

    number: int
    unit_id: str
    family: str
    line_id: str
    station_id: str
    camera_id: str
    product_type: str
    position: int
    captured_at: datetime
    labels: tuple[str, ...]
    is_labelled: bool
    annotator: str
    blur: float
    exposure_us: int
    gain_db: float


def unit_rng(seed: int, number: int) -> Rng:
    """The unit's own random numbers: any unit can be drawn alone, in any process."""
    return np.random.default_rng([seed, number])


def plan(seed: int, number: int, units: int, start: datetime, rng: Rng) -> PlannedUnit:
    """Decide what unit `number` of `units` is, when it was made and what is wrong with it."""
    family = FAMILIES[number % len(FAMILIES)]
    line = _pick(rng, [line for line in LINES if line.family == family])
    station_id, camera_id = _pick(rng, line.cameras)
    product = _pick(rng, line.products)
    captured_at = _moment(rng, start, (number + float(rng.random())) / units * DAYS, line.zone)
    day = (captured_at - start) / timedelta(days=1)
    return PlannedUnit(
        number=number,
        unit_id=f"{line.line_id}-{seed}-{number:06d}",
        family=family,
        line_id=line.line_id,
        station_id=station_id,
        camera_id=camera_id,
        product_type=product,
        position=int(rng.integers(POSITIONS)),
        captured_at=captured_at,
        labels=_labels(rng, line, day),
        is_labelled=bool(rng.random() < LABELLED_SHARE),
        annotator=MISTAKE.annotator if product == MISTAKE.product_type else _pick(rng, _ANNOTATORS),
        blur=FOCUS.final_blur * min(1.0, max(0.0, day / DAYS)) if camera_id == FOCUS.camera_id else 0.0,
        exposure_us=int(rng.normal(1200, 40)),
        gain_db=round(float(rng.normal(6, 0.3)), 2),
    )


def _pick(rng: Rng, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _labels(rng: Rng, line: ProductionLine, day: float) -> tuple[str, ...]:
    """The defects of a unit: none for most, several on a bad board, one kind on other parts."""
    classes = CLASSES[line.family]
    count = 0
    if rng.random() < DEFECTIVE_SHARE[line.family]:
        count = int(rng.integers(1, 7)) if line.family == "boards" else 1
    labels = [classes[int(rng.integers(len(classes)))] for _ in range(count)]
    if line.line_id == SHORTS.line_id and day >= SHORTS.from_day and rng.random() < SHORTS.share:
        labels += [SHORTS.label] * int(rng.integers(1, 3))
    return tuple(labels)


def _moment(rng: Rng, start: datetime, day: float, zone: str) -> datetime:
    """Place a unit in its day as the shifts work; on weekends most lines stand still, and it moves to Friday."""
    date = (start + timedelta(days=int(day))).date()
    if date.weekday() >= 5 and rng.random() < 0.65:
        date = max(start.date(), date - timedelta(days=date.weekday() - 4))
    begin, hours, _ = SHIFTS[int(rng.choice(len(SHIFTS), p=[share for _, _, share in SHIFTS]))]
    local = datetime(date.year, date.month, date.day, tzinfo=ZoneInfo(zone))
    moment = local.astimezone(UTC) + timedelta(hours=begin + hours * float(rng.random()))
    return min(max(moment, start), start + timedelta(days=DAYS, seconds=-1))
