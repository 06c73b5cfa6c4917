"""Pictures made of images for people to look at: boxes drawn, parts cut out, what is unusual coloured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from models_py.errors import ImageError
from models_py.images.encode import encode_png
from models_py.images.references import reference_and_difference
from udfs.functions.types import ImageInfo, RegionRow
from udfs.runtime import DecodedImage, Maker

Array = np.ndarray[Any, Any]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#808000",
    "#f032e6",
    "#000075",
)
_SHARE_OF_HEAT = 0.55
_NOTHING_TO_SEE = 0.5
_INFO_SIZE = 600
_STRIP_PIXELS = 4 << 20


def inspect(found: DecodedImage) -> tuple[ImageInfo, int]:
    """What `image_info` says."""
    brightness, sharpness = _light(found.pixels.permute(1, 2, 0).contiguous().numpy())
    facts = found.facts
    info: ImageInfo = {
        "width": facts.width,
        "height": facts.height,
        "channels": facts.channels,
        "format": facts.format,
        "sha256": found.sha256.hex(),
        "brightness": brightness,
        "sharpness": sharpness,
    }
    return info, _INFO_SIZE


def _light(pixels: Array) -> tuple[float, float]:
    """Mean grey value, and variance of the Laplacian; by strips, or it would take as much memory as the picture."""
    height, width = pixels.shape[:2]
    rows, light, slope, slopes_squared = max(1, _STRIP_PIXELS // width), 0.0, 0.0, 0.0
    for top in range(0, height, rows):
        bottom, above = min(top + rows, height), min(top, 1)  # the rows beside a strip belong to its edges
        grey = cv2.cvtColor(pixels[top - above : bottom + 1], cv2.COLOR_RGB2GRAY)
        inner = slice(above, above + bottom - top)
        edges = cv2.Laplacian(grey, cv2.CV_16S)[inner]
        light += cv2.sumElems(grey[inner])[0]
        slope += cv2.sumElems(edges)[0]
        slopes_squared += float(cv2.norm(edges, cv2.NORM_L2SQR))  # a tenth of the time of `meanStdDev`
    count = height * width
    return light / count, max(slopes_squared / count - (slope / count) ** 2, 0.0)


def drawing(regions: Sequence[RegionRow], alignment: str = "same") -> Maker:
    """Draw boxes with labels, and masks where there are any; beside it any reference and the difference."""

    def make(found: DecodedImage) -> bytes:
        pixels = found.pixels.permute(1, 2, 0).contiguous().numpy().copy()
        beside: list[Array] = []
        if found.reference is not None:
            reference = found.reference.permute(1, 2, 0).contiguous().numpy()
            beside = list(reference_and_difference(pixels, reference, alignment))
        for region in regions:
            if region["mask"] is not None:
                _tint(pixels, region, region["mask"])
        image = Image.fromarray(pixels)
        pen = ImageDraw.Draw(image)
        width = max(1, round(max(image.size) / 400))
        font = ImageFont.load_default(max(11, round(max(image.size) / 45)))
        for region in reversed(regions):  # the surest on top
            _box(pen, region, width, font, image.size)
        return encode_png(torch.from_numpy(np.hstack([np.array(image), *beside])).permute(2, 0, 1))

    return make


def _colour(label: str | None) -> tuple[int, int, int]:
    """The same for a label everywhere."""
    code = _COLOURS[sum((label or "").encode()) % len(_COLOURS)]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _tint(pixels: Array, region: RegionRow, png: bytes) -> None:
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y = round(region["x1"] or 0), round(region["y1"] or 0)
    if mask is None or x < 0 or y < 0:
        raise ImageError("regions: a mask is no PNG, or lies outside the image")
    part = pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
    inside = mask[: part.shape[0], : part.shape[1]] > 0
    part[inside] = part[inside] * 0.5 + np.array(_colour(region["label"])) * 0.5


def _box(pen: ImageDraw.ImageDraw, region: RegionRow, width: int, font: Font, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = region["x1"], region["y1"], region["x2"], region["y2"]
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return
    (x1, x2), (y1, y2) = sorted((x1, x2)), sorted((y1, y2))
    colour = _colour(region["label"])
    pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
    sure = "" if region["confidence"] is None else f" {region['confidence']:.2f}"
    text = f"{region['label'] or ''}{sure}".strip()
    if not text:
        return
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 4, bottom - top + 4
    x = max(0, min(x1, size[0] - wide))
    y = y1 - high if y1 >= high else min(y2, size[1] - high)
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.text((x + 2 - left, y + 2 - top), text, fill="white", font=font)


def cropping(box: Sequence[float]) -> Maker:
    """Cut out a box; nothing of one outside the image."""

    def make(found: DecodedImage) -> bytes | None:
        height, width = found.pixels.shape[1:]
        x1, x2 = sorted((box[0], box[2]))
        y1, y2 = sorted((box[1], box[3]))
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
        if right <= left or bottom <= top:
            return None
        return encode_png(found.pixels[:, top:bottom, left:right])

    return make


def heat(unusual: Array) -> Maker:
    """Lay colours over what is unusual; 1 is the operating point, and twice that the warmest."""

    def make(found: DecodedImage) -> bytes:
        pixels = found.pixels.permute(1, 2, 0).contiguous().numpy()
        height, width = pixels.shape[:2]
        scaled = cv2.resize(unusual.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        level = (np.clip(scaled / 2, 0, 1) * 255).astype(np.uint8)
        colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
        share = np.clip((scaled - _NOTHING_TO_SEE) / _NOTHING_TO_SEE, 0, 1)[..., None] * _SHARE_OF_HEAT
        mixed = pixels * (1 - share) + colours * share
        return encode_png(torch.from_numpy(mixed.round().astype(np.uint8)).permute(2, 0, 1))

    return make
