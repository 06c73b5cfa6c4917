"""Random changes to training images: one affine warp for image, mask and boxes together, and brightness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Augment:
    """Flips, quarter turns, zoom, shift and brightness; all off by default."""

    flip: bool = False
    turn: bool = False
    zoom: float = 0.0
    shift: float = 0.0
    light: float = 0.0

    def __call__(
        self, rng: np.random.Generator, image: Array, mask: Array | None, boxes: Array, *, is_pair: bool = False
    ) -> tuple[Array, Array | None, Array]:
        """Change an image (size, size, 3), its class mask (size, size) and its boxes (n, 4).

        The channels of a pair are the image, its reference and their difference.
        """
        matrix = self._matrix(rng, image.shape[0])
        if matrix is not None:
            image = _warp(image, matrix, cv2.INTER_LINEAR)
            mask = None if mask is None else _warp(mask, matrix, cv2.INTER_NEAREST)
            boxes = _move(boxes, matrix, image.shape[0])
        if self.light:
            gain, bias = 1 + rng.uniform(-self.light, self.light), 255 * rng.uniform(-self.light, self.light) / 2
            table = np.clip(np.arange(256)[:, None] * gain + [bias, bias, 0 if is_pair else bias], 0, 255)
            image = cv2.LUT(image, table.astype(np.uint8)[None])
        return image, mask, boxes

    def _matrix(self, rng: np.random.Generator, size: int) -> Array | None:
        """One 2 x 3 matrix for flip, turn, zoom and shift; flips and turns map pixel centres onto pixel centres."""
        flips, turns = rng.random(2) < 0.5, rng.integers(4)
        scale = np.exp(rng.uniform(-self.zoom, self.zoom))
        shift = rng.uniform(-self.shift, self.shift, 2) * size
        turn = {0: np.eye(2), 1: [[0, -1], [1, 0]], 2: -np.eye(2), 3: [[0, 1], [-1, 0]]}[int(turns) if self.turn else 0]
        linear = scale * np.array(turn) @ np.diag(np.where(flips, -1.0, 1.0) if self.flip else (1.0, 1.0))
        if np.array_equal(linear, np.eye(2)) and not shift.any():
            return None
        centre = np.full(2, (size - 1) / 2)
        return np.column_stack([linear, centre - linear @ centre + shift])


def _warp(pixels: Array, matrix: Array, method: int) -> Array:
    side = pixels.shape[0]
    return np.asarray(cv2.warpAffine(pixels, matrix, (side, side), flags=method, borderMode=cv2.BORDER_REFLECT_101))


def _move(boxes: Array, matrix: Array, size: int) -> Array:
    """Boxes around the warped corners, clipped to the image. The matrix maps pixel centres, boxes are pixel edges."""
    if not len(boxes):
        return boxes
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) - 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    moved = np.concatenate([moved.min(1), moved.max(1)], 1)
    return np.asarray(np.clip(moved, 0, size), dtype=np.float32)
