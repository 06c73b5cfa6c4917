"""How the registry looks on the command line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from models_py.errors import DuckspectError
from models_py.registry import (
    Version,
    aliases,
    collect_garbage,
    compile_version,
    delete,
    doubts_about,
    find,
    frozen_rows,
    history,
    is_to_be_compiled,
    limit_warning,
    list_versions,
    load,
    promote,
    rollback,
    set_operating_point,
)
from udfs import connect
from udfs.cli._train import show_metrics
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.cli.progress import display


def show_list(warehouse: Path | None, name: str | None, *, as_json: bool) -> None:
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


def _row(item: Version, named: dict[str, int]) -> tuple[Any, ...]:
    value = item.metrics.get(item.gate_metric)
    mine = ", ".join(alias for alias, number in named.items() if number == item.version)
    created = item.created_at.isoformat(sep=" ", timespec="seconds")
    rounded = None if value is None else round(value, 4)
    return (item.reference, mine, item.task, item.architecture, item.gate_metric, rounded, created, item.created_by)


def show_one(warehouse: Path | None, reference: str, *, as_json: bool) -> None:
    with connect(warehouse, read_only=True) as con:
        version = find(con, reference)
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


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def run_promotion(warehouse: Path | None, reference: str, alias: str, force: str | None) -> None:
    with connect(warehouse) as con:
        version, reason = promote(con, reference, alias=alias, force=force)
        emit(f"{version.reference} is the {alias}: {reason}.")
        _warn(con, version)
        if is_to_be_compiled(con, version):
            emit(f"Others of {version.name} were compiled, so {version.reference} is, too: half a minute ...")
            with display() as shown:
                shown.update(f"Compiling {version.reference}")
                compiled = compile_version(con, version)
            emit(f"{version.reference}: {compiled.note}.")


def run_compilation(warehouse: Path | None, reference: str | None, *, as_json: bool) -> None:
    with connect(warehouse) as con, display() as shown:
        if reference is not None:
            versions = [find(con, reference)]
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


def run_rollback(warehouse: Path | None, name: str, alias: str, reason: str) -> None:
    with connect(warehouse) as con:
        version = rollback(con, name, alias=alias, reason=reason)
    emit(f"{version.reference} is the {alias} again.")


def show_history(warehouse: Path | None, name: str, *, as_json: bool) -> None:
    with connect(warehouse, read_only=True) as con:
        if not list_versions(con, name):
            find(con, name)
        changes = [asdict(change) for change in history(con, name)]
    if as_json:
        emit_json(changes)
        return
    columns = ["alias", "version", "valid_from", "valid_to", "changed_by", "reason"]
    emit_table(columns, [["" if row[key] is None else str(row[key]) for key in columns] for row in changes])


def show_comparison(warehouse: Path | None, first: str, second: str, query: str | None, *, as_json: bool) -> None:
    from models_py.metrics.evaluation import evaluate, evaluate_model

    """Both versions on the same rows: the query's, else those the second was validated on."""
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
                evaluation, snapshot = evaluate(con, model, query, progress=progress)
                found[version.reference], count = evaluation.metrics, len(snapshot.examples)
    if as_json:
        emit_json({"images": count, "metrics": found})
    else:
        show_metrics(found, f"on {count:,} images")


def set_threshold(warehouse: Path | None, reference: str, value: float, reason: str, label: str) -> None:
    with connect(warehouse) as con:
        version = set_operating_point(con, reference, value, reason, label=label)
        for doubt in doubts_about(con, version, label, value):
            note(f"Warning: {doubt}")
        emit(f"{version.reference}: the threshold for {label} is {value:g} from now on.")
        _warn(con, version)


def _warn(con: duckdb.DuckDBPyConnection, version: Version) -> None:
    """Say that a threshold makes more mistakes than it may, and what to choose instead."""
    if warning := limit_warning(con, version):
        note(f"Warning: {warning}")


def run_deletion(warehouse: Path | None, reference: str) -> None:
    with connect(warehouse) as con:
        version = delete(con, reference)
    emit(f"{version.reference} is deleted.")


def run_garbage_collection(warehouse: Path | None) -> None:
    with connect(warehouse) as con:
        found = collect_garbage(con)
    for folder in found:
        emit(f"removed {folder}")
    emit(f"{len(found)} folders and files removed.")


def run_export(warehouse: Path | None, reference: str, output: Path) -> None:
    from models_py.registry import transfer

    with connect(warehouse, read_only=True) as con:
        version = find(con, reference)
        words = transfer.export(version, load(con, version), output)
    emit(f"{version.reference} is in {output}: {words}.")


def run_import(
    warehouse: Path | None,
    file: Path,
    name: str,
    task: str | None,
    architecture: str | None,
    labels: str | None,
    image_size: int | None,
) -> None:
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
