"""Pixels into files."""

from __future__ import annotations

import io

import torch
from PIL import Image


def encode_png(image: torch.Tensor) -> bytes:
    """Write uint8 pixels (3, height, width) or (height, width) as PNG."""
    pixels = image.permute(1, 2, 0) if image.ndim == 3 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(buffer, "png")
    return buffer.getvalue()
