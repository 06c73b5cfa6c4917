"""Training images for a network: decoded and resized by a pool of threads, cached in memory, augmented by seed."""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from models_py.datasets import DatasetRow
from models_py.datasets.augment import Augment
from models_py.datasets.training_tiles import TrainingTile, training_tiles
from models_py.errors import ImageError
from models_py.images.decode import decode, decode_mask, open_bytes
from models_py.images.regions import Polygon, fill_polygon
from models_py.images.tiles import cut_tile
from models_py.model.preprocess import NO_REFERENCE, Preprocess, Size

_CACHE_BYTES = 2 << 30
"""How much of the prepared images is kept in memory between epochs."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """One prepared image (size, size, 3) with its targets in the coordinates of the square."""

    row: DatasetRow
    image: Array
    size: Size
    mask: Array | None
    boxes: Array
    labels: Array


class PreparedImages:
    """The examples of one split, prepared for one network."""

    def __init__(
        self,
        rows: Sequence[DatasetRow],
        labels: Sequence[str],
        preprocess: Preprocess,
        *,
        masks: bool = False,
        workers: int = 0,
    ) -> None:
        self.images = tuple(rows)
        self.labels = tuple(labels)
        self.preprocess = preprocess
        self._masks = masks
        self._workers = workers or min(8, os.cpu_count() or 1)
        self._cache: dict[int, PreparedImage] = {}
        self._free_bytes = _CACHE_BYTES
        self._lock = threading.Lock()
        self._decoding: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    @cached_property
    def rows(self) -> tuple[DatasetRow, ...]:
        """The row of each example: an image, or where images are cut a tile of one."""
        return tuple(tile.row for tile in self._tiles) if self.preprocess.tile else self.images

    @cached_property
    def _tiles(self) -> list[TrainingTile]:
        return training_tiles(self.images, self.preprocess)

    def content(self, index: int) -> str:
        """Name what an example is made of: the hashes of its image and its reference, and its tile."""
        row = self.rows[index]
        tile = "_".join(map(str, self._tiles[index].place)) if self.preprocess.tile else ""
        return "-".join(part for part in (row.sha256, row.reference_sha256, tile) if part)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PreparedImage:
        """Decode and prepare one row's image, or take it from the cache."""
        if (cached := self._cache.get(index)) is not None:
            return cached
        if self.preprocess.tile:
            return self._cut(index)
        sample = self._prepare(self.rows[index])
        self._keep(index, sample)
        return sample

    def _keep(self, index: int, sample: PreparedImage) -> None:
        size = sample.image.nbytes + (0 if sample.mask is None else sample.mask.nbytes)
        with self._lock:
            if size <= self._free_bytes and index not in self._cache:
                self._free_bytes -= size
                self._cache[index] = sample

    def _cut(self, index: int) -> PreparedImage:
        """A tile. All tiles of its image are cut at once and kept while there is room: large images decode slowly."""
        number = self._tiles[index].number
        with self._decoding[number]:
            if (cached := self._cache.get(index)) is not None:
                return cached
            image, reference = self.read(self.images[number])
            pixels = self.preprocess.see(image, reference)
            size = (image.shape[1], image.shape[2])
            mask = class_mask(self.images[number], self.labels, size) if self._masks else None
            for other, tile in enumerate(self._tiles):
                if tile.number == number and other != index:
                    self._keep(other, self._tile(tile, pixels, mask))
            sample = self._tile(self._tiles[index], pixels, mask)
            self._keep(index, sample)
            return sample

    def _tile(self, tile: TrainingTile, pixels: Array, mask: Array | None) -> PreparedImage:
        side = self.preprocess.size
        image, part = (None if whole is None else cut_tile(whole, tile.place, side) for whole in (pixels, mask))
        return self._labelled(tile.row, (side, side), np.asarray(image), part)

    def _prepare(self, row: DatasetRow) -> PreparedImage:
        image, reference = self.read(row)
        size = (image.shape[1], image.shape[2])
        mask = self._class_mask(row, size) if self._masks else None
        return self._labelled(row, size, self.preprocess(image, reference).permute(1, 2, 0).numpy(), mask)

    def _labelled(self, row: DatasetRow, size: Size, image: Array, mask: Array | None) -> PreparedImage:
        numbers = {label: number for number, label in enumerate(self.labels)}
        known = [i for i, label in enumerate(row.labels) if label in numbers]
        boxes = np.array([row.boxes[i] for i in known] if row.boxes else [], np.float32).reshape(-1, 4)
        return PreparedImage(
            row=row,
            image=image,
            size=size,
            mask=mask,
            boxes=self.preprocess.boxes_in(boxes, size) if len(boxes) else boxes,
            labels=np.array([numbers[row.labels[i]] for i in known], np.int64),
        )

    def read(self, row: DatasetRow) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Decode the image of a row, and its reference if it is to be seen beside it."""
        if not self.preprocess.reference:
            return read_image(row.image), None
        if not row.reference:
            raise ImageError(f"{row.image}: {NO_REFERENCE}")
        return read_image(row.image), read_image(row.reference)

    def _class_mask(self, row: DatasetRow, size: Size) -> Array:
        return self.preprocess.fit_mask(class_mask(row, self.labels, size))

    def stream(
        self, order: Iterable[int], *, augment: Augment | None = None, seed: Sequence[int] = ()
    ) -> Iterator[PreparedImage]:
        """Yield samples in this order, prepared ahead by threads.

        Each is augmented by a generator of its own, seeded by `seed` and its place in the order, so that the result
        does not depend on the number of threads.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            waiting: deque[Future[PreparedImage]] = deque()
            for place, index in enumerate(order):
                waiting.append(pool.submit(self._augmented, index, augment, (*seed, place)))
                if len(waiting) > 4 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _augmented(self, index: int, augment: Augment | None, seed: Sequence[int]) -> PreparedImage:
        sample = self[index]
        if augment is None:
            return sample
        changed = (sample.image, sample.mask, sample.boxes)
        image, mask, boxes = augment(np.random.default_rng(seed), *changed, is_pair=bool(self.preprocess.reference))
        sides = (boxes[:, 2:] - boxes[:, :2]).min(1) if len(boxes) else np.zeros(0)
        kept = sides > 2  # drop boxes that were moved out of the image, and slivers of 2 pixels or less
        return PreparedImage(
            sample.row, image, sample.size, mask, boxes[kept], sample.labels[kept] if len(boxes) else sample.labels
        )

    def batches(
        self, order: Sequence[int], batch: int, *, augment: Augment | None = None, seed: Sequence[int] = ()
    ) -> Iterator[list[PreparedImage]]:
        """Group the stream into batches. A last batch of one joins the one before: batch norm needs two images."""
        sizes = [batch] * (len(order) // batch) + [len(order) % batch] * bool(len(order) % batch)
        if len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [sizes[-2] + 1]
        stream = self.stream(order, augment=augment, seed=seed)
        for size in sizes:
            yield [next(stream) for _ in range(size)]

    def shuffled(self, seed: int, epoch: int, weights: Array | None = None) -> list[int]:
        """The order of an epoch: every row once, or as many drawn by weight so that rare classes come more often."""
        rng = np.random.default_rng((seed, epoch))
        if weights is None:
            return [int(i) for i in rng.permutation(len(self))]
        return [int(i) for i in rng.choice(len(self), len(self), p=weights / weights.sum())]


def read_image(uri: str) -> torch.Tensor:
    """Decode an image; an error names the file."""
    data = open_bytes(uri)
    try:
        return decode(data)
    except ImageError as error:
        raise ImageError(f"{uri}: {error}") from error


def class_mask(row: DatasetRow, labels: Sequence[str], size: Size) -> Array:
    """Class numbers of the pixels (height, width): 0 background, i + 1 for labels[i]; later masks overwrite earlier."""
    mask = np.zeros(size, np.uint8)
    places: tuple[str | Polygon, ...] = (*row.masks, *row.polygons)
    for label, place in zip(row.labels, places, strict=True):
        part = _read_mask(place, size) if isinstance(place, str) else fill_polygon(place, size)
        mask[part] = labels.index(label) + 1 if label in labels else 0
    return mask


def _read_mask(uri: str, size: Size) -> Array:
    mask = decode_mask(open_bytes(uri)).numpy()
    if mask.shape != size:
        raise ImageError(f"{uri}: the mask is {mask.shape[1]} x {mask.shape[0]}, its image {size[1]} x {size[0]}")
    return mask > 0


def stack(samples: Sequence[PreparedImage]) -> torch.Tensor:
    """A uint8 batch (n, 3, size, size), channels last in memory."""
    return torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
