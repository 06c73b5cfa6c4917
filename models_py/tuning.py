"""Search for better training options: every trial is a row of `ml.trials`, and the rows are all a study remembers.

Trials run in processes of their own, one training each, so that one that promises nothing can be stopped at once and
several can run side by side. This process alone writes to the warehouse.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.architectures import find_architecture
from models_py.devices import find_devices
from models_py.errors import DuckspectError
from models_py.images.decode import open_bytes
from models_py.options import Search, as_dict, as_json, parse_options, search_space
from models_py.registry import Golden, Origin, Version, artifacts_folder, load_artifact, register, save_artifact
from models_py.snapshot import read_parquet, write_parquet
from models_py.tasks import Threshold, find_task, options_of
from models_py.workshop import GOLDEN_IMAGES, Plan, fit_plan

if TYPE_CHECKING:
    import duckdb

_MODEL, _ROWS = "model", "rows.parquet"
_MOST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class TrialReport:
    """How one trial ended."""

    number: int
    params: dict[str, Any]
    status: str
    value: float | None
    error: str | None = None


@dataclass(slots=True)
class _Running:
    trial: Any
    number: int
    process: Any
    pipe: Connection
    folder: Path
    run_id: str


Announce = Callable[[TrialReport], None]


def _quiet(report: TrialReport) -> None:
    """Announce nothing."""


class Study:
    """One search: a plan whose options may be varied, and the trials made of it so far."""

    def __init__(self, con: duckdb.DuckDBPyConnection, planned: Plan, *, fixed: Mapping[str, Any]) -> None:
        self._con = con
        self._planned = planned
        self._task = find_task(planned.architecture.task)
        kind = options_of(planned.architecture.task)
        self.space = {name: space for name, space in search_space(kind).items() if name not in fixed}
        if not self.space:
            raise DuckspectError(f"tune: every option that can be tuned is given: {', '.join(search_space(kind))}.")
        described = [planned.name, planned.architecture.name, as_json(planned.options), planned.snapshot.sha256]
        digest = hashlib.sha256(json.dumps([described, sorted(self.space)]).encode()).hexdigest()[:12]
        self.name = f"{planned.name}-{digest}"
        self.metric = self._task.primary
        self.folder = artifacts_folder(con).parent / "runs" / self.name
        self._failures = 0
        self._study = self._recall()

    def _recall(self) -> Any:
        """Build the study from the warehouse; trials that were running when it was killed count as failed."""
        optuna = _optuna()
        self._con.execute(
            "update ml.trials set status = 'failed', finished_at = now() where study = ? and status = 'running'",
            [self.name],
        )
        sampler = optuna.samplers.TPESampler(seed=self._planned.options.seed, constant_liar=True, n_startup_trials=5)
        warmup = max(1, self._planned.options.epochs // 4)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup)
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        states = {
            "finished": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }
        for params, status, value, run_id in self._con.execute(
            "select params, status, value, run_id from ml.trials where study = ? order by trial", [self.name]
        ).fetchall():
            is_complete = status == "finished" and value is not None
            study.add_trial(
                optuna.trial.create_trial(
                    params=json.loads(params),
                    distributions={name: _distribution(space) for name, space in self.space.items()},
                    value=value if is_complete else None,
                    intermediate_values=self._intermediate(run_id),
                    state=states[status] if is_complete or status != "finished" else states["failed"],
                )
            )
        return study

    def _intermediate(self, run_id: str) -> dict[int, float]:
        rows = self._con.execute(
            "select epoch, value from ml.training_metrics where run_id = ? and metric = ? and value is not null",
            [run_id, f"val/{self.metric}"],
        ).fetchall()
        return {int(epoch): float(value) for epoch, value in rows}

    def run(self, trials: int, parallel: int, announce: Announce = _quiet) -> None:
        """Make trials until there are so many in all; stopped from outside, the running ones are given up."""
        write_rows = self.folder / _ROWS
        self.folder.mkdir(parents=True, exist_ok=True)
        write_parquet(self._planned.snapshot, write_rows)
        devices = [str(device) for device in find_devices(self._planned.options.device)]
        running: list[_Running] = []
        try:
            while self._made() < trials or running:
                while len(running) < parallel and self._made() < trials:
                    busy = len(running)
                    running.append(self._start(parallel, devices[busy % len(devices)]))
                self._listen(running, announce)
        finally:
            for item in running:
                item.process.terminate()
                item.process.join()
                self._close(item, "failed", None)

    def _made(self) -> int:
        row = self._con.execute(
            "select count(*) from ml.trials where study = ? and status <> 'failed'", [self.name]
        ).fetchone()
        return int(row[0]) if row else 0

    def _start(self, parallel: int, device: str) -> _Running:
        trial = self._study.ask({name: _distribution(space) for name, space in self.space.items()})
        run_id = f"{self.name}-{trial.number}"
        folder = self.folder / str(trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        values = as_dict(self._planned.options) | trial.params | {"device": device.replace("cuda:", "")}
        architecture = self._planned.architecture
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // parallel)
        process = context.Process(
            target=work,
            args=(theirs, str(self.folder / _ROWS), architecture.task, architecture.name, values, str(folder), threads),
        )
        self._con.execute(
            "insert into ml.trials (study, trial, name, params, metric, status, run_id, started_at) "
            "values (?, ?, ?, ?, ?, 'running', ?, now())",
            [self.name, trial.number, self._planned.name, json.dumps(trial.params), self.metric, run_id],
        )
        process.start()
        theirs.close()
        return _Running(trial, trial.number, process, ours, folder, run_id)

    def _listen(self, running: list[_Running], announce: Announce) -> None:
        """Wait for news of any trial, and act on it."""
        ready = wait([item.pipe for item in running])
        for item in [item for item in running if item.pipe in ready]:
            try:
                kind, payload = item.pipe.recv()
            except EOFError:
                kind, payload = "error", "the process ended without a word"
            if kind == "epoch" and not self._is_hopeless(item, *payload):
                continue
            running.remove(item)
            report = self._end(item, kind, payload)
            announce(report)
            self._failures = self._failures + 1 if report.status == "failed" else 0
            if self._failures >= _MOST_FAILURES:
                raise DuckspectError(f"tune: {_MOST_FAILURES} trials in a row failed, the last with: {report.error}")

    def _is_hopeless(self, item: _Running, epoch: int, metrics: Mapping[str, float | None]) -> bool:
        now = datetime.now(UTC)
        self._con.executemany(
            "insert into ml.training_metrics values (?, ?, ?, ?, ?)",
            [[item.run_id, epoch, name, value, now] for name, value in metrics.items()],
        )
        value = metrics.get(f"val/{self.metric}")
        if value is None:
            return False
        item.trial.report(value, epoch)
        return bool(item.trial.should_prune())

    def _end(self, item: _Running, kind: str, payload: Any) -> TrialReport:
        item.process.terminate()
        item.process.join()
        item.pipe.close()
        status = {"done": "finished", "epoch": "pruned", "error": "failed"}[kind]
        value = payload.get(self.metric) if kind == "done" else None
        self._close(item, status, value)
        if status == "finished" and value is not None:
            self._study.tell(item.trial, value)
        else:
            states = _optuna().trial.TrialState
            self._study.tell(item.trial, state=states.PRUNED if status == "pruned" else states.FAIL)
        self._keep_best()
        return TrialReport(item.number, dict(item.trial.params), status, value, payload if kind == "error" else None)

    def _close(self, item: _Running, status: str, value: float | None) -> None:
        self._con.execute(
            "update ml.trials set status = ?, value = ?, finished_at = now() where study = ? and trial = ?",
            [status, value, self.name, item.number],
        )

    def _keep_best(self) -> None:
        """Only the best trial's model is worth its room on disk, and those still being made."""
        best = self.best()
        rows = self._con.execute(
            "select trial from ml.trials where study = ? and status <> 'running' and trial <> ?",
            [self.name, -1 if best is None else best[0]],
        ).fetchall()
        for (number,) in rows:
            shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def best(self) -> tuple[int, dict[str, Any], float] | None:
        """Number, options and value of the best trial; the earlier of equal ones."""
        row = self._con.execute(
            "select trial, params, value from ml.trials where study = ? and status = 'finished' and value is not null "
            "order by value desc, trial limit 1",
            [self.name],
        ).fetchone()
        return None if row is None else (int(row[0]), json.loads(row[1]), float(row[2]))

    def register_best(self) -> Version:
        """Register the best trial's model like any trained version."""
        best = self.best()
        if best is None:
            raise DuckspectError("tune: no trial reached the end, so there is nothing to register.")
        number, params, _ = best
        kind = options_of(self._planned.architecture.task)
        options = parse_options(kind, as_dict(self._planned.options) | params)
        folder = self.folder / str(number) / _MODEL
        metrics = json.loads((folder / "metrics.json").read_text())
        model = load_artifact(folder / "artifact")
        chosen = metrics.pop("threshold")
        snapshot = self._planned.snapshot
        golden = [open_bytes(item.image) for item in snapshot.sample("val", GOLDEN_IMAGES)]
        origin = Origin(as_dict(options), metrics, snapshot, parent=f"trial {number} of {self.name}")
        version = register(
            self._con, self._planned.name, model, golden, None if chosen is None else Threshold(**chosen), origin
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        return version


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise DuckspectError(
            "tune: needs the package optuna. Install it with: pip install 'duckspect[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(space: Search) -> Any:
    distributions = _optuna().distributions
    if space.choices:
        return distributions.CategoricalDistribution(space.choices)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)


class _Piped:
    """A report that goes to the process that runs the study."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Steps are too many to send."""

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        self._pipe.send(("epoch", (epoch, dict(metrics))))

    def note(self, text: str) -> None:
        """There is nobody to read it."""


def work(
    pipe: Connection, rows: str, task: str, architecture: str, values: dict[str, Any], folder: str, threads: int
) -> None:
    """Make one trial in a process of its own, and leave the model in its folder."""
    import torch

    torch.set_num_threads(threads)
    try:
        options = parse_options(options_of(task), values)
        planned = Plan("trial", find_architecture(task, architecture), options, read_parquet(Path(rows)))
        model, metrics, threshold = fit_plan(planned, Path(folder), _Piped(pipe))
        place = Path(folder) / _MODEL
        save_artifact(model, place / "artifact", Golden((), ()), None, as_dict(options))
        chosen = None if threshold is None else asdict(threshold)
        (place / "metrics.json").write_text(json.dumps({**metrics, "threshold": chosen}))
        pipe.send(("done", metrics))
    except DuckspectError as error:
        pipe.send(("error", str(error)))
    except Exception as error:  # noqa: BLE001 - whatever ends a trial is told to the study, which goes on
        pipe.send(("error", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
