"""Ingestion: complete, incremental, idempotent, and honest about what it could not use."""

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import duckspect, picture, write_board
from PIL import Image
from waiting import PATIENCE, wait_for

from models_py.errors import LayoutError
from models_py.images import ImageLimits
from models_py.ingest import IngestOptions, ingest, open_tree, watch
from models_py.layouts import LocalStore
from models_py.times import TimeLimits
from udfs import connect

STATE = {
    "images": "image_id, uri, source, format, width, height, channels, size_bytes",
    "inspections": "inspection_id, unit_id, image_id, uri, line_id, station_id, product_type, captured_at",
    "annotations": "annotation_id, image_id, uri, kind, label, x1, y1, x2, y2, mask_uri, split",
    "templates": "image_id, template_image_id, uri",
    "rejected_files": "uri, reason",
    "files": "uri, size_bytes, version, role, sha256, layout, label_set_id, first_uri",
}


def load(con, path, files=None, **options):
    files = files or path.parent / "files"
    return ingest(con, open_tree(str(path), files), files, IngestOptions(**options))


def state(con):
    """Everything ingestion wrote, except when it wrote it."""
    return {
        table: con.execute(f"select {columns} from raw.{table} order by all").fetchall()
        for table, columns in STATE.items()
    }


def reasons(con):
    return [row[0] for row in con.execute("select reason from raw.rejected_files order by reason").fetchall()]


def test_images_labels_and_templates_arrive_exactly(con, boards):
    report = load(con, boards, line_id="AUSTIN_L1", station_id="AOI_1")
    assert (report.layout, report.samples, report.added.images, report.added.inspections) == ("deeppcb", 3, 4, 3)
    labels = con.execute(
        "select unit_id, kind, label, x1, y1, x2, y2, split from raw.current_annotations "
        "left join raw.inspections using (image_id) order by all"
    ).fetchall()
    assert labels == [
        ("00041000", "box", "open", 5, 5, 20, 20, "train"),
        ("00041000", "box", "pin-hole", 30, 10, 40, 30, "train"),
        ("00041001", "box", "short", 1, 2, 3, 4, "test"),
        ("00041002", "class", "good", None, None, None, None, None),
        (None, "class", "good", None, None, None, None, None),  # the template: an image, no inspection
    ]
    pair = con.execute(
        "select i.uri, t.uri from raw.templates join raw.images i using (image_id) "
        "join raw.images t on t.image_id = template_image_id"
    ).fetchall()
    group = boards / "PCBData/group00041/00041"
    assert pair == [(str(group / "00041000_test.jpg"), str(group / "00041000_temp.jpg"))]
    assert con.execute("select distinct line_id, station_id from raw.inspections").fetchall() == [
        ("AUSTIN_L1", "AOI_1")
    ]


def test_a_second_run_opens_no_file_and_adds_no_row(con, boards, monkeypatch):
    load(con, boards)
    before = state(con)
    monkeypatch.setattr(LocalStore, "read", lambda _, path: pytest.fail(f"{path} was opened again"))
    report = load(con, boards)
    assert (report.unchanged, report.bytes_read) == (report.samples, 0)
    assert state(con) == before


def test_only_a_new_file_is_opened(con, boards, monkeypatch):
    load(con, boards)
    write_board(boards, "00041003", 4, "1 1 9 9 3\n")
    opened = []
    read = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, path: opened.append(path.rsplit("/")[-1]) or read(self, path))
    report = load(con, boards)
    assert (report.added.images, report.added.annotations) == (1, 1)
    assert [name for name in opened if name.startswith("0004")] == ["00041003_test.jpg", "00041003.txt"]


def test_a_changed_file_becomes_a_new_image_and_the_old_one_stays(con, boards):
    load(con, boards)
    write_board(boards, "00041001", 99, "1 2 3 4 2\n")
    report = load(con, boards)
    assert (report.added.images, report.added.inspections) == (1, 1)
    assert con.execute(
        "select count(distinct image_id) from raw.inspections where unit_id = '00041001'"
    ).fetchone() == (2,)
    assert con.execute("select count(*) from raw.current_annotations where label = 'short'").fetchone() == (1,)


def test_the_same_bytes_under_two_names_are_one_image_and_two_inspections(con, boards):
    write_board(boards, "00041005", 2, "1 2 3 4 2\n")
    load(con, boards)
    assert con.execute("select count(*) from raw.images").fetchone() == (4,)
    assert con.execute("select count(*), count(distinct image_id) from raw.inspections").fetchone() == (4, 3)


def test_the_same_bytes_with_other_labels_are_reported_by_the_load_that_brings_them(con, boards):
    write_board(boards, "00041005", 2, "1 2 3 4 2\n")
    assert load(con, boards).contradictions == ()
    write_board(boards, "00041006", 2, "1 2 3 4 3\n")
    found = load(con, boards).contradictions
    assert [(item.labels, item.other_labels) for item in found] == [("mousebite", "short")] * 2
    assert {item.uri[-17:-9] for item in found} == {"00041006"}
    assert {item.other_uri[-17:-9] for item in found} == {"00041001", "00041005"}
    assert load(con, boards).contradictions == ()
    write_board(boards, "00041007", 9, "")
    assert load(con, boards).contradictions == ()


def test_new_labels_are_counted_by_kind_and_known_ones_are_not(con, boards):
    added = load(con, boards).added
    assert (added.annotations, added.boxes, added.classes, added.masks, added.polygons) == (5, 3, 2, 0, 0)
    added = load(con, boards, again=True).added
    assert (added.annotations, added.boxes, added.classes) == (0, 0, 0)


def test_files_with_several_frames_are_named(con, tmp_path):
    first, *others = (Image.new("L", (16, 16), shade) for shade in (10, 90, 200))
    (tmp_path / "set").mkdir()
    first.save(tmp_path / "set/moving.gif", save_all=True, append_images=others)
    first.save(tmp_path / "set/pages.tif", save_all=True, append_images=others)
    first.save(tmp_path / "set/one.tif")
    report = load(con, tmp_path / "set")
    assert [uri.rsplit("/", 1)[-1] for uri in report.several_frames] == ["moving.gif", "pages.tif"]
    assert load(con, tmp_path / "set").several_frames == ()


def test_relabelling_appends_and_the_current_labels_are_the_new_ones(con, boards):
    load(con, boards)
    write_board(boards, "00041001", 2, "1 2 3 4 4\n5 6 7 8 4\n")
    assert load(con, boards).added.images == 0
    assert con.execute("select label from raw.annotations where label in ('short', 'spur') order by 1").fetchall() == [
        ("short",),
        ("spur",),
        ("spur",),
    ]
    assert con.execute(
        "select distinct label from raw.current_annotations where x1 in (1, 5) order by 1"
    ).fetchall() == [
        ("open",),
        ("spur",),
    ]
    write_board(boards, "00041001", 2, "1 2 3 4 2\n")
    assert load(con, boards).added.annotations == 0
    assert con.execute("select count(*) from raw.current_annotations where label = 'spur'").fetchone() == (0,)


def test_a_touched_file_is_read_again_but_adds_nothing(con, boards):
    load(con, boards)
    before = [state(con)[table] for table in ("images", "inspections", "annotations")]
    for file in boards.rglob("*.*"):
        os.utime(file, (1, 1))
    report = load(con, boards)
    assert report.unchanged == 0
    assert [state(con)[table] for table in ("images", "annotations")] == [before[0], before[2]]
    assert len(state(con)["inspections"]) == len(before[1])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("5 5 70 20 1", "open for PCBData/group00041/00041/00041009_test.jpg: box (5, 5, 70, 20) is out of bounds"),
        ("-1 5 20 20 1", "box (-1, 5, 20, 20) is out of bounds of the image, 64 x 48 pixels"),
        ("20 5 20 20 1", "box (20, 5, 20, 20) is empty or inverted"),
        ("5 5 20 20 7", "line 2: type must be 1 to 6, but got 7"),
        ("5 5 20 twenty 1", "line 2: must be 'x1 y1 x2 y2 type' in whole numbers"),
        ("5 5 20 20", "line 2: must be"),
    ],
    ids=["right", "left", "empty", "class", "word", "missing"],
)
def test_a_wrong_box_is_rejected_by_name_and_its_neighbours_are_kept(con, boards, line, reason):
    write_board(boards, "00041009", 9, f"1 1 10 10 2\n{line}\n3 3 64 48 3\n")
    load(con, boards)
    assert len(reasons(con)) == 1
    assert reason in reasons(con)[0]
    kept = con.execute(
        "select label, x1, y1, x2, y2 from raw.annotations where uri like '%00041009%' order by x1"
    ).fetchall()
    assert kept == [("short", 1, 1, 10, 10), ("mousebite", 3, 3, 64, 48)]


def test_a_board_whose_every_label_is_wrong_does_not_become_good(con, boards):
    write_board(boards, "00041009", 9, "5 5 20 20 7\n")
    load(con, boards)
    assert con.execute("select count(*) from raw.annotations where uri like '%00041009%'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"just a text", "not an image: must start like jpeg"),
        (picture(5)[:-200], "truncated: jpeg without its end marker"),
        (picture(5, (200, 200)), "oversized: 200 x 200 is 40,000 pixels, more than the limit of 10,000"),
    ],
    ids=["empty", "text", "truncated", "oversized"],
)
def test_an_unusable_image_is_rejected_with_its_reason_and_the_run_goes_on(con, boards, data, reason):
    broken = write_board(boards, "00041009", 9, "1 1 10 10 2\n")
    broken.write_bytes(data)
    report = load(con, boards, limits=ImageLimits(pixels=10_000))
    assert (report.added.images, report.added.rejected_files) == (4, 1)
    uri, said = con.execute("select uri, reason from raw.rejected_files").fetchone()
    assert (uri, reason in said) == (str(broken), True)
    assert load(con, boards, limits=ImageLimits(pixels=10_000)).added.rejected_files == 0


def test_a_mended_file_is_taken_on_the_next_run(con, boards):
    broken = write_board(boards, "00041009", 9, "1 1 10 10 2\n")
    broken.write_bytes(b"")
    load(con, boards)
    broken.write_bytes(picture(9))
    assert load(con, boards).added.images == 1


def test_again_rereads_unchanged_files_under_a_new_limit(con, boards):
    load(con, boards, limits=ImageLimits(pixels=10))
    assert con.execute("select count(*) from raw.rejected_files").fetchone() == (4,)
    assert con.execute("select count(*) from raw.images").fetchone() == (0,)
    assert load(con, boards).added.images == 0
    assert load(con, boards, again=True).added.images == 4


def test_labels_of_undeclared_classes_are_rejected_by_name(con, boards):
    load(con, boards, classes=("open", "short", "good"))
    where = "pin-hole for PCBData/group00041/00041/00041000_test.jpg"
    assert reasons(con) == [f"{where}: unknown class 'pin-hole'; the classes are good, open, short"]


def test_a_file_that_cannot_be_read_is_a_reject(con, boards):
    file = write_board(boards, "00041009", 9, "")
    file.unlink()
    file.symlink_to("/nowhere/at/all.jpg")
    load(con, boards)
    assert reasons(con) == ["missing: there is no such file"]


NO_FILE = "unreadable: it is a named pipe, not a regular file"


def test_pipes_and_devices_are_rejects_and_their_neighbours_load(con, boards):
    """Named like an image, a label file and a split list; opening one would wait forever or never end."""
    (boards / "PCBData/group00041/00041_not/00041001.txt").unlink()
    for name in ("group00041/00041/00041077_test.jpg", "group00041/00041_not/00041001.txt", "val/trainval.txt"):
        (boards / "PCBData" / name).parent.mkdir(exist_ok=True)
        os.mkfifo(boards / "PCBData" / name)
    (boards / "PCBData/group00041/00041/00041078_test.jpg").symlink_to("/dev/zero")
    assert load(con, boards).added.images == 4
    assert reasons(con) == [NO_FILE.replace("named pipe", "device"), *[NO_FILE] * 3]
    assert load(con, boards).added.rejected_files == 0


def test_a_manifest_that_names_pipes_loads_its_other_rows(con, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "mask")
    for name in ("good", "scratched"):
        (tmp_path / f"{name}.png").write_bytes(picture(len(name), format="png"))
    rows = ["uri,label,mask_uri", "pipe.png,good,", "good.png,good,", "scratched.png,scratch,mask"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    load(con, tmp_path / "list.csv")
    assert con.execute("select count(*) from raw.images").fetchone() == (2,)
    assert sorted(reasons(con)) == sorted(
        [NO_FILE, f"scratch for scratched.png: its mask {tmp_path}/mask is {NO_FILE}"]
    )


@pytest.mark.parametrize("name", ["one.png", "list.csv", "list.parquet", "boards.zip"])
def test_a_pipe_in_the_place_of_the_folder_is_never_opened(con, tmp_path, name):
    os.mkfifo(tmp_path / name)
    with contextlib.suppress(LayoutError):
        load(con, tmp_path / name)
    assert con.execute("select count(*) from raw.images").fetchone() == (0,)


def test_a_time_that_cannot_be_is_rejected_by_name_and_the_inspection_has_none(con, tmp_path):
    times = {"a": "2262-04-11T00:00:00Z", "b": "0001-01-01T00:00:00+12:00", "c": "1980-01-01", "d": "2026-10-01"}
    for name in times:
        (tmp_path / f"{name}.jpg").write_bytes(picture(ord(name)))
    written = [f"{name}.jpg,{moment},good" for name, moment in times.items()]
    (tmp_path / "list.csv").write_text("\n".join(["uri,captured_at,label", *written, "gone.jpg,noon,good"]))
    load(con, tmp_path / "list.csv")
    stored = "select captured_at::varchar, count(*) from raw.inspections join raw.annotations using (uri) group by all"
    assert sorted(con.execute(stored).fetchall(), key=str) == [("2026-10-01 00:00:00+00", 1), (None, 3)]
    limits = "captured_at must be from 1990-01-01 to a day after now, but is"
    assert reasons(con)[:3] == [
        f"a.jpg: {limits} 2262-04-11T00:00:00+00:00",
        f"b.jpg: {limits} 0001-01-01T00:00:00+12:00",
        f"c.jpg: {limits} 1980-01-01T00:00:00+00:00",
    ]


def test_a_time_that_cannot_be_leaves_the_stored_one_and_limits_can_be_moved(con, tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    stored = "select year(captured_at) from raw.inspections"
    for moment, year in [("1985-01-01", None), ("2026-10-01", 2026), ("2262-01-01", 2026)]:
        (tmp_path / "list.csv").write_text(f"uri,captured_at\na.jpg,{moment}\n")
        load(con, tmp_path / "list.csv")
        assert con.execute(stored).fetchone() == (year,)
    load(con, tmp_path / "list.csv", times=TimeLimits(days_ahead=100_000), again=True)
    assert con.execute(stored).fetchone() == (2262,)


@pytest.mark.parametrize("moment", ["noon", "0001-01-01T00:00:00+12:00"])
def test_a_time_that_cannot_be_read_leaves_the_inspection_without_one(con, tmp_path, moment):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    (tmp_path / "list.csv").write_text(f"uri,captured_at\na.jpg,{moment}\n")
    load(con, tmp_path / "list.csv")
    assert con.execute("select captured_at from raw.inspections").fetchall() == [(None,)]
    assert reasons(con)[0].startswith("row 1: captured_at must be a time such as 2026-10-01T06:30:00Z, but is")


def test_an_impossible_time_of_a_file_is_rejected_by_name(con, tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    os.utime(tmp_path / "a.jpg", (0, 0))
    load(con, tmp_path, tmp_path.parent / "files", layout="images")
    assert con.execute("select uri, captured_at from raw.inspections").fetchall() == [(f"{tmp_path}/a.jpg", None)]
    (reason,) = reasons(con)
    assert reason.endswith("but is 1970-01-01T00:00:00+00:00, the time of the file")


def test_a_name_that_is_not_utf8_is_a_reject_and_its_neighbours_load(con, boards):
    name = os.fsencode(boards / "PCBData/group00041/00041") + b"/\xff\xfe_test.jpg"
    with open(name, "wb") as file:
        file.write(picture(8))
    report = load(con, boards)
    assert report.added.images == 4
    assert reasons(con) == ["the file's name is not valid UTF-8; rename it"]


def test_labels_without_an_image_are_rejects(con, boards):
    (boards / "PCBData/group00041/00041_not/00041077.txt").write_text("1 2 3 4 5")
    load(con, boards)
    assert reasons(con) == ["no image 00041077_test.jpg stands beside this label file"]


def test_files_outside_the_layout_are_remembered_not_hidden(con, boards):
    (boards / "README.md").write_text("hello")
    assert load(con, boards).other_files == 1
    assert con.execute("select uri from raw.files where role = 'other'").fetchall() == [(str(boards / "README.md"),)]


def test_hidden_and_unfinished_files_do_not_exist(con, boards):
    for name in (".hidden_test.jpg", "._fork_test.jpg", "00041100_test.jpg.part", "x.tmp"):
        (boards / "PCBData/group00041/00041" / name).write_bytes(picture(5))
    assert (load(con, boards).samples, reasons(con)) == (3, [])


def test_a_loop_of_links_ends(con, boards):
    (boards / "PCBData/again").symlink_to(boards, target_is_directory=True)
    assert load(con, boards).samples == 3


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_nothing(tmp_path, workers):
    root = tmp_path / "boards"
    for number in range(150):
        write_board(root, f"00041{number:03d}", number % 140, "1 1 10 10 2\n", template=1000)
    with connect(tmp_path / "a.duckdb") as one, connect(tmp_path / "b.duckdb") as other:
        load(one, root, workers=1)
        load(other, root, workers=workers)
        assert state(one) == state(other)


def size_of(warehouse):
    """Bytes of a warehouse and of what is not in it yet: how far a writer has come."""
    size = 0
    for file in warehouse.parent.glob(f"{warehouse.name}*"):
        with contextlib.suppress(FileNotFoundError):  # the log goes when it is in the warehouse
            size += file.stat().st_size
    return size


@pytest.mark.slow  # it loads six thousand images, and again after each kill
def test_killed_at_any_moment_and_run_again_it_ends_as_one_clean_run(tmp_path):
    root = tmp_path / "boards"
    for number in range(6000):
        data = picture(number % 50)
        image = root / f"PCBData/group00041/00041/{number:08d}_test.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(data[:2] + b"\xff\xfe\x00\x0a%08d" % number + data[2:])
        labels = root / f"PCBData/group00041/00041_not/{number:08d}.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text("1 1 10 10 2\n" if number % 7 else "1 1 900 10 2\n")
    with connect(tmp_path / "clean.duckdb") as con:
        load(con, root)
        clean = state(con)
    killed = tmp_path / "killed.duckdb"
    command = [sys.executable, "-m", "udfs.cli", "ingest", str(root), "--warehouse", str(killed)]
    deaths = 0
    for grown in (1, 50_000, 1_000_000, 3_000_000, 5_000_000):
        before = size_of(killed)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and size_of(killed) < before + grown:
                time.sleep(0.001)
            process.kill()
        deaths += process.returncode == -signal.SIGKILL
    assert deaths
    assert duckspect("ingest", str(root), "--warehouse", str(killed)).returncode == 0
    with connect(killed) as con:
        assert state(con) == clean


def test_a_crash_between_two_batches_leaves_whole_batches_and_stale_labels_are_not_taken_for_fresh(
    con, boards, monkeypatch
):
    import models_py.ingest.parallel as loading

    monkeypatch.setattr(loading, "_BATCH", 1)
    monkeypatch.setattr(loading, "_CHUNK", 1)
    load(con, boards)
    lists = boards / "PCBData/trainval.txt"
    lists.write_text(lists.read_text().replace("00041000", "00041002"))

    def crash(done, total, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(con, open_tree(str(boards), boards), boards, IngestOptions(), progress=crash)
    load(con, boards)
    splits = con.execute("select distinct split from raw.current_annotations where uri like '%00041002%'").fetchall()
    assert splits == [("train",)]


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz"])
def test_an_archive_is_unpacked_once_and_read_like_a_folder(con, boards, tmp_path, ending):
    import shutil

    formats = {"zip": "zip", "tar": "tar", "tar.gz": "gztar", "tar.xz": "xztar"}
    archive = tmp_path / f"set.{ending}"
    shutil.move(shutil.make_archive(str(tmp_path / "made"), formats[ending], boards.parent, boards.name), archive)
    files = tmp_path / "files"
    assert load(con, archive, files).added.images == 4
    again = load(con, archive, files)
    assert (again.added.images, again.unchanged, again.bytes_read) == (0, 3, 0)
    assert len(list((files / "unpacked").iterdir())) == 1
    os.utime(archive, (5, 5))
    assert load(con, archive, files).added.inspections == 0


def test_a_broken_archive_is_a_sentence_and_leaves_nothing_behind(con, tmp_path):
    archive = tmp_path / "set.zip"
    archive.write_bytes(b"PK\x03\x04 and then nothing that follows")
    with pytest.raises(LayoutError, match=r"set.zip cannot be unpacked: .*Download it again"):
        load(con, archive, tmp_path / "files")
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def test_an_archive_cannot_write_outside_its_folder(con, tmp_path):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../escaped.jpg", picture(1))
        file.writestr("ok_test.jpg", picture(2))
    open_tree(str(archive), tmp_path / "a/b/files")
    assert not (tmp_path / "a/escaped.jpg").exists()
    assert not (tmp_path / "escaped.jpg").exists()


def test_a_path_that_does_not_exist_is_a_sentence(con, tmp_path):
    with pytest.raises(LayoutError, match="There is nothing at"):
        load(con, tmp_path / "nothing")


def test_an_unknown_scheme_names_the_known_ones(tmp_path):
    with pytest.raises(LayoutError, match=r"teleport:// cannot be read: .*known here: .*http"):
        open_tree("teleport://x/y", tmp_path)


@pytest.fixture
def http_root(boards):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(boards))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_images_come_from_an_http_server_and_are_not_fetched_again(con, boards, http_root, tmp_path):
    tree = open_tree(http_root, tmp_path)
    report = ingest(con, tree, tmp_path)
    assert (report.layout, report.added.images, report.added.annotations) == ("deeppcb", 4, 5)
    assert con.execute("select bool_and(starts_with(uri, 'http://127.0.0.1')) from raw.inspections").fetchone() == (
        True,
    )
    again = ingest(con, open_tree(http_root, tmp_path), tmp_path)
    assert (again.unchanged, again.bytes_read) == (again.samples, 0)
    write_board(boards, "00041001", 77, "1 2 3 4 2\n")
    os.utime(boards / "PCBData/group00041/00041/00041001_test.jpg", (9_000_000, 9_000_000))
    assert ingest(con, open_tree(http_root, tmp_path), tmp_path).added.images == 1


def watching(root, warehouse, *options):
    command = [
        sys.executable,
        "-m",
        "udfs.cli",
        "ingest",
        str(root),
        "--watch",
        "--every",
        "0.2",
        "--publish-every",
        "0",
        "--layout",
        "deeppcb",
    ]
    return subprocess.Popen(
        [*command, *options, "--warehouse", str(warehouse)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def count(warehouse, table="images"):
    result = duckspect("sql", f"select count(*) from raw.{table}", "--format", "csv", "--warehouse", str(warehouse))
    return int(result.stdout.split()[1]) if result.returncode == 0 else -1


def test_a_young_label_file_waits_for_its_image(con, boards):
    image = boards / "PCBData/group00041/00041/00041000_test.jpg"
    data = image.read_bytes()
    image.unlink()
    assert load(con, boards, patience=60).added.rejected_files == 0
    assert load(con, boards).added.rejected_files == 1
    image.write_bytes(data)
    assert load(con, boards, patience=60).added.annotations == 2


def test_watch_loads_what_arrives_until_it_is_stopped(boards, warehouse):
    with watching(boards, warehouse) as process:
        try:
            wait_for(lambda: count(warehouse) == 4)
            write_board(boards, "00041050", 50, "1 1 10 10 2\n")
            wait_for(lambda: count(warehouse) == 5)
            wait_for(lambda: count(warehouse, "rejected_files") == 0)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Stopped." in errors
    with connect(warehouse.with_name("w.published.duckdb"), read_only=True) as readers:
        assert readers.execute("select count(*) from raw.images").fetchone() == (5,)
    assert "New: 4 images" in output


def test_watch_waits_for_a_file_that_is_still_being_written(con, boards, warehouse):
    stop, passes = threading.Event(), []

    def opened():
        passes.append(time.monotonic())
        return connect(warehouse)

    def watched():
        options = IngestOptions(layout="deeppcb")
        return list(
            watch(opened, str(boards), warehouse.parent, options, every=0.05, stop=stop, announce=lambda *_: None)
        )

    def images():
        return con.execute("select count(*) from raw.images").fetchone()[0]

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watched)
        try:
            wait_for(lambda: images() == 4 or watcher.done())
            data = picture(50, (400, 300))
            file = write_board(boards, "00041050", 50, "1 1 10 10 2\n")
            file.write_bytes(b"")
            for start in range(0, len(data) - 1, len(data) // 4):  # its content alone shows what is missing
                assert images() == 4
                with file.open("ab") as stream:
                    stream.write(data[start : min(start + len(data) // 4, len(data) - 1)])
                seen = len(passes) + 3  # the next pass may have begun before
                wait_for(lambda seen=seen: len(passes) >= seen or watcher.done())
            assert images() == 4
            with file.open("ab") as stream:
                stream.write(data[-1:])
            wait_for(lambda: images() == 5 or watcher.done())
        finally:
            stop.set()
        reports = watcher.result()
    assert sum(report.added.images for report in reports) == 5
    assert sum(report.added.rejected_files for report in reports) == 0
