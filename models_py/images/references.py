"""An image beside its reference image (golden board): what a model that compares the two sees."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from models_py.images.alignment import align

Array = np.ndarray[Any, Any]


def reference_and_difference(image: Array, reference: Array, method: str) -> tuple[Array, Array]:
    """The reference as it lies on the image, and where the two differ, both (height, width, 3), to be looked at."""
    laid = align(image, reference, "none" if method == "same" else method)
    difference = cv2.absdiff(image, laid.pixels).max(2)
    difference[~laid.covered] = 0
    return laid.pixels, np.dstack([difference] * 3)


def beside_reference(image: Array, reference: Array, method: str) -> Array:
    """Three channels (height, width, 3): the image's brightness, its reference's, and the largest difference of colour.

    `method` says how the reference is laid onto the image: same (as it is), shift or homography. Where it then does not
    cover the image there is no difference.
    """
    laid, difference = reference_and_difference(image, reference, method)
    greys = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (image, laid)]
    return np.dstack([*greys, difference[..., 0]])
