"""A disk without room: a sentence, nothing half written is left, and what was there before is as it was."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import duckspect, picture
from waiting import PATIENCE

from models_py.errors import FullDiskError
from models_py.files.durable import write_file
from models_py.files.full_disk import full_disk
from models_py.ingest.masks import MaskStore

SMALL = 64 << 10
"""Bytes that a file may have in a process that is short of room."""
_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from udfs.cli import main
main()
"""


def without_room(*arguments: str, limit: int = SMALL, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process whose files may not grow beyond a limit: no root is needed for that."""
    return subprocess.run(
        [sys.executable, "-c", _LIMITED, str(limit), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **env},
        check=False,
    )


def says_so(done: subprocess.CompletedProcess[str], folder: Path | None = None) -> None:
    words = " ".join(done.stderr.split())
    assert done.returncode == 1, words
    assert f"The disk of {folder} is full (File too large)." in words if folder else " is full (" in words, words
    assert "Traceback" not in words


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_whatever_words_a_library_has_there_is_one_sentence(tmp_path, number):
    reason = os.strerror(number)
    written = [
        OSError(number, reason, str(tmp_path / "x")),
        duckdb.IOException(f'IO Error: Could not write file "{tmp_path}/x": {reason}'),
        RuntimeError(f"Error while serializing: I/O error: {reason} (os error {number})"),
    ]
    for error in written:
        found = full_disk(error, tmp_path)
        assert str(found).startswith(f"The disk of {tmp_path} is full ({reason}). Make room")
    assert str(full_disk(written[0])) == str(full_disk(written[1])) == str(full_disk(written[0], tmp_path))
    outer = ValueError("of something else")
    outer.__cause__ = written[0]
    assert full_disk(outer) is not None
    assert full_disk(ValueError(reason)) is None
    assert full_disk(OSError(errno.EACCES, "Permission denied")) is None


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
from pathlib import Path
from models_py.files.durable import write_file
write_file(Path({str(file)!r}), bytes(1000))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"FullDiskError: The disk of {tmp_path} is full (File too large)." in done.stderr
    assert file.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_ingest_tells_and_keeps_what_was_loaded(boards, warehouse):
    assert duckspect("ingest", str(boards), "-w", str(warehouse), "--no-publish").returncode == 0
    more = boards / "PCBData/group00041/00041"
    for number in range(100, 130):
        (more / f"00041{number}_test.jpg").write_bytes(picture(number))
    says_so(without_room("ingest", str(boards), "-w", str(warehouse), "--no-publish", limit=1000))
    with duckdb.connect(warehouse, read_only=True) as con:
        assert con.execute("select count(*) from raw.inspections").fetchall() == [(3,)]
    assert duckspect("ingest", str(boards), "-w", str(warehouse), "--no-publish").returncode == 0
    with duckdb.connect(warehouse, read_only=True) as con:
        assert con.execute("select count(*) from raw.inspections").fetchall()[0][0] > 3


def test_an_archive_that_has_no_room_leaves_nothing_unpacked(boards, warehouse):
    shutil.make_archive(str(boards), "zip", boards)
    assert duckspect("init", "-w", str(warehouse)).returncode == 0
    before = files_of(warehouse.parent)
    done = without_room("ingest", f"{boards}.zip", "-w", str(warehouse), "--no-publish", limit=500)
    says_so(done, warehouse.with_name("w_files") / "unpacked")
    assert files_of(warehouse.parent) == before


def test_a_copy_for_readers_that_has_no_room_leaves_the_last_one(warehouse):
    assert duckspect("init", "-w", str(warehouse)).returncode == 0
    assert duckspect("publish", "-w", str(warehouse)).returncode == 0
    before = files_of(warehouse.parent)
    says_so(without_room("publish", "-w", str(warehouse)), warehouse.parent)
    assert files_of(warehouse.parent) == before


def test_a_model_that_has_no_room_is_neither_exported_nor_imported(served, tmp_path):
    served.close()
    warehouse = ["-w", str(tmp_path / "w.duckdb")]
    assert duckspect("models", "export", "kind", str(tmp_path / "kind.zip"), *warehouse).returncode == 0
    before = files_of(tmp_path)
    says_so(without_room("models", "export", "kind", str(tmp_path / "kind.zip"), *warehouse), tmp_path)
    says_so(without_room("models", "export", "kind", str(tmp_path / "kind.onnx"), *warehouse))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = without_room("models", "import", str(tmp_path / "kind.zip"), "p", *warehouse, TMPDIR=str(temporary))
    says_so(done, temporary)
    assert files_of(tmp_path).keys() == before.keys()
    assert duckspect("models", "show", "kind", *warehouse).returncode == 0


def test_a_training_that_has_no_room_tells_and_goes_on_later(served, tmp_path):
    served.close()
    warehouse = ["-w", str(tmp_path / "w.duckdb")]
    query = "select image, label from parts"
    options = ["-o", "epochs=1", "-o", "batch=8", "-o", "image_size=64", "-o", "weights=none"]
    command = ["train", "more", "-t", "classify", "-q", query, *options, *warehouse]
    says_so(without_room(*command, limit=1 << 20))
    assert not (tmp_path / "w_files/artifacts/more").exists()
    assert list(tmp_path.rglob("*.partial*")) == []
    done = duckspect(*command, "--resume")
    assert done.returncode == 0, done.stderr


def test_a_build_that_has_no_room_tells_and_leaves_the_last_tables(plant_copy):
    count = "select count(*) from defect_log"
    with duckdb.connect(plant_copy, read_only=True) as con:
        before = con.execute(count).fetchall()
    says_so(without_room("build", "-s", "defect_log", "-w", str(plant_copy), limit=2000))
    with duckdb.connect(plant_copy, read_only=True) as con:
        assert con.execute(count).fetchall() == before


def test_rows_that_have_no_room_leave_the_file_that_was_there(warehouse, tmp_path):
    assert duckspect("init", "-w", str(warehouse)).returncode == 0
    file = tmp_path / "rows.csv"
    file.write_text("before")
    query = ["sql", "from range(100000)", "--format", "csv", "-w", str(warehouse)]
    says_so(without_room(*query, "--output", str(file)), tmp_path)
    assert file.read_text() == "before"
    assert list(tmp_path.glob(".*partial*")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_an_output_that_is_full_is_said(warehouse):
    assert duckspect("init", "-w", str(warehouse)).returncode == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "udfs.cli", "info", "-w", str(warehouse)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "A disk is full (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr.partition("Exception ignored")[0]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_is_said_by_its_name(small_disk):
    write_file(small_disk / "file", b"before")
    with pytest.raises(FullDiskError, match=f"The disk of {small_disk} is full .No space left on device"):
        write_file(small_disk / "file", bytes(2 << 20))
    with pytest.raises(FullDiskError):
        MaskStore(small_disk / "masks").keep(bytes(2 << 20))
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["file"]
    assert (small_disk / "file").read_bytes() == b"before"
    write_file(small_disk / "file", b"after")  # there is room again
    assert (small_disk / "file").read_bytes() == b"after"
