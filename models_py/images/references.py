"""An image beside its reference image (golden board): what a model that compares the two sees."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]


def beside_reference(image: Array, reference: Array, method: str) -> Array:
    """Three channels (height, width, 3): the image's brightness, its reference's, and the largest difference of colour.

    `method` says how the reference is laid onto the image; `same`, as it is, resized where the sizes differ.
    """
    if method != "same":
        raise ValueError(f"no such way to lay a reference onto an image: {method}")
    height, width = image.shape[:2]
    if reference.shape != image.shape:
        reference = np.asarray(cv2.resize(reference, (width, height), interpolation=cv2.INTER_AREA))
    greys = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (image, reference)]
    return np.dstack([*greys, cv2.absdiff(image, reference).max(2)])
