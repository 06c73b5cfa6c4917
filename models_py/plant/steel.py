"""Hot-rolled steel strip with the six surface defects of NEU-DET."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from models_py.plant.drawing import Defect, Drawing, Field, Rng, box_of, smooth, to_grey

SIDE = 200

Mask = NDArray[np.bool_]
Painter = Callable[[Field, Rng], list[Mask]]
DEFECTS: dict[str, Painter] = {}


def _defect(label: str) -> Callable[[Painter], Painter]:
    def add(painter: Painter) -> Painter:
        DEFECTS[label] = painter
        return painter

    return add


def draw(label: str | None, rng: Rng) -> Drawing:
    """A strip with one kind of defect, or none."""
    strip = _surface(rng)
    masks = DEFECTS[label](strip, rng) if label is not None else []
    boxes = [box for mask in masks if (box := box_of(mask, 3)) is not None]
    return Drawing(to_grey(strip), tuple(Defect(label, box) for box in boxes if label is not None))


def _surface(rng: Rng) -> Field:
    """Rolled steel: uneven light, fine grain, faint lines along the strip."""
    light = float(rng.uniform(80, 160)) + 30 * smooth(rng, SIDE, SIDE, 3)
    grain = rng.normal(0, 5, (SIDE, SIDE)).astype(np.float32) + 7 * smooth(rng, SIDE, SIDE, 70)
    return (light + grain + 4 * smooth(rng, SIDE, SIDE, 60, 3)).astype(np.float32)


def _region(rng: Rng, least: int = 60) -> tuple[Mask, Field]:
    """A rectangle of the strip and a weight that fades towards its edges."""
    width, height = (int(value) for value in rng.integers(least, SIDE - 10, 2))
    x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - height))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + height, x : x + width] = True
    fade = np.zeros((SIDE, SIDE), np.float32)
    fade[y : y + height, x : x + width] = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]) ** 0.35
    return mask, fade


def _soft(shape: Mask, radius: float) -> Field:
    """A mask as a weight with soft edges."""
    image = Image.fromarray(np.where(shape, 255, 0).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIDE, SIDE))
    return image, ImageDraw.Draw(image)


@_defect("crazing")
def _crazing(strip: Field, rng: Rng) -> list[Mask]:
    """A web of fine dark cracks."""
    mask, fade = _region(rng, 90)
    image, pen = _canvas()
    ys, xs = np.nonzero(mask)
    for _ in range(int(mask.sum() // 110)):
        at = int(rng.integers(len(xs)))
        points = [(float(xs[at]), float(ys[at]))]
        for _ in range(4):
            step = rng.normal(0, 6, 2)
            points.append((points[-1][0] + float(step[0]), points[-1][1] + float(step[1])))
        pen.line(points, fill=int(rng.integers(120, 255)))
    strip -= np.asarray(image, np.float32) * 0.2 * fade
    return [mask]


@_defect("inclusion")
def _inclusion(strip: Field, rng: Rng) -> list[Mask]:
    """Dark slag drawn out along the strip."""
    masks = []
    for _ in range(int(rng.integers(1, 4))):
        image, pen = _canvas()
        x, y = (int(value) for value in rng.integers(20, SIDE - 20, 2))
        length, width = int(rng.integers(25, 90)), int(rng.integers(3, 9))
        points = [(x + float(rng.normal(0, 1.5)), y + part * length / 6) for part in range(7)]
        pen.line(points, fill=255, width=width, joint="curve")
        shape = np.asarray(image) > 0
        strip -= _soft(shape, 1.6) * (float(rng.uniform(35, 65)) + 25 * smooth(rng, SIDE, SIDE, 60, 20))
        masks.append(shape)
    return masks


@_defect("patches")
def _patches(strip: Field, rng: Rng) -> list[Mask]:
    """Dark stains with soft, irregular outlines."""
    masks = []
    for _ in range(int(rng.integers(1, 4))):
        image, pen = _canvas()
        x, y = (int(value) for value in rng.integers(35, SIDE - 35, 2))
        rx, ry = (int(value) for value in rng.integers(16, 42, 2))
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)
        shape = (np.asarray(image) > 0) & (smooth(rng, SIDE, SIDE, 9) > -0.25)
        strip -= _soft(shape, 2.5) * (52 + 30 * smooth(rng, SIDE, SIDE, 30))
        masks.append(shape)
    return masks


@_defect("pitted_surface")
def _pitted(strip: Field, rng: Rng) -> list[Mask]:
    """Many small pits with a bright rim."""
    mask, fade = _region(rng, 90)
    ys, xs = np.nonzero(mask)
    pits = np.zeros((SIDE, SIDE), np.float32)
    chosen = rng.integers(0, len(xs), int(mask.sum() // 28))
    pits[ys[chosen], xs[chosen]] = 1
    strip -= fade * 42 * (pits + 0.6 * np.roll(pits, 1, 1))
    strip += fade * 22 * np.roll(pits, (1, 1), (0, 1))
    return [mask]


@_defect("rolled-in_scale")
def _scale(strip: Field, rng: Rng) -> list[Mask]:
    """Flakes of scale, dark and drawn out across the strip."""
    mask, fade = _region(rng, 80)
    flakes = smooth(rng, SIDE, SIDE, 22, 60) + 0.6 * smooth(rng, SIDE, SIDE, 44, 100)
    strip -= fade * 46 * (flakes > 0.45) + fade * 10 * flakes
    return [mask]


@_defect("scratches")
def _scratches(strip: Field, rng: Rng) -> list[Mask]:
    """Long bright scratches, nearly straight."""
    masks = []
    upright = rng.random() < 0.6
    for _ in range(int(rng.integers(1, 4))):
        image, pen = _canvas()
        at, start = int(rng.integers(15, SIDE - 15)), int(rng.integers(0, SIDE // 2))
        end, lean = start + int(rng.integers(50, 140)), float(rng.normal(0, 4))
        line = [(float(at), float(start)), (at + lean, float(end))]
        pen.line(line if upright else [(y, x) for x, y in line], fill=255, width=int(rng.integers(1, 4)))
        shape = np.asarray(image) > 0
        strip += _soft(shape, 0.8) * (float(rng.uniform(60, 110)) + 30 * smooth(rng, SIDE, SIDE, 80))
        masks.append(shape)
    return masks
