"""Read an image's format, size and completeness from its header, in microseconds and without decoding.

Decoding takes a hundred times longer than reading and hashing a file, so ingestion does not decode. Each format has one
function here, registered with its first bytes. It reads the size, the EXIF rotation and the number of frames, and
checks that the file is not cut off: JPEG and PNG have an end marker, the others state their length. A file that is
complete but damaged inside is found when it is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models_py.errors import ImageError, IncompleteImageError


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts from an image's header. Width and height are those after EXIF rotation; they are the first frame's."""

    format: str
    width: int
    height: int
    channels: int
    frames: int = 1
    orientation: int = 1
    """EXIF's orientation from 1 to 8: how the stored picture is rotated or mirrored to show it."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image that is accepted, against decompression bombs and huge files that are not images."""

    pixels: int = 250_000_000
    size_bytes: int = 1_000_000_000


_Prober = Callable[[bytes], ImageFacts]
_probers: dict[str, tuple[bytes, _Prober]] = {}


def _format(name: str, magic: bytes) -> Callable[[_Prober], _Prober]:
    def add(prober: _Prober) -> _Prober:
        _probers[name] = (magic, prober)
        return prober

    return add


def probe(data: bytes, limits: ImageLimits | None = None) -> ImageFacts:
    """Read an image's header and check that its file is complete; raise ImageError with the reason if not."""
    if not data:
        raise IncompleteImageError("the file is empty")
    for name, (magic, prober) in _probers.items():
        if data.startswith(magic):
            return _accept(_guard(name, prober, data), limits or _DEFAULT_LIMITS)
    raise ImageError(f"not an image: must start like {', '.join(_probers)}, but starts with {data[:8]!r}")


_DEFAULT_LIMITS = ImageLimits()


def _guard(name: str, prober: _Prober, data: bytes) -> ImageFacts:
    try:
        return prober(data)
    except (struct.error, IndexError, KeyError) as error:
        raise IncompleteImageError(f"{name}: the header is truncated or damaged") from error


def _accept(facts: ImageFacts, limits: ImageLimits) -> ImageFacts:
    if facts.width < 1 or facts.height < 1:
        raise ImageError(f"{facts.format}: the header says {facts.width} x {facts.height} pixels")
    if facts.width * facts.height > limits.pixels:
        raise ImageError(
            f"oversized: {facts.width:,} x {facts.height:,} is {facts.width * facts.height:,} pixels, "
            f"more than the limit of {limits.pixels:,} (--max-pixels)"
        )
    return facts


def _upright(
    format: str,  # noqa: A002
    width: int,
    height: int,
    channels: int,
    orientation: int,
    frames: int = 1,
) -> ImageFacts:
    """Swap width and height if EXIF rotates the image by 90 degrees."""
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return ImageFacts(format, width, height, channels, frames, orientation)


_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and the restart markers have no segment behind them
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})  # SOF markers
_SEGMENT = struct.Struct(">H")
_FRAME = struct.Struct(">HHB")


@_format("jpeg", b"\xff\xd8\xff")
def _jpeg(data: bytes) -> ImageFacts:
    at, orientation, size = 2, 1, None
    while True:
        if data[at] != 0xFF:
            raise ImageError(f"jpeg: damaged, no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF or marker in _NO_LENGTH:  # fill byte, or a marker that stands alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:  # start of scan: the compressed picture follows
            break
        if marker in _FRAMES:
            size = _FRAME.unpack_from(data, at + 5)
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", at + 4):
            orientation = _exif_orientation(data[at + 10 : at + 2 + _SEGMENT.unpack_from(data, at + 2)[0]])
        at += 2 + _SEGMENT.unpack_from(data, at + 2)[0]
    if size is None:
        raise ImageError("jpeg: no frame header before the picture")
    # In the compressed data 0xFF is always escaped, so an end marker found after their start is the real one.
    if data.rfind(b"\xff\xd9", at) < 0:
        raise IncompleteImageError("truncated: jpeg without its end marker")
    return _upright("jpeg", size[1], size[0], size[2], orientation)


_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_CHUNK = struct.Struct(">I4s")


@_format("png", b"\x89PNG\r\n\x1a\n")
def _png(data: bytes) -> ImageFacts:
    width, height, _, color = struct.unpack_from(">IIBB", data, 16)
    at, orientation, has_picture, frames = 8, 1, False, 1
    while True:
        if at + 12 > len(data):
            raise IncompleteImageError("truncated: png without its end chunk")
        length, kind = _CHUNK.unpack_from(data, at)
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        elif kind == b"acTL":
            frames = struct.unpack_from(">I", data, at + 8)[0]
        has_picture = has_picture or kind == b"IDAT"
        at += 12 + length
    if not has_picture:
        raise ImageError("png: no picture data")
    return _upright("png", width, height, _PNG_CHANNELS[color], orientation, frames)


@_format("bmp", b"BM")
def _bmp(data: bytes) -> ImageFacts:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: rows from top to bottom
    if compression in (0, 3) and len(data) < start + (width * bits + 31) // 32 * 4 * height:
        raise IncompleteImageError(f"truncated: bmp of {width} x {height} pixels in {len(data):,} bytes")
    grey = bits <= 8 and _is_grey_palette(data[14 + header : start])
    return ImageFacts("bmp", width, height, 1 if grey else 4 if bits == 32 else 3)


def _is_grey_palette(palette: bytes) -> bool:
    return bool(palette) and palette[0::4] == palette[1::4] == palette[2::4]


@_format("gif", b"GIF8")
def _gif(data: bytes) -> ImageFacts:
    width, height = struct.unpack_from("<HH", data, 6)
    if not data.rstrip(b"\0").endswith(b";"):
        raise IncompleteImageError("truncated: gif without its end mark")
    return ImageFacts("gif", width, height, 3, _gif_frames(data))


def _gif_frames(data: bytes) -> int:
    """Count the pictures by walking over their blocks; damage is left for the decoder to report."""
    at, frames = 13 + _gif_palette(data[10]), 0
    while at < len(data) and data[at] in b"!,":
        is_picture = data[at] == 0x2C
        frames += is_picture
        at += 11 + _gif_palette(data[at + 9]) if is_picture else 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return max(frames, 1)


def _gif_palette(flags: int) -> int:
    """Size in bytes of the palette that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


@_format("webp", b"RIFF")
def _webp(data: bytes) -> ImageFacts:
    if data[8:12] != b"WEBP":
        raise ImageError(f"not an image: a RIFF file of kind {data[8:12]!r}")
    if len(data) < struct.unpack_from("<I", data, 4)[0] + 8:
        raise IncompleteImageError("truncated: webp shorter than it says")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageFacts("webp", width & 0x3FFF, height & 0x3FFF, 3)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return ImageFacts("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4 if bits >> 28 & 1 else 3)
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        frames = data.count(b"ANMF") if data[20] & 0x02 else 1
        return _upright("webp", width, height, 4 if data[20] & 0x10 else 3, _webp_orientation(data), frames)
    raise ImageError(f"webp: unknown chunk {kind!r}")


def _webp_orientation(data: bytes) -> int:
    at = data.find(b"EXIF", 30) if data[20] & 0x08 else -1
    return 1 if at < 0 else _exif_orientation(data[at + 8 :].removeprefix(b"Exif\0\0"))


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _tiff_entry(data: bytes, order: str, at: int) -> tuple[int, list[int]]:
    """Read one directory entry: its tag and its integers (an empty list for other types)."""
    tag, kind, count = struct.unpack_from(order + "HHI", data, at)
    if kind not in _TIFF_TYPES or count > len(data):
        return tag, []
    values = f"{order}{count}{_TIFF_TYPES[kind]}"
    size = struct.calcsize(values)
    start = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
    return tag, list(struct.unpack_from(values, data, start))


def _tiff_directories(data: bytes) -> Iterator[dict[int, list[int]]]:
    order = "<" if data[:2] == b"II" else ">"
    at, seen = struct.unpack_from(order + "I", data, 4)[0], set[int]()
    while at and at not in seen:
        seen.add(at)
        count = struct.unpack_from(order + "H", data, at)[0]
        yield dict(_tiff_entry(data, order, at + 2 + 12 * i) for i in range(count))
        at = struct.unpack_from(order + "I", data, at + 2 + 12 * count)[0]


def _exif_orientation(data: bytes) -> int:
    try:
        return next(iter(next(_tiff_directories(data), {}).get(274, [])), 1)
    except struct.error:  # with damaged EXIF the picture itself can still be used
        return 1


def _tiff(data: bytes) -> ImageFacts:
    directories = _tiff_directories(data)
    tags = next(directories, {})
    starts, counts = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if not starts or not counts:
        raise ImageError("tiff: no picture data")
    if max(map(sum, zip(starts, counts, strict=False))) > len(data):
        raise IncompleteImageError("truncated: tiff shorter than its picture")
    channels = 3 if tags.get(262) == [3] else tags.get(277, [1])[0]  # 262 = 3: a palette of colours
    return _upright("tiff", tags[256][0], tags[257][0], channels, tags.get(274, [1])[0], _tiff_frames(directories))


def _tiff_frames(others: Iterator[dict[int, list[int]]]) -> int:
    """Count the pages, without thumbnails and masks. Damage after the first page does not matter: only it is used."""
    frames = 1
    try:
        for tags in others:
            frames += not tags.get(254, [0])[0] & 5  # tag 254, bits 0 and 2: a reduced copy or a transparency mask
    except (struct.error, IndexError):
        return frames
    return frames


_format("tiff", b"II*\0")(_tiff)
_probers["tiff (big-endian)"] = (b"MM\0*", _tiff)

FORMATS = ("jpeg", "png", "bmp", "gif", "webp", "tiff")
