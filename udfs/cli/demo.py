"""`duckspect demo`: draw the plant, ingest it, and show where to go from there."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from models_py.warehouse.database import files_folder, warehouse_path
from udfs import connect
from udfs.cli.ingest import load, show
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_table, note
from udfs.cli.progress import display

_SUMMARY = """
select
    line_id as line, product_type as product, count(*) as inspections,
    count(*) filter (where has_defect) as defective, count(*) filter (where has_defect is null) as unlabelled
from raw.inspections
left join (
    select uri, bool_or(label <> 'good') as has_defect from raw.current_annotations group by uri
) using (uri)
group by all order by all
"""

_NEXT = """Type next:
  {0} info
  {0} sql "select * from kpi_defect_pareto"
  {0} sql "select uri, detect(uri, 'pcb') from raw.inspections where line_id = 'AUSTIN_L1' limit 3"
  {0} functions
  {0} dashboard
  {0} ingest YOUR_FOLDER --line YOUR_LINE"""


def demo(
    units: Annotated[int, typer.Option(min=50, max=100_000, help="Inspected units to draw.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another plant; the same seed, the same bytes.")] = 7,
    folder: Annotated[Path | None, typer.Option(help="Where the images go; beside the warehouse if left out.")] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train a board detector and a tile model.")] = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Draw a plant with boards, steel, light guide plates and tiles, ingest 30 days of it, and train two models.

    Example: duckspect demo --units 1000 --seed 7
    """
    from models_py.ingest import IngestOptions
    from models_py.plant import build as draw
    from udfs.cli.build import run_build
    from udfs.cli.published_copy import leave_copy

    started = time.perf_counter()
    target = (folder or files_folder(warehouse) / "plant").absolute()
    connect(warehouse).close()  # a warehouse that cannot be used is said before minutes of drawing
    with display() as shown:
        plant = draw(
            target,
            units=units,
            seed=seed,
            workers=os.cpu_count() or 1,
            progress=lambda done, total: shown.update("Drawing", done, total, "units"),
        )
    note(f"The plant is in {plant.folder}: {plant.units:,} units, {plant.images:,} images.")
    report = load(str(plant.folder), warehouse, IngestOptions(source="demo"))
    show(report, warehouse, as_json=as_json)
    leave_copy(warehouse)
    if as_json:
        return
    with connect(warehouse, read_only=True) as con:
        rows = con.execute(_SUMMARY).fetchall()
    emit(f"\n{warehouse_path(warehouse)} holds")
    emit_table(["line", "product", "inspections", "defective", "unlabelled"], rows)
    if train:
        from udfs.cli.demo_models import answer, train_models

        train_models(warehouse, units)
        answer(warehouse)
        run_build(warehouse, [], publishing=True)
    emit(f"Ready in {time.perf_counter() - started:.0f} s.\n\n{_NEXT.format(_own_name())}")


def _own_name() -> str:
    """How the user can call this program from here: by its name if it is on the path."""
    return "duckspect" if shutil.which("duckspect") or not sys.argv[0].endswith("duckspect") else sys.argv[0]
