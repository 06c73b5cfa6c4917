"""Train the starter weights on a drawn plant and write them in half precision."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models_py.datasets.feature_cache import FeatureCache
from models_py.datasets.prepared_images import read_image
from models_py.images.encode import encode_png
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.model.tensors import write_tensors
from models_py.model.trained_model import Model
from models_py.plant import build
from models_py.progress import SilentReport
from models_py.training.plan import plan
from models_py.training.train import fit_plan
from models_py.warehouse.database import open_warehouse
from models_py.warehouse.location import stored_uris
from models_py.weights.starter import STARTERS

UNITS, SEED = 4_000, 2_026
"""Not the demo's plant, so that the demo's images are new to the starter weights."""


@dataclass(frozen=True, slots=True)
class StarterRecipe:
    """How one file of starter weights is made."""

    task: str
    architecture: str
    query: str
    options: dict[str, Any] = field(default_factory=dict)


_JOINED = "from raw.current_annotations join raw.inspections using (uri)"

RECIPES = {
    "segment": StarterRecipe(
        "segment",
        "unet_mobilenet_v2",
        f"select uri as image, label, mask_uri as mask {_JOINED} where kind = 'mask'",
        {"epochs": 20, "batch": 8, "image_size": 192, "learning_rate": 2e-3},
    ),
    "classify": StarterRecipe(
        "classify",
        "mobilenet_v3_small",
        f"select uri as image, min(label) as label {_JOINED} where product_type not like 'PCB%' "
        "group by uri having count(distinct label) = 1",
        {"epochs": 40, "batch": 16, "image_size": 128, "learning_rate": 2e-3},
    ),
    "detect": StarterRecipe(
        "detect",
        "yolo11n",
        f"select uri as image, label, x1, y1, x2, y2, unit_id as unit {_JOINED} where kind in ('box', 'class') "
        "and product_type like 'STRIP%' and md5_number(unit_id) % 3 = 0 union all from crops",
        {"epochs": 24, "batch": 8, "image_size": 256, "mosaic": 0.0, "zoom": 0.2, "validation": 0.1},
    ),
}


class _PrintedReport(SilentReport):
    """A report on standard error."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        shown = {name: None if value is None else round(value, 4) for name, value in metrics.items()}
        self.note(f"epoch {epoch} after {time.monotonic() - self._started:.0f} s: {shown}")

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def main(wanted: list[str]) -> None:
    """Train the starters named, or all of them, and print each one's metrics on held-out drawn images."""
    with tempfile.TemporaryDirectory() as folder:
        plant = build(Path(folder) / "plant", units=UNITS, seed=SEED, workers=os.cpu_count() or 1)
        with open_warehouse(Path(folder) / "warehouse.duckdb") as con:
            ingest(con, open_tree(str(plant.folder), Path(folder)), Path(folder), IngestOptions(source="plant"))
            crop_boards(con, Path(folder) / "crops")
            for name, recipe in RECIPES.items():
                if name in wanted or not wanted:
                    _make(con, recipe, Path(folder) / name)


def crop_boards(con: Any, folder: Path, *, side: int = 256, seed: int = 0) -> None:
    """Fill the table `crops` with squares around defects: most of a board has none and adds nothing to training."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows = []
    found = con.execute(
        f"select uri, any_value(unit_id), list(row(label, x1, y1, x2, y2) order by x1, y1, label) {_JOINED} "
        "where kind = 'box' and product_type like 'PCB%' group by uri order by uri"
    ).fetchall()
    for number, (uri, unit, labelled) in enumerate(found):
        pixels = read_image(stored_uris(con).full(uri))
        boxes = np.array([item[1:] for item in labelled], float)
        chosen = int(rng.integers(len(boxes)))
        centre = (boxes[chosen, :2] + boxes[chosen, 2:]) / 2 + rng.uniform(-side / 3, side / 3, 2)
        left, top = np.clip(centre - side / 2, 0, np.array(pixels.shape[:0:-1]) - side).astype(int)
        file = folder / f"{number:05d}.png"
        file.write_bytes(encode_png(pixels[:, top : top + side, left : left + side]))
        inside = np.clip(boxes - [left, top, left, top], 0, side)
        area, whole = np.prod(inside[:, 2:] - inside[:, :2], 1), np.prod(boxes[:, 2:] - boxes[:, :2], 1)
        rows += [
            [str(file), item[0], *box, unit]
            for item, box, kept in zip(labelled, inside.tolist(), area > 0.6 * whole, strict=True)
            if kept
        ]
    con.execute(
        "create table crops (image varchar, label varchar, x1 double, y1 double, x2 double, y2 double, unit varchar)"
    )
    con.executemany("insert into crops values (?, ?, ?, ?, ?, ?, ?)", rows)


def _make(con: Any, recipe: StarterRecipe, folder: Path) -> None:
    options = {"weights": "none", **recipe.options}
    planned = plan(
        con, name="starter", task=recipe.task, query=recipe.query, architecture=recipe.architecture, options=options
    )
    report = _PrintedReport()
    report.note(f"{recipe.architecture}: {len(planned.dataset.rows)} images")
    model, metrics, _ = fit_plan(planned, folder, report, FeatureCache(folder / "features"))
    report.note(f"{recipe.architecture}: {metrics}")
    write(model, STARTERS / f"{recipe.architecture}.safetensors")


def write(model: Model, file: Path) -> None:
    """Write a model's tensors, floats in half precision, with the classes of its head."""
    tensors = {name: _halved(tensor) for name, tensor in model.state().items()}
    write_tensors(tensors, file, {"labels": json.dumps(list(model.labels))})


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


if __name__ == "__main__":
    main(sys.argv[1:])
