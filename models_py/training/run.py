"""A training run: its row in `ml.training_runs`, its metrics, and the folder with its checkpoints."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_py.errors import BusyWarehouseError
from models_py.model.options import as_json
from models_py.progress import TrainingReport, TrainingStoppedError
from models_py.registry import Origin, Version, finite, limit_warning, register
from models_py.training.checkpoint import last_epoch
from models_py.warehouse.access import PendingWrites, WarehouseAccess
from models_py.warehouse.folder_lock import FolderLock

if TYPE_CHECKING:
    from models_py.model.trained_model import Model
    from models_py.registry.artifact import GoldenImage
    from models_py.task import Threshold
    from models_py.training.plan import TrainingPlan

INSERT_METRIC = "insert into ml.training_metrics values (?, ?, ?, ?, ?)"
_INSERT_MISSING = """
insert into ml.training_metrics
select ?::varchar, ?::integer, ?::varchar, ?::double, ?::timestamptz
where not exists (
    from ml.training_metrics as known
    join ml.training_runs as runs using (run_id)
    where starts_with(run_id, ?) and runs.status <> 'finished' and known.epoch = ? and known.metric = ?
)
"""
_INSERT_RUN = """
insert into ml.training_runs (run_id, name, task, architecture, params, snapshot_sha256, status, device, started_at)
values (?, ?, ?, ?, ?, ?, 'running', ?, ?)
"""
_STOP_EARLIER = """
update ml.training_runs set status = 'stopped', error = 'killed', finished_at = ?
where status = 'running' and starts_with(run_id, ?)
"""
_END = "update ml.training_runs set status = ?, error = ?, finished_at = ? where run_id = ?"
_UNWRITTEN = "unwritten.json"
FAREWELL = 10.0
"""Seconds for which a stopped run tries to record that; otherwise the next to open the warehouse does it."""


class TrainingRun(TrainingReport):
    """One row of `ml.training_runs`, with a row of `ml.training_metrics` per epoch and metric.

    The warehouse is open only while something is written; metrics wait in memory while others use it.
    """

    def __init__(self, access: WarehouseAccess, planned: TrainingPlan, report: TrainingReport, *, resume: bool) -> None:
        self.run_id = f"{planned.run_id}-{uuid.uuid4().hex[:8]}"
        self.folder = access.runs / planned.run_id
        self._access = access
        self._planned = planned
        self._report = report
        self._pending = PendingWrites(access)
        # The lock says whether the run lives: the system releases it however the process ends. A process id in the
        # table could belong to another process by then, and means nothing on another machine.
        self._lock = FolderLock(self.folder, "This training")
        self._pending.load(self.folder / _UNWRITTEN)
        if not resume:
            self._lock.clear()

    def start(self) -> None:
        """Insert the run's row."""
        planned = self._planned
        now = datetime.now(UTC)  # not when it is written, which may be later
        self._pending.add(_STOP_EARLIER, [now, planned.run_id])
        described = [planned.architecture.task, planned.architecture.name, as_json(planned.options)]
        row = [self.run_id, planned.name, *described, planned.dataset.sha256, planned.options.device]
        self._write_last_epoch()
        self._pending.add(_INSERT_RUN, [*row, now], is_urgent=True)

    def _write_last_epoch(self) -> None:
        """Write the metrics of the epoch that this run resumes from, if its process was killed before it wrote them."""
        last = last_epoch(self.folder)
        if last is not None and last[1]:  # checkpoints of earlier versions have no metrics
            rows = metric_rows(self.run_id, *last)
            self._pending.add(_INSERT_MISSING, *([*row, self._planned.run_id, *row[1:3]] for row in rows))

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        self._pending.try_now()
        self._report.step(epoch, epochs, step, steps, loss)

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        self._pending.add(INSERT_METRIC, *metric_rows(self.run_id, epoch, metrics))
        self._report.epoch(epoch, metrics)

    def progress(self, what: str, done: int, total: int | None, unit: str = "images", words: str = "") -> None:
        self._pending.try_now()
        self._report.progress(what, done, total, unit, words)

    def note(self, text: str) -> None:
        self._report.note(text)

    def register(
        self, model: Model, golden: Sequence[GoldenImage], threshold: Threshold | None, origin: Origin
    ) -> Version:
        """Register the model once the warehouse is free; if it stays in use, the trained model is kept for --resume."""
        patience = self._access.patience
        self.progress("Registering", 0, None)
        try:
            with self._access.connection(patience=patience, say=self.note) as con:
                self._pending.write(con)
                version = register(con, self._planned.name, model, golden, threshold, origin)
                warning = limit_warning(con, version)
        except BusyWarehouseError as error:
            raise TrainingStoppedError(
                f"{error.file} was in use by another process{error.holder} for {patience:g} seconds, so the model is "
                f"not registered yet. It is trained and kept: the same training with --resume only registers it."
            ) from error
        shutil.rmtree(self.folder, ignore_errors=True)  # the checkpoints are not needed any more
        if warning:
            self.note(f"Warning: {warning}")
        return version

    def fail(self, error: BaseException) -> None:
        """Record why the run ended; its checkpoints stay, to resume from."""
        is_stopped = isinstance(error, TrainingStoppedError | KeyboardInterrupt)
        status = "stopped" if is_stopped else "failed"
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        self._pending.add(_END, [status, reason, datetime.now(UTC), self.run_id])
        try:
            self._pending.finish(FAREWELL if is_stopped else self._access.patience, self.note)
        except BusyWarehouseError:  # --resume writes it later; until then the folder's free lock shows that it ended
            self._pending.save(self.folder / _UNWRITTEN)

    def close(self) -> None:
        """Release the folder's lock."""
        self._lock.close()


def metric_rows(run_id: str, epoch: int, metrics: Mapping[str, float | None]) -> list[list[object]]:
    """Rows of `ml.training_metrics`."""
    now = datetime.now(UTC)
    return [[run_id, epoch, name, value, now] for name, value in finite(metrics).items()]
