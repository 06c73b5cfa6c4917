"""`duckspect train`, `evaluate` and `architectures`: learning from the rows of a query, and measuring on them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models_py.errors import DuckspectError
from models_py.model.architectures import TASKS, list_architectures
from models_py.model.options import describe
from models_py.task import options_of
from models_py.warehouse.access import PATIENCE
from udfs import connect
from udfs.cli.options import AsJson, Publish, Warehouse
from udfs.cli.output import emit, emit_json, emit_table, note
from udfs.cli.progress import Display, display
from udfs.cli.sql import read_query

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow
    from models_py.registry import Version

_CHOICES = "; ".join(f"{task}: {', '.join(item.name for item in list_architectures(task))}" for task in TASKS)

Task = Annotated[str, typer.Option("--task", "-t", help="classify, detect, segment or anomaly.")]
Query = Annotated[
    str | None, typer.Option("--query", "-q", help="SQL whose rows are the images and labels; - reads standard input.")
]
QueryFile = Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file.")]
Architecture = Annotated[
    str | None,
    typer.Option(
        "--architecture", "-a", help=f"Left out, the task's default here: see docs/architectures.md. {_CHOICES}."
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        min=0, metavar="SECONDS", help="How long to wait at the end for another process that writes the warehouse."
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="Option as epochs=30; `duckspect architectures NAME` lists them. Repeatable."),
]


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


def train(
    name: Annotated[str, typer.Argument(help="Name of the model; a new version of it if it exists.")],
    task: Task,
    query: Query = None,
    file: QueryFile = None,
    architecture: Architecture = None,
    option: Given = None,
    weights: Annotated[
        str | None, typer.Option(help="Start from: auto, coco, imagenet, package, starter, none, or a file.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, 0, or 0,1 for several GPUs.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many minutes of training, with the best epoch so far.", min=0)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same training after Ctrl-C or a kill.")
    ] = False,
    wait: Wait = PATIENCE,
    publish: Publish = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on the rows of a query and register it as the challenger.

    Example: duckspect train pcb --task detect --query "from raw.current_annotations"
    """
    from models_py.training.plan import plan
    from models_py.training.train import can_resume, carry_out
    from models_py.warehouse.access import AT_FIRST, WarehouseAccess, open_patiently
    from udfs.cli.published_copy import leave_copy

    text = read_query(query, file)
    hours = None if minutes is None else str(minutes / 60)
    given = options_of_line(option or [], weights=weights, device=device, hours=hours)
    access = WarehouseAccess(warehouse, patience=wait)
    with shown() as report:
        with open_patiently(lambda: connect(warehouse), AT_FIRST, report.note) as con:
            planned = plan(
                con, name=name, task=task, query=text, architecture=architecture, options=given, report=report
            )
        try:
            version = carry_out(access, planned, report, resume=resume)
        except KeyboardInterrupt:
            report.note(_how_to_go_on(is_kept=can_resume(warehouse, planned)))
            raise SystemExit(1) from None
        with access.connection(patience=wait, say=report.note) as con:
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
    if publish:
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


def evaluate(
    model: Annotated[str, typer.Argument(help="name, name@alias or name@version.")],
    query: Query = None,
    file: QueryFile = None,
    split: Annotated[
        str, typer.Option(help="Without a query: val, on which its threshold was chosen, or test, which nothing saw.")
    ] = "val",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or 0.")] = "auto",
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on the rows of any labelled query; without one, on its own frozen rows.

    Example: duckspect evaluate pcb@challenger --query "from raw.current_annotations"
    """
    from models_py.metrics.evaluation import evaluate as measure
    from models_py.metrics.evaluation import evaluate_model
    from models_py.registry import find, load

    sql = read_query(query, file) if query or file else None
    with connect(warehouse, read_only=True) as con, display() as shown:
        version = find(con, model)
        loaded = load(con, version)
        shown.update("Judging")

        def progress(done: int, total: int) -> None:
            shown.update("Judging", done, total)

        if sql is None:
            rows = _frozen_rows(con, version, split)
            found, count = evaluate_model(loaded, rows, device=device, progress=progress), len(rows)
        else:
            found, dataset = measure(con, loaded, sql, device=device, progress=progress)
            count = len(dataset.rows)
            for text in dataset.notes:
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


def architectures(
    name: Annotated[str | None, typer.Argument(help="Show the training options of this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the architectures of every task with their first weights and those at hand here, or the options of one.

    Example: duckspect architectures yolo11n
    """
    from models_py.weights.sources import at_hand, offered, with_default_trunk

    if name is not None:
        _show_options(name, as_json=as_json)
        return
    found = [
        (item.task, item.name, item.title, ", ".join(offered(item)), ", ".join(at_hand(item)))
        for item in map(with_default_trunk, list_architectures())
    ]
    columns = ("task", "architecture", "what it is", "weights", "at hand")
    emit_json([dict(zip(columns, row, strict=True)) for row in found]) if as_json else emit_table(columns, found)


def _show_options(name: str, *, as_json: bool) -> None:
    """The options of one architecture, with its own defaults."""
    from models_py.weights.sources import at_hand, offered, with_default_trunk

    found = next((item for item in list_architectures() if item.name == name), None)
    if found is None:
        known = ", ".join(item.name for item in list_architectures())
        raise DuckspectError(f"architecture: there is no {name!r}. Choose one of {known}.")
    kind = options_of(found.task)
    rows = [(option, str(found.defaults.get(option, default)), meaning) for option, default, meaning in describe(kind)]
    if as_json:
        emit_json([dict(zip(("option", "default", "meaning"), row, strict=True)) for row in rows])
        return
    whole = with_default_trunk(found)
    emit(f"{found.name}: {found.title} Weights: {', '.join(offered(whole))}; at hand: {', '.join(at_hand(whole))}.")
    emit_table(["option", "default", "meaning"], rows)
