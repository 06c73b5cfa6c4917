"""What is installed: the wheel outside the repository, and everything but YOLO where ultralytics is not."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from environments import ROOT, install, make_environment, run_in


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_carries_the_sql_the_dbt_project_and_its_types(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {f"models_py/sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")} <= names
    stored = subprocess.run(
        ["git", "ls-files", "dbt_project", "profiles.yml"], cwd=ROOT, check=True, capture_output=True
    )
    project = {f"models_py/{path}" for path in stored.stdout.decode().split()}
    assert project == {name for name in names if name.startswith(("models_py/dbt_project", "models_py/profiles"))}
    assert {f"{package}/py.typed" for package in ("models_py", "udfs", "dashboard")} <= names


@pytest.mark.slow  # it draws, trains, scores and builds a plant of its own, with what is installed alone
def test_the_installed_wheel_runs_the_demo_outside_the_repository_and_prints_one_screen(wheel, tmp_path):
    python = make_environment(tmp_path / "environment")
    install(wheel, python)
    place = run_in(python, "-c", "import models_py, udfs, dashboard; print(udfs.__file__)", folder=tmp_path)
    assert place.stdout.startswith(str(tmp_path)), place.stderr
    result = run_in(python, str(python.with_name("duckspect")), "demo", "--units", "50", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "none failed" in result.stdout
    assert "Type next:" in result.stdout
    assert len(result.stdout.splitlines()) <= 60
    assert run_in(python, "-m", "udfs.cli", "sql", "from kpi_summary", folder=tmp_path).returncode == 0


WITHOUT = """
import sys
from importlib import import_module
from pkgutil import walk_packages

import models_py, udfs
from models_py.errors import DuckspectError
from models_py.registry import promote
from models_py.training.train import train
from served import MODELS, QUICK
from udfs import connect

def fail(name):
    raise ImportError(name)

for package in (models_py, udfs):
    for module in walk_packages(package.__path__, package.__name__ + ".", fail):
        if "yolo" not in module.name and not module.name.endswith(("__main__", ".worker")):
            import_module(module.name)
assert "ultralytics" not in sys.modules

with connect("w.duckdb") as con:
    for name, (task, query, options) in MODELS.items():
        options = {**QUICK, **options, "epochs": 1, "weights": "none"}
        architecture = "fasterrcnn_mobilenet_v3_large_320_fpn" if task == "detect" else None
        version = train(con, name="new_" + name, task=task, query=query, architecture=architecture, options=options)
        promote(con, version.reference)
    for name, (task, _, _) in MODELS.items():
        (found,) = con.execute(f"select {task}(image, 'new_{name}') from parts limit 1").fetchone()
        assert found is not None, name
    for ask in (
        lambda: train(con, name="yolo", task="detect", query=MODELS["box"][1], architecture="yolo11n"),
        lambda: con.execute("select detect(image, 'box') from parts limit 1").fetchone(),
    ):
        try:
            ask()
        except Exception as error:
            print(error)
"""


def test_everything_but_yolo_works_where_ultralytics_is_not_installed(built, tmp_path):
    for name in ("w.duckdb", "w_files"):
        (shutil.copytree if (built.parent / name).is_dir() else shutil.copy)(built.parent / name, tmp_path / name)
    python = make_environment(tmp_path / "environment", without="ultralytics")
    path = f"{ROOT}:{ROOT / 'tests'}"
    result = run_in(python, "-W", "ignore", "-c", WITHOUT, folder=tmp_path, path=path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Install it with `pip install ultralytics`, or choose a torchvision detector.") == 2
    loaded = ["-m", "udfs.cli", "ingest", str(built.parent / "parts"), "-w", "new.duckdb"]
    ingested = run_in(python, *loaded, folder=tmp_path, path=path)
    assert ingested.returncode == 0, ingested.stderr
