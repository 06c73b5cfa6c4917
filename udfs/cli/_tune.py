"""How tuning looks on the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models_py.registry import Version, limit_warning
from models_py.training.plan import plan
from models_py.training.train import carry_out
from models_py.training.tuning import Study, TrialReport
from models_py.warehouse.access import AT_FIRST, WarehouseAccess, open_patiently
from udfs import connect
from udfs.cli._train import show_metrics, shown
from udfs.cli.output import emit, emit_json, emit_table
from udfs.cli.published_copy import leave_copy


def run_tuning(
    warehouse: Path | None,
    name: str,
    task: str,
    query: str,
    architecture: str | None,
    options: Mapping[str, Any],
    *,
    trials: int,
    parallel: int,
    compare: bool,
    patience: float,
    publishing: bool,
    as_json: bool,
) -> None:
    """Search, register the best, and print the trials and what they gained."""
    access = WarehouseAccess(warehouse, patience=patience)
    columns: dict[str, Version] = {}
    with shown() as report:
        with open_patiently(lambda: connect(warehouse), AT_FIRST, report.note) as con:
            planned = plan(
                con, name=name, task=task, query=query, architecture=architecture, options=options, report=report
            )
        study = Study(access, planned, fixed=options)
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
        with access.connection(patience=patience, say=report.note) as con:
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
    if publishing:
        leave_copy(warehouse)


def _words(report: TrialReport) -> str:
    value = "" if report.value is None else f" {report.value:.4f}"
    words = f": {report.error.strip().splitlines()[-1]}" if report.error else ""
    shown_params = ", ".join(f"{key}={_short(value)}" for key, value in report.params.items())
    return f"trial {report.number} {report.status}{value} ({shown_params}){words}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
