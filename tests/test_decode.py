"""Decoding: every format and mode into the same pixels, and nothing but ImageError for damage."""

import io
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from models_py.errors import ImageError
from models_py.images import probe
from models_py.images.decode import decode, decode_mask, open_bytes
from models_py.images.encode import encode_png

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(COLOURS).resize((90, 60), Image.Resampling.BICUBIC))


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["png", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA"])
def test_lossless_files_give_the_pixels_that_pillow_sees(format, mode):
    if (format, mode) in {("bmp", "LA"), ("webp", "LA"), ("webp", "1"), ("webp", "P")}:
        pytest.skip("Pillow does not write it")
    image = Image.fromarray(COLOURS).convert(mode)
    data = encoded(image, format, **({"lossless": True} if format == "webp" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        wanted = np.asarray(opened.convert("RGB"))
    found = decode(data)
    assert found.dtype == torch.uint8
    assert found.permute(1, 2, 0).is_contiguous()
    assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_within_a_few_grey_levels_of_pillow(mode):
    data = encoded(Image.fromarray(SMOOTH).convert(mode), "jpeg", quality=95)
    with Image.open(io.BytesIO(data)) as opened:
        wanted = np.asarray(opened.convert("RGB")).astype(int)
    assert np.abs(decode(data).permute(1, 2, 0).numpy().astype(int) - wanted).mean() < 3


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_sixteen_bits_are_scaled_by_their_full_range(format):
    wide = np.array([[0, 257 * 7], [65535, 32768]], np.uint16)
    found = decode(encoded(Image.fromarray(wide), format))
    assert found[0].tolist() == [[0, 7], [255, 128]]
    assert torch.equal(found[0], found[2])


def test_floats_from_0_to_1_are_scaled_and_others_refused():
    found = decode(encoded(Image.fromarray(np.array([[0.0, 0.5], [1.0, 0.2]], np.float32)), "tiff"))
    assert found[0].tolist() == [[0, 128], [255, 51]]
    with pytest.raises(ImageError, match="pixels from -3 to 1"):
        decode(encoded(Image.fromarray(np.array([[-3.0, 1.0]], np.float32)), "tiff"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp"])
def test_a_rotated_image_is_upright(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(SMOOTH), format, exif=exif, **({"lossless": True} if format == "webp" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).astype(int)
    found = decode(data).permute(1, 2, 0).numpy().astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 3
    facts = probe(data)
    assert found.shape[:2] == (facts.height, facts.width)


def test_the_first_frame_of_several_is_taken():
    frames = [Image.new("P", (8, 6), number) for number in (0, 1)]
    data = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert tuple(decode(data).shape) == (3, 6, 8)


def test_a_mutated_file_raises_nothing_but_image_error():
    rng = random.Random(0)
    originals = [encoded(Image.fromarray(SMOOTH), format) for format in ("jpeg", "png", "bmp", "gif", "webp", "tiff")]
    decoded = 0
    for number in range(600):
        data = bytearray(originals[number % 6])
        if number % 3 == 0:
            data = data[: rng.randrange(len(data))]
        for _ in range(rng.randrange(1, 12)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            pixels = decode(bytes(data))
        except ImageError:
            continue
        else:
            decoded += 1
            assert pixels.shape[0] == 3
    assert 50 < decoded < 590


def test_eight_threads_decode_alike():
    data = encoded(Image.fromarray(SMOOTH), "jpeg")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(decode, [data] * 64))
    assert all(torch.equal(item, found[0]) for item in found)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[0, 255], [0, 0]], [[0, 1], [0, 0]]),
        ([[0, 1], [0, 0]], [[0, 1], [0, 0]]),
        ([[0, 3], [1, 0]], [[0, 1], [1, 0]]),
        ([[3, 250], [100, 200]], [[0, 1], [0, 1]]),
    ],
    ids=["0 and 255", "0 and 1", "class numbers", "after jpeg"],
)
def test_a_mask_is_where_it_is_not_zero_or_bright_if_it_has_greys(values, wanted):
    data = encoded(Image.fromarray(np.array(values, np.uint8)), "png")
    assert decode_mask(data).tolist() == wanted


def test_what_cannot_be_opened_is_named(tmp_path):
    for uri in (str(tmp_path / "none.png"), str(tmp_path), "odd://x/y.png", "http://127.0.0.1:9/x.png"):
        with pytest.raises(ImageError) as caught:
            open_bytes(uri)
        assert uri in str(caught.value)


def test_png_keeps_pixels():
    image = torch.from_numpy(COLOURS).permute(2, 0, 1)
    assert torch.equal(decode(encode_png(image)), image)
    assert torch.equal(decode(encode_png(image[0]))[0], image[0])
