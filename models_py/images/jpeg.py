"""JPEG into pixels, and never half of them: a decoder fills what is missing with grey and only warns.

TurboJPEG reports the first warning of libjpeg as an error, at no cost. Most of them say that picture data are missing
or damaged. A harmless one (an odd version, bytes too many before a marker) could hide another behind it, and CMYK and
rare samplings are not TurboJPEG's. There the picture is decoded again with other bytes put before its end marker. Of a
whole picture they are not read; a decoder that still wants data takes them, and the pictures differ.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from models_py.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Bytes too many before a restart marker mean that the decoder lost its place; before others they are padding.
_DAMAGE = re.compile(
    r"Premature end of JPEG file|Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0x(?!d[0-7]))"
)
_END = b"\xff\xd9"
_NOISE = bytes(byte for byte in hashlib.sha512(b"more").digest() if byte != 0xFF)
# What is missing may be a restart marker, and one kind of bytes may by chance mean that nothing more is to come.
_MORE = (bytes(64), b"\x55" * 64, _NOISE, b"".join(b"\xff" + bytes([0xD0 + number]) + _NOISE for number in range(8)))


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode to RGB (height, width, 3), not rotated; None if TurboJPEG cannot; raise ImageError for damage."""
    try:
        return _turbo(data, "RGB", is_strict=True)
    except ValueError as error:
        _refuse_damage(error)
    try:
        pixels = _turbo(data, "RGB", is_strict=False)
    except ValueError:
        return None
    _refuse_filled(data, lambda: pixels, lambda more: _turbo(more, "RGB", is_strict=False))
    return pixels


def check_jpeg(data: bytes) -> None:
    """Raise ImageError if picture data are missing, for decoders that would fill them up in silence."""
    try:
        _turbo(data, "GRAY", is_strict=True)
    except ValueError as error:
        _refuse_damage(error)
        _refuse_filled(data, lambda: _pillow(data), _pillow)


def _turbo(data: bytes, colours: str, *, is_strict: bool) -> NDArray[np.uint8]:
    import simplejpeg

    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colours, fastdct=False, fastupsample=False, strict=is_strict
    )
    return pixels


def _pillow(data: bytes) -> NDArray[np.uint8]:
    """The components as they are; errors are Pillow's."""
    import numpy as np

    from models_py.images.pillow import open_image

    with open_image(data, "jpeg") as opened:
        return np.asarray(opened)


def _refuse_damage(error: ValueError) -> None:
    if _DAMAGE.match(str(error)):
        raise ImageError(f"jpeg: damaged: {error}") from error


def _refuse_filled(
    data: bytes, picture: Callable[[], NDArray[np.uint8]], decode: Callable[[bytes], NDArray[np.uint8]]
) -> None:
    """Refuse a picture that depends on what stands behind its data."""
    end = data.rfind(_END)
    try:
        digests = {hashlib.sha256(picture().data).digest()}
        digests |= {hashlib.sha256(decode(data[:end] + more + _END).data).digest() for more in _MORE}
    except Exception as error:  # the decoders raise whatever they like
        words = str(error).splitlines()
        raise ImageError(f"jpeg: damaged: {words[0] if words else type(error).__name__}") from error
    if len(digests) > 1:
        raise ImageError("jpeg: damaged: the picture data end too early")
