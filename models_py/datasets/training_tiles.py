"""Which tiles of large images a network learns from: those with defects more often than chance would have them.

Each defect is seen in a few tiles, at another place in each; the rest are drawn from the tiles that a judgement of the
whole image would see. The choice depends on the image and the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models_py.datasets.rows import DatasetRow
from models_py.images import probe
from models_py.images.decode import decode_mask, open_bytes
from models_py.images.regions import bounds
from models_py.images.tiles import Array, TilePlace, boxes_inside, tile_places
from models_py.model.preprocess import Preprocess

_A_DEFECT, _WITH_DEFECTS, _OTHERS = 2, 12, 8
"""Tiles of each defect, of all defects of an image, and of the image elsewhere, at most."""


@dataclass(frozen=True, slots=True)
class TrainingTile:
    """A part of an image; the row has the boxes in it, in its own pixels."""

    number: int
    place: TilePlace
    row: DatasetRow


def training_tiles(rows: Sequence[DatasetRow], preprocess: Preprocess) -> list[TrainingTile]:
    """The tiles of each row, in the order of the rows; `number` is the row's."""
    found = []
    for number, row in enumerate(rows):
        for place in _chosen(row, preprocess):
            boxes, kept = boxes_inside(np.array(row.boxes, np.float32).reshape(-1, 4), place, preprocess.size)
            labels = tuple(row.labels[i] for i in kept) if row.boxes else row.labels
            inside = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes)
            found.append(TrainingTile(number, place, replace(row, boxes=inside, labels=labels)))
    return found


def _chosen(row: DatasetRow, preprocess: Preprocess) -> list[TilePlace]:
    facts = probe(open_bytes(row.image))
    size, side = (facts.height, facts.width), preprocess.size
    rng = np.random.default_rng(int(row.sha256[:8], 16))
    near = [place for box in _defects(row) for place in _around(box, size, side, rng)]
    near = [near[i] for i in rng.permutation(len(near))[:_WITH_DEFECTS]]
    everywhere = tile_places(size, side, preprocess.overlap)
    others = [everywhere[i] for i in sorted(rng.permutation(len(everywhere))[:_OTHERS])]
    return list(dict.fromkeys([*near, *others]))


def _defects(row: DatasetRow) -> Iterator[Array]:
    """The boxes around an image's defects."""
    yield from (np.array(box) for box in row.boxes)
    yield from (np.array(bounds(polygon)) for polygon in row.polygons)
    for mask in row.masks:
        pixels = (decode_mask(open_bytes(mask)).numpy() > 0).astype(np.uint8)
        for x, y, width, height, _ in cv2.connectedComponentsWithStats(pixels)[2][1:]:
            yield np.array([x, y, x + width, y + height])


def _around(box: Array, size: tuple[int, int], side: int, rng: np.random.Generator) -> Iterator[TilePlace]:
    """Places of tiles that have the box in them, or what of it fits."""
    for _ in range(_A_DEFECT):
        corner = []
        for low, high, length in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
            first, last = sorted((int(high) - side, int(low)))
            corner.append(int(np.clip(rng.integers(first, last + 1), 0, max(length - side, 0))))
        yield TilePlace(*corner)
