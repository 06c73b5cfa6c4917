"""A reference image laid onto an image that was shifted, turned, scaled or lit unevenly."""

import cv2
import numpy as np
import pytest
import torch

from models_py.images.alignment import METHODS, align
from models_py.model.preprocess import Preprocess

SIDE = 320


def board(seed=0):
    """A board of random pads and lines, in colour."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE, 3), (30, 80, 40), np.uint8)
    for _ in range(60):
        x, y, width, height = (int(value) for value in rng.integers((0, 0, 6, 6), (SIDE, SIDE, 40, 30)))
        cv2.rectangle(pixels, (x, y), (x + width, y + height), [int(value) for value in rng.integers(60, 255, 3)], -1)
    return cv2.GaussianBlur(pixels, (0, 0), 0.8)


def turned(degrees, scale=1.0):
    return np.vstack([cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, scale), [0, 0, 1]])


TRANSFORMS = {
    "as it is": np.eye(3),
    "shifted": np.array([[1, 0, 9], [0, 1, -6], [0, 0, 1.0]]),
    "shifted by part of a pixel": np.array([[1, 0, 3.5], [0, 1, 0.5], [0, 0, 1.0]]),
    "turned": turned(4),
    "scaled": turned(0, 0.94),
    "tilted": np.array([[1.01, 0.02, -5], [-0.015, 0.99, 8], [2e-5, -4e-5, 1]]),
}


def seen(pixels, matrix, *, unevenly=False):
    """A picture of a board by a camera that was moved."""
    moved = cv2.warpPerspective(pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    light = np.linspace(0.6, 1.1, SIDE)[None, :, None] if unevenly else 1.0
    noise = np.random.default_rng(1).normal(0, 3, moved.shape)
    return (moved * light + noise).clip(0, 255).astype(np.uint8)


def error(matrix, wanted):
    """How far corners of the board are from where they should be, in pixels."""
    corners = np.array([[[40.0, 40], [SIDE - 40, 40], [40, SIDE - 40], [SIDE - 40, SIDE - 40]]])
    return np.abs(cv2.perspectiveTransform(corners, matrix) - cv2.perspectiveTransform(corners, wanted)).max()


@pytest.mark.parametrize("unevenly", [False, True], ids=["even light", "uneven light"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_homography_lays_the_reference_onto_the_image(name, unevenly):
    reference = board()
    found = align(seen(reference, TRANSFORMS[name], unevenly=unevenly), reference, "homography")
    assert error(found.matrix, TRANSFORMS[name]) < 1.0


@pytest.mark.parametrize("unevenly", [False, True], ids=["even light", "uneven light"])
@pytest.mark.parametrize("name", ["as it is", "shifted", "shifted by part of a pixel"])
def test_a_shift_lays_the_reference_onto_the_image(name, unevenly):
    reference = board()
    image = seen(reference, TRANSFORMS[name], unevenly=unevenly)
    found = align(image, reference, "shift")
    assert error(found.matrix, TRANSFORMS[name]) <= 0.6
    assert found.shift == pytest.approx(tuple(TRANSFORMS[name][:2, 2]), abs=0.6)


def test_the_covered_pixels_are_those_on_which_the_reference_lies():
    found = align(seen(board(), TRANSFORMS["shifted"]), board(), "shift")
    assert not found.covered[:, :8].any()
    assert not found.covered[-5:].any()
    assert found.covered[:-7, 10:].all()


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_of_another_size_is_brought_to_the_size_of_the_image(method):
    small = cv2.resize(board(), (200, 200), interpolation=cv2.INTER_AREA)
    found = align(board(), small, method)
    assert found.pixels.shape == (SIDE, SIDE, 3)
    assert error(found.matrix, np.eye(3)) < 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("other", [board(7), np.zeros((SIDE, SIDE, 3), np.uint8)], ids=["another board", "black"])
def test_what_does_not_fit_is_left_as_it_is_or_nearly_so(method, other):
    found = align(board(), other, method)
    assert found.covered.mean() > 0.4
    assert np.isfinite(found.matrix).all()


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="must be one of none, shift, homography, but is 'turn'"):
        align(board(), board(), "turn")


@pytest.mark.parametrize("method", ["shift", "homography"])
def test_a_model_sees_the_difference_of_the_aligned_boards(method):
    reference = board()
    image = seen(reference, TRANSFORMS["shifted"])
    image[150:170, 150:170] = 255
    tensors = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in (image, reference)]
    differences = {kind: Preprocess(SIDE, reference=kind)(*tensors)[2].float() for kind in ("same", method)}
    assert differences[method][152:168, 152:168].mean() > 50
    rest = torch.ones(SIDE, SIDE, dtype=torch.bool)
    rest[145:175, 145:175] = False
    assert differences[method][rest].mean() < 0.4 * differences["same"][rest].mean()
