"""A backup is a warehouse at one moment, also while it is served, without tokens; it is restored whole or not."""

import json
import shutil
import threading

import pytest
from conftest import duckspect
from server import serving
from test_ingest import load, state
from test_serving import png

from models_py.errors import DuckspectError
from udfs import connect
from udfs.backup import MANIFEST, backup, restore
from udfs.serving.tokens import add_token, read_tokens, tokens_path

SCORES = "select uri, predict(uri, 'kind') as found from raw.inspections order by uri"
ERRORS = "select count(*) from raw.inspections where image_error(uri) is not null"


@pytest.fixture
def plant(built, tmp_path):
    """The served warehouse with its images, in a folder that it can be moved with."""
    shutil.copytree(built.parent, tmp_path / "plant")
    return tmp_path / "plant/w.duckdb"


def below(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_restored_warehouse_scores_and_loads_as_the_one_that_was_saved(plant, tmp_path):
    add_token(tokens_path(None, plant), "line1", "writer")
    said = duckspect("backup", str(tmp_path / "saved/today"), "-w", str(plant))
    assert said.returncode == 0, said.stderr
    with connect(plant) as con:
        before, scores = state(con), con.execute(SCORES).fetchall()
    shutil.rmtree(plant.parent)
    said = duckspect("restore", str(tmp_path / "saved/today"), str(tmp_path / "again"))
    assert said.returncode == 0, said.stderr
    assert below(tmp_path / "again") == below(tmp_path / "saved/today") - {MANIFEST}
    assert "w.tokens.json" not in below(tmp_path / "again")
    with connect(tmp_path / "again/w.duckdb") as con:
        assert state(con) == before
        assert con.execute(SCORES).fetchall() == scores
        report = load(con, tmp_path / "again/parts", layout="images")
        assert (report.unchanged, report.bytes_read, report.moved) == (report.samples, 0, ())
        assert state(con) == before


def test_a_backup_is_taken_while_verdicts_are_given_and_has_those_given_before_it_and_no_token(plant, tmp_path):
    with serving(plant) as server:
        given = [server.predict("kind", png(7000 + number), unit_id=f"U{number}").json() for number in range(3)]
        stop, statuses = threading.Event(), []

        def ask():
            while not stop.is_set():
                statuses.append(server.predict("kind", png(8000 + len(statuses)), unit_id="later").status_code)

        client = threading.Thread(target=ask)
        client.start()
        said = duckspect("backup", str(tmp_path / "saved"), "-w", str(plant), "--json")
        restored = duckspect("restore", str(tmp_path / "saved"), str(tmp_path / "again"), "--json")
        stop.set()
        client.join()
        secrets = [*server.tokens.values(), *(token.sha256 for token in read_tokens(server.tokens_file))]
        assert (said.returncode, restored.returncode) == (0, 0), said.stderr + restored.stderr
        assert json.loads(said.stdout)["missing"] == json.loads(said.stdout)["left_out"] == 0
    assert set(statuses) == {200}
    assert len(secrets) == 6
    for folder in ("saved", "again"):
        for name in below(tmp_path / folder):
            data = (tmp_path / folder / name).read_bytes()
            assert not [secret for secret in secrets if secret.encode() in data], name
    with connect(tmp_path / "again/w.duckdb") as con:
        ids = {request for (request,) in con.execute("select request_id from ml.verdicts").fetchall()}
        assert {answer["request_id"] for answer in given} <= ids
        assert con.execute(ERRORS).fetchone() == (0,)  # an image is kept before its verdict is given
        again = con.execute("select predict(uri, 'kind').label from raw.inspections where unit_id = 'U0'").fetchone()
        assert again == (given[0]["label"],)


def test_a_restore_beside_a_server_disturbs_neither(plant, tmp_path):
    backup(plant, tmp_path / "saved")
    with serving(plant) as server:
        restore(tmp_path / "saved", tmp_path / "again")
        with connect(tmp_path / "again/w.duckdb") as con:
            assert con.execute(ERRORS).fetchone() == (0,)
        assert server.predict("kind", png(1)).status_code == 200


def test_images_outside_stay_where_they_are_and_others_may_be_left_out(plant, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.png").write_bytes(png(1))
    with connect(plant) as con:
        load(con, tmp_path / "elsewhere", layout="images")
        (plant.parent / "parts/part000.png").unlink()
    full, part = backup(plant, tmp_path / "full"), backup(plant, tmp_path / "part", with_images=False)
    assert (full.outside, full.missing, full.left_out) == (1, 1, 0)
    assert (part.outside, part.missing, part.left_out) == (1, 0, full.files - part.files + 1)
    assert not [name for name in below(tmp_path / "part") if name.startswith("parts/")]
    restore(tmp_path / "part", tmp_path / "again")
    with connect(tmp_path / "again/w.duckdb") as con:  # those that were left out are read where they are
        assert con.execute(ERRORS).fetchone() == (1,)


def test_nothing_is_overwritten_and_nothing_is_left_of_what_failed(plant, tmp_path):
    backup(plant, tmp_path / "saved")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    with pytest.raises(DuckspectError, match="taken exists already and is never overwritten"):
        backup(plant, tmp_path / "taken")
    with pytest.raises(DuckspectError, match="taken exists already and is never overwritten"):
        restore(tmp_path / "saved", tmp_path / "taken")
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "saved", tmp_path / "empty")
    with pytest.raises(DuckspectError, match="There is no warehouse at"):
        backup(tmp_path / "none.duckdb", tmp_path / "new")
    with pytest.raises(DuckspectError, match=r"cannot be written, so there is none"):
        backup(plant, tmp_path / "taken/file/new")
    assert {item.name for item in tmp_path.iterdir()} == {"plant", "saved", "taken", "empty"}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (
            lambda saved: (saved / "parts/part001.png").write_bytes(b"x"),
            "1 of its files are not what was saved: parts/",
        ),
        (lambda saved: (saved / "parts/part001.png").unlink(), "1 of its files are missing: parts/part001.png"),
        (lambda saved: (saved / MANIFEST).unlink(), "is no backup, for it has no manifest.json"),
        (lambda saved: (saved / MANIFEST).write_text('{"files": ['), "is no list of a backup"),
        (
            lambda saved: change(saved, lambda facts: facts["files"][1].update(path="../x")),
            "'../x' is no path below it",
        ),
        (lambda saved: change(saved, lambda facts: facts["files"][1].update(path="/x")), "'/x' is no path below it"),
        (lambda saved: change(saved, lambda facts: facts.update(format=2)), "has the format 2, but this duckspect"),
        (lambda saved: change(saved, lambda facts: facts["files"].pop(0)), "it has no w.duckdb"),
    ],
    ids=["changed", "lost", "no list", "torn list", "up", "absolute", "newer", "no warehouse"],
)
def test_a_damaged_backup_is_refused_in_a_sentence(plant, tmp_path, damage, why):
    backup(plant, tmp_path / "saved")
    damage(tmp_path / "saved")
    with pytest.raises(DuckspectError, match=why):
        restore(tmp_path / "saved", tmp_path / "again")
    assert {item.name for item in tmp_path.iterdir()} == {"plant", "saved"}


def change(saved, how):
    facts = json.loads((saved / MANIFEST).read_text())
    how(facts)
    (saved / MANIFEST).write_text(json.dumps(facts))
