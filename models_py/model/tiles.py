"""What a model says of the tiles of an image, put together: the verdict of the whole image.

A class is that of the worst tile. Boxes that overlap are one defect: the whole one counts rather than one that the
border of a tile cuts off, and what several borders cut is put together. Masks of one class that touch are one region.
Maps are laid over each other, the higher value counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models_py.images.tiles import TilePlace
from models_py.model.prediction import Array, Prediction, Region, paint
from models_py.model.preprocess import Size
from models_py.model.spec import ModelSpec
from models_py.model.verdict import decide

TILES_AT_ONCE = 8
"""How many tiles of an image are in memory at once, beside the image."""
_SAME = 0.5
_EDGE = 2.0


@dataclass(frozen=True, slots=True)
class PlacedPrediction:
    """What a model says of one tile."""

    place: TilePlace
    found: Prediction


def merge_tiles(spec: ModelSpec, parts: Sequence[PlacedPrediction], size: Size, *, pixels: bool = False) -> Prediction:
    """The prediction of an image (height, width) from those of its tiles."""
    worst = max((part.found for part in parts), key=lambda found: found.score)
    if spec.task == "classify":
        return worst
    merge: Callable[..., list[Region]] = _merged_masks if spec.task == "segment" else _merged_boxes
    regions = sorted(merge(parts, size, spec.preprocess.size), key=lambda item: (-item.confidence, item.x1, item.y1))
    verdict = decide(spec.task, worst.score, [(item.label, item.confidence) for item in regions], spec.thresholds)
    shown: Array | None = None
    if pixels and spec.task == "segment":
        shown = paint([regions[place] for place in verdict.defects], spec.labels, size)
    elif pixels and spec.task == "anomaly":
        shown = _merged_maps(parts, size, spec.preprocess.size)
    return Prediction(verdict.label, verdict.confidence, worst.score, tuple(regions), pixels=shown)


def _moved(part: PlacedPrediction, size: Size) -> Iterator[Region]:
    """The regions of a tile in pixels of the image; what lies beyond its end, in the mirrored part, is left out."""
    top, left = part.place
    for region in part.found.regions:
        x1, x2 = region.x1 + left, min(region.x2 + left, size[1])
        y1, y2 = region.y1 + top, min(region.y2 + top, size[0])
        if x1 >= x2 or y1 >= y2:
            continue
        if region.mask is None:
            yield replace(region, x1=x1, y1=y1, x2=x2, y2=y2, area=(x2 - x1) * (y2 - y1))
        else:
            mask = region.mask[: int(y2 - y1), : int(x2 - x1)]
            yield replace(region, x1=x1, y1=y1, x2=x2, y2=y2, area=float(mask.sum()), mask=mask)


def _merged_boxes(parts: Sequence[PlacedPrediction], size: Size, side: int) -> list[Region]:
    found = [(region, _is_cut(region, part.place, size, side)) for part in parts for region in _moved(part, size)]
    kept: list[tuple[Region, bool]] = []
    for region, is_cut in sorted(found, key=lambda item: (item[1], -item[0].confidence)):
        for number, (other, other_is_cut) in enumerate(kept):
            shared = _shared(region, other)
            if region.label != other.label or not shared:
                continue
            if is_cut and other_is_cut:
                kept[number] = (_around(region, other), True)
                break
            if shared / min(region.area, other.area) > _SAME:
                break
        else:
            kept.append((region, is_cut))
    return [region for region, _ in kept]


def _is_cut(region: Region, place: TilePlace, size: Size, side: int) -> bool:
    """Whether a region ends at a border of its tile that is none of the image."""
    top, left = place
    return bool(
        (left > 0 and region.x1 <= left + _EDGE)
        or (top > 0 and region.y1 <= top + _EDGE)
        or (left + side < size[1] and region.x2 >= left + side - _EDGE)
        or (top + side < size[0] and region.y2 >= top + side - _EDGE)
    )


def _shared(one: Region, other: Region) -> float:
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    return max(width, 0.0) * max(height, 0.0)


def _around(one: Region, other: Region) -> Region:
    x1, y1 = min(one.x1, other.x1), min(one.y1, other.y1)
    x2, y2 = max(one.x2, other.x2), max(one.y2, other.y2)
    area = (x2 - x1) * (y2 - y1)
    return Region(one.label, max(one.confidence, other.confidence), x1, y1, x2, y2, area)


def _merged_masks(parts: Sequence[PlacedPrediction], size: Size, side: int) -> list[Region]:  # noqa: ARG001
    kept: list[Region] = []
    for region in (region for part in parts for region in _moved(part, size)):
        whole = region
        touching = [item for item in kept if item.label == region.label and _touch(item, region)]
        for item in touching:
            kept.remove(item)
            whole = _united(whole, item)
        kept.append(whole)
    return kept


def _touch(one: Region, other: Region) -> bool:
    """Whether two masks share a pixel."""
    if one.mask is None or other.mask is None or not _shared(one, other):
        return False
    x1, y1 = int(max(one.x1, other.x1)), int(max(one.y1, other.y1))
    x2, y2 = int(min(one.x2, other.x2)), int(min(one.y2, other.y2))
    parts = [
        item.mask[y1 - int(item.y1) : y2 - int(item.y1), x1 - int(item.x1) : x2 - int(item.x1)]
        for item in (one, other)
        if item.mask is not None
    ]
    return bool((parts[0] & parts[1]).any())


def _united(one: Region, other: Region) -> Region:
    around = _around(one, other)
    mask = np.zeros((int(around.y2 - around.y1), int(around.x2 - around.x1)), bool)
    for item in (one, other):
        top, left = int(item.y1 - around.y1), int(item.x1 - around.x1)
        if item.mask is not None:
            mask[top : top + item.mask.shape[0], left : left + item.mask.shape[1]] |= item.mask
    return replace(around, area=float(mask.sum()), mask=mask)


def _merged_maps(parts: Sequence[PlacedPrediction], size: Size, side: int) -> Array:
    """One map of the whole image (side, side), stretched as an image that is not cut would be."""
    lowest = min(float(part.found.pixels.min()) for part in parts if part.found.pixels is not None)
    whole = np.full((side, side), lowest, np.float32)
    for part in parts:
        if part.found.pixels is None:
            continue
        top, left = part.place
        bottom, right = min(top + side, size[0]), min(left + side, size[1])
        y1, x1 = top * side // size[0], left * side // size[1]
        y2, x2 = -(-bottom * side // size[0]), -(-right * side // size[1])
        own = np.ascontiguousarray(part.found.pixels[: bottom - top, : right - left], np.float32)
        small = cv2.resize(own, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        np.maximum(whole[y1:y2, x1:x2], small, out=whole[y1:y2, x1:x2])
    return whole
