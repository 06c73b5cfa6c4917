"""Search for better training options with Optuna.

Every trial is a training in a process of its own, so that a bad one can be stopped at once and several can run side by
side. The trials send their metrics through pipes; only this process writes to the warehouse.

The study has no storage of its own. Trials are rows of `ml.trials` and epochs rows of `ml.training_metrics`, and a
study that is started again is rebuilt from them. After each epoch Optuna decides whether a trial is worse than the
median of the others at that epoch; then it is ended and recorded as pruned. Only the best trial's model is kept on
disk.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.datasets import write_parquet
from models_py.errors import BusyWarehouseError, DuckspectError
from models_py.images.decode import open_bytes
from models_py.model.devices import find_devices
from models_py.model.options import SearchRange, as_dict, as_json, parse_options, search_space
from models_py.progress import SilentReport, TrainingReport
from models_py.registry import Origin, Version, register
from models_py.task import find_task, options_of
from models_py.training.plan import TrainingPlan
from models_py.training.run import FAREWELL, INSERT_METRIC, metric_rows
from models_py.training.train import GOLDEN_IMAGES, read_result
from models_py.training.trial import LOOK_EVERY, make_trial
from models_py.warehouse.access import PendingWrites, Say, WarehouseAccess, access_to, quiet
from models_py.warehouse.folder_lock import FolderLock

if TYPE_CHECKING:
    import duckdb

_ROWS = "rows.parquet"
_MOST_FAILURES = 5
_INSERT = """
insert into ml.trials (study, trial, name, params, metric, status, run_id, started_at)
values (?, ?, ?, ?, ?, 'running', ?, ?)
"""
_END = "update ml.trials set status = ?, value = ?, finished_at = ? where study = ? and trial = ?"
_GIVE_UP = "update ml.trials set status = 'failed', finished_at = now() where study = ? and status = 'running'"


@dataclass(frozen=True, slots=True)
class TrialReport:
    """How one trial ended."""

    number: int
    params: dict[str, Any]
    status: str
    value: float | None
    error: str | None = None


@dataclass(slots=True)
class _RunningTrial:
    trial: Any
    number: int
    process: Any
    pipe: Connection
    folder: Path
    run_id: str
    words: str = "starting"
    """Its last progress message."""


@dataclass(slots=True)
class _TrialRow:
    """One row of `ml.trials`."""

    status: str
    params: dict[str, Any]
    value: float | None = None


Announce = Callable[[TrialReport], None]


def _quiet(report: TrialReport) -> None:
    """The default for `announce`: do nothing."""


class Study:
    """One search: a plan, the options that vary, and the trials so far."""

    def __init__(
        self, warehouse: duckdb.DuckDBPyConnection | WarehouseAccess, planned: TrainingPlan, *, fixed: Mapping[str, Any]
    ) -> None:
        self._access = access_to(warehouse)
        self._pending = PendingWrites(self._access)
        self._planned = planned
        self._task = find_task(planned.architecture.task)
        kind = options_of(planned.architecture.task)
        self.space = {name: space for name, space in search_space(kind).items() if name not in fixed}
        if not self.space:
            raise DuckspectError(f"tune: every option that can be tuned is given: {', '.join(search_space(kind))}.")
        described = [planned.name, planned.architecture.name, as_json(planned.options), planned.dataset.sha256]
        digest = hashlib.sha256(json.dumps([described, sorted(self.space)]).encode()).hexdigest()[:12]
        self.name = f"{planned.name}-{digest}"
        self.metric = self._task.primary
        self.folder = self._access.runs / self.name
        self._failures = 0
        self._trials: dict[int, _TrialRow] = {}
        self._study = self._rebuild()

    def _rebuild(self) -> Any:
        """Rebuild Optuna's study from the warehouse; trials that were running when it was killed count as failed."""
        optuna = _optuna()
        sampler = optuna.samplers.TPESampler(seed=self._planned.options.seed, constant_liar=True, n_startup_trials=5)
        warmup = max(1, self._planned.options.epochs // 4)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup)
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        states = {
            "finished": optuna.trial.TrialState.COMPLETE,
            "pruned": optuna.trial.TrialState.PRUNED,
            "failed": optuna.trial.TrialState.FAIL,
        }
        rows, epochs = self._rows()
        for number, text, stored, value, run_id in rows:
            status = "failed" if stored == "running" or (stored == "finished" and value is None) else stored
            params = json.loads(text)
            self._trials[number] = _TrialRow(status, params, value)
            study.add_trial(
                optuna.trial.create_trial(
                    params=params,
                    distributions={name: _distribution(space) for name, space in self.space.items()},
                    value=value if status == "finished" else None,
                    intermediate_values=epochs.get(run_id, {}),
                    state=states[status],
                )
            )
        return study

    def _rows(self) -> tuple[list[tuple[Any, ...]], dict[str, dict[int, float]]]:
        """The trials so far, and each one's metric after each epoch."""
        with self._access.connection() as con:
            rows = con.execute(
                "select trial, params, status, value, run_id from ml.trials where study = ? order by trial", [self.name]
            ).fetchall()
            reached = con.execute(
                "select run_id, epoch, value from ml.training_metrics where metric = ? and value is not null and "
                "run_id in (select run_id from ml.trials where study = ?)",
                [f"val/{self.metric}", self.name],
            ).fetchall()
        epochs: dict[str, dict[int, float]] = {}
        for run_id, epoch, value in reached:
            epochs.setdefault(run_id, {})[int(epoch)] = float(value)
        return rows, epochs

    def run(
        self, trials: int, parallel: int, announce: Announce = _quiet, report: TrainingReport | None = None
    ) -> None:
        """Run trials until there are `trials` in all; if this is interrupted, the running ones are marked as failed."""
        shown = report or SilentReport()
        with FolderLock(self.folder, f"The study {self.name}"):
            self._study = self._rebuild()  # another process may have continued it since
            self._pending.add(_GIVE_UP, [self.name])
            write_parquet(self._planned.dataset, self.folder / _ROWS)
            devices = [str(device) for device in find_devices(self._planned.options.device)]
            running: list[_RunningTrial] = []
            try:
                while self._made() < trials or running:
                    while len(running) < parallel and self._made() < trials:
                        busy = len(running)
                        running.append(self._start(parallel, devices[busy % len(devices)]))
                    words = "; ".join(f"trial {item.number}: {item.words}" for item in running)
                    shown.progress("Trials", self._made() - len(running), trials, "trials", words)
                    self._listen(running, announce)
            finally:
                self._give_up(running)
            self._pending.finish(self._access.patience, shown.note)

    def _give_up(self, running: list[_RunningTrial]) -> None:
        for item in running:
            item.process.terminate()
            item.process.join()
            self._close(item, "failed", None)
        if running:
            with suppress(BusyWarehouseError):  # the next study marks them as failed when it starts
                self._pending.finish(FAREWELL)

    def _made(self) -> int:
        return sum(trial.status != "failed" for trial in self._trials.values())

    def _start(self, parallel: int, device: str) -> _RunningTrial:
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
            target=make_trial,
            args=(
                theirs,
                str(self.folder / _ROWS),
                architecture.task,
                architecture.name,
                values,
                str(folder),
                str(self._access.features),
                threads,
            ),
        )
        self._trials[trial.number] = _TrialRow("running", dict(trial.params))
        described = [self.name, trial.number, self._planned.name, json.dumps(trial.params), self.metric]
        row = [*described, run_id, datetime.now(UTC)]
        self._pending.add(_INSERT, row)
        process.start()
        theirs.close()
        return _RunningTrial(trial, trial.number, process, ours, folder, run_id)

    def _listen(self, running: list[_RunningTrial], announce: Announce) -> None:
        """Wait for a message of any trial, and act on it."""
        ready = wait([item.pipe for item in running], LOOK_EVERY)
        self._pending.try_now()
        for item in [item for item in running if item.pipe in ready]:
            try:
                kind, payload = item.pipe.recv()
            except EOFError:
                kind, payload = "error", "the process ended without a word"
            if kind == "words":
                item.words = payload
                continue
            if kind == "epoch" and not self._is_hopeless(item, *payload):
                continue
            running.remove(item)
            report = self._end(item, kind, payload)
            announce(report)
            self._failures = self._failures + 1 if report.status == "failed" else 0
            if self._failures >= _MOST_FAILURES:
                raise DuckspectError(f"tune: {_MOST_FAILURES} trials in a row failed, the last with: {report.error}")

    def _is_hopeless(self, item: _RunningTrial, epoch: int, metrics: Mapping[str, float | None]) -> bool:
        self._pending.add(INSERT_METRIC, *metric_rows(item.run_id, epoch, metrics))
        value = metrics.get(f"val/{self.metric}")
        if value is None:
            return False
        item.trial.report(value, epoch)
        return bool(item.trial.should_prune())

    def _end(self, item: _RunningTrial, kind: str, payload: Any) -> TrialReport:
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

    def _close(self, item: _RunningTrial, status: str, value: float | None) -> None:
        trial = self._trials[item.number]
        trial.status, trial.value = status, value
        self._pending.add(_END, [status, value, datetime.now(UTC), self.name, item.number], is_urgent=True)

    def _keep_best(self) -> None:
        """Delete the folders of all finished trials but the best.

        While rows wait for the warehouse nothing is deleted: killed now, the study would go on from the rows that are
        written, whose best trial may be another.
        """
        if self._pending.are_waiting:
            return
        best = self.best()
        for number, trial in self._trials.items():
            if trial.status != "running" and (best is None or number != best[0]):
                shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def best(self) -> tuple[int, dict[str, Any], float] | None:
        """Number, options and value of the best trial; of equally good ones the earlier."""
        reached = [
            (trial.value, number)
            for number, trial in self._trials.items()
            if trial.status == "finished" and trial.value is not None
        ]
        if not reached:
            return None
        value, number = max(reached, key=lambda item: (item[0], -item[1]))
        return number, self._trials[number].params, value

    def register_best(self, say: Say = quiet) -> Version:
        """Register the best trial's model, as soon as no other process has the warehouse."""
        best = self.best()
        if best is None:
            raise DuckspectError("tune: no trial reached the end, so there is nothing to register.")
        number, params, _ = best
        kind = options_of(self._planned.architecture.task)
        options = parse_options(kind, as_dict(self._planned.options) | params)
        result = read_result(self.folder / str(number))
        if result is None:
            raise DuckspectError(f"tune: the model of trial {number} is missing in {self.folder}. Make more trials.")
        model, metrics, threshold = result
        dataset = self._planned.dataset
        golden = [open_bytes(item.image) for item in dataset.sample("val", GOLDEN_IMAGES)]
        origin = Origin(as_dict(options), metrics, dataset, parent=f"trial {number} of {self.name}")
        with self._access.connection(patience=self._access.patience, say=say) as con:
            version = register(con, self._planned.name, model, golden, threshold, origin)
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


def _distribution(space: SearchRange) -> Any:
    distributions = _optuna().distributions
    if space.choices:
        return distributions.CategoricalDistribution(space.choices)
    return distributions.FloatDistribution(space.low, space.high, log=space.log)
