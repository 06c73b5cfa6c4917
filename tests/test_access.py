"""Training beside other processes: what they can do meanwhile, who waits for whom, and what an end leaves behind."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import duckdb
import pytest
from drawn import SIDE, draw_parts, fill_table
from waiting import PATIENCE, wait_for

from models_py.errors import BusyWarehouseError, DuckspectError, WarehouseError
from models_py.progress import SilentReport, TrainingStoppedError
from models_py.registry import artifacts_folder, collect_garbage
from models_py.tasks.detect.processes import FileReport, FileReportReader
from models_py.training.plan import plan
from models_py.training.train import carry_out, train
from models_py.warehouse.access import PendingWrites, WarehouseAccess
from models_py.warehouse.folder_lock import FolderLock, holder_of
from udfs import connect

QUERY = "select image, label from parts"
QUICK = {"epochs": 2, "batch": 8, "image_size": SIDE, "weights": "none", "precision": "fp32"}
LONG = {**QUICK, "epochs": 5000, "patience": 5000}
HOLDER = """
import sys
from udfs import connect
with connect(sys.argv[1]) as con:
    print("held", flush=True)
    sys.stdin.readline()
    con.execute("create or replace table held_by as select 1 as i")
"""


@pytest.fixture
def filled(tmp_path):
    with connect(tmp_path / "w.duckdb") as con:
        fill_table(con, draw_parts(tmp_path / "parts", count=24))
    return tmp_path / "w.duckdb"


def until(question, process=None):
    """Ask another process's traces until there is an answer."""

    def answer():
        assert process is None or process.poll() is None, "it ended too early"
        return question()

    return wait_for(answer)


def last_epoch(warehouse):
    """What a program without duckspect reads while the training has the file closed; None while it has it open."""
    try:
        with duckdb.connect(warehouse, read_only=True) as con:
            return con.execute("select max(epoch) from ml.training_metrics").fetchall()[0][0]
    except duckdb.IOException:
        return None


def training(warehouse, *arguments):
    command = [
        sys.executable,
        "-m",
        "udfs.cli",
        "train",
        "part",
        "-t",
        "classify",
        "-a",
        "mobilenet_v3_small",
        "-q",
        QUERY,
        "-w",
        str(warehouse),
    ]
    options = [word for key, value in LONG.items() for word in ("-o", f"{key}={value}")]
    return subprocess.Popen([*command, *options, *arguments], stderr=subprocess.PIPE, text=True)


@contextmanager
def held_by_another(warehouse):
    """Another process writes the warehouse until `release` is called."""
    command = [sys.executable, "-c", HOLDER, str(warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"

        def release():
            process.stdin.write("\n")
            process.stdin.flush()

        yield release
        if process.poll() is None and not process.stdin.closed:
            process.stdin.close()


class Noted(SilentReport):
    """Remembers sentences and epochs; acts on a sentence."""

    def __init__(self, act=None):
        self.notes, self.epochs, self._act = [], [], act

    def note(self, text):
        self.notes.append(text)
        if self._act:
            self._act(text)

    def epoch(self, epoch, metrics):  # noqa: ARG002
        self.epochs.append(epoch)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_others_read_and_write_while_an_epoch_runs_and_a_stop_says_how_to_go_on(filled, number, status):
    with training(filled) as process:
        try:
            first = until(lambda: last_epoch(filled), process)
            with connect(filled) as con:
                con.execute("insert into raw.rejected_files values ('theirs', 'of another process', now())")
                with pytest.raises(DuckspectError, match=f"This training already runs in process {process.pid}"):
                    train(
                        con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERY, options=LONG
                    )
            until(lambda: (last_epoch(filled) or 0) > first, process)
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == status
    said = errors.strip().splitlines()[-1]
    assert said.startswith("Stopped; it goes on from its last whole epoch with: duckspect train part -t classify")
    assert said.endswith("--resume")
    assert "Traceback" not in errors
    with duckdb.connect(filled, read_only=True) as con:
        assert con.execute("select status, finished_at is null from ml.training_runs").fetchall() == [
            ("stopped", False)
        ]
        assert con.execute("from raw.rejected_files select uri").fetchall() == [("theirs",)]


def test_a_killed_training_is_not_left_running_and_goes_on(filled):
    with training(filled) as process:
        reached = until(lambda: last_epoch(filled), process)
        process.kill()
    with duckdb.connect(filled, read_only=True) as con:
        assert con.execute("select status from ml.training_runs").fetchall() == [("running",)]
    with connect(filled) as con:
        row = con.execute(
            "select status, error, finished_at = (select max(measured_at) from ml.training_metrics) "
            "from ml.training_runs"
        ).fetchall()
        assert row == [("stopped", "killed", True)]
        first = []

        class First(SilentReport):
            def epoch(self, epoch, metrics):  # noqa: ARG002
                first.append(epoch)
                raise TrainingStoppedError("seen enough")

        with pytest.raises(TrainingStoppedError):
            train(
                con,
                name="part",
                task="classify",
                architecture="mobilenet_v3_small",
                query=QUERY,
                options=LONG,
                report=First(),
                resume=True,
            )
    assert first[0] > reached


def test_registering_waits_for_another_writer_and_says_so_once(filled):
    with connect(filled) as con:
        planned = plan(con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERY, options=QUICK)
    with held_by_another(filled) as release:
        report = Noted(act=lambda text: release() if "waiting for it" in text else None)
        version = carry_out(WarehouseAccess(filled, patience=60), planned, report)
    assert version.reference == "part@1"
    assert [text for text in report.notes if "waiting" in text] == [
        text for text in report.notes if str(filled) in text
    ]
    assert sum("waiting" in text for text in report.notes) == 1
    with connect(filled) as con:
        assert con.execute("select status, version from ml.training_runs").fetchall() == [("finished", 1)]
        assert con.execute("select distinct epoch from ml.training_metrics order by 1").fetchall() == [(1,), (2,)]
        assert con.execute("from held_by").fetchall() == [(1,)]


def test_a_model_that_could_not_be_registered_is_registered_later_without_training(filled):
    with connect(filled) as con:
        planned = plan(con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERY, options=QUICK)
    access = WarehouseAccess(filled, patience=0)
    with held_by_another(filled) as release:
        with pytest.raises(TrainingStoppedError, match=r"in use by another process .* with --resume only registers it"):
            carry_out(access, planned, SilentReport())
        release()
    again = Noted()
    version = carry_out(access, planned, again, resume=True)
    assert (version.reference, again.epochs) == ("part@1", [])
    with connect(filled) as con:
        statuses = con.execute("select status from ml.training_runs order by started_at").fetchall()
        assert statuses == [("stopped",), ("finished",)]
        assert con.execute("select distinct epoch from ml.training_metrics order by 1").fetchall() == [(1,), (2,)]
        assert not (artifacts_folder(con).parent / "runs" / planned.run_id).exists()


def test_what_is_on_record_as_running_is_stopped_unless_its_process_lives(filled):
    runs = filled.with_name("w_files") / "runs"
    row = ", 'part', 'classify', 'resnet18', '{}', '', 'running', now())"
    with connect(filled) as con:
        for folder in ("dead", "alive"):
            con.execute(
                "insert into ml.training_runs (run_id, name, task, architecture, params, snapshot_sha256, status, "
                f"started_at) values ('{folder}-12345678'{row}"
            )
            con.execute(
                "insert into ml.trials (study, trial, name, params, metric, status, started_at) "
                f"values ('{folder}', 0, 'part', '{{}}', 'accuracy', 'running', now())"
            )
    with FolderLock(runs / "alive", "It"):
        connect(filled).close()
        with connect(filled) as con:
            assert con.execute("select left(run_id, -9), status from ml.training_runs order by 1").fetchall() == [
                ("alive", "running"),
                ("dead", "stopped"),
            ]
            assert con.execute("select study, status from ml.trials order by 1").fetchall() == [
                ("alive", "running"),
                ("dead", "failed"),
            ]
            con.execute("update ml.training_runs set status = 'finished'")
            assert runs / "alive" not in collect_garbage(con)
    with connect(filled) as con:
        assert runs / "alive" in collect_garbage(con)


def test_a_folder_has_one_worker_and_names_it(tmp_path):
    folder = tmp_path / "work"
    assert holder_of(folder) is None
    with FolderLock(folder, "This") as lock:
        (folder / "part").mkdir()
        (folder / "file").touch()
        assert holder_of(folder) == os.getpid()
        with pytest.raises(DuckspectError, match=f"This already runs in process {os.getpid()}"):
            FolderLock(folder, "This")
        lock.clear()
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert holder_of(folder) is None
    FolderLock(folder, "This").close()


def test_processes_that_were_forked_do_not_hold_the_folder(tmp_path):
    ours, theirs = multiprocessing.Pipe()

    def live():
        theirs.send("here")
        theirs.recv()

    with FolderLock(tmp_path, "This"):
        child = multiprocessing.get_context("fork").Process(target=live, daemon=True)
        child.start()
        assert ours.recv() == "here"
    assert holder_of(tmp_path) is None
    ours.send("enough")
    child.join()


def test_writes_that_wait_are_kept_in_order_and_survive_in_a_file(filled, tmp_path):
    access = WarehouseAccess(filled, pause=0)
    pending = PendingWrites(access)
    with held_by_another(filled) as release:
        pending.add("insert into raw.rejected_files values (?, 'first', now())", ["a"], ["b"])
        pending.add("update raw.rejected_files set reason = ? where uri = ?", ["second", "b"])
        with pytest.raises(BusyWarehouseError):
            pending.finish(0)
        pending.save(tmp_path / "kept.json")
        release()
    later = PendingWrites(access)
    later.load(tmp_path / "kept.json")
    later.finish(30)
    with connect(filled) as con:
        assert con.execute("select uri, reason from raw.rejected_files order by 1").fetchall() == [
            ("a", "first"),
            ("b", "second"),
        ]


def test_a_warehouse_that_was_taken_away_is_not_made_anew(tmp_path):
    access = WarehouseAccess(tmp_path / "gone.duckdb")
    with pytest.raises(WarehouseError, match=r"There is no warehouse at .*gone.duckdb any more"), access.connection():
        pass
    assert not (tmp_path / "gone.duckdb").exists()


def test_processes_on_several_gpus_report_to_the_one_that_started_them_and_end_with_it(tmp_path):
    told = []

    class Told(SilentReport):
        def step(self, *numbers):
            told.append(("step", *numbers))

        def epoch(self, epoch, metrics):
            told.append(("epoch", epoch, metrics))

        def progress(self, *facts):
            told.append(("progress", *facts))

    with FolderLock(tmp_path, "It"):
        written, reader = FileReport(tmp_path), FileReportReader(tmp_path, Told())
        written.step(1, 3, 4, 9, 0.5)
        reader.read()
        written.epoch(1, {"val/map50": 0.25})
        reader.read()
        reader.read()
        FileReport(tmp_path).progress("Validating", 2, 8)
        reader.read()
        assert told == [
            ("step", 1, 3, 4, 9, 0.5),
            ("epoch", 1, {"val/map50": 0.25}),
            ("progress", "Validating", 2, 8, "images", ""),
        ]
    with pytest.raises(SystemExit, match="the process that started this training is gone"):
        written.step(1, 3, 5, 9, 0.5)
    assert json.loads((tmp_path / "now.json").read_text())[0] == "progress"
