"""Any image file into the same pixels, for training and serving alike."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import torch
from PIL import Image

from models_py.errors import ImageError
from models_py.images.header import ImageFacts, ImageLimits, probe
from models_py.images.jpeg import check_jpeg, decode_jpeg
from models_py.images.pillow import open_image
from models_py.images.remote import fetch, too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_STRIP = 256


def decode(data: bytes, limits: ImageLimits | None = None) -> torch.Tensor:
    """Decode an image file to uint8 RGB (3, height, width); raise ImageError with the reason if that fails.

    16 bits are scaled to 8 by their full range, alpha is dropped, CMYK converted, the first frame of several taken, and
    EXIF rotation applied. A file that ends too early is refused, never filled up with grey. In memory the pixels lie
    row by row with their channels last, so that nobody has to turn them around.
    """
    facts = probe(data, limits)
    fast = _FAST.get(facts.format)
    pixels = fast(data, facts) if fast else None
    if pixels is None:
        pixels = _pillow(data, facts)
    upright = pixels if facts.format == "tiff" else _turn(pixels, facts.orientation)  # Pillow has turned a TIFF itself
    if upright.shape != (facts.height, facts.width, 3):
        raise ImageError(
            f"{facts.format}: damaged: the header says {facts.width} x {facts.height}, "
            f"the picture is {upright.shape[1]} x {upright.shape[0]}"
        )
    return torch.from_numpy(upright).permute(2, 0, 1)


def _jpeg(data: bytes, _: ImageFacts) -> Pixels | None:
    """TurboJPEG's decoder; None for CMYK and odd samplings, once they are known to be whole."""
    pixels = decode_jpeg(data)
    if pixels is None:
        check_jpeg(data)
    return pixels


def _png(data: bytes, _: ImageFacts) -> Pixels | None:
    """OpenCV's decoder for 8-bit grey and RGB; None for the rest.

    The checksums are verified first: torchvision's decoder crashes on damaged files, OpenCV's fills them up.
    """
    _refuse_short(data)
    return _opencv(data) if data[24] == 8 and data[25] in (0, 2) and not data[28] and _is_sound(data) else None


def _webp(data: bytes, facts: ImageFacts) -> Pixels | None:
    """OpenCV's decoder, which takes a quarter of the memory of Pillow's; None for several frames."""
    return _opencv(data) if facts.frames == 1 and not data[20] & _IS_ANIMATION * (data[12:16] == b"VP8X") else None


def _opencv(data: bytes) -> Pixels | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _is_sound(data: bytes) -> bool:
    """Whether every chunk has its checksum, and none asks for more than pixels."""
    view = memoryview(data)
    for kind, at, end in _chunks(data):
        if kind in (b"eXIf", b"tRNS") or end + 4 > len(data):
            return False
        if zlib.crc32(view[at - 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        if kind == b"IEND":
            return True
    return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of what is in a PNG."""
    at = 8
    while at + 12 <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        yield kind, at + 8, at + 8 + length
        at += 12 + length


def _refuse_short(data: bytes) -> None:
    """Refuse a PNG whose rows are not all there: the decoders fill them up, and its checksums may be right."""
    width, height, depth, colours, _, _, interlacing = _HEADER.unpack_from(data, 16)
    if interlacing:
        return
    wanted = height * (1 + (width * depth * _SAMPLES.get(colours, 1) + 7) // 8)
    view = memoryview(data)
    if _inflated(view[at:end] for kind, at, end in _chunks(data) if kind == b"IDAT") < wanted:
        raise ImageError("png: damaged: the picture data end too early")


def _inflated(parts: Iterable[memoryview]) -> int:
    """How many bytes a stream holds that may end too early; a piece at a time, for they may be many."""
    stream, count = zlib.decompressobj(), 0
    try:
        for part in parts:
            count += len(stream.decompress(part, _PIECE))
            while stream.unconsumed_tail:
                count += len(stream.decompress(stream.unconsumed_tail, _PIECE))
    except zlib.error as error:
        raise ImageError(f"png: damaged: {error}") from error
    return count + len(stream.flush())


_HEADER = struct.Struct(">IIBBBBB")
_SAMPLES = {2: 3, 4: 2, 6: 4}
_PIECE = 1 << 20
_IS_ANIMATION = 0x02
_CHUNK = struct.Struct(">I4s")
_FAST: dict[str, Callable[[bytes, ImageFacts], Pixels | None]] = {"jpeg": _jpeg, "png": _png, "webp": _webp}


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Set a picture upright as EXIF says, whose orientations are 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _pillow(data: bytes, facts: ImageFacts) -> Pixels:
    try:
        with open_image(data, facts.format) as opened:
            return _to_rgb(opened)
    except ImageError:
        raise
    except Exception as error:
        words = str(error).splitlines()
        raise ImageError(f"{facts.format}: damaged: {words[0] if words else type(error).__name__}") from error


def _to_rgb(image: Image.Image) -> Pixels:
    """Convert by strips: Pillow needs four bytes a pixel for colours, and would make several copies of them."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    convert = partial(_to_bytes, factor=_factor(image)) if image.mode in (*_WIDE_GREY, "F") else _strip_to_rgb
    for top, strip in _strips(image):
        pixels[top : top + strip.height] = convert(strip)
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    for top in range(0, image.height, _STRIP):
        yield top, image.crop((0, top, image.width, min(top + _STRIP, image.height)))


def _strip_to_rgb(strip: Image.Image) -> Pixels:
    return np.asarray(strip.convert("RGB"))


def _to_bytes(strip: Image.Image, factor: int | None) -> Pixels:
    values = np.asarray(strip).astype(np.float64)
    return np.round(values * factor if factor else values / 257).clip(0, 255).astype(np.uint8)[..., None]


def _factor(image: Image.Image) -> int | None:
    """What brings floats to 8 bits; None for 16 bits, which are scaled by their full range."""
    ends = [(float(part.min()), float(part.max())) for part in (np.asarray(strip) for _, strip in _strips(image))]
    low, high = float(np.min(ends)), float(np.max(ends))
    if not np.isfinite((low, high)).all() or low < 0 or high > 65535:
        raise ImageError(f"pixels from {low:g} to {high:g}: must be 8 or 16 bits, or floats from 0 to 1 or 255")
    return None if image.mode != "F" else 255 if high <= 1 else 1


def decode_mask(data: bytes) -> torch.Tensor:
    """Decode a mask to uint8 (height, width): 1 for defect, 0 for background.

    Any value but 0 is defect; where a mask has more than two grey values, as after JPEG, those from 128 on.
    """
    facts = probe(data)
    try:
        if facts.format == "jpeg":
            check_jpeg(data)
        with open_image(data, facts.format) as opened:
            values = np.array(opened if opened.mode in ("1", "L", "P") else opened.convert("RGB"))
    except Exception as error:
        words = str(error).splitlines()
        raise ImageError(f"the mask is damaged: {words[0] if words else type(error).__name__}") from error
    if values.ndim == 3:
        values = values.max(2)
    values = values.astype(np.uint8)
    has_greys = int(values.max(initial=0)) > 127 and len(np.unique(values)) > 2
    return torch.from_numpy((values > (127 if has_greys else 0)).astype(np.uint8))


def open_bytes(uri: str, allow: Callable[[str], str] | None = None, limits: ImageLimits | None = None) -> bytes:
    """Read a file or URL; raise ImageError with its name if that fails, or if it is larger than the limit.

    With `allow`, a web server's redirection is followed only to what it returns for the URL that the server names; it
    raises ImageError for what may not be read.
    """
    most = (limits or ImageLimits()).size_bytes
    if "://" in uri and not uri.startswith("file://"):
        return fetch(uri, allow, most)
    try:
        with open(uri.removeprefix("file://"), "rb") as opened:
            if os.fstat(opened.fileno()).st_size > most:
                raise too_large(uri, most)
            return opened.read()
    except FileNotFoundError as error:
        raise ImageError(f"{uri}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{uri}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
