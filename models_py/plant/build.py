"""Draw the plant into a folder: images, masks and the manifest that ingestion reads. Same seed, same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from models_py.errors import DuckspectError
from models_py.files.durable import replacing, write_file
from models_py.plant import boards, plates, steel, story, tiles
from models_py.plant.drawing import Drawing, Grey

LEAST, MOST = 50, 100_000
_CHUNK = 64
_DESIGN = 1_000_003
"""Keeps the random numbers of board designs apart from those of units."""

_ENDINGS = {"boards": "_test.jpg", "steel": ".jpg", "plates": ".png", "tiles": ".jpg"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlantSettings:
    """The settings that determine the bytes of a plant."""

    units: int
    seed: int
    start: datetime

    def as_json(self) -> str:
        return json.dumps({"units": self.units, "seed": self.seed, "start": self.start.isoformat()}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Plant:
    """A plant on disk; `drawn` is the number of units drawn by this call."""

    folder: Path
    manifest: Path
    units: int
    images: int
    defects: int
    drawn: int


def build(
    folder: Path,
    *,
    units: int,
    seed: int = 7,
    start: datetime = story.START,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Plant:
    """Draw the units that are missing; `progress` is called with units done and units in all.

    With more than one worker the caller's main module must be safe to import.
    """
    settings = _checked(units, seed, start)
    _claim(folder, settings)
    chunks = [(first, min(first + _CHUNK, units)) for first in range(0, units, _CHUNK)]
    missing = [chunk for chunk in chunks if not _is_complete(folder, chunk)]
    done = units - sum(stop - first for first, stop in missing)
    report = progress or _silent
    report(done, units)
    drawn = 0
    for chunk, count in _drawn(folder, settings, missing, workers):
        drawn += count
        done += chunk[1] - chunk[0]
        report(done, units)
    rows = [row for chunk in chunks for row in json.loads(_part(folder, chunk).read_text())]
    manifest = folder / "manifest.parquet"
    if drawn or not manifest.exists():
        _write_manifest(manifest, rows)
    images = {row["uri"] for row in rows} | {row["template_uri"] for row in rows if row["template_uri"]}
    defects = sum(row["kind"] == "box" or (row["kind"] == "mask" and row["label"] != "good") for row in rows)
    return Plant(folder, manifest, units, len(images), defects, drawn)


def _silent(_done: int, _total: int) -> None:
    """The default for `progress`: do nothing."""


def _checked(units: int, seed: int, start: datetime) -> PlantSettings:
    if not LEAST <= units <= MOST:
        raise DuckspectError(f"units: must be {LEAST} to {MOST:,}, but got {units:,}.")
    if seed < 0:
        raise DuckspectError(f"seed: must be 0 or more, but got {seed}.")
    if start.tzinfo is None:
        raise DuckspectError(f"start: must have a time zone, but got {start.isoformat()}.")
    return PlantSettings(units, seed, start.astimezone(UTC))


def _claim(folder: Path, settings: PlantSettings) -> None:
    """Write the settings into an empty folder, or check that those there are the same."""
    card = folder / ".plant.json"
    if card.exists():
        if card.read_text() != settings.as_json():
            raise DuckspectError(
                f"{folder} holds another plant, {card.read_text()}, but {settings.as_json()} was asked for. "
                f"Choose another folder (--folder), or delete this one."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise DuckspectError(f"{folder} is not empty and holds no plant. Choose another folder (--folder).")
    folder.mkdir(parents=True, exist_ok=True)
    _write(card, settings.as_json().encode())


def _write(file: Path, data: bytes) -> None:
    """Write a file completely or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, data)


def _part(folder: Path, chunk: tuple[int, int]) -> Path:
    return folder / ".parts" / f"{chunk[0]:06d}.json"


def _is_complete(folder: Path, chunk: tuple[int, int]) -> bool:
    part = _part(folder, chunk)
    if not part.exists():
        return False
    files = {
        row[key] for row in json.loads(part.read_text()) for key in ("uri", "template_uri", "mask_uri") if row[key]
    }
    return all((folder / file).exists() for file in files)


def _drawn(
    folder: Path, settings: PlantSettings, chunks: list[tuple[int, int]], workers: int
) -> Iterator[tuple[tuple[int, int], int]]:
    work = partial(draw_chunk, folder, settings)
    if workers == 1 or len(chunks) < 2:
        yield from zip(chunks, map(work, chunks), strict=True)
        return
    with ProcessPoolExecutor(min(workers, len(chunks)), get_context("spawn")) as pool:
        yield from zip(chunks, pool.map(work, chunks), strict=True)


def draw_chunk(folder: Path, settings: PlantSettings, chunk: tuple[int, int]) -> int:
    """Draw units `chunk[0]` up to `chunk[1]` and note their manifest rows; return their number."""
    rows: list[Row] = []
    for number in range(*chunk):
        rng = story.unit_rng(settings.seed, number)
        unit = story.plan(settings.seed, number, settings.units, settings.start, rng)
        if unit.family == "boards":
            _draw_template(folder, settings.seed, unit)
        drawing = _drawing(unit, settings.seed, rng)
        _save(folder / _uri(unit), _defocused(drawing.picture, unit.blur))
        rows += _rows(folder, unit, drawing)
    _write(_part(folder, chunk), json.dumps(rows).encode())
    return chunk[1] - chunk[0]


def _uri(unit: story.PlannedUnit) -> str:
    return f"{unit.family}/{unit.product_type}/{unit.unit_id}{_ENDINGS[unit.family]}"


def _template_uri(unit: story.PlannedUnit) -> str | None:
    return f"boards/{unit.product_type}/golden_{unit.position:02d}_temp.jpg" if unit.family == "boards" else None


def _design_seed(seed: int, unit: story.PlannedUnit) -> list[int]:
    return [seed, _DESIGN, sum(unit.product_type.encode()), unit.position]


@lru_cache(maxsize=128)
def _design(*seed: int) -> boards.Design:
    return boards.design(np.random.default_rng(seed))


def _draw_template(folder: Path, seed: int, unit: story.PlannedUnit) -> None:
    file = folder / str(_template_uri(unit))
    if not file.exists():
        place = _design_seed(seed, unit)
        _save(file, boards.template(_design(*place), np.random.default_rng([*place, 1])))


def _drawing(unit: story.PlannedUnit, seed: int, rng: np.random.Generator) -> Drawing:
    if unit.family == "boards":
        return boards.damaged(_design(*_design_seed(seed, unit)), unit.labels, rng)
    if unit.family == "plates":
        return plates.draw(unit.labels, rng)
    label = unit.labels[0] if unit.labels else None
    return steel.draw(label, rng) if unit.family == "steel" else tiles.draw(label, rng)


def _defocused(picture: Grey, blur: float) -> Grey:
    if blur <= 0:
        return picture
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(blur)))


def _save(file: Path, picture: Grey) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial_file, partial_file.open("wb") as stream:
        if file.suffix == ".jpg":
            Image.fromarray(picture).save(stream, "jpeg", quality=90)
        else:
            Image.fromarray(picture).save(stream, "png", compress_level=3)


def _rows(folder: Path, unit: story.PlannedUnit, drawing: Drawing) -> list[Row]:
    """The manifest rows of a unit: its labels as the annotator wrote them, or one row without a label."""
    base = _base_row(unit)
    if not unit.is_labelled:
        return [base]
    signed = {**base, "annotator": unit.annotator}
    masks = drawing.masks or ({"good": np.zeros_like(drawing.picture)} if unit.family in {"plates", "tiles"} else {})
    rows = [
        {**signed, "kind": "mask", "label": label, "mask_uri": _mask(folder, unit, mask)}
        for label, mask in masks.items()
    ]
    classes = dict.fromkeys(defect.label for defect in drawing.defects) if drawing.masks else {}
    if not drawing.defects:
        classes = {"good": None}
    rows += [{**signed, "kind": "class", "label": label} for label in classes]
    if not drawing.masks:
        for defect in drawing.defects:
            label = story.MISTAKE.written(unit.product_type, defect.label)
            sides = dict(zip(("x1", "y1", "x2", "y2"), map(float, defect.box), strict=True))
            rows.append({**signed, "kind": "box", "label": label, **sides})
    return rows


def _base_row(unit: story.PlannedUnit) -> Row:
    return {
        **dict.fromkeys(_manifest_schema().names),
        "uri": _uri(unit),
        "template_uri": _template_uri(unit),
        "unit_id": unit.unit_id,
        "line_id": unit.line_id,
        "station_id": unit.station_id,
        "product_type": unit.product_type,
        "captured_at": int(unit.captured_at.timestamp() * 1e6),
        "camera_id": unit.camera_id,
        "exposure_us": unit.exposure_us,
        "gain_db": unit.gain_db,
    }


def _mask(folder: Path, unit: story.PlannedUnit, mask: Grey) -> str:
    uri = f"masks/{unit.product_type}/{unit.unit_id}_mask.png"
    _save(folder / uri, mask)
    return uri


@lru_cache(maxsize=1)
def _manifest_schema() -> Any:
    import pyarrow as pa

    text, real, moment = pa.string(), pa.float64(), pa.timestamp("us", "UTC")
    columns = dict.fromkeys(("uri", "template_uri", "unit_id", "line_id", "station_id", "product_type"), text)
    columns |= {"captured_at": moment, "kind": text, "label": text}
    columns |= dict.fromkeys(("x1", "y1", "x2", "y2"), real)
    columns |= {"mask_uri": text, "annotator": text, "annotated_at": moment, "camera_id": text}
    return pa.schema(list({**columns, "exposure_us": pa.int32(), "gain_db": real}.items()))


def _write_manifest(file: Path, rows: list[Row]) -> None:
    """Write the manifest, last of all: it shows that the plant is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    annotation_delay = 6 * 3600 * 1_000_000
    for row in rows:
        if row["label"] is not None:
            row["annotated_at"] = row["captured_at"] + annotation_delay
    rows.sort(key=lambda row: (row["captured_at"], row["uri"], row["kind"] or "", row["label"] or "", row["x1"] or 0))
    with replacing(file) as partial_file:
        pq.write_table(pa.Table.from_pylist(rows, _manifest_schema()), partial_file, compression="zstd")
