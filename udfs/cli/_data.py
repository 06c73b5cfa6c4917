"""Commands that fill the warehouse and say what is in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from udfs.cli.context import user_path, user_place, user_warehouse

Warehouse = Annotated[
    Path | None,
    typer.Option(
        "--warehouse",
        "-w",
        help="Warehouse file.",
        envvar="DUCKSPECT_WAREHOUSE",
        show_envvar=False,
        parser=user_path,
        callback=user_warehouse,
        metavar="<path>",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]

Publish = Annotated[
    bool, typer.Option("--publish/--no-publish", help="Give readers a copy of the warehouse when it is done.")
]


def init(warehouse: Warehouse = None) -> None:
    """Make the warehouse, or bring its schema up to date.

    Example: duckspect init --warehouse plant.duckdb
    """
    from models_py.warehouse.database import applied_version, warehouse_path
    from udfs import connect
    from udfs.cli.output import emit

    file = warehouse_path(warehouse)
    existed = file.exists()
    with connect(file) as con:
        state = "is up to date" if existed else "is ready"
        emit(f"{file} {state}: schema {applied_version(con)}.")


def info(warehouse: Warehouse = None, as_json: AsJson = False) -> None:
    """Show tables, rows, size, models and the versions of the stack.

    Example: duckspect info --json
    """
    from udfs import connect
    from udfs.cli._info import facts, show
    from udfs.cli.output import emit_json

    with connect(warehouse, read_only=True) as con:
        found = facts(con, warehouse)
    emit_json(found) if as_json else show(found)


def layouts(as_json: AsJson = False) -> None:
    """List the layouts that ingest can read, in the order in which they are recognised.

    Example: duckspect layouts
    """
    from models_py.layouts import layouts as registered
    from udfs.cli.output import emit, emit_json

    rows = [(kind.name, (kind.__doc__ or "").strip().splitlines()[0], kind.example) for kind in registered()]
    if as_json:
        emit_json([dict(zip(("name", "reads", "example"), row, strict=True)) for row in rows])
        return
    for name, reads, example in rows:
        emit(f"{name}\n    {reads}\n    {example}")


def ingest(
    path: Annotated[
        str,
        typer.Argument(
            help="Folder, archive, image, CSV/Parquet manifest, or URL.", show_default=False, parser=user_place
        ),
    ],
    layout: Annotated[str | None, typer.Option(help="How to read it; recognised by itself if left out.")] = None,
    line: Annotated[
        str | None, typer.Option(help="Production line, where the data do not say; also of loaded files.")
    ] = None,
    station: Annotated[
        str | None, typer.Option(help="Inspection station, where the data do not say; also of loaded files.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="Product type, where no manifest says it; also of loaded files.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Name of the data set; the layout's if left out.")] = None,
    classes: Annotated[str | None, typer.Option(help="Comma-separated classes; labels of others are rejected.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Manifest column, as uri=image_path. Repeatable.")] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image accepted, width x height.")] = 250_000_000,
    earliest: Annotated[
        datetime,
        typer.Option(
            formats=["%Y-%m-%d"], help="Day in UTC before which no picture was taken; earlier times are rejected."
        ),
    ] = datetime(1990, 1, 1),
    days_ahead: Annotated[
        int, typer.Option(min=0, max=100_000, help="Days that a picture's time may lie ahead; later ones are rejected.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Readers at once; fitted to the files if left out.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Open unchanged files too; still nothing is stored twice.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep loading what arrives, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks with --watch.")] = 2.0,
    publish: Publish = True,
    publish_every: Annotated[
        float, typer.Option(min=0, help="With --watch, least seconds between two copies for readers.")
    ] = 60.0,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Load images, labels and rejects from a folder in any known layout; only what is new or changed.

    Example: duckspect ingest ./PCBData --line AUSTIN_L1
    """
    from models_py.images import ImageLimits
    from models_py.ingest import IngestOptions
    from models_py.times import TimeLimits
    from udfs.cli._ingest import columns_of, load_forever, load_once

    options = IngestOptions(
        layout=layout,
        line_id=line,
        station_id=station,
        product_type=product,
        source=source,
        classes=tuple(filter(None, map(str.strip, (classes or "").split(",")))),
        columns=columns_of(column or []),
        limits=ImageLimits(pixels=max_pixels),
        times=TimeLimits(earliest.replace(tzinfo=UTC), days_ahead),
        workers=workers,
        again=again,
    )
    if watch:
        load_forever(path, warehouse, options, every, publish_every if publish else None, as_json=as_json)
    else:
        load_once(path, warehouse, options, publishing=publish, as_json=as_json)


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
    from udfs.cli._ingest import relocate_files

    relocate_files(old, new, warehouse, force=force, publishing=publish, as_json=as_json)


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
    from udfs.cli._demo import build_demo

    build_demo(units, seed, folder, warehouse, train=train, as_json=as_json)
