"""Any image file into the same pixels, for training and serving alike."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps

from models_py.errors import ImageError
from models_py.images.header import ImageFacts, Limits, probe
from models_py.images.remote import fetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Image.MAX_IMAGE_PIXELS = None  # probe has its own limit, and says so
ImageFile.LOAD_TRUNCATED_IMAGES = False

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode(data: bytes, limits: Limits | None = None) -> torch.Tensor:
    """Decode an image file to uint8 RGB (3, height, width); raise ImageError with the reason if that fails.

    16 bits are scaled to 8 by their full range, alpha is dropped, CMYK converted, the first frame of several taken, and
    EXIF rotation applied. A file that ends too early is refused, never filled up with grey.
    """
    facts = probe(data, limits)
    fast = _FAST.get(facts.format)
    pixels = fast(data) if fast else None
    return _checked(_pillow(data, facts) if pixels is None else pixels, facts)


def _jpeg(data: bytes) -> torch.Tensor | None:
    """Torchvision's decoder, the fastest, called without its warning that it will move to another package."""
    import torchvision.io  # noqa: F401 - registers the operator

    try:
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return cast("torch.Tensor", torch.ops.image.decode_jpeg(buffer, _RGB, True))
    except RuntimeError:  # CMYK, or damaged: Pillow knows, or says so
        return None


def _png(data: bytes) -> torch.Tensor | None:
    """OpenCV's decoder for 8-bit grey and RGB; None for the rest.

    The checksums are verified first: torchvision's decoder crashes on damaged files, OpenCV's fills them up.
    """
    if data[24] != 8 or data[25] not in (0, 2) or not _is_sound(data):
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _is_sound(data: bytes) -> bool:
    """Whether every chunk has its checksum, and none asks for more than pixels."""
    at, view = 8, memoryview(data)
    while at + 12 <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        end = at + 8 + length
        if kind in (b"eXIf", b"tRNS") or end + 4 > len(data):
            return False
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        at = end + 4
        if kind == b"IEND":
            return True
    return False


_RGB = 3
_CHUNK = struct.Struct(">I4s")
_FAST: dict[str, Callable[[bytes], torch.Tensor | None]] = {"jpeg": _jpeg, "png": _png}


def _checked(pixels: torch.Tensor, facts: ImageFacts) -> torch.Tensor:
    if pixels.shape != (3, facts.height, facts.width):
        raise ImageError(
            f"{facts.format}: damaged: the header says {facts.width} x {facts.height}, "
            f"the picture is {pixels.shape[2]} x {pixels.shape[1]}"
        )
    return pixels


def _pillow(data: bytes, facts: ImageFacts) -> torch.Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                pixels = _to_rgb(upright)
    except ImageError:
        raise
    except Exception as error:
        words = str(error).splitlines()
        raise ImageError(f"{facts.format}: damaged: {words[0] if words else type(error).__name__}") from error
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _WIDE_GREY or image.mode == "F":
        return np.repeat(_to_bytes(np.asarray(image))[..., None], 3, 2)
    return np.array(image.convert("RGB"))


def _to_bytes(wide: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale 16 bits to 8 by their full range; floats must lie between 0 and 1, or 0 and 255."""
    values = wide.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all() or low < 0 or high > 65535:
        raise ImageError(f"pixels from {low:g} to {high:g}: must be 8 or 16 bits, or floats from 0 to 1 or 255")
    if np.issubdtype(wide.dtype, np.floating):
        return np.round(values * (255 if high <= 1 else 1)).clip(0, 255).astype(np.uint8)
    return np.round(values / 257).astype(np.uint8)


def decode_mask(data: bytes) -> torch.Tensor:
    """Decode a mask to uint8 (height, width): 1 for defect, 0 for background.

    Any value but 0 is defect; where a mask has more than two grey values, as after JPEG, those from 128 on.
    """
    facts = probe(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                values = np.array(opened if opened.mode in ("1", "L", "P") else opened.convert("RGB"))
    except Exception as error:
        raise ImageError(f"{facts.format}: the mask is damaged: {str(error).splitlines()[:1]}") from error
    if values.ndim == 3:
        values = values.max(2)
    values = values.astype(np.uint8)
    has_greys = int(values.max(initial=0)) > 127 and len(np.unique(values)) > 2
    return torch.from_numpy((values > (127 if has_greys else 0)).astype(np.uint8))


def open_bytes(uri: str, allow: Callable[[str], str] | None = None) -> bytes:
    """Read a file or URL; raise ImageError with its name if that fails.

    With `allow`, a web server's redirection is followed only to what it returns for the URL that the server names; it
    raises ImageError for what may not be read.
    """
    if "://" in uri and not uri.startswith("file://"):
        return fetch(uri, allow)
    try:
        with open(uri.removeprefix("file://"), "rb") as opened:
            return opened.read()
    except FileNotFoundError as error:
        raise ImageError(f"{uri}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{uri}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
