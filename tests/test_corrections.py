"""What a load states of an inspection corrects what is stored, and what was stored before is kept."""

import json
import signal

import duckdb
import pytest
from conftest import duckspect, picture
from test_ingest import load, state, watching
from waiting import PATIENCE, wait_for

import models_py.ingest.parallel as loading
import models_py.ingest.write as writing
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.layouts import LocalStore
from udfs import connect

NOW = "select unit_id, line_id, station_id, product_type, captured_at::varchar, attributes from raw.inspections"
BEFORE = """
select unit_id, line_id, station_id, product_type, captured_at::varchar, attributes
from raw.superseded_inspections order by superseded_at
"""


def write_manifest(folder, text, name="m.csv"):
    """A manifest beside a.jpg and b.jpg."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(("a.jpg", "b.jpg")):
        if not (folder / image).exists():
            (folder / image).write_bytes(picture(number))
    (folder / name).write_text(text)
    return folder / name


def lines(con):
    return [row[0] for row in con.execute("select line_id from raw.inspections order by uri").fetchall()]


def test_a_changed_manifest_corrects_its_inspections_and_history_keeps_what_they_were(con, tmp_path):
    header = "uri,unit_id,line_id,station_id,product_type,captured_at,lot\n"
    file = write_manifest(tmp_path / "set", f"{header}a.jpg,U1,L1,S1,P1,2026-10-01 06:00:00,77\n")
    load(con, file)
    inspection = con.execute("select inspection_id, ingested_at from raw.inspections").fetchone()
    write_manifest(tmp_path / "set", f"{header}a.jpg,U2,L2,S2,P2,2026-10-02 06:00:00,78\n")
    report = load(con, file)
    assert (report.added.corrected, report.added.inspections, report.bytes_read) == (1, 0, 0)
    assert con.execute(NOW).fetchall() == [("U2", "L2", "S2", "P2", "2026-10-02 06:00:00+00", '{"lot": 78}')]
    assert con.execute(BEFORE).fetchall() == [("U1", "L1", "S1", "P1", "2026-10-01 06:00:00+00", '{"lot": 77}')]
    assert con.execute("select inspection_id, ingested_at from raw.inspections").fetchone() == inspection
    assert con.execute("select inspection_id, superseded_by from raw.superseded_inspections").fetchall() == [
        (inspection[0], f"ingest {file}")
    ]


def test_loading_again_without_a_change_corrects_nothing(con, tmp_path):
    file = write_manifest(tmp_path / "set", "uri,unit_id,line_id,captured_at,lot\na.jpg,U1,L1,2026-10-01,77\n")
    load(con, file, station_id="S1")
    before = state(con)
    for options in ({}, {"again": True}, {"station_id": "S1"}, {"station_id": "S1", "again": True}):
        assert load(con, file, **options).added.corrected == 0
    assert state(con) == before


def test_what_a_load_does_not_state_is_never_erased(con, tmp_path):
    file = write_manifest(tmp_path / "set", "uri,unit_id,line_id,captured_at,lot\na.jpg,U1,L1,2026-10-01,77\n")
    load(con, file, station_id="S1")
    stored = con.execute(NOW).fetchall()
    write_manifest(tmp_path / "set", "uri,unit_id,line_id,captured_at,lot\na.jpg,,,,\n")
    assert load(con, file).added.corrected == 0
    write_manifest(tmp_path / "set", "uri\na.jpg\n")
    assert load(con, file).added.corrected == 0
    assert con.execute(NOW).fetchall() == stored


def test_what_is_made_from_the_file_corrects_nothing(con, tmp_path):
    file = write_manifest(tmp_path / "set", "uri,unit_id,captured_at\na.jpg,U1,2026-10-01\n")
    load(con, file)
    stored = con.execute(NOW).fetchall()
    file.unlink()
    (tmp_path / "set/b.jpg").unlink()
    assert load(con, tmp_path / "set", layout="images").added.corrected == 0  # its unit would be a, its time the file's
    assert con.execute(NOW).fetchall() == stored


def test_attributes_are_stated_as_a_whole(con, tmp_path):
    load(con, write_manifest(tmp_path / "set", "uri,lot,camera\na.jpg,77,C1\n"))
    load(con, write_manifest(tmp_path / "set", "uri,shift\na.jpg,early\n"))
    assert con.execute("select attributes from raw.inspections").fetchall() == [('{"shift": "early"}',)]
    assert con.execute("select attributes from raw.superseded_inspections").fetchall() == [
        ('{"camera": "C1", "lot": 77}',)
    ]


def test_of_two_manifests_that_disagree_the_later_load_wins_and_history_keeps_both(con, tmp_path):
    first = write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L1\nb.jpg,L1\n", "one.csv")
    second = write_manifest(tmp_path / "set", "uri,line_id\nb.jpg,L2\n", "two.csv")
    assert [load(con, file).added.corrected for file in (first, second, first, second)] == [0, 1, 0, 0]
    assert lines(con) == ["L1", "L2"]
    assert load(con, first, again=True).added.corrected == 1
    assert lines(con) == ["L1", "L1"]
    assert con.execute(
        "select line_id, superseded_by from raw.superseded_inspections order by superseded_at"
    ).fetchall() == [("L1", f"ingest {second}"), ("L2", f"ingest {first}")]


def test_an_option_on_loaded_files_does_what_it_says_and_opens_none(con, boards, monkeypatch):
    load(con, boards, line_id="WRONG")
    before = state(con)
    read = LocalStore.read
    monkeypatch.setattr(
        LocalStore, "read", lambda self, path: pytest.fail(path) if path.endswith("jpg") else read(self, path)
    )
    report = load(con, boards, line_id="AUSTIN_L1", station_id="AOI 1")
    assert (report.added.corrected, report.unchanged, report.bytes_read) == (3, 3, 0)
    assert con.execute("select distinct line_id, station_id from raw.inspections").fetchall() == [
        ("AUSTIN_L1", "AOI 1")
    ]
    assert con.execute("select distinct line_id, superseded_by from raw.superseded_inspections").fetchall() == [
        ("WRONG", f"ingest {boards} --line AUSTIN_L1 --station 'AOI 1'")
    ]
    assert {**state(con), "inspections": None} == {**before, "inspections": None}
    assert load(con, boards, line_id="AUSTIN_L1").added.corrected == 0


def test_a_manifests_own_column_goes_before_the_option(con, tmp_path):
    file = write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L1\nb.jpg,\n")
    load(con, file)
    assert load(con, file, line_id="L9").added.corrected == 1
    assert lines(con) == ["L1", "L9"]


def test_an_option_on_a_folder_reaches_new_and_known_files_alike(con, tmp_path):
    folder = write_manifest(tmp_path / "set", "", "x.tmp").parent
    load(con, folder)
    (folder / "c.jpg").write_bytes(picture(3))
    report = load(con, folder, line_id="L1")
    assert (report.added.corrected, report.added.inspections) == (2, 1)
    assert lines(con) == ["L1"] * 3


@pytest.mark.parametrize(
    ("statement", "broken"),
    [("_SUPERSEDE", "select error('cut off ' || $command)"), ("_CORRECT", "select error('cut off')")],
    ids=["before the row is kept", "before it is changed"],
)
def test_a_correction_that_is_cut_off_leaves_everything_as_it_was(con, tmp_path, monkeypatch, statement, broken):
    file = write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L1\n")
    load(con, file)
    write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L2\n")
    before = state(con)
    with monkeypatch.context() as patch:
        patch.setattr(writing, statement, broken)
        with pytest.raises(duckdb.Error, match="cut off"):
            load(con, file)
    assert state(con) == before
    assert con.execute("select count(*) from raw.superseded_inspections").fetchone() == (0,)
    assert load(con, file).added.corrected == 1


def test_a_load_killed_between_two_batches_and_run_again_corrects_every_inspection_once(con, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_BATCH", 1)
    monkeypatch.setattr(loading, "_CHUNK", 1)
    count = 12
    for number in range(count):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))

    def manifest(line):
        file = tmp_path / "m.csv"
        file.write_text("\n".join(["uri,line_id", *(f"{number}.jpg,{line}" for number in range(count))]))
        return file

    def kill(done, total, size):
        if done:  # the first batch is written
            raise KeyboardInterrupt

    load(con, manifest("L1"))
    with pytest.raises(KeyboardInterrupt):
        ingest(con, open_tree(str(manifest("L2")), tmp_path), tmp_path, IngestOptions(workers=1), progress=kill)
    rest = lines(con).count("L1")
    assert 0 < rest < count
    assert load(con, manifest("L2")).added.corrected == rest
    assert lines(con) == ["L2"] * count
    assert con.execute("select line_id from raw.superseded_inspections").fetchall() == [("L1",)] * count


def test_a_corrected_file_that_is_relabelled_stays_corrected(con, boards):
    load(con, boards, line_id="L1")
    load(con, boards, line_id="L2")
    (boards / "PCBData/group00041/00041_not/00041001.txt").write_text("1 2 3 4 4\n")
    assert load(con, boards).added.corrected == 0
    assert lines(con) == ["L2"] * 3


def test_ingest_says_how_many_it_corrected(boards, warehouse):
    command = ("ingest", str(boards), "--warehouse", str(warehouse))
    assert "corrected" not in duckspect(*command).stdout
    assert "3 inspections were corrected" in duckspect(*command, "--line", "L1").stdout
    assert json.loads(duckspect(*command, "--line", "L2", "--json").stdout)["added"]["corrected"] == 3


def test_watch_corrects_what_is_loaded_and_says_so(boards, warehouse):
    with connect(warehouse) as con:
        load(con, boards, line_id="L1")
    with watching(boards, warehouse, "--line", "L2") as process:
        try:
            wait_for(lambda: "L2" in _lines(warehouse))
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert "3 inspections were corrected" in output


def _lines(warehouse):
    return duckspect("sql", "select distinct line_id from raw.inspections", "-w", str(warehouse)).stdout


def test_the_history_of_an_inspection_is_one_query(con, tmp_path):
    from models_py.warehouse.database import sql_folder

    file = write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L1\n")
    load(con, file)
    load(con, write_manifest(tmp_path / "set", "uri,line_id\na.jpg,L2\n"))
    rows = con.execute((sql_folder() / "queries/corrected_inspections.sql").read_text()).fetchall()
    columns = [column[0] for column in con.description]
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [(row["line_id"], row["held_until"] is None, row["superseded_by"]) for row in found] == [
        ("L1", False, f"ingest {file}"),
        ("L2", True, None),
    ]
