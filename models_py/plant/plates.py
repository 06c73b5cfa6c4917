"""Light guide plates: staggered rows of bright dots on black, as in SAP's sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models_py.plant.drawing import Defect, Drawing, Field, Rng, box_of, smooth, to_grey

SIDE = 224
DEFECTS = ("scratch", "bright_dot", "stain")


def draw(labels: Sequence[str], rng: Rng) -> Drawing:
    """A plate with defects of the given classes."""
    light: Field = np.asarray(_dots(rng), np.float32) + 5 + rng.normal(0, 2.5, (SIDE, SIDE)).astype(np.float32)
    defects, masks = [], {}
    for label in labels:
        shape = _shape(label, rng)
        strength = np.asarray(shape.filter(ImageFilter.GaussianBlur(1)), np.float32) / 255
        mask = np.asarray(shape) > 127
        if label == "stain":
            light = (light * (1 - 0.8 * strength) + 26 * strength).astype(np.float32)
        else:
            light = np.maximum(light, strength * (185 + 60 * smooth(rng, SIDE, SIDE, 40))).astype(np.float32)
        if (box := box_of(mask)) is not None:
            defects.append(Defect(label, box))
            masks[label] = np.where(mask, 255, 0).astype(np.uint8)
    return Drawing(to_grey(light), tuple(defects), masks)


def _dots(rng: Rng) -> Image.Image:
    """The pattern that spreads the light: a staggered grid whose pitch differs from plate to plate."""
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    pitch, radius = float(rng.uniform(15, 27)), float(rng.uniform(1.3, 2.4))
    offset = rng.uniform(0, pitch, 2)
    for row in range(int(SIDE / pitch * 1.2) + 2):
        y = offset[1] + row * pitch * 0.87 - pitch
        for column in range(int(SIDE / pitch) + 3):
            x = offset[0] + (column + row % 2 / 2) * pitch - pitch
            dx, dy = rng.normal(0, 0.35, 2)
            bright = int(rng.integers(185, 240))
            pen.ellipse((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius), fill=bright)
    return image.filter(ImageFilter.GaussianBlur(0.8))


def _shape(label: str, rng: Rng) -> Image.Image:
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    x, y = (float(value) for value in rng.uniform(40, SIDE - 40, 2))
    if label == "scratch":
        points = [(x, y)]
        heading = float(rng.uniform(0, 6.3))
        for _ in range(int(rng.integers(4, 9))):
            heading += float(rng.normal(0, 0.25))
            points.append((points[-1][0] + 7 * np.cos(heading), points[-1][1] + 7 * np.sin(heading)))
        pen.line(points, fill=255, width=int(rng.integers(2, 6)), joint="curve")
    elif label == "bright_dot":
        for _ in range(int(rng.integers(2, 5))):
            dx, dy = rng.normal(0, 2.5, 2)
            radius = float(rng.uniform(2.5, 5))
            pen.ellipse((x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius), fill=255)
    else:
        rx, ry = (float(value) for value in rng.uniform(12, 26, 2))
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=255)
    return image
