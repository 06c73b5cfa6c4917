"""The header reader against Pillow, on every format, mode and rotation, and on broken files."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from models_py.errors import ImageError
from models_py.images import FORMATS, ImageLimits, probe

CASES = [
    ("jpeg", "L", 1),
    ("jpeg", "RGB", 3),
    ("jpeg", "CMYK", 4),
    ("png", "1", 1),
    ("png", "L", 1),
    ("png", "LA", 2),
    ("png", "P", 3),
    ("png", "RGB", 3),
    ("png", "RGBA", 4),
    ("png", "I;16", 1),
    ("bmp", "1", 1),
    ("bmp", "L", 1),
    ("bmp", "P", 3),
    ("bmp", "RGB", 3),
    ("bmp", "RGBA", 4),
    ("gif", "P", 3),
    ("webp", "RGB", 3),
    ("webp", "RGBA", 4),
    ("tiff", "L", 1),
    ("tiff", "P", 3),
    ("tiff", "RGB", 3),
    ("tiff", "RGBA", 4),
    ("tiff", "CMYK", 4),
    ("tiff", "I;16", 1),
]


def drawn(mode: str, size: tuple[int, int] = (37, 23)) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    picture = picture.convert(mode)
    if mode in {"RGBA", "LA"}:
        picture.putalpha(100)
    return picture


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("format", "mode", "channels"), CASES, ids=lambda value: str(value))
def test_probe_agrees_with_pillow(format, mode, channels):
    facts = probe(encoded(drawn(mode), format))
    assert (facts.format, facts.width, facts.height, facts.channels) == (format, 37, 23, channels)


def test_every_declared_format_is_covered():
    assert {case[0] for case in CASES} == set(FORMATS)


@pytest.mark.parametrize("lossless", [True, False])
def test_probe_reads_both_kinds_of_webp(lossless):
    facts = probe(encoded(drawn("RGB"), "webp", lossless=lossless))
    assert (facts.width, facts.height, facts.channels) == (37, 23, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
def test_width_and_height_are_those_after_exif_rotation(format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    facts = probe(encoded(drawn("RGB"), format, exif=exif))
    assert (facts.width, facts.height) == ((37, 23) if orientation < 5 else (23, 37))


@pytest.mark.parametrize("format", ["gif", "png", "webp", "tiff"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_frames_are_counted(format, count):
    first, *others = (drawn("RGB").point(lambda value, n=n: value // (n + 1)) for n in range(count))
    facts = probe(encoded(first, format, save_all=count > 1, append_images=others))
    assert (facts.frames, facts.width, facts.height) == (count, 37, 23)


def test_a_thumbnail_in_a_tiff_is_no_frame():
    small = drawn("RGB", (8, 8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    assert probe(encoded(drawn("RGB"), "tiff", save_all=True, append_images=[small])).frames == 1


def test_progressive_jpeg_with_thumbnail_and_comment_is_read():
    exif = Image.Exif()
    exif[37510] = b"\xff\xd9" * 10
    facts = probe(encoded(drawn("RGB"), "jpeg", progressive=True, comment=b"line 1", exif=exif))
    assert (facts.width, facts.height) == (37, 23)


@pytest.mark.parametrize(("format", "mode"), [(c[0], c[1]) for c in CASES if c[0] != "tiff"], ids=lambda v: str(v))
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(format, mode, part):
    data = encoded(drawn(mode, (120, 90)), format)
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        probe(data[: int(len(data) * part)])


def test_a_truncated_tiff_is_refused_when_its_picture_is_cut():
    data = encoded(drawn("RGB", (120, 90)), "tiff")
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        probe(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, this is a text", "not an image"),
        (b"\0" * 4096, "not an image"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"BM", "damaged"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "RIFF file of kind"),
        (b"II*\0\xff\xff\xff\xff", "damaged"),
    ],
    ids=["empty", "text", "zeros", "jpeg start", "png start", "bmp start", "wave", "tiff start"],
)
def test_what_is_no_image_is_refused_with_the_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        probe(data)


def test_a_decompression_bomb_is_refused_from_its_header():
    data = bytearray(encoded(drawn("L"), "png"))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(
        ImageError, match=r"60,000 x 60,000 is 3,600,000,000 pixels, more than the limit of 250,000,000"
    ):
        probe(bytes(data))


def test_the_pixel_limit_is_inclusive():
    data = encoded(drawn("L"), "png")
    assert probe(data, ImageLimits(pixels=37 * 23)).width == 37
    with pytest.raises(ImageError, match="oversized"):
        probe(data, ImageLimits(pixels=37 * 23 - 1))


def test_random_mutations_give_facts_or_an_image_error_and_nothing_else():
    random = np.random.default_rng(5)
    originals = [encoded(drawn(mode), format) for format, mode, _ in CASES]
    for _ in range(4000):
        data = bytearray(originals[random.integers(len(originals))])
        for _ in range(random.integers(1, 6)):
            data[random.integers(min(len(data), 80))] = random.integers(256)
        try:
            probe(bytes(data))
        except ImageError:
            continue
