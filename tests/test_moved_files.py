"""One file has one URI, and one that moved keeps its inspections, labels and links."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from conftest import duckspect, picture, write_board
from test_ingest import load, reasons, state
from test_layouts import MAKERS, write

import models_py.warehouse.location as location
from models_py.errors import DuckspectError
from models_py.ingest import ingest, open_tree, relocate
from models_py.layouts import normal_url

LABELS = "select image_id, kind, label, x1, y1, x2, y2, split, annotated_at from raw.current_annotations order by all"
IDS = "select inspection_id, unit_id, image_id, line_id from raw.inspections order by all"
PAIRS = "select image_id, template_image_id from raw.templates order by all"
NAMES = """
select uri from raw.images union select uri from raw.inspections union select uri from raw.annotations
union select mask_uri from raw.annotations where mask_uri is not null union select uri from raw.templates
union select uri from raw.files
"""


COLUMNS = [
    ("images", "uri"),
    ("inspections", "uri"),
    ("annotations", "uri"),
    ("annotations", "mask_uri"),
    ("templates", "uri"),
    ("rejected_files", "uri"),
    ("files", "uri"),
]


def names(con):
    return {row[0] for row in con.execute(NAMES).fetchall()}


def everything(con):
    """What a move must not change."""
    return [con.execute(query).fetchall() for query in (IDS, LABELS, PAIRS)]


def counts(con):
    return con.execute(
        "select (select count(*) from raw.images), (select count(*) from raw.inspections), "
        "(select count(*) from raw.current_annotations)"
    ).fetchone()


@pytest.fixture
def spelled(con, boards, tmp_path, monkeypatch):
    """The boards are loaded; ways to name the same folder."""
    load(con, boards)
    (tmp_path / "link").symlink_to(boards, target_is_directory=True)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deeper").symlink_to(tmp_path / "deep/er", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "deep")
    return {
        "dots": "../boards",
        "here": f"{tmp_path}/./boards/.",
        "slashes": f"{tmp_path}//boards//",
        "up": f"{tmp_path}/deep/../boards",
        "link": f"{tmp_path}/link",
        "up from a link": "../deeper/../../boards",
        "url": f"file://{boards}",
    }


@pytest.mark.parametrize("way", ["dots", "here", "slashes", "up", "link", "up from a link", "url"])
def test_a_folder_has_one_name_however_it_is_spelled(con, spelled, tmp_path, way):
    before = state(con)
    tree = open_tree(spelled[way], tmp_path)
    report = ingest(con, tree, tmp_path)
    assert (report.unchanged, report.bytes_read, report.moved) == (3, 0, ())
    assert state(con) == before


def test_links_to_folders_and_files_in_a_folder_are_followed(con, tmp_path):
    write(tmp_path, "store/x/1.png", picture(1, format="png"))
    write(tmp_path, "store/2.png", picture(2, format="png"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/scratch").symlink_to(tmp_path / "store/x", target_is_directory=True)
    (tmp_path / "set/good").mkdir()
    (tmp_path / "set/good/two.png").symlink_to(tmp_path / "store/2.png")
    load(con, tmp_path / "set", layout="folders")
    assert con.execute("select uri, label from raw.current_annotations order by uri").fetchall() == [
        (str(tmp_path / "store/2.png"), "good"),  # the label is that of the folder as it was listed
        (str(tmp_path / "store/x/1.png"), "scratch"),
    ]
    assert load(con, tmp_path / "store", layout="images").added.inspections == 0


def test_a_file_that_a_folder_has_twice_is_one_inspection_and_the_second_name_is_said(con, tmp_path):
    write(tmp_path, "set/good/1.png", picture(1, format="png"))
    write(tmp_path, "set/scratch/2.png", picture(2, format="png"))
    (tmp_path / "set/scratch/3.png").symlink_to(tmp_path / "set/good/1.png")
    for _ in range(2):
        load(con, tmp_path / "set")
        assert counts(con) == (2, 2, 2)
        assert reasons(con) == [
            "scratch/3.png is the same file as good/1.png, which is loaded; a file has one inspection"
        ]


def test_a_link_that_is_no_part_of_the_layout_does_not_hide_the_image_it_leads_to(con, boards):
    board = boards / "PCBData/group00041/00041/00041001_test.jpg"
    (boards / "latest.jpg").symlink_to(board)
    load(con, boards)
    assert con.execute("select role from raw.files where uri = ?", [str(board)]).fetchall() == [("image",)]
    report = load(con, boards)
    assert (report.unchanged, report.bytes_read, counts(con)) == (3, 0, (4, 3, 5))


def test_a_linked_image_and_a_linked_manifest_have_the_name_of_their_files(con, tmp_path):
    write(tmp_path, "set/a.jpg", picture(1))
    write(tmp_path, "set/m.csv", b"uri,unit_id\na.jpg,U1\n")
    (tmp_path / "one.jpg").symlink_to(tmp_path / "set/a.jpg")
    load(con, tmp_path / "one.jpg", layout="images")
    report = load(con, tmp_path / "set/m.csv")
    assert (report.added.inspections, report.added.corrected) == (0, 1)
    assert con.execute("select unit_id, uri from raw.inspections").fetchall() == [("U1", str(tmp_path / "set/a.jpg"))]


def test_a_manifest_may_spell_its_files_in_any_way(con, tmp_path):
    for name in ("a.jpg", "golden.jpg", "m.png"):
        write(tmp_path, f"user/mf/{name}", picture(ord(name[0]), format="png" if name == "m.png" else "jpeg"))
    (tmp_path / "user/link").symlink_to(tmp_path / "user/mf", target_is_directory=True)
    mf = tmp_path / "user/mf"
    write(mf, "one.csv", b"uri,template_uri,label,mask_uri\na.jpg,golden.jpg,dent,m.png\n")
    load(con, mf / "one.csv")
    before = names(con) - {str(mf / "one.csv")}
    spellings = (
        "./a.jpg",
        "../user/mf/a.jpg",
        "..//mf/./a.jpg",
        "../link/a.jpg",
        f"{mf}/../mf/a.jpg",
        f"file://{mf}/a.jpg",
    )
    for number, spelling in enumerate(spellings):
        other = [spelling.replace("a.jpg", name) for name in ("golden.jpg", "m.png")]
        text = f"uri,template_uri,label,mask_uri\n{spelling},{other[0]},dent,{other[1]}\n"
        write(mf, f"{number}.csv", text.encode())
        report = load(con, mf / f"{number}.csv")
        assert (report.added.inspections, report.added.images, report.added.annotations) == (0, 0, 0)
    assert {name for name in names(con) if not name.endswith(".csv")} == before
    assert counts(con) == (2, 1, 2)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://h/a/./b/../c//d.jpg", "http://h/a/c/d.jpg"),
        ("https://h/a.jpg?next=/../b//c", "https://h/a.jpg?next=/../b//c"),
        ("http://h/../../a.jpg", "http://h/a.jpg"),
        ("s3://bucket/a//./b.jpg", "s3://bucket/a//b.jpg"),
        ("memory://set/x/../a.jpg", "memory://set/a.jpg"),
        ("simplecache::http://h/a/../b.jpg", "simplecache::http://h/a/../b.jpg"),
        ("http://h", "http://h"),
    ],
)
def test_a_url_is_normalised_where_that_is_safe(url, normal):
    assert normal_url(url) == normal


def make_boards(root):
    write_board(root, "00041000", 1, "5 5 20 20 1\n30 10 40 30 6\n", template=11)
    write_board(root, "00041001", 2, "1 2 3 4 2\n")
    (root / "PCBData/trainval.txt").write_text("group00041/00041/00041000.jpg group00041/00041_not/00041000.txt\n")


SETS = {
    "boards": make_boards,
    **{name: MAKERS[name] for name in ("mvtec", "lgp", "voc", "yolo", "folders", "manifest")},
}


@pytest.mark.parametrize("kind", SETS)
def test_a_renamed_folder_keeps_its_inspections_and_labels(con, tmp_path, kind):
    old, new = tmp_path / "old/set", tmp_path / "new place/set"
    SETS[kind](old)
    load(con, old, line_id="L1")
    before, files = everything(con), con.execute("select count(*) from raw.files").fetchone()[0]
    new.parent.mkdir()
    old.rename(new)
    report = load(con, new)
    assert [(item.old, item.new, item.files) for item in report.moved] == [
        (str(tmp_path / "old"), str(tmp_path / "new place"), files)
    ]
    assert (report.unchanged, report.added.images, report.added.inspections, report.added.annotations) == (
        report.samples,
        0,
        0,
        0,
    )
    assert everything(con) == before
    assert all(name.startswith(f"{new}/") for name in names(con))
    again = load(con, new)
    assert (again.moved, again.vanished, again.unchanged) == ((), 0, again.samples)


def test_a_moved_inspection_has_its_old_place_in_the_history(con, boards, tmp_path):
    load(con, boards)
    boards.rename(tmp_path / "b")
    report = load(con, tmp_path / "b")
    assert report.added.corrected == 0
    rows = con.execute(
        "select old.uri, new.uri, superseded_by from raw.superseded_inspections as old "
        "join raw.inspections as new using (inspection_id) order by all"
    ).fetchall()
    assert len(rows) == 3
    assert all(old.replace(str(boards), str(tmp_path / "b")) == new for old, new, _ in rows)
    assert {row[2] for row in rows} == {f"ingest {tmp_path / 'b'}: moved"}


def test_a_folder_renamed_below_the_loaded_root_is_recognised(con, boards, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    boards.rename(root / "monday")
    load(con, root)
    before = everything(con)
    (root / "monday").rename(root / "tuesday")
    report = load(con, root)
    assert [(item.old, item.new) for item in report.moved] == [(str(root / "monday"), str(root / "tuesday"))]
    assert (everything(con), report.vanished) == (before, 0)


def test_a_copied_folder_whose_times_are_new_is_recognised_when_the_old_one_is_gone(con, tmp_path):
    make_boards(tmp_path / "old")
    load(con, tmp_path / "old")
    before = everything(con)
    for file in [path for path in (tmp_path / "old").rglob("*") if path.is_file()]:
        write(tmp_path / "new", str(file.relative_to(tmp_path / "old")), file.read_bytes())
    shutil.rmtree(tmp_path / "old")
    assert len(load(con, tmp_path / "new").moved) == 1
    assert everything(con) == before
    assert load(con, tmp_path / "new").unchanged == 2


def test_a_copy_is_one_image_and_two_inspections(con, boards, tmp_path):
    load(con, boards)
    shutil.copytree(boards, tmp_path / "copy")
    report = load(con, tmp_path / "copy")
    assert (report.moved, report.added.images, report.added.inspections) == ((), 0, 3)
    assert counts(con) == (4, 6, 10)


def test_a_copy_back_to_where_the_files_were_is_a_copy(con, boards, tmp_path):
    load(con, boards)
    for place, inspections in (("b", 6), ("c", 9)):
        boards.rename(tmp_path / place)
        assert load(con, tmp_path / place).added.inspections == 0
        shutil.copytree(tmp_path / place, boards)
        assert load(con, boards).added.inspections == 3
        assert counts(con) == (4, inspections, inspections // 3 * 5)
        assert (load(con, boards).unchanged, load(con, boards, again=True).added.annotations) == (3, 0)
        uris = con.execute("select count(distinct uri) from raw.inspections").fetchone()
        assert uris == (inspections,)


def test_a_folder_moved_there_and_back_is_as_it_was(con, boards, tmp_path):
    load(con, boards)
    before = state(con)
    boards.rename(tmp_path / "b")
    load(con, tmp_path / "b")
    (tmp_path / "b").rename(boards)
    load(con, boards)
    assert state(con) == before


def test_a_moved_file_that_is_relabelled_or_touched_keeps_its_ids(con, boards, tmp_path):
    load(con, boards)
    ids = con.execute(IDS).fetchall()
    boards.rename(tmp_path / "b")
    load(con, tmp_path / "b")
    labels = tmp_path / "b/PCBData/group00041/00041_not/00041001.txt"
    labels.write_text("1 2 3 4 2\n\n")
    assert load(con, tmp_path / "b").added.annotations == 0
    labels.write_text("1 2 3 4 3\n")
    assert load(con, tmp_path / "b").added.annotations == 1
    assert con.execute(IDS).fetchall() == ids
    assert counts(con) == (4, 3, 5)


def test_other_bytes_under_an_old_name_are_another_image(con, tmp_path):
    size = (8, 8)
    for number in range(2):
        write(tmp_path, f"old/{number}.bmp", picture(number, size, "bmp"))
    load(con, tmp_path / "old", layout="images")
    shutil.rmtree(tmp_path / "old")
    write(tmp_path, "new/0.bmp", picture(0, size, "bmp"))
    write(tmp_path, "new/1.bmp", picture(9, size, "bmp"))
    report = load(con, tmp_path / "new", layout="images")
    assert ([item.files for item in report.moved], report.added.inspections) == ([1], 1)


def test_files_of_one_name_in_many_folders_go_to_their_own(con, tmp_path):
    for folder in ("a", "b", "c"):
        for number in range(3):
            write(tmp_path, f"old/{folder}/{number}.bmp", picture(number, (8, 8), "bmp"))
    load(con, tmp_path / "old", layout="images")
    (tmp_path / "old").rename(tmp_path / "new")
    load(con, tmp_path / "new", layout="images")
    rows = con.execute(
        "select old.uri, new.uri from raw.superseded_inspections old join raw.inspections new using (inspection_id)"
    ).fetchall()
    assert len(rows) == 9
    assert all(old.replace("/old/", "/new/") == new for old, new in rows)


def test_a_warehouse_that_knows_a_folder_under_other_spellings_does_not_double(con, boards, tmp_path):
    """As one was written before names were normalised: by way of a link, and with `..` in it."""
    load(con, boards)
    (tmp_path / "link").symlink_to(boards, target_is_directory=True)
    before = everything(con)
    for spelled in (tmp_path / "link", f"{boards}/../boards"):
        for table, column in COLUMNS:
            con.execute(f"update raw.{table} set {column} = replace({column}, ?, ?)", [str(boards), str(spelled)])
        assert load(con, boards).added.inspections == 0
        assert everything(con) == before
        assert all(name.startswith(f"{boards}/") for name in names(con))


def test_relocate_rewrites_the_place_everywhere(con, tmp_path):
    SETS["mvtec"](tmp_path / "old")
    load(con, tmp_path / "old")
    before, files = everything(con), con.execute("select count(*) from raw.files where role <> 'other'").fetchone()[0]
    (tmp_path / "old").rename(tmp_path / "new")
    assert relocate(con, str(tmp_path / "old"), str(tmp_path / "new")).files == files
    assert everything(con) == before
    assert all(name.startswith(f"{tmp_path}/new/") for name in names(con))
    report = load(con, tmp_path / "new")
    assert (report.bytes_read, report.moved, report.unchanged) == (0, (), report.samples)
    assert con.execute("select distinct superseded_by from raw.superseded_inspections").fetchall() == [
        (f"relocate {tmp_path}/old {tmp_path}/new",)
    ]


def test_relocate_takes_a_single_renamed_file_and_a_folder_moved_up(con, tmp_path):
    write(tmp_path, "set/deep/a.jpg")
    load(con, tmp_path / "set", layout="images")
    (tmp_path / "set/deep/a.jpg").rename(tmp_path / "set/deep/b.jpg")
    assert relocate(con, str(tmp_path / "set/deep/a.jpg"), str(tmp_path / "set/deep/b.jpg")).files == 1
    (tmp_path / "set/deep/b.jpg").rename(tmp_path / "set/b.jpg")
    assert relocate(con, str(tmp_path / "set/deep"), str(tmp_path / "set")).files == 1
    assert con.execute("select uri from raw.inspections").fetchall() == [(str(tmp_path / "set/b.jpg"),)]


def refused(con, old, new, match):
    before = state(con)
    with pytest.raises(DuckspectError, match=match):
        relocate(con, str(old), str(new))
    assert state(con) == before


def test_relocate_refuses_what_it_cannot_follow_and_says_why(con, boards, tmp_path):
    load(con, boards)
    refused(
        con, tmp_path / "nowhere", tmp_path / "b", rf"nothing was loaded from {tmp_path}/nowhere. .*{boards}/PCBData\."
    )
    refused(con, f"{boards}x", boards, "nothing was loaded from")
    refused(con, boards, boards, "is the same place as")
    refused(con, boards, boards / "PCBData", "is inside")
    refused(con, boards, tmp_path / "empty", r"of the 9 files that were loaded from .*, 9 do not exist at .*empty")
    shutil.copytree(boards, tmp_path / "b")
    (tmp_path / "b/PCBData/group00041/00041/00041001_test.jpg").unlink()
    refused(con, boards, tmp_path / "b", "1 do not exist at .*00041001_test.jpg. Nothing was changed")
    (tmp_path / "b/PCBData/group00041/00041/00041001_test.jpg").write_bytes(b"x")
    refused(con, boards, tmp_path / "b", "1 have other bytes at .*00041001_test.jpg")
    shutil.copytree(boards, tmp_path / "c")
    load(con, tmp_path / "c")
    shutil.rmtree(boards)
    refused(con, boards, tmp_path / "c", "9 of the files were loaded from their new place too")


def test_a_move_that_is_cut_off_leaves_everything_as_it_was(con, boards, tmp_path, monkeypatch):
    load(con, boards)
    before = state(con)
    boards.rename(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(location, "_UPDATE_FILES", "select error('cut off')")
        with pytest.raises(duckdb.Error, match="cut off"):
            load(con, tmp_path / "b")
    assert state(con) == before
    assert load(con, tmp_path / "b").added.inspections == 0


def test_files_that_vanished_are_named_and_nothing_is_deleted(con, boards, tmp_path):
    load(con, boards)
    before = counts(con)
    gone = [boards / "PCBData/group00041/00041" / f"0004100{number}_test.jpg" for number in (1, 2)]
    for file in gone:
        file.unlink()
    for _ in range(2):
        report = load(con, boards)
        assert (report.vanished, report.vanished_files) == (2, tuple(map(str, gone)))
    assert counts(con) == before
    assert load(con, boards / "PCBData/group00041/00041", layout="images").vanished == 2
    write(tmp_path, "other/a.jpg")
    assert load(con, tmp_path / "other").vanished == 0
    assert load(con, tmp_path / "other/a.jpg", layout="images").vanished == 0


def test_ingest_says_what_moved_and_what_vanished(boards, tmp_path, warehouse):
    where = ("--warehouse", str(warehouse))
    duckspect("ingest", str(boards), *where)
    boards.rename(tmp_path / "b")
    moved = f"9 files were moved from {boards} to {tmp_path}/b."
    assert moved in duckspect("ingest", str(tmp_path / "b"), *where).stdout
    (tmp_path / "b").rename(boards)
    assert (
        f"9 files were moved from {tmp_path}/b to {boards}."
        in duckspect("relocate", str(tmp_path / "b"), str(boards), *where).stdout
    )
    (boards / "PCBData/group00041/00041/00041001_test.jpg").unlink()
    assert "Files that were loaded earlier and are gone: 1 (" in duckspect("ingest", str(boards), *where).stdout
    said = json.loads(duckspect("ingest", str(boards), *where, "--json").stdout)
    assert (said["vanished"], said["vanished_files"][0][-18:], said["moved"]) == (1, "/00041001_test.jpg", [])


def test_frozen_rows_are_found_where_their_images_are_now(con, tmp_path):
    from models_py.datasets import freeze, locate

    for folder in ("here", "gone"):
        SETS["mvtec"](tmp_path / folder)
        shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    load(con, tmp_path / "here")
    query = "select uri as image, label, mask_uri as mask from raw.current_annotations where kind = 'mask'"
    rows = freeze(con, query, "segment", split="val").rows
    assert all(item.masks for item in rows)
    assert locate(con, rows) == rows
    (tmp_path / "here").rename(tmp_path / "there")
    load(con, tmp_path / "there")
    found = locate(con, rows)
    assert [item.image for item in found] == [item.image.replace("/here/", "/there/") for item in rows]
    assert [item.masks for item in found] == [
        tuple(mask.replace("/here/", "/there/") for mask in item.masks) for item in rows
    ]
    assert freeze(con, query, "segment", split="val").sha256 == freeze(con, query, "segment", split="val").sha256


def test_the_frozen_rows_of_a_version_follow_their_images(served, tmp_path):
    from models_py.registry import find, frozen_rows

    before = frozen_rows(served, find(served, "kind@champion"), "val")
    parts = Path(before[0].image).parent
    shutil.copytree(parts, tmp_path / "there")
    relocate(served, str(parts), str(tmp_path / "there"))
    after = frozen_rows(served, find(served, "kind@champion"), "val")
    assert [item.image for item in after] == [str(tmp_path / "there" / Path(item.image).name) for item in before]
