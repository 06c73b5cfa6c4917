"""How training and evaluation look on the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.errors import DuckspectError
from models_py.model.architectures import list_architectures
from models_py.model.options import describe
from models_py.task import options_of
from udfs import connect
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.cli.progress import Display, display
from udfs.cli.published_copy import leave_copy

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow
    from models_py.registry import Version


def options_of_line(given: list[str], **named: str | None) -> dict[str, str]:
    """Read key=value options; named ones win."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise DuckspectError(f"--option: must be key=value, such as epochs=30, but is {text!r}.")
        found[key.strip().replace("-", "_")] = value.strip()
    return found | {key: value for key, value in named.items() if value is not None}


class CommandReport:
    """A report as what a command shows of its progress, with a line per epoch unless it is to be brief."""

    def __init__(self, shown: Display, *, is_brief: bool = False) -> None:
        self._shown = shown
        self._is_brief = is_brief
        self._last = ""

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        words = f"epoch {epoch}/{epochs}, loss {loss:.3f}{self._last}"
        self._shown.update("Training", (epoch - 1) * steps + step, epochs * steps, "steps", words)

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        found = [f"{name} {value:.4f}" for name, value in metrics.items() if value is not None and _is_shown(name)]
        self._last = "".join(
            f", {text.removeprefix('val/')}" for text in found if text.startswith("val/") and "loss" not in text
        )[:40]
        if not self._is_brief:
            self._shown.say(f"epoch {epoch}: {', '.join(found)}")

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:
        self._shown.update(what, done, total, unit, words)

    def note(self, text: str) -> None:
        self._shown.say(text)


def _is_shown(name: str) -> bool:
    return name == "train/loss" or name.startswith("val/")


@contextmanager
def shown(*, is_brief: bool = False) -> Iterator[CommandReport]:
    """Show a training while it runs."""
    with display() as found:
        yield CommandReport(found, is_brief=is_brief)


def run_training(
    warehouse: Path | None,
    name: str,
    task: str,
    query: str,
    architecture: str | None,
    options: Mapping[str, Any],
    *,
    resume: bool,
    patience: float,
    publishing: bool,
    as_json: bool,
) -> None:
    """Train, and print what was registered. The warehouse is open to others while it trains."""
    from models_py.training.plan import plan
    from models_py.training.train import can_resume, carry_out
    from models_py.warehouse.access import AT_FIRST, WarehouseAccess, open_patiently

    access = WarehouseAccess(warehouse, patience=patience)
    with shown() as report:
        with open_patiently(lambda: connect(warehouse), AT_FIRST, report.note) as con:
            planned = plan(
                con, name=name, task=task, query=query, architecture=architecture, options=options, report=report
            )
        try:
            version = carry_out(access, planned, report, resume=resume)
        except KeyboardInterrupt:
            report.note(_how_to_go_on(is_kept=can_resume(warehouse, planned)))
            raise SystemExit(1) from None
        with access.connection(patience=patience, say=report.note) as con:
            chosen = con.execute(
                "select threshold, chosen_by from ml.thresholds where name = ? and version = ?", [name, version.version]
            ).fetchone()
    if as_json:
        emit_json({"model": version.reference, "task": task, "metrics": version.metrics, "threshold": chosen})
    else:
        labels = ", ".join(version.labels)
        emit(f"{version.reference} is registered and the challenger: {version.architecture}, {labels}.")
        show_metrics({version.reference: version.metrics}, "on its validation rows")
        if chosen:
            emit(f"Operating threshold {chosen[0]:.4g}: {chosen[1]}.")
        emit(_kept_for_testing(version))
        emit(f"Next: duckspect models promote {version.reference}")
    if publishing:
        leave_copy(warehouse)


def _how_to_go_on(*, is_kept: bool) -> str:
    """One sentence with the command to type."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if is_kept:
        return f"Stopped; it goes on from its last whole epoch with: {shlex.join(['duckspect', *words, '--resume'])}"
    return f"Stopped before there was anything to keep; to begin again: {shlex.join(['duckspect', *words])}"


def _kept_for_testing(version: Version) -> str:
    """What there is to measure it on honestly, for its threshold was chosen on the validation rows."""
    if count := len(version.rows("test")):
        return f"{count:,} images are kept for testing: duckspect evaluate {version.reference} --split test"
    return (
        "No images were kept for testing, so false-positive and escape rates stay empty until other units are labelled "
        "or reviewed. To keep a fifth: train with -o test=0.2"
    )


def show_metrics(columns: Mapping[str, Mapping[str, float | None]], where: str) -> None:
    """Metrics as rows, one column per model."""
    names = list(dict.fromkeys(name for metrics in columns.values() for name in metrics))
    emit_table(
        [f"metric {where}", *columns],
        [[name, *(_rounded(metrics.get(name)) for metrics in columns.values())] for name in names],
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def run_evaluation(
    warehouse: Path | None, reference: str, query: str | None, split: str, device: str, *, as_json: bool
) -> None:
    """Measure a model, and print its metrics."""
    from models_py.metrics.evaluation import evaluate, evaluate_model
    from models_py.registry import find, load

    with connect(warehouse, read_only=True) as con, display() as shown:
        version = find(con, reference)
        model = load(con, version)
        shown.update("Judging")

        def progress(done: int, total: int) -> None:
            shown.update("Judging", done, total)

        if query is None:
            rows = _frozen_rows(con, version, split)
            found, count = evaluate_model(model, rows, device=device, progress=progress), len(rows)
        else:
            found, snapshot = evaluate(con, model, query, device=device, progress=progress)
            count = len(snapshot.examples)
            for text in snapshot.notes:
                note(text)
    if as_json:
        emit_json({"model": version.reference, "images": count, "metrics": found.metrics})
        return
    show_metrics({version.reference: found.metrics}, f"on {count:,} images")


def _frozen_rows(con: duckdb.DuckDBPyConnection, version: Version, split: str) -> Sequence[DatasetRow]:
    from models_py.registry import frozen_rows

    if split not in ("val", "test"):
        raise DuckspectError(f"split: must be val or test, but is {split!r}.")
    rows = frozen_rows(con, version, split)
    if not rows:
        raise DuckspectError(
            f"{version.reference} has no {split} rows. Train with -o test=0.2 to keep some, or give a --query."
        )
    return rows


def show_architectures(*, as_json: bool) -> None:
    """One row per architecture."""
    found = [(item.task, item.name, item.title, ", ".join(item.weights)) for item in list_architectures()]
    columns = ("task", "architecture", "what it is", "weights")
    emit_json([dict(zip(columns, row, strict=True)) for row in found]) if as_json else emit_table(columns, found)


def show_options(name: str, *, as_json: bool) -> None:
    """The options of one architecture, with its own defaults."""
    found = next((item for item in list_architectures() if item.name == name), None)
    if found is None:
        known = ", ".join(item.name for item in list_architectures())
        raise DuckspectError(f"architecture: there is no {name!r}. Choose one of {known}.")
    kind = options_of(found.task)
    rows = [(option, str(found.defaults.get(option, default)), meaning) for option, default, meaning in describe(kind)]
    if as_json:
        emit_json([dict(zip(("option", "default", "meaning"), row, strict=True)) for row in rows])
        return
    emit(f"{found.name}: {found.title} Weights: {', '.join(found.weights)}.")
    emit_table(["option", "default", "meaning"], rows)
