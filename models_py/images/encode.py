"""Encode images and masks as PNG."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image


def encode_png(image: torch.Tensor) -> bytes:
    """Write uint8 pixels (3, height, width) or (height, width) as PNG."""
    pixels = image.permute(1, 2, 0) if image.ndim == 3 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(buffer, "png")
    return buffer.getvalue()


def encode_mask(mask: np.ndarray[Any, Any]) -> bytes:
    """Write booleans (height, width) as a PNG of two grey values, 0 and 255."""
    is_encoded, data = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    if not is_encoded:
        raise ValueError(f"a mask of shape {mask.shape} cannot be written as PNG")
    return data.tobytes()
