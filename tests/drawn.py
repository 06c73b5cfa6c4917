"""Small drawn parts with known defects, as files and as rows of a warehouse table."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def part(seed: int, defect: str | None) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int] | None]:
    """A grey part (SIDE, SIDE), the mask of its defect, and its box: a bright spot or a dark bar."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 6, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if defect is None:
        return pixels, mask, None
    x, y = (int(value) for value in rng.integers(4, SIDE - 24, 2))
    width, height = (16, 16) if defect == "spot" else (20, 8)
    pixels[y : y + height, x : x + width] = 240 if defect == "spot" else 10
    mask[y : y + height, x : x + width] = 255
    return pixels, mask, (x, y, x + width, y + height)


def draw_parts(folder: Path, count: int = 36, seed: int = 0) -> list[dict[str, object]]:
    """Write parts and masks, a third good, a third with a spot, a third with a bar; return their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for number in range(count):
        defect = (None, "spot", "bar")[number % 3]
        pixels, mask, box = part(seed * 1000 + number, defect)
        image, mask_file = folder / f"part{number:03d}.png", folder / f"part{number:03d}_mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(mask).save(mask_file)
        x1, y1, x2, y2 = box or (None, None, None, None)
        rows.append(
            {
                "image": str(image),
                "label": defect or "good",
                "x1": x1,
                "y1": y1,
                "x2": x2,
                "y2": y2,
                "mask": str(mask_file),
            }
        )
    return rows


def fill_table(con, rows, table: str = "parts") -> None:
    """Put rows into a table of the warehouse."""
    con.execute(
        f"create or replace table {table} (image varchar, label varchar, x1 double, y1 double, x2 double, y2 double, "
        "mask varchar)"
    )
    con.executemany(f"insert into {table} values (?, ?, ?, ?, ?, ?, ?)", [list(row.values()) for row in rows])
