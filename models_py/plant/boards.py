"""Bare boards as a binarising camera sees them: black copper on white, like DeepPCB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, hypot, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models_py.plant.drawing import Box, Defect, Drawing, Grey, Rng, box_of

SIDE = 640
COPPER, BARE = 0, 255
MARGIN = 6
"""Pixels between a defect and its box, as an annotator would draw it."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Trace:
    """A straight piece of copper."""

    start: Point
    end: Point
    width: int

    @property
    def length(self) -> float:
        return hypot(self.end[0] - self.start[0], self.end[1] - self.start[1])

    @property
    def direction(self) -> float:
        return atan2(self.end[1] - self.start[1], self.end[0] - self.start[0])

    def at(self, part: float) -> Point:
        return (
            self.start[0] + part * (self.end[0] - self.start[0]),
            self.start[1] + part * (self.end[1] - self.start[1]),
        )


@dataclass(frozen=True, slots=True)
class Design:
    """The copper of one board position: an image without noise, and its traces."""

    copper: Image.Image
    traces: tuple[Trace, ...]


def design(rng: Rng) -> Design:
    """Route a few nets over the board, with pads, vias and now and then a plane."""
    image = Image.new("L", (SIDE, SIDE), BARE)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.4:
        _plane(draw, rng)
    pitch = int(rng.integers(44, 84))
    width = int(rng.integers(12, 24))
    traces: list[Trace] = []
    upright = rng.random() < 0.5
    for offset in range(pitch // 2, SIDE, pitch):
        if rng.random() < 0.88:
            traces += _net(draw, rng, offset, pitch, width, upright=upright)
    return Design(image, tuple(traces))


def _plane(draw: ImageDraw.ImageDraw, rng: Rng) -> None:
    """A copper area in a corner, round or with a cut edge."""
    corner = (int(rng.integers(0, 2)) * SIDE, int(rng.integers(0, 2)) * SIDE)
    reach = int(rng.integers(140, 300))
    if rng.random() < 0.5:
        draw.ellipse((corner[0] - reach, corner[1] - reach, corner[0] + reach, corner[1] + reach), fill=COPPER)
    else:
        inward = [-1 if side else 1 for side in corner]
        far = [
            (corner[0] + inward[0] * reach, corner[1]),
            (corner[0] + inward[0] * reach * 0.6, corner[1] + inward[1] * reach),
        ]
        draw.polygon([corner, *far, (corner[0], corner[1] + inward[1] * reach)], fill=COPPER)


def _net(draw: ImageDraw.ImageDraw, rng: Rng, offset: int, pitch: int, width: int, *, upright: bool) -> list[Trace]:
    """One net along its track: straight pieces, 45 degree jogs, pads at its ends and vias on the way."""
    along = float(rng.integers(-60, 120))
    across = float(offset)
    points = [(along, across)]
    while along < SIDE - 60 and len(points) < 9:
        along += float(rng.integers(90, 240))
        points.append((along, across))
        jog = float(rng.choice([-1, 0, 0, 1])) * pitch * 0.3
        if jog:
            along += abs(jog)
            across = min(max(across + jog, offset - pitch * 0.3), offset + pitch * 0.3)
            points.append((along, across))
        if rng.random() < 0.15:
            break
    if upright:
        points = [(y, x) for x, y in points]
    traces = [Trace(a, b, width) for a, b in pairwise(points)]
    for trace in traces:
        draw.line((*trace.start, *trace.end), fill=COPPER, width=width)
        _disc(draw, trace.end, width / 2, COPPER)
    for point in (points[0], points[-1]):
        _pad(draw, rng, point, min(width * 0.5 + float(rng.integers(6, 14)), pitch * 0.42))
    for point in points[1:-1]:
        if rng.random() < 0.25:
            _pad(draw, rng, point, min(width * 0.5 + 7, pitch * 0.4))
    return traces


def _pad(draw: ImageDraw.ImageDraw, rng: Rng, at: Point, radius: float) -> None:
    if rng.random() < 0.4:
        draw.rectangle((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=COPPER)
        return
    _disc(draw, at, radius, COPPER)
    if rng.random() < 0.7:
        _disc(draw, at, radius * 0.42, BARE)


def _disc(draw: ImageDraw.ImageDraw, at: Point, radius: float, colour: int) -> None:
    draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=colour)


def photograph(copper: Image.Image, rng: Rng) -> Grey:
    """Binarise as the line's camera does: edges are ragged, and the board may sit a pixel off."""
    shifted = copper.transform(
        copper.size,
        Image.Transform.AFFINE,
        (1, 0, int(rng.integers(-1, 2)), 0, 1, int(rng.integers(-1, 2))),
        fillcolor=BARE,
    )
    blurred = np.asarray(shifted.filter(ImageFilter.BoxBlur(1.4)))
    noise = np.frombuffer(rng.bytes(SIDE * SIDE), np.uint8).reshape(SIDE, SIDE)
    return np.where(blurred > 106 + noise // 6, BARE, COPPER).astype(np.uint8)


def template(board: Design, rng: Rng) -> Grey:
    """The golden board: the design as photographed, without defects."""
    return photograph(board.copper, rng)


def damaged(board: Design, labels: Sequence[str], rng: Rng) -> Drawing:
    """The same board with defects of the given classes, where the copper has room for them."""
    copper = board.copper.copy()
    taken: list[Box] = []
    defects: list[Defect] = []
    for label in labels:
        if (box := _damage(copper, board, label, rng, taken)) is not None:
            defects.append(Defect(label, box))
            taken.append(box)
    return Drawing(photograph(copper, rng), tuple(defects))


def _damage(copper: Image.Image, board: Design, label: str, rng: Rng, taken: Sequence[Box]) -> Box | None:
    """Draw one defect where it makes sense; None if none of fifty places is suitable."""
    for _ in range(50):
        attempt = copper.copy()
        if not DEFECTS[label](ImageDraw.Draw(attempt), copper, board, rng):
            continue
        changed = np.asarray(attempt) != np.asarray(copper)
        box = box_of(changed, MARGIN)
        if box is None or changed.sum() < 24 or any(_overlap(box, other) for other in taken):
            continue
        copper.paste(attempt)
        return box
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


Painter = Callable[[ImageDraw.ImageDraw, Image.Image, Design, Rng], bool]
DEFECTS: dict[str, Painter] = {}


def _defect(label: str) -> Callable[[Painter], Painter]:
    def add(painter: Painter) -> Painter:
        DEFECTS[label] = painter
        return painter

    return add


def _spot(board: Design, rng: Rng) -> tuple[Trace, Point] | None:
    """A place on a trace, away from its ends and from the border."""
    long = [trace for trace in board.traces if trace.length > 4 * trace.width]
    if not long:
        return None
    trace = long[int(rng.integers(len(long)))]
    point = trace.at(float(rng.uniform(0.25, 0.75)))
    return (trace, point) if _inside(point, 30) else None


def _inside(point: Point, margin: float) -> bool:
    return margin <= point[0] < SIDE - margin and margin <= point[1] < SIDE - margin


def _is(copper: Image.Image, at: Point, radius: int, colour: int) -> bool:
    """Whether a square around a point has one colour only."""
    x, y = int(at[0]), int(at[1])
    return copper.crop((x - radius, y - radius, x + radius + 1, y + radius + 1)).getextrema() == (colour, colour)


def _blob(draw: ImageDraw.ImageDraw, at: Point, rx: float, ry: float, turn: float, colour: int, rng: Rng) -> None:
    """A ragged ellipse."""
    points = []
    for angle in np.linspace(0, 2 * pi, 12, endpoint=False):
        scale = float(rng.uniform(0.7, 1.15))
        x, y = rx * scale * cos(angle), ry * scale * sin(angle)
        points.append((at[0] + x * cos(turn) - y * sin(turn), at[1] + x * sin(turn) + y * cos(turn)))
    draw.polygon(points, fill=colour)


def _beside(point: Point, direction: float, distance: float) -> Point:
    return point[0] - distance * sin(direction), point[1] + distance * cos(direction)


@_defect("open")
def _open(draw: ImageDraw.ImageDraw, copper: Image.Image, board: Design, rng: Rng) -> bool:
    """A gap through a trace."""
    if (spot := _spot(board, rng)) is None or not _is(copper, spot[1], 3, COPPER):
        return False
    trace, point = spot
    lean = float(rng.uniform(-0.5, 0.5))
    _blob(draw, point, float(rng.uniform(4, 9)), trace.width * 0.95, trace.direction + lean, BARE, rng)
    return True


@_defect("short")
def _short(draw: ImageDraw.ImageDraw, copper: Image.Image, board: Design, rng: Rng) -> bool:
    """A thread of copper from a trace across bare board to the next copper."""
    if (spot := _spot(board, rng)) is None:
        return False
    trace, point = spot
    side = 1 if rng.random() < 0.5 else -1
    edge = trace.width / 2
    ways = (d for d in range(6, 75) if _reaches(copper, _beside(point, trace.direction, side * (edge + d))))
    gap = next(ways, 0)
    if gap < 8:
        return False
    start, step = edge - 2, (gap + 5) / 4
    wander = [0.0, *(float(value) for value in rng.uniform(-4, 4, 3)), 0.0]
    line = []
    for index, sideways in enumerate(wander):
        x, y = _beside(point, trace.direction, side * (start + index * step))
        line.append((x + sideways * cos(trace.direction), y + sideways * sin(trace.direction)))
    draw.line(line, fill=COPPER, width=int(rng.integers(3, 8)), joint="curve")
    return True


def _reaches(copper: Image.Image, point: Point) -> bool:
    return _inside(point, 8) and copper.getpixel((int(point[0]), int(point[1]))) == COPPER


@_defect("mousebite")
def _mousebite(draw: ImageDraw.ImageDraw, copper: Image.Image, board: Design, rng: Rng) -> bool:
    """A bite out of the edge of a trace that leaves it connected."""
    if (spot := _spot(board, rng)) is None:
        return False
    trace, point = spot
    side = 1 if rng.random() < 0.5 else -1
    if not _is(copper, _beside(point, trace.direction, side * (trace.width / 2 + 7)), 3, BARE):
        return False
    edge = _beside(point, trace.direction, side * trace.width / 2)
    _blob(
        draw, edge, float(rng.uniform(4, 10)), trace.width * float(rng.uniform(0.35, 0.6)), trace.direction, BARE, rng
    )
    return True


@_defect("spur")
def _spur(draw: ImageDraw.ImageDraw, copper: Image.Image, board: Design, rng: Rng) -> bool:
    """A thorn of copper on the edge of a trace that ends on bare board."""
    if (spot := _spot(board, rng)) is None:
        return False
    trace, point = spot
    side = 1 if rng.random() < 0.5 else -1
    reach = float(rng.uniform(8, 18))
    tip = _beside(point, trace.direction, side * (trace.width / 2 + reach))
    if not _is(copper, tip, 6, BARE):
        return False
    foot, half = _beside(point, trace.direction, side * (trace.width / 2 - 3)), float(rng.uniform(3, 6))
    along = (half * cos(trace.direction), half * sin(trace.direction))
    draw.polygon([(foot[0] - along[0], foot[1] - along[1]), tip, (foot[0] + along[0], foot[1] + along[1])], fill=COPPER)
    _disc(draw, tip, 2.0, COPPER)
    return True


@_defect("copper")
def _copper(draw: ImageDraw.ImageDraw, copper: Image.Image, _: Design, rng: Rng) -> bool:
    """An island of copper where there should be none."""
    point = (float(rng.uniform(30, SIDE - 30)), float(rng.uniform(30, SIDE - 30)))
    if not _is(copper, point, 16, BARE):
        return False
    _blob(draw, point, float(rng.uniform(5, 10)), float(rng.uniform(3, 6)), float(rng.uniform(0, pi)), COPPER, rng)
    return True


@_defect("pin-hole")
def _pin_hole(draw: ImageDraw.ImageDraw, copper: Image.Image, board: Design, rng: Rng) -> bool:
    """A hole inside copper, surrounded by it."""
    if rng.random() < 0.5 or not (spot := _spot(board, rng)):
        point = (float(rng.uniform(20, SIDE - 20)), float(rng.uniform(20, SIDE - 20)))
    else:
        point = spot[1]
    if not _is(copper, point, 5, COPPER):
        return False
    _blob(draw, point, float(rng.uniform(3, 4.4)), float(rng.uniform(3, 4.4)), 0.0, BARE, rng)
    return True
