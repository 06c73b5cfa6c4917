"""Every query of the cookbook runs on a plant, opens with its question, and says something true."""

import re
from pathlib import Path

import pytest

from models_py.warehouse.database import sql_folder
from models_py.warehouse.location import stored_uris
from udfs import connect
from udfs.statements.guard import hints

QUERIES = sorted((sql_folder() / "queries").glob("*.sql"))
EMPTY = {"corrected_inspections", "folder_nobody_ingested", "same_picture_twice", "unreadable_images"}


@pytest.fixture(scope="module")
def plant(built_plant):
    with connect(built_plant) as con:
        yield con


def test_there_are_at_least_twenty_and_each_opens_with_its_question():
    assert len(QUERIES) >= 20
    for file in QUERIES:
        opening = re.match(r"(-- .+\n)+", file.read_text())
        assert opening, file
        assert "?" in opening[0] or "Show me" in opening[0], file
        assert not hints(file.read_text()), file


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_a_query_of_the_cookbook_answers(plant, file):
    rows = plant.execute(file.read_text()).fetchall()
    assert rows or file.stem in EMPTY
    pictures = [value for row in rows for value in row if isinstance(value, bytes)]
    assert all(value.startswith(b"\x89PNG") for value in pictures)


def test_a_folder_nobody_ingested_is_scored(plant, tmp_path, monkeypatch):
    board = plant.execute("select uri from raw.inspections where product_type like 'PCB-%' limit 1").fetchone()[0]
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "a.jpg").write_bytes(Path(stored_uris(plant).full(board)).read_bytes())
    (incoming / "b.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    sql = (sql_folder() / "queries/folder_nobody_ingested.sql").read_text()
    assert all("DUCKSPECT_ALLOWED_ROOTS" in row[3] for row in plant.execute(sql).fetchall())
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(incoming))
    rows = plant.execute(sql).fetchall()
    assert next(row[3] for row in rows if row[0].endswith("b.txt")).startswith("not an image")
    assert len([row for row in rows if row[0].endswith("a.jpg")]) == len(
        plant.execute("select unnest(detect(?, 'pcb'))", [str(incoming / "a.jpg")]).fetchall()
    )


def test_escapes_fall_and_overkills_rise_with_a_lower_threshold(plant):
    rows = plant.execute((sql_folder() / "queries/escape_and_overkill.sql").read_text()).fetchall()
    assert [float(row[0]) for row in rows] == [0.1, 0.25, 0.5]
    assert rows[0][1] <= rows[1][1] <= rows[2][1]
    assert rows[0][2] >= rows[1][2] >= rows[2][2]


def test_yield_counts_every_board_once(plant):
    rows = plant.execute((sql_folder() / "queries/yield_by_day.sql").read_text()).fetchall()
    boards = plant.execute("select count(*) from raw.inspections where product_type like 'PCB-%'").fetchone()[0]
    assert sum(row[1] for row in rows) == boards
