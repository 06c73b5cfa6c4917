"""A warehouse finds its images wherever it is: what lies below its folder is called by its path from there."""

import os
import shutil
from pathlib import Path

import duckdb
import pytest
from conftest import duckspect, picture
from test_ingest import load, state
from test_layouts import write
from test_moved_files import counts, everything, names

from models_py.errors import DuckspectError
from models_py.ingest import IngestOptions, ingest, open_tree, relocate
from models_py.registry import find, frozen_rows
from models_py.warehouse.database import migrate, migrations, sql_folder
from models_py.warehouse.location import StoredUris, is_relative, stored_uris
from udfs import connect
from udfs.builds.build import publish

SEEN = "select count(*) filter (error is null), count(*) from (select image_error(uri) as error from raw.inspections)"


@pytest.fixture
def plant(tmp_path):
    """A folder with a warehouse and three images, of which it knows; and one image from elsewhere."""
    root = tmp_path / "plant"
    for number in range(3):
        write(root, f"images/scratch/{number}.png", picture(number, format="png"))
    write(tmp_path, "elsewhere/9.png", picture(9, format="png"))
    with connect(root / "w.duckdb") as con:
        load(con, root / "images", layout="folders")
        load(con, tmp_path / "elsewhere", layout="images")
    return root


def seen(warehouse, read_only=True):
    """How many of the inspections' images can be read, and how many inspections there are."""
    with connect(warehouse, read_only=read_only) as con:
        return con.execute(SEEN).fetchone()


@pytest.mark.parametrize(
    ("full", "stored"),
    [
        ("/plant/images/a.png", "images/a.png"),
        ("/plantation/a.png", "/plantation/a.png"),
        ("/plant", "/plant"),
        ("/elsewhere/a.png", "/elsewhere/a.png"),
        ("s3://plant/a.png", "s3://plant/a.png"),
        ("http://host/plant/a.png", "http://host/plant/a.png"),
        ("urn:sha256:00", "urn:sha256:00"),
        ("/plant/~me/a.png", "/plant/~me/a.png"),
        ("/plant/urn:a.png", "/plant/urn:a.png"),
    ],
)
def test_what_is_stored_of_a_file_leads_back_to_it(full, stored):
    uris = StoredUris("/plant")
    assert uris.stored(full) == stored
    assert uris.full(stored) == full
    assert is_relative(stored) == (stored == "images/a.png")


def test_files_below_the_folder_of_the_warehouse_are_relative_and_others_are_not(plant, tmp_path):
    with connect(plant / "w.duckdb") as con:
        assert names(con) == {f"images/scratch/{n}.png" for n in range(3)} | {str(tmp_path / "elsewhere/9.png")}


def test_a_moved_folder_is_read_from_any_place_and_loading_it_again_doubles_nothing(plant, tmp_path, monkeypatch):
    with connect(plant / "w.duckdb") as con:
        before = state(con)
    (tmp_path / "a new").mkdir()
    moved = plant.rename(tmp_path / "a new/place")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert seen(moved / "w.duckdb") == (4, 4)
    with connect(os.path.relpath(moved / "w.duckdb")) as con:
        assert con.execute(SEEN).fetchone() == (4, 4)
        for spelled in (moved / "images", Path("../a new/place/images")):
            report = load(con, spelled, layout="folders")
            assert (report.unchanged, report.bytes_read, report.moved, report.vanished) == (3, 0, (), 0)
        assert state(con) == before
        assert load(con, moved / "images", layout="folders", again=True).added.annotations == 0
        assert state(con) == before


def test_a_relative_path_is_below_the_warehouse_and_one_with_a_dot_below_the_current_folder(
    plant, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(tmp_path))
    with connect(plant / "w.duckdb") as con:
        why = dict(
            con.execute(
                "select u, image_error(u) from unnest(['images/scratch/1.png', './9.png', '9.png']) as t(u)"
            ).fetchall()
        )
        assert why["images/scratch/1.png"] is why["./9.png"] is None
        assert why["9.png"] == (
            "9.png: there is no such file in the warehouse's folder. "
            "If you mean one in the current folder, write ./9.png"
        )
        assert con.execute("select uri, error from images('*.png')").fetchall() == [("./9.png", None)]


def test_images_moved_within_out_of_and_into_the_folder_keep_their_inspections(plant, tmp_path):
    with connect(plant / "w.duckdb") as con:
        before = everything(con)
        places = [plant / "kept", tmp_path / "outside", plant / "images"]
        for old, new in zip([places[-1], *places], places, strict=False):
            old.rename(new)
            assert load(con, new, layout="folders").moved[0].files == 3
            assert everything(con) == before
            assert con.execute(SEEN).fetchone() == (4, 4)
        assert "images/scratch/0.png" in names(con)


def test_a_warehouse_that_is_copied_without_its_images_goes_on_seeing_those_where_they_are(plant, tmp_path):
    with connect(plant / "w.duckdb") as con:
        before = everything(con)
    (tmp_path / "desk").mkdir()
    copy = Path(shutil.copy(plant / "w.duckdb", tmp_path / "desk/w.duckdb"))
    assert seen(copy) == (4, 4)
    with connect(copy) as con:
        assert con.execute(SEEN).fetchone() == (4, 4)
        assert str(plant / "images/scratch/0.png") in names(con)
        assert everything(con) == before
        assert con.execute("select count(*) from raw.superseded_inspections").fetchone() == (0,)
        assert load(con, plant / "images", layout="folders").added.inspections == 0


def test_a_published_copy_is_read_beside_the_warehouse_elsewhere_and_after_a_move(plant, tmp_path):
    copy = publish(plant / "w.duckdb")
    assert seen(copy) == (4, 4)
    (tmp_path / "readers").mkdir()
    assert seen(shutil.copy(copy, tmp_path / "readers/kpi.duckdb")) == (4, 4)
    plant.rename(tmp_path / "moved")
    assert seen(tmp_path / "moved" / copy.name) == (4, 4)
    assert seen(tmp_path / "readers/kpi.duckdb") == (1, 4)


def test_a_warehouse_and_images_that_are_reached_by_links_have_one_folder(plant, tmp_path):
    (tmp_path / "link").symlink_to(plant, target_is_directory=True)
    (tmp_path / "alias.duckdb").symlink_to(plant / "w.duckdb")
    for file in (tmp_path / "link/w.duckdb", tmp_path / "alias.duckdb"):
        with connect(file) as con:
            report = load(con, tmp_path / "link/images", layout="folders")
            assert (report.unchanged, report.bytes_read) == (3, 0)
            assert con.execute(SEEN).fetchone() == (4, 4)


def older(folder, file):
    """A warehouse as the schema before relative URIs had it: whatever is loaded has its absolute path."""
    schema = folder / "schema"
    schema.mkdir()
    for item in migrations():
        if item.version < 11:
            shutil.copy(sql_folder() / "schema" / item.name, schema)
    file.parent.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(file)
    con.execute("set TimeZone = 'UTC'")
    migrate(con, folder=schema)
    return con


def test_an_older_warehouse_is_migrated_and_all_that_is_known_of_its_units_stays(tmp_path):
    root = tmp_path / "plant"
    for number in range(2):
        write(root, f"set/{number}.png", picture(number, format="png"))
        write(root, f"set/m{number}.png", picture(number, format="png"))
    write(root, "set/m.csv", b"uri,unit_id,label,mask_uri,line_id\n0.png,U0,dent,m0.png,L1\n1.png,U1,dent,m1.png,L1\n")
    with older(tmp_path, root / "w.duckdb") as con:
        ingest(con, open_tree(str(root / "set/m.csv"), root), root)
        ingest(con, open_tree(str(root / "set/m.csv"), root), root, IngestOptions(station_id="S1"))
        con.execute(
            "insert into raw.reviews (inspection_id, verdict, label, reviewer, reviewed_at) "
            "select inspection_id, 'confirmed', 'dent', 'ana', now() from raw.inspections"
        )
        con.execute("create table inspection_metadata as select inspection_id, uri from raw.inspections")
        con.execute("create schema if not exists work; create table work.mine as select uri from raw.inspections")
        assert all(name.startswith(f"{root}/") for name in names(con))
        before = everything(con)
        history = con.execute("select * from raw.superseded_inspections order by all").fetchall()
        assert len(history) == 2
    with pytest.raises(DuckspectError, match="Run `duckspect init` once"):
        connect(root / "w.duckdb", read_only=True)
    with connect(root / "w.duckdb") as con:
        assert names(con) == {"set/0.png", "set/1.png", "set/m0.png", "set/m1.png", "set/m.csv"}
        assert everything(con) == before
        assert con.execute("select * from raw.superseded_inspections order by all").fetchall() == history
        kept = "select count(*) from {} semi join raw.inspections using ({})"
        for table, key in (("raw.reviews", "inspection_id"), ("inspection_metadata", "uri"), ("work.mine", "uri")):
            assert con.execute(kept.format(table, key)).fetchone() == (2,), table
    moved = root.rename(tmp_path / "moved")
    with connect(moved / "w.duckdb") as con:
        report = load(con, moved / "set/m.csv")
        assert (report.unchanged, report.bytes_read, counts(con)) == (2, 0, (2, 2, 2))
        assert load(con, moved / "set/m.csv", again=True).added.annotations == 0
        assert everything(con) == before
        assert con.execute("select count(*) from inspection_metadata where image_error(uri) is null").fetchone() == (2,)


def test_a_migration_that_is_cut_off_leaves_the_older_warehouse(tmp_path, monkeypatch):
    write(tmp_path, "set/0.png", picture(0, format="png"))
    with older(tmp_path, tmp_path / "w.duckdb") as con:
        ingest(con, open_tree(str(tmp_path / "set"), tmp_path), tmp_path, IngestOptions(layout="images"))
        before = state(con)
    with monkeypatch.context() as patch:
        patch.setattr("models_py.warehouse.location._UPDATE_FILES", "select error('cut off')")
        with pytest.raises(duckdb.Error, match="cut off"):
            connect(tmp_path / "w.duckdb")
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        assert state(con) == before
        assert con.execute("select max(version) from schema_migrations").fetchone() == (10,)
    assert seen(tmp_path / "w.duckdb", read_only=False) == (1, 1)


def test_an_older_warehouse_that_was_moved_already_is_mended_by_relocate(tmp_path):
    write(tmp_path, "old/set/0.png", picture(0, format="png"))
    with older(tmp_path, tmp_path / "old/w.duckdb") as con:
        ingest(con, open_tree(str(tmp_path / "old/set"), tmp_path), tmp_path, IngestOptions(layout="images"))
        before = everything(con)
    (tmp_path / "old").rename(tmp_path / "new")
    warehouse = ("-w", str(tmp_path / "new/w.duckdb"))
    assert seen(tmp_path / "new/w.duckdb", read_only=False) == (0, 1)
    said = duckspect("relocate", str(tmp_path / "old"), str(tmp_path / "new"), "--no-publish", *warehouse)
    assert said.returncode == 0, said.stderr
    assert "1 files were moved" in said.stdout
    assert "1 of raw.images, 1 of raw.inspections, 1 of raw.files" in said.stdout
    with connect(tmp_path / "new/w.duckdb") as con:
        assert con.execute(SEEN).fetchone() == (1, 1)
        assert names(con) == {"set/0.png"}
        assert everything(con) == before


def test_relocate_compares_bytes_and_is_forced_only_by_name(plant, tmp_path):
    with connect(plant / "w.duckdb") as con:
        file = (tmp_path / "elsewhere").rename(tmp_path / "there") / "9.png"
        same = file.read_bytes()
        file.write_bytes(same[:-1] + b"x")
        with pytest.raises(DuckspectError, match=r"1 have other bytes at .*/there: .*9.png. Nothing was changed"):
            relocate(con, str(tmp_path / "elsewhere"), str(tmp_path / "there"))
        file.unlink()
        with pytest.raises(DuckspectError, match=r"1 do not exist at .*/there: .*9.png. Nothing was changed"):
            relocate(con, str(tmp_path / "elsewhere"), str(tmp_path / "there"))
        found = relocate(con, str(tmp_path / "elsewhere"), str(tmp_path / "there"), force=True)
        assert (found.files, found.missing) == (1, 1)
        file.write_bytes(same)
        assert con.execute(SEEN).fetchone() == (4, 4)
        (plant / "kept").mkdir()
        file.rename(plant / "kept/9.png")
        relocate(con, str(tmp_path / "there"), str(plant / "kept"))
        assert "kept/9.png" in names(con)
        assert stored_uris(con).full("kept/9.png") == str(plant / "kept/9.png")


def test_the_frozen_rows_of_a_version_move_with_the_warehouse(built, tmp_path):
    """Images that were never loaded, masks among them, are found too, if they lie below the warehouse's folder."""
    shutil.copytree(built.parent, tmp_path / "moved")
    with connect(tmp_path / "moved/w.duckdb") as con:
        for name in ("kind", "area"):
            for row in frozen_rows(con, find(con, f"{name}@champion"), "val"):
                assert all(file.startswith(str(tmp_path)) and os.path.exists(file) for file in (row.image, *row.masks))


def test_another_file_under_the_name_of_one_that_was_left_behind_does_not_pass_for_it(plant, tmp_path):
    (tmp_path / "desk").mkdir()
    copy = Path(shutil.copy(plant / "w.duckdb", tmp_path / "desk/w.duckdb"))
    (plant / "images/scratch/0.png").write_bytes(picture(100, format="png"))
    assert seen(copy, read_only=False) == (3, 4)
