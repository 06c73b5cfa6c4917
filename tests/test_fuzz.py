"""Two thousand damaged images through SQL: no crash, no hang, no lost neighbour."""

import io

import numpy as np
import pyarrow as pa
from drawn import part
from PIL import Image

DAMAGED = 2100
EVERY = 21


def written(pixels, format, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def originals():
    """One small image in every format and depth that is read."""
    grey = part(3, "spot")[0]
    colour = np.stack([grey, 255 - grey, grey // 2], 2)
    alpha = np.concatenate([colour, grey[..., None]], 2)
    wide = grey.astype(np.uint16) * 257
    cmyk = io.BytesIO()
    Image.fromarray(colour).convert("CMYK").save(cmyk, "jpeg")
    palette = io.BytesIO()
    Image.fromarray(colour).quantize(16).save(palette, "png")
    turned = Image.Exif()
    turned[274] = 6
    return [
        *(written(colour, format) for format in ("jpeg", "png", "bmp", "tiff", "webp", "gif")),
        *(written(grey, format) for format in ("jpeg", "png", "bmp", "tiff", "gif")),
        written(alpha, "png"),
        written(alpha, "webp", lossless=True),
        written(wide, "png"),
        written(wide, "tiff"),
        written(colour, "jpeg", progressive=True),
        written(colour, "jpeg", exif=turned),
        written(colour, "tiff", compression="tiff_lzw"),
        written(colour, "tiff", compression="tiff_deflate"),
        cmyk.getvalue(),
        palette.getvalue(),
    ]


def damaged(rng, data):
    """Flip, cut, repeat, insert, or put another file's beginning in front; the header is hit as often as the rest."""
    changed = bytearray(data)
    where = lambda: int(rng.integers(min(64, len(changed)) if rng.random() < 0.5 else len(changed)))  # noqa: E731
    for _ in range(int(rng.integers(1, 6))):
        way = rng.integers(6)
        if not changed:
            break
        if way == 0:
            changed[where()] ^= 1 << int(rng.integers(8))
        elif way == 1:
            changed[where()] = int(rng.integers(256))
        elif way == 2:
            del changed[where() :]
        elif way == 3:
            at = where()
            changed[at:at] = changed[at : at + int(rng.integers(1, 40))]
        elif way == 4:
            at = where()
            changed[at : at + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
        else:
            at = where()
            changed[at : at + int(rng.integers(1, 200))] = b""
    return bytes(changed)


def test_damaged_images_cost_nobody_else_an_answer(served):
    rng = np.random.default_rng(2026)
    sound = originals()
    rows = [damaged(rng, sound[number % len(sound)]) for number in range(DAMAGED)]
    good = part(5, "bar")[0]
    neighbours = range(0, DAMAGED, EVERY)
    for number in neighbours:
        good[0, :8] = [int(bit) * 255 for bit in f"{number // EVERY:08b}"]  # each its own content, none from the cache
        rows[number] = written(good, "png")
    table = pa.table({"n": range(DAMAGED), "b": pa.array(rows, pa.binary())})
    served.register("damaged", table)
    found = served.execute("select n, predict(b, 'kind'), image_error(b) from damaged order by n").fetchall()
    assert [row[0] for row in found] == list(range(DAMAGED))
    wanted = served.execute("select predict(b, 'kind').label from damaged where n = 0").fetchone()[0]
    assert {found[number][1]["label"] for number in neighbours} == {wanted}
    for number, answer, reason in found:
        assert answer["error"] == reason, number
        assert (answer["label"] is None) == (reason is not None), number
    reasons = [reason for _, _, reason in found if reason]
    assert DAMAGED / 3 < len(reasons) < DAMAGED
    assert all(served.execute("select image_error(?::blob)", [data]).fetchone()[0] is None for data in sound)
