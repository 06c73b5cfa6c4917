"""The SQL, shell and Python blocks of the documents run on a plant, or a comment before them says why not."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_board
from trained import copy_warehouse
from waiting import PATIENCE

from udfs import connect

ROOT = Path(__file__).parents[1]
OF_FUNCTIONS = ROOT / "docs/functions.md"  # test_functions runs the examples that this page is made of
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {OF_FUNCTIONS})]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>sh|sql|python)\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks():
    for file in DOCUMENTS:
        text = file.read_text()
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("text"))
            yield pytest.param(found, id=f"{file.relative_to(ROOT)}:{line}")


RUN = [block for block in blocks() if not block.values[0]["reason"]]


@pytest.fixture(scope="module")
def folder(built_plant, tmp_path_factory):
    """Where a reader of the documents is: a warehouse with what they name, and files to load."""
    folder = tmp_path_factory.mktemp("documents")
    copied = copy_warehouse(built_plant, folder)
    copied.rename(folder / "warehouse.duckdb")
    (folder / "w_files").rename(folder / "warehouse_files")
    with connect(folder / "warehouse.duckdb") as con:
        con.execute(
            "create table audit as select uri, label, x1, y1, x2, y2 from raw.current_annotations "
            "join raw.inspections using (uri) where product_type like 'PCB-%' and kind in ('box', 'class')"
        )
    write_board(folder / "download", "00041000", 1, "5 5 20 20 1\n")
    shutil.make_archive(str(folder / "PCBData"), "zip", folder / "download")
    write_board(folder / "more", "00051000", 2, "5 5 20 20 1\n")
    board = next((folder / "more").rglob("*_test.jpg"))
    (folder / "inspections.csv").write_text(f"image_path,defect\n{board},short\n")
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    """Variables with which `duckspect` is this repository's."""
    (folder / "bin").mkdir()
    command = folder / "bin/duckspect"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m udfs.cli "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    found = {name: value for name, value in os.environ.items() if not name.startswith("DUCKSPECT_")}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return found | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": paths}


@pytest.mark.parametrize("block", RUN)
def test_a_block_runs_as_it_is_written(block, folder, environment, monkeypatch):
    if block["language"] == "sql":
        monkeypatch.chdir(folder)
        with connect(folder / "warehouse.duckdb") as con:
            con.execute(block["text"]).fetchall()
        return
    shell = block["language"] == "sh"
    command = ["bash", "-euc", block["text"]] if shell else [sys.executable, "-c", block["text"]]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_most_blocks_run_and_the_others_say_why():
    assert len(RUN) >= 6
    for block in blocks():
        assert block.values[0]["reason"] is None or len(block.values[0]["reason"]) > 10


@pytest.mark.parametrize("file", [*DOCUMENTS, ROOT / "DECISIONS.md", ROOT / "CHANGELOG.md"], ids=lambda file: file.name)
def test_the_files_that_a_document_names_exist(file):
    text = file.read_text()
    linked = [file.parent / path for path in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in path]
    named = re.findall(r"`((?:models_py|udfs|sql|dbt_project|dashboard|tests|benchmarks|docs|\.ci)/[^`\s]+)`", text)
    missing = [str(path) for path in linked if not path.exists()]
    missing += [path for path in named if not any(ROOT.glob(path.rstrip("/")))]
    started = re.findall(r"python -m ((?:models_py|udfs|dashboard)[.\w]*)", text)
    missing += [name for name in started if not any(ROOT.glob(f"{name.replace('.', '/')}*"))]
    assert not missing


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="NO MKDOCS HERE: install the extra site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "true"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    pages = {file.stem for file in tmp_path.glob("*.html")} - {"404"}
    assert pages == {file.stem for file in (ROOT / "docs").glob("*.md")}
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
    for file in tmp_path.glob("*.html"):
        assert loaded.findall(file.read_text()) == [], file.name
    for file in tmp_path.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", file.read_text()) == [], file.name
