"""A warehouse with ingested drawn parts and one champion of each task, for tests of the SQL functions."""

from pathlib import Path

from drawn import SIDE, draw_parts, fill_table

from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.registry import promote
from models_py.training.train import train
from udfs import connect

QUICK = {"batch": 8, "image_size": SIDE, "weights": "none", "precision": "fp32"}
MODELS = {
    "kind": ("classify", "select image, label from parts", {"epochs": 10, "learning_rate": 3e-3}),
    "box": (
        "detect",
        "select image, label, x1, y1, x2, y2 from parts",
        {"epochs": 12, "batch": 4, "weights": "starter"},
    ),
    "area": ("segment", "select image, label, mask from parts", {"epochs": 10, "learning_rate": 5e-3}),
    "odd": ("anomaly", "select image, label from parts", {"layers": "1,2", "epochs": 1}),
}


def build_served(folder: Path) -> Path:
    """Draw, ingest, train and promote; return the warehouse file."""
    warehouse, parts = folder / "w.duckdb", folder / "parts"
    with connect(warehouse) as con:
        fill_table(con, draw_parts(parts))
        for mask in parts.glob("*_mask.png"):
            mask.rename(folder / mask.name)
        con.execute("update parts set mask = replace(mask, '/parts/', '/')")
        ingest(con, open_tree(str(parts), folder), folder, IngestOptions(layout="images"))
        for name, (task, query, options) in MODELS.items():
            promote(con, train(con, name=name, task=task, query=query, options={**QUICK, **options}).reference)
    return warehouse
