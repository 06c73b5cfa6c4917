"""Commands that save a warehouse and make it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli.context import user_path
from udfs.cli.options import AsJson, Warehouse


def backup(
    target: Annotated[
        Path, typer.Argument(help="New folder to write.", show_default=False, parser=user_path, metavar="TARGET")
    ],
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="With the images in the warehouse's folder.")
    ] = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Save the warehouse with its models and images as it is now, also while it is served. Tokens are left out.

    Example: duckspect backup /mnt/backups/2026-07-01
    """
    from dataclasses import asdict

    from udfs.backup import backup as save
    from udfs.cli.output import emit, emit_json
    from udfs.cli.progress import display

    with display() as shown:
        found = save(
            warehouse,
            target,
            with_images=images,
            progress=lambda done, total: shown.update("Copying", done, total, "files"),
        )
    if as_json:
        emit_json(asdict(found))
        return
    emit(f"{found.folder} holds {found.warehouse} with its models and images: {_size(found.files, found.bytes)}.")
    for count, why in (
        (found.outside, "lie outside the warehouse's folder and stay where they are"),
        (found.left_out, "were left out, as asked"),
        (found.missing, "are gone"),
    ):
        if count:
            emit(f"Not in it: {count:,} files that {why}.")
    emit(f"To make it again elsewhere: duckspect restore {found.folder} NEW_FOLDER")


def restore(
    source: Annotated[
        Path, typer.Argument(help="Folder of a backup.", show_default=False, parser=user_path, metavar="SOURCE")
    ],
    target: Annotated[
        Path,
        typer.Argument(help="New folder for the warehouse.", show_default=False, parser=user_path, metavar="TARGET"),
    ],
    as_json: AsJson = False,
) -> None:
    """Make the warehouse of a backup again in a new folder; every file is compared with its hash.

    Example: duckspect restore /mnt/backups/2026-07-01 ./plant
    """
    from dataclasses import asdict

    from udfs.backup import restore as make_again
    from udfs.cli.output import emit, emit_json
    from udfs.cli.progress import display

    with display() as shown:
        found = make_again(source, target, progress=lambda done, total: shown.update("Copying", done, total, "files"))
    if as_json:
        emit_json(asdict(found))
        return
    file = found.folder / found.warehouse
    emit(f"{file} is restored: {_size(found.files, found.bytes)}. What it holds: duckspect info -w {file}")
    emit(f"Tokens are in no backup. To serve it: duckspect tokens add line1 --role writer -w {file}")


def _size(files: int, size: int) -> str:
    return f"{files:,} files, {size / 1e6:,.1f} MB"
