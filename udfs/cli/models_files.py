"""Versions as files: compiled for this machine, for another warehouse or runtime, and from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models_py.errors import DuckspectError
from udfs import connect
from udfs.cli.context import user_path
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_json, emit_table
from udfs.cli.progress import display

Reference = Annotated[str, typer.Argument(help="name, name@alias or name@version.")]


def compile_models(
    model: Annotated[
        str | None, typer.Argument(help="name, name@alias or name@version; all champions if left out.")
    ] = None,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Have versions run on this machine's processors without torch, where that is faster: measured, checked, kept.

    Example: duckspect models compile pcb
    """
    from models_py.registry import aliases, compile_version, find, list_versions

    with connect(warehouse) as con, display() as shown:
        if model is not None:
            versions = [find(con, model)]
        else:
            named = {name: aliases(con, name).get("champion") for name in {item.name for item in list_versions(con)}}
            versions = [item for item in list_versions(con) if named[item.name] == item.version]
        if not versions:
            raise DuckspectError("No model has a champion. Name a version: duckspect models compile pcb@1")
        rows = []
        for number, version in enumerate(versions):
            shown.update("Compiling", number, len(versions), "versions", version.reference)
            done = compile_version(con, version)
            by_torch, compiled = (ms if ms is None else round(ms, 1) for ms in (done.torch_ms, done.compiled_ms))
            rows.append((version.reference, by_torch, compiled, done.note))
    columns = ("model", "torch_ms", "compiled_ms", "outcome")
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        emit_table(columns, rows)


def export(
    model: Reference,
    output: Annotated[Path, typer.Argument(help="A .zip of the artifact, or an .onnx file.", parser=user_path)],
    warehouse: Warehouse = None,
) -> None:
    """Write a version to a file: .zip for another warehouse, .onnx (checked against torch) for another runtime.

    Example: duckspect models export pcb@champion pcb.onnx
    """
    from models_py.registry import find, load, transfer

    with connect(warehouse, read_only=True) as con:
        version = find(con, model)
        words = transfer.export(version, load(con, version), output)
    emit(f"{version.reference} is in {output}: {words}.")


def import_model(
    file: Annotated[
        Path,
        typer.Argument(help="An exported .zip, an Ultralytics .pt, a torch state dict, safetensors.", parser=user_path),
    ],
    name: Annotated[str, typer.Argument(help="Name to register it under.")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="For a state dict: its task.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture", "-a", help="For a state dict.")] = None,
    labels: Annotated[str | None, typer.Option(help="For a state dict: comma-separated classes, in order.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the square the network sees.")] = None,
    warehouse: Warehouse = None,
) -> None:
    """Register a model that was trained elsewhere; nothing in the file is run.

    Example: duckspect models import best.pt pcb
    """
    from models_py.registry import transfer

    described = transfer.TensorFileDescription(
        task=task,
        architecture=architecture,
        labels=tuple(filter(None, map(str.strip, (labels or "").split(",")))),
        image_size=image_size,
    )
    with connect(warehouse) as con:
        version = transfer.import_file(con, file, name, described)
    emit(f"{version.reference} is registered and the challenger: {version.architecture}, {', '.join(version.labels)}.")
    emit(f'Next: duckspect models promote {version.reference} --force "imported"')
