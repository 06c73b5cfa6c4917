"""Decode JPEG, and refuse a file whose picture data are cut off or damaged.

Every decoder fills missing data with grey and only warns. TurboJPEG can report libjpeg's first warning as an error, at
no cost, and most warnings mean damage. Two cases need more: a harmless warning (an odd version, extra bytes before a
marker) may hide a second one, and CMYK and rare samplings cannot be decoded by TurboJPEG. Then the picture is decoded
several times, each time with other bytes inserted before the end marker. A complete picture is not changed by them,
because the decoder is done before it reaches them; a picture that lacks data reads them, and the results differ.
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

# Extra bytes before a restart marker mean that the decoder lost its position; before other markers they are padding.
_DAMAGE = re.compile(
    r"Premature end of JPEG file|Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0x(?!d[0-7]))"
)
_END = b"\xff\xd9"
_NOISE = bytes(byte for byte in hashlib.sha512(b"more").digest() if byte != 0xFF)
# Several fillings, because one kind of bytes may by chance decode to nothing; the last has all eight restart markers,
# in case the decoder waits for one of them.
_FILLINGS = (
    bytes(64),
    b"\x55" * 64,
    _NOISE,
    b"".join(b"\xff" + bytes([0xD0 + number]) + _NOISE for number in range(8)),
)


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode to RGB (height, width, 3) without EXIF rotation; None if TurboJPEG cannot decode it.

    Raises ImageError if the picture is damaged.
    """
    try:
        return _turbo(data, "RGB", is_strict=True)
    except ValueError as error:
        _refuse_damage(error)
    try:
        pixels = _turbo(data, "RGB", is_strict=False)
    except ValueError:
        return None
    _refuse_cut_off(data, lambda: pixels, lambda extended: _turbo(extended, "RGB", is_strict=False))
    return pixels


def check_jpeg(data: bytes) -> None:
    """Raise ImageError if picture data are missing; for decoders that fill the gap without an error."""
    try:
        _turbo(data, "GRAY", is_strict=True)
    except ValueError as error:
        _refuse_damage(error)
        _refuse_cut_off(data, lambda: _pillow(data), _pillow)


def _turbo(data: bytes, colours: str, *, is_strict: bool) -> NDArray[np.uint8]:
    import simplejpeg

    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colours, fastdct=False, fastupsample=False, strict=is_strict
    )
    return pixels


def _pillow(data: bytes) -> NDArray[np.uint8]:
    """Decode with Pillow without converting colours; raises Pillow's own errors."""
    import numpy as np

    from models_py.images.pillow import open_image

    with open_image(data, "jpeg") as opened:
        return np.asarray(opened)


def _refuse_damage(error: ValueError) -> None:
    if _DAMAGE.match(str(error)):
        raise ImageError(f"jpeg: damaged: {error}") from error


def _refuse_cut_off(
    data: bytes, picture: Callable[[], NDArray[np.uint8]], decode: Callable[[bytes], NDArray[np.uint8]]
) -> None:
    """Refuse a picture whose pixels change with bytes inserted before its end marker."""
    end = data.rfind(_END)
    try:
        digests = {hashlib.sha256(picture().data).digest()}
        digests |= {hashlib.sha256(decode(data[:end] + filling + _END).data).digest() for filling in _FILLINGS}
    except Exception as error:  # the decoders have no common error class
        words = str(error).splitlines()
        raise ImageError(f"jpeg: damaged: {words[0] if words else type(error).__name__}") from error
    if len(digests) > 1:
        raise ImageError("jpeg: damaged: the picture data end too early")
