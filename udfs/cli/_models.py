"""`duckspect models`: the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from udfs.cli._data import AsJson, Warehouse
from udfs.cli.context import user_path

Reference = Annotated[str, typer.Argument(help="name, name@alias or name@version.")]

models = typer.Typer(help="Look after the registered models.", no_args_is_help=True)


@models.command("list")
def list_models(
    name: Annotated[str | None, typer.Argument(help="Only the versions of this model.")] = None,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """List the registered versions.

    Example: duckspect models list pcb
    """
    from udfs.cli._registry import show_list

    show_list(warehouse, name, as_json=as_json)


@models.command()
def show(model: Reference, warehouse: Warehouse = None, as_json: AsJson = False) -> None:
    """Show all that is known of one version.

    Example: duckspect models show pcb@champion
    """
    from udfs.cli._registry import show_one

    show_one(warehouse, model, as_json=as_json)


@models.command()
def promote(
    model: Reference,
    alias: Annotated[str, typer.Option(help="champion, or an alias of your own.")] = "champion",
    force: Annotated[str | None, typer.Option(metavar="REASON", help="Skip the gate, for this reason.")] = None,
    warehouse: Warehouse = None,
) -> None:
    """Make a version the champion if it is not worse on its frozen validation rows; a bare name means the challenger.

    Example: duckspect models promote pcb@3
    """
    from udfs.cli._registry import run_promotion

    run_promotion(warehouse, model, alias, force)


@models.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    alias: Annotated[str, typer.Option(help="The alias to take back.")] = "champion",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    warehouse: Warehouse = None,
) -> None:
    """Let an alias name the version that it named before.

    Example: duckspect models rollback pcb --reason "escapes on line 2"
    """
    from udfs.cli._registry import run_rollback

    run_rollback(warehouse, name, alias, reason)


@models.command()
def history(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Show which version each alias named, when, and why.

    Example: duckspect models history pcb
    """
    from udfs.cli._registry import show_history

    show_history(warehouse, name, as_json=as_json)


@models.command()
def compare(
    first: Reference,
    second: Reference,
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="Labelled rows; the second's validation rows if left out.")
    ] = None,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Measure two versions on the same rows.

    Example: duckspect models compare pcb@champion pcb@challenger
    """
    from udfs.cli._registry import show_comparison

    show_comparison(warehouse, first, second, query, as_json=as_json)


@models.command()
def threshold(
    model: Reference,
    value: Annotated[float, typer.Argument(help="A score at or above it is a defect.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    label: Annotated[str, typer.Option(help="The class it is for; * for all.")] = "*",
    warehouse: Warehouse = None,
) -> None:
    """Choose another operating threshold, from now on.

    Example: duckspect models threshold pcb@champion 0.35 --reason "audit of 12 March: no escapes wanted"
    """
    from udfs.cli._registry import set_threshold

    set_threshold(warehouse, model, value, reason, label)


@models.command("compile")
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
    from udfs.cli._registry import run_compilation

    run_compilation(warehouse, model, as_json=as_json)


@models.command()
def delete(model: Reference, warehouse: Warehouse = None) -> None:
    """Delete a version that no alias names.

    Example: duckspect models delete pcb@2
    """
    from udfs.cli._registry import run_deletion

    run_deletion(warehouse, model)


@models.command()
def gc(warehouse: Warehouse = None) -> None:
    """Remove artifact folders without a row, and what killed trainings left.

    Example: duckspect models gc
    """
    from udfs.cli._registry import run_garbage_collection

    run_garbage_collection(warehouse)


@models.command()
def export(
    model: Reference,
    output: Annotated[Path, typer.Argument(help="A .zip of the artifact, or an .onnx file.", parser=user_path)],
    warehouse: Warehouse = None,
) -> None:
    """Write a version to a file: .zip for another warehouse, .onnx (checked against torch) for another runtime.

    Example: duckspect models export pcb@champion pcb.onnx
    """
    from udfs.cli._registry import run_export

    run_export(warehouse, model, output)


@models.command("import")
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
    from udfs.cli._registry import run_import

    run_import(warehouse, file, name, task, architecture, labels, image_size)
