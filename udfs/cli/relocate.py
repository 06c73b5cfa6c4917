"""`duckspect relocate`: loaded files that lie elsewhere now."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from models_py.warehouse.database import warehouse_path
from udfs import connect
from udfs.cli.context import user_place
from udfs.cli.options import AsJson, Publish, Warehouse
from udfs.cli.output import emit, emit_json
from udfs.cli.progress import display


def relocate(
    old: Annotated[
        str,
        typer.Argument(
            help="Where files were loaded from: folder, file or URL.", show_default=False, parser=user_place
        ),
    ],
    new: Annotated[str, typer.Argument(help="Where the same files are now.", show_default=False, parser=user_place)],
    force: Annotated[
        bool, typer.Option("--force", help="Also where files are missing there, or have other bytes.")
    ] = False,
    publish: Publish = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Say where loaded files are now; every table follows, and inspections, labels and predictions stay theirs.

    Example: duckspect relocate /mnt/landing/2025 /mnt/archive/2025
    """
    from models_py.ingest import relocate as follow
    from udfs.cli.ingest import show_move
    from udfs.cli.published_copy import leave_copy

    with connect(warehouse) as con, display() as shown:

        def progress(done: int, total: int) -> None:
            shown.update("Comparing", done, total, "files")

        moved = follow(con, old, new, force=force, progress=progress)
    if as_json:
        emit_json({**asdict(moved), "warehouse": str(warehouse_path(warehouse))})
    else:
        show_move(moved)
        emit("Rows that name them: " + ", ".join(f"{count:,} of {table}" for table, count in moved.rows.items()) + ".")
        if moved.missing:
            emit(f"{moved.missing:,} of them are not there.")
    if publish:
        leave_copy(warehouse)
