"""A small plant with models that were trained on it, hardly."""

from pathlib import Path

from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.plant import build
from models_py.registry import promote, set_operating_point
from models_py.training.train import train
from udfs import connect

BOARDS = """
select uri as image, label, x1, y1, x2, y2 from raw.current_annotations join raw.inspections using (uri)
where product_type like 'PCB-%' and kind in ('box', 'class')
"""
TILES = """
select uri as image, label from raw.current_annotations join raw.inspections using (uri)
where product_type like 'TILE-%' and kind = 'class'
"""
QUICK = {"epochs": 1, "batch": 8, "image_size": 160, "mosaic": 0.0}


def train_plant(folder: Path) -> Path:
    """Draw 120 units, ingest them, and train two versions of a board detector and a tile model; the warehouse."""
    build(folder / "plant", units=120, seed=7, workers=2)
    with connect(folder / "w.duckdb") as con:
        ingest(con, open_tree(str(folder / "plant"), folder), folder, IngestOptions(source="demo"))
        for epochs in (1, 2):
            options = {**QUICK, "epochs": epochs}
            promote(con, train(con, name="pcb", task="detect", query=BOARDS, options=options).reference, force="test")
        set_operating_point(con, "pcb", 0.05, "a small model is not sure of anything")
        promote(
            con,
            train(con, name="tile", task="anomaly", query=TILES, options={"image_size": 96, "test": 0.25}).reference,
        )
    return folder / "w.duckdb"


def copy_warehouse(warehouse: Path, folder: Path) -> Path:
    """A copy with its models, which knows its place; the images stay where they are."""
    import shutil

    from udfs import connect

    files = warehouse.with_name(f"{warehouse.stem}_files")
    shutil.copytree(files, folder / files.name)
    copy = Path(shutil.copy(warehouse, folder / warehouse.name))
    connect(copy).close()  # what it calls its images changes here, and not in the middle of a test
    return copy
