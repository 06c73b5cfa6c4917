"""A small drawn plant, built and published, with two versions of a classifier; each round works on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from faults.processes import run

MODEL = "strip"
QUERY = """
select uri as image, if(bool_or(label <> 'good'), 'defect', 'good') as label
from raw.current_annotations inner join raw.inspections using (uri)
where product_type like 'STRIP-%' and kind in ('class', 'box') group by uri
"""
SMALL = ("-o", "image_size=32", "-o", "batch=8", "--weights", "none")
TRAIN = ("train", MODEL, "--task", "classify", "--query", QUERY, *SMALL)
WAREHOUSE = "plant.duckdb"
FILES = "plant_files"


def make(folder: Path) -> Path:
    """Draw, ingest, train, promote, build and export; the folder of the warehouse, made only if it is missing."""
    place = folder / "ground"
    if (place / "strip.zip").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    drawn = folder / "drawn"
    for arguments in (
        ("demo", "--no-train", "--units", "200", "--seed", "7", "--folder", drawn, "-w", WAREHOUSE),
        (*TRAIN, "-o", "epochs=1", "-w", WAREHOUSE),
        (*TRAIN, "-o", "epochs=2", "-w", WAREHOUSE),
        ("models", "promote", "strip@1", "--force", "the first", "-w", WAREHOUSE),
        ("models", "threshold", "strip@1", "0.5", "--reason", "drawn", "-w", WAREHOUSE),
        ("build", "-w", WAREHOUSE),
        ("models", "export", "strip@2", "strip.zip", "-w", WAREHOUSE),
    ):
        status, output, _ = run(arguments, place)
        if status and arguments[0] != "build":
            raise SystemExit(f"{arguments}: {output}")
        print(f"  {arguments[0]}: {output.strip().splitlines()[-1]}")
    return place


def copy(ground: Path, place: Path) -> Path:
    """A copy of the plant in an empty folder; the images stay where they are."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ground, place, ignore=shutil.ignore_patterns("*.log", "logs"))
    return place
