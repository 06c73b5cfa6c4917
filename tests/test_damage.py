"""A picture of which a part is missing is no picture, in every format and however its file ends."""

import io
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
from PIL import Image

from models_py.datasets.prepared_images import read_image
from models_py.errors import ImageError
from models_py.images import probe
from models_py.images.decode import decode, decode_mask
from models_py.images.regions import is_empty_mask

END = b"\xff\xd9"
RNG = np.random.default_rng(3)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((256, 192), Image.Resampling.BICUBIC)
RESTARTS = {"no restarts": {}, "restarts": {"restart_marker_blocks": 5}, "a restart a row": {"restart_marker_rows": 1}}
SAMPLINGS = {"4:4:4": 0, "4:2:0": 2}


def jpeg(mode="RGB", **options):
    buffer = io.BytesIO()
    SMOOTH.convert(mode).save(buffer, "jpeg", quality=90, **options)
    return buffer.getvalue()


def cut(data, share):
    """The first part of a JPEG, with an end marker that says it is whole."""
    return data[: int(len(data) * share)] + END


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("restarts", RESTARTS)
def test_half_a_jpeg_with_an_end_marker_is_damaged_and_a_whole_one_is_not(mode, progressive, sampling, restarts):
    data = jpeg(mode, progressive=progressive, subsampling=SAMPLINGS[sampling], **RESTARTS[restarts])
    assert decode(data).shape == (3, 192, 256)
    for share in (0.5, 0.8, 0.97):
        assert probe(cut(data, share)).format == "jpeg"  # the header and the end tell nothing
        with pytest.raises(ImageError, match="jpeg: damaged: "):
            decode(cut(data, share))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-2] + b"\0" * 30 + END,
        lambda data: data + b"made by a camera" * 10,
        lambda data: data.replace(b"JFIF\0\x01\x01", b"JFIF\0\x07\x01"),
        lambda data: data.replace(b"\x00\x3f\x00", b"\x00\x00\x00"),
    ],
    ids=["bytes before the end", "bytes behind the end", "an odd version", "an odd scan header"],
)
def test_a_harmless_oddity_is_accepted_and_hides_no_damage(mode, change, capfd):
    data = jpeg(mode)
    assert (decode(change(data)) == decode(data)).all()
    with pytest.raises(ImageError, match="jpeg: damaged"):
        decode(change(cut(data, 0.5)))
    assert capfd.readouterr().err == ""


def test_half_a_mask_is_damaged_wherever_masks_are_read():
    data = cut(jpeg("L"), 0.5)
    with pytest.raises(ImageError, match="the mask is damaged"):
        decode_mask(data)
    with pytest.raises(ImageError, match="the mask is damaged"):
        is_empty_mask(data, "jpeg")


def halves():
    """Files of other formats whose second half is missing, although their headers and ends say nothing of it."""
    colour = np.asarray(SMOOTH)
    raw = b"".join(b"\0" + row.tobytes() for row in colour[:96])
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 192, 8, 2, 0, 0, 0))
    yield "png", b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    for lossless in (True, False):
        data = written("webp", lossless=lossless)
        part = data[: len(data) // 2 & ~1]
        yield "webp", part[:4] + struct.pack("<I", len(part) - 8) + part[8:]
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        data = bytearray(written("tiff", compression=compression))
        at = data.rfind(bytes(data[len(data) // 3 : len(data) // 3 + 8]))
        data[at : at + 3000] = bytes(3000)
        yield "tiff", bytes(data)
    data = written("bmp")
    yield "bmp", data[: len(data) // 2]
    data = written("tiff")
    yield "tiff", data[: len(data) // 2]


def written(format, **options):
    buffer = io.BytesIO()
    SMOOTH.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "data"), list(halves()), ids=lambda value: value if isinstance(value, str) else "half"
)
def test_half_of_another_format_is_damaged_and_nothing_is_printed(format, data, capfd):
    with pytest.raises(ImageError, match=f"{format}: damaged|truncated: {format}|{format}: the header is truncated"):
        decode(data)
    assert capfd.readouterr().err == ""


def test_half_a_jpeg_has_no_verdict_in_sql_and_training_names_its_file(served, tmp_path, capfd):
    file = tmp_path / "half.jpg"
    file.write_bytes(cut(jpeg(), 0.5))
    whole = io.BytesIO()
    SMOOTH.save(whole, "jpeg")
    found = served.execute(
        "select predict(b, 'kind'), image_error(b) from (values (?::blob), (?::blob)) as t(b)",
        [file.read_bytes(), whole.getvalue()],
    ).fetchall()
    assert found[0][0]["label"] is None
    assert found[0][0]["error"] == found[0][1] == "jpeg: damaged: Corrupt JPEG data: premature end of data segment"
    assert found[1][0]["label"] is not None
    assert found[1][1] is None
    with pytest.raises(ImageError, match=r"half\.jpg: jpeg: damaged"):
        read_image(str(file))
    assert capfd.readouterr().err == ""


MEASURE = """
    import io, sys
    import numpy as np
    from PIL import Image
    from models_py.images import probe
    from models_py.images.decode import decode
    from models_py.model.preprocess import Preprocess
    from udfs.functions.pictures import inspect
    from udfs.runtime import DecodedImage

    def kilobytes(what):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))

    def file(name, side):
        mode, format = name.split()[:2]
        picture = Image.linear_gradient("L").resize((side, side))
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        elif mode != "L":
            picture = picture.convert(mode)
        buffer = io.BytesIO()
        picture.save(buffer, format, **({"progressive": True, "subsampling": 0} if "progressive" in name else {}))
        return buffer.getvalue()

    def use(data, name):
        pixels = decode(data)
        inspect(DecodedImage(b"", probe(data), pixels))
        Preprocess(640, clahe=2.0 if "clahe" in name else 0.0)(pixels)

    for name in sys.argv[1:]:
        use(file(name, 64), name)
        data = file(name, 4000)
        before = kilobytes("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")
        use(data, name)
        print((kilobytes("VmHWM") - before) * 1024 / 4000**2)
"""
MOST_BYTES_A_PIXEL = {
    "RGB jpeg": 5,
    "RGB jpeg clahe": 10,
    "RGB jpeg progressive": 11,
    "RGB png": 8,
    "I;16 tiff": 9,
    "RGBA png": 10,
    "RGB webp": 9,
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of a process is reset by Linux alone")
def test_an_image_takes_no_more_bytes_a_pixel_than_the_documentation_says():
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), *MOST_BYTES_A_PIXEL]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    for (name, most), line in zip(MOST_BYTES_A_PIXEL.items(), ran.stdout.splitlines(), strict=True):
        assert 2 < float(line) < most, name
