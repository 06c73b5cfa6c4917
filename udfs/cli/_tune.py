"""How tuning looks on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models_py.registry import Version, limit_warning
from models_py.tuning import Study, TrialReport
from models_py.workshop import carry_out, plan
from udfs import connect
from udfs.cli._output import emit, emit_json, emit_table, note
from udfs.cli._train import show_metrics, shown


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
    as_json: bool,
) -> None:
    """Search, register the best, and print the trials and what they gained."""
    with connect(warehouse) as con:
        planned = plan(con, name=name, task=task, query=query, architecture=architecture, options=options)
        for text in planned.snapshot.notes:
            note(text)
        study = Study(con, planned, fixed=options)
        note(f"Study {study.name}: {', '.join(study.space)}; the metric is {study.metric} on the validation rows.")
        columns: dict[str, Version] = {}
        if compare:
            for title, weights in (("from scratch", "none"), ("fine-tuned", planned.options.weights)):
                untuned = plan(
                    con,
                    name=name,
                    task=task,
                    query=query,
                    architecture=architecture,
                    options={**options, "weights": weights},
                )
                with shown() as report:
                    columns[title] = carry_out(con, untuned, report)
        study.run(trials, parallel, _say)
        rows = con.execute(
            "select trial, status, value, params::varchar from ml.trials where study = ? "
            "order by value desc nulls last, trial",
            [study.name],
        ).fetchall()
        version = study.register_best()
        if warning := limit_warning(con, version):
            note(f"Warning: {warning}")
    columns["tuned" if not compare else "fine-tuned + tuned"] = version
    if as_json:
        found = {title: {"model": item.reference, "metrics": item.metrics} for title, item in columns.items()}
        emit_json({"study": study.name, "best": version.reference, "trials": rows, "compared": found})
        return
    emit_table(["trial", "status", study.metric, "options"], rows)
    show_metrics({title: item.metrics for title, item in columns.items()}, "on its validation rows")
    emit(f"{version.reference} is registered and the challenger.\nNext: duckspect models promote {version.reference}")


def _say(report: TrialReport) -> None:
    value = "" if report.value is None else f" {report.value:.4f}"
    words = f": {report.error.strip().splitlines()[-1]}" if report.error else ""
    shown_params = ", ".join(f"{key}={_short(value)}" for key, value in report.params.items())
    note(f"trial {report.number} {report.status}{value} ({shown_params}){words}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
