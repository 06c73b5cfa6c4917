"""`duckspect tune`: better training options, searched for."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models_py.warehouse.access import PATIENCE
from udfs import connect
from udfs.cli.options import AsJson, Publish, Warehouse
from udfs.cli.output import emit, emit_json, emit_table
from udfs.cli.sql import read_query
from udfs.cli.train import Architecture, Given, Query, QueryFile, Task, Wait, options_of_line, show_metrics, shown

if TYPE_CHECKING:
    from models_py.registry import Version
    from models_py.training.tuning import TrialReport


def tune(
    name: Annotated[str, typer.Argument(help="Name of the model; the best trial becomes its next version.")],
    task: Task,
    query: Query = None,
    file: QueryFile = None,
    architecture: Architecture = None,
    option: Given = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of a killed study included.")] = 20,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at once, in processes of their own.")] = 1,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, or 0,1: the trials take turns.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train from scratch and fine-tune untuned too, for the table.")
    ] = False,
    wait: Wait = PATIENCE,
    publish: Publish = True,
    warehouse: Warehouse = None,
    as_json: AsJson = False,
) -> None:
    """Search for better training options; run again to go on with a killed study.

    Example: duckspect tune pcb --task detect --query "from pcb_rows" --trials 20 --parallel 2
    """
    from models_py.registry import limit_warning
    from models_py.training.plan import plan
    from models_py.training.train import carry_out
    from models_py.training.tuning import Study
    from models_py.warehouse.access import AT_FIRST, WarehouseAccess, open_patiently
    from udfs.cli.published_copy import leave_copy

    text = read_query(query, file)
    given = options_of_line(option or [], weights=None, device=device)
    access = WarehouseAccess(warehouse, patience=wait)
    columns: dict[str, Version] = {}
    with shown() as report:
        with open_patiently(lambda: connect(warehouse), AT_FIRST, report.note) as con:
            planned = plan(
                con, name=name, task=task, query=text, architecture=architecture, options=given, report=report
            )
        study = Study(access, planned, fixed=given)
        space = ", ".join(study.space)
        report.note(f"Study {study.name}: {space}; the metric is {study.metric} on the validation rows.")
        try:
            if compare:
                scratch = replace(planned, options=replace(planned.options, weights="none"))
                columns["from scratch"] = carry_out(access, scratch, report)
                columns["fine-tuned"] = carry_out(access, planned, report)
            study.run(trials, parallel, lambda trial: report.note(_words(trial)), report)
        except KeyboardInterrupt:
            report.note(f"Stopped; it goes on with: {shlex.join(['duckspect', *sys.argv[1:]])}")
            raise SystemExit(1) from None
        version = study.register_best(report.note)
        with access.connection(patience=wait, say=report.note) as con:
            rows = con.execute(
                "select trial, status, value, params::varchar from ml.trials where study = ? "
                "order by value desc nulls last, trial",
                [study.name],
            ).fetchall()
            warning = limit_warning(con, version)
        if warning:
            report.note(f"Warning: {warning}")
    columns["tuned" if not compare else "fine-tuned + tuned"] = version
    if as_json:
        found = {title: {"model": item.reference, "metrics": item.metrics} for title, item in columns.items()}
        emit_json({"study": study.name, "best": version.reference, "trials": rows, "compared": found})
    else:
        emit_table(["trial", "status", study.metric, "options"], rows)
        show_metrics({title: item.metrics for title, item in columns.items()}, "on its validation rows")
        emit(f"{version.reference} is registered and the challenger.")
        emit(f"Next: duckspect models promote {version.reference}")
    if publish:
        leave_copy(warehouse)


def _words(report: TrialReport) -> str:
    value = "" if report.value is None else f" {report.value:.4f}"
    words = f": {report.error.strip().splitlines()[-1]}" if report.error else ""
    shown_params = ", ".join(f"{key}={_short(value)}" for key, value in report.params.items())
    return f"trial {report.number} {report.status}{value} ({shown_params}){words}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
