"""`duckspect models`: versions and their aliases. What goes to and comes from files is in `models_files`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models_py.errors import DuckspectError
from udfs import connect
from udfs.cli.models_files import Reference, compile_models, export, import_model
from udfs.cli.options import AsJson, Warehouse
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.cli.progress import display
from udfs.cli.train import show_metrics

if TYPE_CHECKING:
    import duckdb

    from models_py.registry import Version

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
    from models_py.registry import aliases, find, list_versions

    with connect(warehouse, read_only=True) as con:
        versions = list_versions(con, name)
        if name and not versions:
            find(con, name)
        named = {item.name: aliases(con, item.name) for item in versions}
    rows = [_row(item, named[item.name]) for item in versions]
    columns = ("model", "aliases", "task", "architecture", "metric", "value", "created_at", "created_by")
    if as_json:
        emit_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        emit_table(columns, rows)
    else:
        emit("No model is registered. Train one: duckspect train --help")


@models.command()
def show(model: Reference, warehouse: Warehouse = None, as_json: AsJson = False) -> None:
    """Show all that is known of one version.

    Example: duckspect models show pcb@champion
    """
    from models_py.registry import aliases, find

    with connect(warehouse, read_only=True) as con:
        version = find(con, model)
        named = [alias for alias, number in aliases(con, version.name).items() if number == version.version]
        points = con.execute(
            "select label, threshold, valid_from::varchar, chosen_by from ml.thresholds "
            "where name = ? and version = ? order by valid_from",
            [version.name, version.version],
        ).fetchall()
    described = asdict(version) | {"aliases": named, "thresholds": points}
    if as_json:
        emit_json(described)
        return
    shown = {key: value for key, value in described.items() if key not in ("metrics", "params", "thresholds")}
    emit_table(["what", "value"], [[key, _text(value)] for key, value in shown.items()])
    show_metrics({version.reference: version.metrics}, "on its validation rows")
    emit_table(["threshold for", "value", "since", "chosen by"], points)
    emit_table(["option", "value"], [[key, str(value)] for key, value in version.params.items()])
    if version.needs_reference_image:
        emit(f"{version.reference} judges an image beside its reference image (golden board), and none without it.")


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
    from models_py.registry import compile_version, is_to_be_compiled
    from models_py.registry import promote as make

    with connect(warehouse) as con:
        version, reason = make(con, model, alias=alias, force=force)
        emit(f"{version.reference} is the {alias}: {reason}.")
        _warn(con, version)
        if is_to_be_compiled(con, version):
            emit(f"Others of {version.name} were compiled, so {version.reference} is, too: half a minute ...")
            with display() as shown:
                shown.update(f"Compiling {version.reference}")
                compiled = compile_version(con, version)
            emit(f"{version.reference}: {compiled.note}.")


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
    from models_py.registry import rollback as take_back

    with connect(warehouse) as con:
        version = take_back(con, name, alias=alias, reason=reason)
    emit(f"{version.reference} is the {alias} again.")


@models.command()
def history(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Show which version each alias named, when, and why.

    Example: duckspect models history pcb
    """
    from models_py.registry import find, list_versions
    from models_py.registry import history as changes_of

    with connect(warehouse, read_only=True) as con:
        if not list_versions(con, name):
            find(con, name)
        changes = [asdict(change) for change in changes_of(con, name)]
    if as_json:
        emit_json(changes)
        return
    columns = ["alias", "version", "valid_from", "valid_to", "changed_by", "reason"]
    emit_table(columns, [["" if row[key] is None else str(row[key]) for key in columns] for row in changes])


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
    from models_py.metrics.evaluation import evaluate, evaluate_model
    from models_py.registry import find, frozen_rows, load

    with connect(warehouse, read_only=True) as con, display() as shown:
        found: dict[str, Any] = {}
        count = 0
        versions = [find(con, reference) for reference in (first, second)]
        if versions[0].task != versions[1].task:
            raise DuckspectError(
                f"{versions[0].reference} is a model for {versions[0].task}, {versions[1].reference} one for "
                f"{versions[1].task}: they cannot be compared."
            )
        for version in versions:
            shown.update(f"Judging by {version.reference}")

            def progress(done: int, total: int, what: str = f"Judging by {version.reference}") -> None:
                shown.update(what, done, total)

            model = load(con, version)
            if query is None:
                rows = frozen_rows(con, versions[1], "val")
                found[version.reference], count = evaluate_model(model, rows, progress=progress).metrics, len(rows)
            else:
                evaluation, dataset = evaluate(con, model, query, progress=progress)
                found[version.reference], count = evaluation.metrics, len(dataset.rows)
    if as_json:
        emit_json({"images": count, "metrics": found})
    else:
        show_metrics(found, f"on {count:,} images")


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
    from models_py.registry import doubts_about, set_operating_point

    with connect(warehouse) as con:
        version = set_operating_point(con, model, value, reason, label=label)
        for doubt in doubts_about(con, version, label, value):
            note(f"Warning: {doubt}")
        emit(f"{version.reference}: the threshold for {label} is {value:g} from now on.")
        _warn(con, version)


models.command("compile")(compile_models)


@models.command()
def delete(model: Reference, warehouse: Warehouse = None) -> None:
    """Delete a version that no alias names.

    Example: duckspect models delete pcb@2
    """
    from models_py.registry import delete as remove

    with connect(warehouse) as con:
        version = remove(con, model)
    emit(f"{version.reference} is deleted.")


@models.command()
def gc(warehouse: Warehouse = None) -> None:
    """Remove artifact folders without a row, and what killed trainings left.

    Example: duckspect models gc
    """
    from models_py.registry import collect_garbage

    with connect(warehouse) as con:
        found = collect_garbage(con)
    for folder in found:
        emit(f"removed {folder}")
    emit(f"{len(found)} folders and files removed.")


models.command()(export)
models.command("import")(import_model)


def _row(item: Version, named: dict[str, int]) -> tuple[Any, ...]:
    value = item.metrics.get(item.gate_metric)
    mine = ", ".join(alias for alias, number in named.items() if number == item.version)
    created = item.created_at.isoformat(sep=" ", timespec="seconds")
    rounded = None if value is None else round(value, 4)
    return (item.reference, mine, item.task, item.architecture, item.gate_metric, rounded, created, item.created_by)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _warn(con: duckdb.DuckDBPyConnection, version: Version) -> None:
    """Say that a threshold makes more mistakes than it may, and what to choose instead."""
    from models_py.registry import limit_warning

    if warning := limit_warning(con, version):
        note(f"Warning: {warning}")
