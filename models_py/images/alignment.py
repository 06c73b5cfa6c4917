"""Lay a reference image (golden board) onto an image: as it is, shifted, or by a homography.

Both are looked at through the strength of their edges, which uneven light hardly changes, and scaled down, since a
few hundred pixels are enough to find a shift by the phases of their spectra and a homography by features (SIFT, of
which RANSAC keeps those that agree). A homography is then refined on the edges themselves. What does not fit better
than the reference as it is, is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]
METHODS = ("none", "shift", "homography")
_LOOKED_AT = 768
_FEATURES, _LEAST_MATCHES = 3000, 12
_MOST_SCALE = 2.0
_MOST_SHIFT = 0.25
_CLOSER = 0.98
"""What a transform must bring the difference down to, compared with a simpler one."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The reference on the pixels of the image (height, width, 3), where it covers them, and the transform (3, 3)."""

    pixels: Array
    covered: Array
    matrix: Array

    @property
    def shift(self) -> tuple[float, float]:
        """How far the middle of the reference was moved, to the right and down, in pixels."""
        height, width = self.covered.shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
        x, y, w = self.matrix @ middle
        return float(x / w - middle[0]), float(y / w - middle[1])


def align(image: Array, reference: Array, method: str) -> Alignment:
    """Lay a reference onto an image; both are uint8 RGB (height, width, 3), and the sizes may differ."""
    if method not in METHODS:
        raise ValueError(f"method: must be one of {', '.join(METHODS)}, but is {method!r}")
    size = (image.shape[1], image.shape[0])
    if reference.shape != image.shape:
        reference = np.asarray(cv2.resize(reference, size, interpolation=cv2.INTER_AREA))
    best = Alignment(reference, np.ones(image.shape[:2], bool), np.eye(3))
    if method == "none":
        return best
    scale = min(1.0, _LOOKED_AT / max(size))
    small = [_small(pixels, scale) for pixels in (image, reference)]
    edges = [_edges(pixels) for pixels in small]
    least = _difference(image, best)
    for matrix, closer in _candidates(small, edges, method, scale):
        found = _warped(reference, matrix)
        apart = _difference(image, found)
        if found.covered.any() and apart < closer * least:
            best, least = found, apart
    return best


def _small(pixels: Array, scale: float) -> Array:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if scale == 1.0:
        return np.asarray(grey)
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _edges(grey: Array) -> Array:
    """The strength of edges, from 0 to 1; what is far above the usual counts no more than that."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)
    strength = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return np.asarray(np.minimum(strength / max(float(np.percentile(strength, 98)), 1e-3), 1.0), np.float32)


def _evened(grey: Array) -> Array:
    """Brightness above or below that of the surroundings, in units of how much it changes there."""
    pixels = grey.astype(np.float32)
    apart = pixels - cv2.blur(pixels, (65, 65))
    return np.asarray(apart / (cv2.blur(np.abs(apart), (65, 65)) + 4.0), np.float32)


def _candidates(small: list[Array], edges: list[Array], method: str, scale: float) -> Iterator[tuple[Array, float]]:
    """Transforms of the reference, the simpler ones first, and what each must bring the difference down to."""
    shift = _shift(*edges)
    if shift is not None:
        yield _moved(np.round(shift / scale)), _CLOSER
        yield _moved(shift / scale), 1.0
    if method == "homography" and (found := _homography(*small)) is not None:
        yield _at_scale(found, scale), _CLOSER
        if (refined := _refined(edges[0], edges[1], found)) is not None:
            yield _at_scale(refined, scale), 1.0


def _shift(image: Array, reference: Array) -> Array | None:
    """How far the reference is to be moved (x, y), by the phases of both spectra; None where that is far."""
    window = cv2.createHanningWindow((image.shape[1], image.shape[0]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(reference, image, window)
    if abs(x) > _MOST_SHIFT * image.shape[1] or abs(y) > _MOST_SHIFT * image.shape[0]:
        return None
    return np.array([x, y])


def _moved(shift: Array) -> Array:
    matrix = np.eye(3)
    matrix[:2, 2] = shift
    return matrix


def _at_scale(matrix: Array, scale: float) -> Array:
    """A transform found on pixels scaled down, for the pixels as they are; it maps centres of pixels."""
    down = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    return np.asarray(np.linalg.inv(down) @ matrix @ down)


def _homography(image: Array, reference: Array) -> Array | None:
    sift = cv2.SIFT.create(nfeatures=_FEATURES)
    points, descriptors = zip(*(sift.detectAndCompute(grey, None) for grey in (image, reference)), strict=True)
    if any(found is None or len(found) < _LEAST_MATCHES for found in descriptors):
        return None
    pairs = cv2.BFMatcher().knnMatch(descriptors[1], descriptors[0], k=2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.8 * pair[1].distance]
    if len(good) < _LEAST_MATCHES:
        return None
    source = np.array([points[1][match.queryIdx].pt for match in good], np.float32)
    target = np.array([points[0][match.trainIdx].pt for match in good], np.float32)
    cv2.setRNGSeed(0)
    matrix, agreeing = cv2.findHomography(source, target, cv2.USAC_MAGSAC, 2.0)
    if matrix is None or int(agreeing.sum()) < _LEAST_MATCHES or not _is_plausible(matrix):
        return None
    return np.asarray(matrix)


def _is_plausible(matrix: Array) -> bool:
    """Whether a camera that was moved a little can have done this."""
    size = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    return 1 / _MOST_SCALE < size < _MOST_SCALE and float(np.abs(matrix[2, :2]).max()) < 1e-3


def _refined(image: Array, reference: Array, matrix: Array) -> Array | None:
    """The transform that fits the edges best, beginning at one that nearly does."""
    inverse = np.linalg.inv(matrix).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
    try:
        _, found = cv2.findTransformECC(image, reference, inverse, cv2.MOTION_HOMOGRAPHY, stop, None, 5)
    except cv2.error:  # it did not converge: the features have the last word
        return None
    return np.asarray(np.linalg.inv(found))


def _warped(reference: Array, matrix: Array) -> Alignment:
    height, width = reference.shape[:2]
    whole = np.full((height, width), 255, np.uint8)
    pixels = cv2.warpPerspective(reference, matrix, (width, height), flags=cv2.INTER_LINEAR)
    covered = cv2.warpPerspective(whole, matrix, (width, height), flags=cv2.INTER_LINEAR) == 255
    return Alignment(np.asarray(pixels), np.asarray(covered), matrix)


def _difference(image: Array, laid: Alignment) -> float:
    """How much both differ where the reference covers the image: their edges times their surfaces in even light.

    Edges alone do not see what is filled, surfaces alone hardly tell a shift of half a pixel.
    """
    scale = min(1.0, _LOOKED_AT / max(image.shape[:2]))
    ours, theirs = (_small(pixels, scale) for pixels in (image, laid.pixels))
    size = (ours.shape[1], ours.shape[0])
    covered = cv2.resize(laid.covered.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    covered = cv2.erode(covered, np.ones((5, 5), np.uint8)) > 0  # without the edge where the reference ends
    if not covered.any():
        return float("inf")
    apart = [cv2.absdiff(view(ours), view(theirs))[covered].mean() for view in (_edges, _evened)]
    return float(apart[0] * apart[1])
