"""What is done to an image before the network sees it: stored with the weights, the same in training and serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from models_py.errors import ImageError
from models_py.images.references import beside_reference
from models_py.images.tiles import TilePlace, cut_tile, tile_places
from models_py.model.options import TrainingOptions

NO_REFERENCE = "has no reference image (golden board), but the model judges an image beside its reference"
_GREY = 114
_STRIP = 1024

Size = tuple[int, int]  # height, width of the image as it came


@dataclass(frozen=True, slots=True)
class Preprocess:
    """CLAHE if asked for, then a square of `size` pixels, stretched or letterboxed; normalised on the device.

    With a `reference` (how it is laid onto the image) the three channels are the image, its reference image and their
    difference, so that first weights for colours still fit. With `tile` an image is not scaled but cut into squares of
    `size` pixels, of which neighbours share `overlap`.
    """

    size: int
    letterbox: bool = False
    clahe: float = 0.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    reference: str = ""
    tile: bool = False
    overlap: float = 0.2

    @classmethod
    def by(cls, options: TrainingOptions, *, letterbox: bool = False) -> Preprocess:
        """The preprocessing that training options ask for."""
        reference = "" if options.reference == "none" else options.reference
        return cls(
            options.tile or options.image_size,
            letterbox,
            options.clahe,
            reference=reference,
            tile=options.tile > 0,
            overlap=options.overlap,
        )

    def __call__(self, image: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
        """Turn a uint8 RGB image (3, height, width) into uint8 (3, size, size), laid out channels last.

        Of an image that is judged by tiles, the one in its middle.
        """
        pixels = self.see(image, reference)
        if self.tile:
            middle = TilePlace(*(max(length - self.size, 0) // 2 for length in pixels.shape[:2]))
            return torch.from_numpy(cut_tile(pixels, middle, self.size)).permute(2, 0, 1)
        return torch.from_numpy(self.fit(pixels)).permute(2, 0, 1)

    def tiles(
        self, image: torch.Tensor, reference: torch.Tensor | None, at_once: int
    ) -> Iterator[tuple[list[TilePlace], torch.Tensor]]:
        """The tiles of a decoded image, in batches of uint8 (n, 3, size, size) with their places."""
        pixels = self.see(image, reference)
        places = tile_places((pixels.shape[0], pixels.shape[1]), self.size, self.overlap)
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            cut = np.stack([cut_tile(pixels, place, self.size) for place in some])
            yield some, torch.from_numpy(cut).permute(0, 3, 1, 2)

    def see(self, image: torch.Tensor, reference: torch.Tensor | None = None) -> np.ndarray[Any, Any]:
        """What of a decoded image and its reference is brought to the square: (height, width, 3)."""
        pixels = self._pixels(image)
        if not self.reference:
            return pixels
        if reference is None:
            raise ImageError(NO_REFERENCE)
        return beside_reference(pixels, self._pixels(reference), self.reference)

    def _pixels(self, image: torch.Tensor) -> np.ndarray[Any, Any]:
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        return equalise(pixels, self.clahe) if self.clahe else pixels

    def fit(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Bring (height, width[, 3]) pixels to the square."""
        height, width = pixels.shape[:2]
        if (height, width) == (self.size, self.size):
            return pixels
        if not self.letterbox:
            return resize(pixels, (self.size, self.size))
        scale, left, top = self.placement((height, width))
        inner = resize(pixels, (round(height * scale), round(width * scale)), smooth=False)
        square = np.full((self.size, self.size, *pixels.shape[2:]), _GREY, pixels.dtype)
        square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return square

    def fit_mask(self, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Bring class numbers (height, width) to the square; only for stretched images."""
        return np.asarray(cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_NEAREST))

    def placement(self, size: Size) -> tuple[float, int, int]:
        """Scale, left and top margin of a letterboxed image."""
        height, width = size
        scale = min(self.size / height, self.size / width)
        left = round((self.size - round(width * scale)) / 2 - 0.1)
        top = round((self.size - round(height * scale)) / 2 - 0.1)
        return scale, left, top

    def boxes_in(self, boxes: np.ndarray[Any, Any], size: Size) -> np.ndarray[Any, Any]:
        """Move boxes (n, 4) from the image to the square."""
        scale, offset = self._mapping(size)
        return np.asarray(boxes * scale + offset, dtype=np.float32)

    def boxes_out(self, boxes: np.ndarray[Any, Any], size: Size) -> np.ndarray[Any, Any]:
        """Move boxes (n, 4) from the square back to the image, clipped to it."""
        scale, offset = self._mapping(size)
        limits = np.array([size[1], size[0], size[1], size[0]], dtype=np.float32)
        return np.asarray(np.clip((boxes - offset) / scale, 0, limits), dtype=np.float32)

    def _mapping(self, size: Size) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        height, width = size
        if self.letterbox:
            scale, left, top = self.placement(size)
            return np.full(4, scale, np.float32), np.array([left, top, left, top], np.float32)
        x, y = self.size / width, self.size / height
        return np.array([x, y, x, y], np.float32), np.zeros(4, np.float32)

    def normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn a uint8 batch into floats on its own device."""
        mean = torch.tensor(self.mean, device=batch.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=batch.device).view(3, 1, 1) * 255
        return (batch.float() - mean) / std

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)


def resize(pixels: np.ndarray[Any, Any], size: Size, *, smooth: bool = True) -> np.ndarray[Any, Any]:
    """Resize (height, width[, 3]); averaging over areas when it shrinks and `smooth`, linear otherwise."""
    shrinks = size[0] < pixels.shape[0] or size[1] < pixels.shape[1]
    method = cv2.INTER_AREA if smooth and shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (max(size[1], 1), max(size[0], 1)), interpolation=method))


def equalise(pixels: np.ndarray[Any, Any], limit: float) -> np.ndarray[Any, Any]:
    """Contrast-limited equalisation of the lightness of RGB pixels, so that faint defects stand out."""
    lightness = np.empty(pixels.shape[:2], np.uint8)
    strips = [slice(top, top + _STRIP) for top in range(0, len(pixels), _STRIP)]  # the colours of all would take memory
    for strip in strips:
        lightness[strip] = cv2.cvtColor(pixels[strip], cv2.COLOR_RGB2LAB)[..., 0]
    lightness = cv2.createCLAHE(clipLimit=limit, tileGridSize=(8, 8)).apply(lightness)
    equal = np.empty_like(pixels)
    for strip in strips:
        lab = cv2.cvtColor(pixels[strip], cv2.COLOR_RGB2LAB)
        lab[..., 0] = lightness[strip]
        equal[strip] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return equal
