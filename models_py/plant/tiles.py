"""Magnetic tiles: dark brushed surfaces of varying size, five kinds of defect with masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models_py.plant.drawing import Defect, Drawing, Field, Rng, box_of, smooth, to_grey

Painter = Callable[[ImageDraw.ImageDraw, int, int, Rng], None]
DEFECTS: dict[str, Painter] = {}


def _defect(label: str) -> Callable[[Painter], Painter]:
    def add(painter: Painter) -> Painter:
        DEFECTS[label] = painter
        return painter

    return add


def draw(label: str | None, rng: Rng) -> Drawing:
    """A tile with one defect, or none."""
    width, height = int(rng.integers(200, 320)), int(rng.integers(220, 400))
    surface = _surface(width, height, rng)
    if label is None:
        return Drawing(to_grey(surface))
    image = Image.new("L", (width, height))
    DEFECTS[label](ImageDraw.Draw(image), width, height, rng)
    mask = np.asarray(image) > 127
    strength = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / np.float32(255)
    surface = _blend(label, surface, strength, rng)
    box = box_of(mask)
    defects = (Defect(label, box),) if box is not None else ()
    return Drawing(to_grey(surface), defects, {label: np.where(mask, 255, 0).astype(np.uint8)})


def _surface(width: int, height: int, rng: Rng) -> Field:
    """Brushed along the tile, darker in the middle than at its edges."""
    base = float(rng.uniform(38, 70))
    across: Field = np.abs(np.linspace(-1, 1, width, dtype=np.float32)) ** 4 * np.float32(rng.uniform(5, 45))
    brushed = 9 * smooth(rng, width, height, width // 2, 3) + 6 * smooth(rng, width, height, width // 5, 2)
    grain = rng.normal(0, 3.5, (height, width)).astype(np.float32)
    surface: Field = np.float32(base) + across[None, :] + brushed + 10 * smooth(rng, width, height, 3) + grain
    return surface


def _blend(label: str, surface: Field, strength: Field, rng: Rng) -> Field:
    height, width = surface.shape
    if label == "uneven":
        streaks = 40 + 45 * smooth(rng, width, height, width // 3, 2)
        return (surface + strength * streaks).astype(np.float32)
    if label == "fray":
        return (surface + strength * (26 + 10 * smooth(rng, width, height, 24))).astype(np.float32)
    if label == "break":
        rubble: Field = 24 + 42 * np.abs(smooth(rng, width, height, 26))
        return (surface * (1 - strength) + strength * rubble).astype(np.float32)
    return (surface * (1 - strength) + strength * 8).astype(np.float32)


@_defect("blowhole")
def _blowhole(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """A small dark hole, or a few."""
    for _ in range(int(rng.integers(1, 3))):
        x, y = float(rng.uniform(25, width - 25)), float(rng.uniform(25, height - 25))
        rx, ry = (float(value) for value in rng.uniform(3, 7, 2))
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)


@_defect("break")
def _break(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """A chipped corner or edge."""
    corner_x, corner_y = int(rng.integers(0, 2)) * width, int(rng.integers(0, 2)) * height
    reach_x, reach_y = float(rng.uniform(30, width * 0.4)), float(rng.uniform(40, height * 0.35))
    points = [(corner_x, corner_y)]
    for part in np.linspace(0, 1, 7):
        x = reach_x * (1 - part) * float(rng.uniform(0.8, 1.2))
        y = reach_y * part * float(rng.uniform(0.8, 1.2))
        points.append((abs(corner_x - x), abs(corner_y - y)))
    pen.polygon(points, fill=255)


@_defect("crack")
def _crack(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """A thin dark line that wanders."""
    x, y = float(rng.uniform(30, width - 30)), float(rng.uniform(20, height * 0.5))
    points = [(x, y)]
    for _ in range(int(rng.integers(5, 12))):
        x, y = x + float(rng.normal(0, 5)), y + float(rng.uniform(5, 14))
        points.append((min(max(x, 4), width - 4), min(y, height - 4)))
    pen.line(points, fill=255, width=int(rng.integers(2, 4)), joint="curve")


@_defect("fray")
def _fray(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """A worn area, lighter than its surroundings."""
    x, y = width / 2 + float(rng.normal(0, 15)), float(rng.uniform(height * 0.35, height * 0.65))
    rx, ry = float(rng.uniform(22, width * 0.28)), float(rng.uniform(40, height * 0.32))
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    scale = rng.uniform(0.85, 1.1, 24)
    pen.polygon(
        [(x + rx * s * np.cos(a), y + ry * s * np.sin(a)) for a, s in zip(angles, scale, strict=True)], fill=255
    )


@_defect("uneven")
def _uneven(pen: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """A part of the tile that was ground differently, over its whole width."""
    edge = float(rng.uniform(height * 0.35, height * 0.7))
    tilt = float(rng.normal(0, 4))
    far = height if rng.random() < 0.5 else 0
    pen.polygon([(0, edge), (width, edge + tilt), (width, far), (0, far)], fill=255)
