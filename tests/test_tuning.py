"""Tuning: the search space beside the options, trials as rows, pruning, resuming, and the best one registered."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import duckspect
from drawn import SIDE, draw_parts, fill_table

from models_py.errors import DuckspectError
from models_py.registry import find, load
from models_py.training.plan import plan
from models_py.training.tuning import Study
from udfs import connect

QUERY = "select image, label from parts"
FIXED = {"epochs": "2", "image_size": str(SIDE), "weights": "none", "batch": "8", "precision": "fp32"}


@pytest.fixture
def con(tmp_path):
    with connect(tmp_path / "w.duckdb") as opened:
        fill_table(opened, draw_parts(tmp_path / "parts", count=24))
        yield opened


def study_of(con, **options):
    fixed = {**FIXED, **options}
    planned = plan(con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERY, options=fixed)
    return Study(con, planned, fixed=fixed)


def test_every_trial_is_a_row_and_the_best_one_is_registered(con):
    study = study_of(con)
    assert set(study.space) == {"learning_rate", "weight_decay", "smoothing", "zoom", "light"}
    told = []
    study.run(3, 2, told.append)
    rows = con.execute("select trial, status, value, params from ml.trials order by trial").fetchall()
    assert [row[0] for row in rows] == [0, 1, 2]
    assert sorted(report.number for report in told) == [0, 1, 2]
    assert {row[1] for row in rows} <= {"finished", "pruned"}
    assert all(set(json.loads(row[3])) == set(study.space) for row in rows)
    epochs = con.execute("select run_id, max(epoch) from ml.training_metrics group by all").fetchall()
    assert {run for run, _ in epochs} == {f"{study.name}-{number}" for number in range(3)}
    number, params, value = study.best()
    assert value == max(row[2] for row in rows if row[2] is not None)
    version = study.register_best()
    assert version.reference == "part@1"
    assert version.metrics["accuracy"] == value
    assert {key: version.params[key] for key in params} == params
    assert version.parent == f"trial {number} of {study.name}"
    assert load(con, "part@challenger").labels == ("bar", "good", "spot")
    assert not study.folder.exists()


def test_a_study_goes_on_where_it_was(con):
    study_of(con).run(2, 1)
    study = study_of(con)
    study.run(3, 1)
    assert con.execute("select count(*), count(distinct study) from ml.trials").fetchone() == (3, 1)
    study.run(3, 1)
    assert con.execute("select count(*) from ml.trials").fetchone() == (3,)


def test_a_killed_study_goes_on_and_its_running_trials_count_as_failed(tmp_path):
    with connect(tmp_path / "w.duckdb") as con:
        fill_table(con, draw_parts(tmp_path / "parts", count=24))
    options = [part for key, value in FIXED.items() for part in ("-o", f"{key}={value}")]
    command = [
        sys.executable,
        "-m",
        "udfs.cli",
        "tune",
        "part",
        "--task",
        "classify",
        "--query",
        QUERY,
        "-a",
        "mobilenet_v3_small",
    ]
    command += ["--warehouse", str(tmp_path / "w.duckdb"), "--trials", "50", "--parallel", "2", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stderr:
            if line.startswith("trial"):
                break
        with connect(tmp_path / "w.duckdb") as con:  # trials run, and others write
            con.execute("insert into raw.rejected_files values ('theirs', 'of another process', now())")
        os.killpg(process.pid, signal.SIGKILL)
    with connect(tmp_path / "w.duckdb") as con:
        finished = con.execute("select count(*) from ml.trials where status in ('finished', 'pruned')").fetchone()[0]
        study = study_of(con)
        assert con.execute("select count(*) from ml.trials where status = 'running'").fetchone() == (0,)
        assert finished >= 1
        study.run(finished + 1, 1)
        kept = con.execute("select count(*) from ml.trials where status in ('finished', 'pruned')").fetchone()[0]
        assert kept == finished + 1
        assert study.register_best().reference == "part@1"


def test_a_trial_that_promises_nothing_is_stopped(con):
    study = study_of(con, epochs="4")
    study.run(5, 1)
    con.execute("update ml.training_metrics set value = 0.9 where metric = 'val/accuracy'")
    con.execute("update ml.trials set value = 0.9, status = 'finished'")
    trial = study_of(con, epochs="4")._study.ask()
    trial.report(0.1, 3)
    assert trial.should_prune()


def test_a_failing_trial_is_told_and_the_study_goes_on(con):
    study = study_of(con)
    told = []
    for file in con.execute("select image from parts where label = 'spot'").fetchall():
        torch.save({}, file[0])
    with pytest.raises(DuckspectError, match=r"5 trials in a row failed, the last with: .*part.*not an image"):
        study.run(20, 2, told.append)
    assert all(report.status == "failed" and "not an image" in report.error for report in told)
    with pytest.raises(DuckspectError, match="no trial reached the end"):
        study.register_best()
    with pytest.raises(DuckspectError, match="there is no 'part'"):
        find(con, "part")


def test_the_command_line_compares_untuned_and_tuned(tmp_path):
    with connect(tmp_path / "w.duckdb") as con:
        fill_table(con, draw_parts(tmp_path / "parts", count=24))
    options = [part for key, value in FIXED.items() if key != "weights" for part in ("-o", f"{key}={value}")]
    command = [
        "tune",
        "part",
        "-t",
        "classify",
        "-a",
        "mobilenet_v3_small",
        "-q",
        QUERY,
        "--trials",
        "1",
        "--compare",
        "--json",
        *options,
    ]
    found = json.loads(duckspect(*command, "-w", str(tmp_path / "w.duckdb")).stdout)
    assert list(found["compared"]) == ["from scratch", "fine-tuned", "fine-tuned + tuned"]
    assert [item["model"] for item in found["compared"].values()] == ["part@1", "part@2", "part@3"]
    assert found["best"] == "part@3"


def test_nothing_left_to_tune_is_said(con):
    fixed = {**FIXED, "learning_rate": "0.001", "weight_decay": "0", "smoothing": "0", "zoom": "0", "light": "0"}
    planned = plan(con, name="part", task="classify", architecture="mobilenet_v3_small", query=QUERY, options=fixed)
    with pytest.raises(DuckspectError, match="every option that can be tuned is given"):
        Study(con, planned, fixed=fixed)
