"""Evaluate the shipped starter weights, without any training, on a drawn plant that they were not trained on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from models_py.datasets import freeze
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.metrics.evaluation import evaluate_model
from models_py.model.architectures import find_architecture
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec
from models_py.plant import build
from models_py.task import find_task
from models_py.training.starter_weights import RECIPES, SEED
from models_py.training.train import train
from models_py.warehouse.database import open_warehouse
from models_py.weights.first_weights import STARTERS, fetch

_JOINED = "from raw.current_annotations join raw.inspections using (uri)"
BOARDS = (
    f"select uri as image, label, x1, y1, x2, y2 {_JOINED} where kind in ('box', 'class') and product_type like 'PCB%'"
)
TILES = f"select uri as image, label {_JOINED} where kind = 'class' and product_type like 'TILE%'"
SHOWN = {
    "classify": ("accuracy", "macro_f1"),
    "detect": ("map33", "map50"),
    "segment": ("defect_iou", "mean_iou"),
    "anomaly": ("image_auroc",),
}


def starter(task: str, name: str, size: int) -> Any:
    """A model of starter weights alone."""
    architecture = find_architecture(task, name)
    found = fetch(architecture, "starter")
    yolo = task == "detect"
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} if yolo else {}
    build_with = {"yaml": architecture.build(len(found.labels)).architecture} if yolo else {}
    spec = ModelSpec(task, name, found.labels, Preprocess(size, letterbox=yolo, **plain), build_with)
    floats = {key: value.float() if value.is_floating_point() else value for key, value in found.tensors.items()}
    return find_task(task).rebuild(spec, floats)


def main() -> None:
    size = sum(file.stat().st_size for file in STARTERS.glob("*.safetensors"))
    print(f"{size / 1e6:.1f} MB of weights, trained on the plant of seed {SEED}; measured on the plant of seed 7")
    with tempfile.TemporaryDirectory() as folder, open_warehouse(Path(folder) / "w.duckdb") as con:
        plant = build(Path(folder) / "plant", units=600, seed=7, workers=os.cpu_count() or 1)
        ingest(con, open_tree(str(plant.folder), Path(folder)), Path(folder), IngestOptions(source="plant"))
        for name, recipe in RECIPES.items():
            query, side = (BOARDS, 640) if name == "detect" else (recipe.query, recipe.options.get("image_size", 224))
            model = starter(recipe.task, recipe.architecture, side)
            rows = freeze(con, query, recipe.task, split="test").rows
            metrics = evaluate_model(model, rows).metrics
            print(f"{recipe.architecture} on {len(rows)} images: {_words(recipe.task, metrics)}")
        for weights in ("starter", "none"):
            version = train(con, name=weights, task="anomaly", query=TILES, options={"weights": weights})
            held_out = len(version.rows("val"))
            print(f"patchcore from {weights} on {held_out} tiles: {_words('anomaly', version.metrics)}")


def _words(task: str, metrics: Any) -> str:
    return ", ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN[task])


if __name__ == "__main__":
    main()
