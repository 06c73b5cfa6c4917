"""The server's journal: full disks, damaged lines, cancelled requests, threads in trouble; what survives a crash."""

import asyncio
import itertools
import json
import os
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from weakref import WeakSet

import pytest
from conftest import picture
from waiting import PATIENCE

from models_py.errors import FullDiskError, WarehouseError
from models_py.files.durable import remove_leftovers, replacing, write_file
from models_py.registry import Origin, load, register
from models_py.warehouse.database import files_folder
from udfs import connect
from udfs.builds.build import publish
from udfs.serving.kept_images import KeptImages
from udfs.session.session import Session
from udfs.threads import WorkerPool, WorkerThread, is_able, thread_states
from udfs.verdicts.journal import VerdictJournal, journal_folder, recover
from udfs.verdicts.journal_files import JournalFiles, UncertainStorageError, find_segments, read_segments
from udfs.verdicts.records import VerdictRecord, text_of


def entry(name: str, **given) -> VerdictRecord:
    known = {
        "verdict_id": name,
        "request_id": name,
        "model": "pcb",
        "version": 1,
        "artifact_sha256": "a",
        "task": "classify",
        "client": "line1",
        "device": "cpu",
        "judged_at": datetime.now(UTC),
        "uri": f"urn:{name}",
        "image_id": name,
        "format": "png",
        "width": 8,
        "height": 8,
        "channels": 3,
        "size_bytes": 1,
        "regions": [],
        "is_defective": False,
        "is_cached": False,
        "batch_images": 1,
        "seconds": 0.0,
        "latency_ms": 1.0,
    }
    return VerdictRecord(**(known | given))


@pytest.fixture
def verdict_journal(con, warehouse):
    found = VerdictJournal(Session.of(con).cursor, journal_folder(warehouse))
    yield found
    found.close()


@contextmanager
def full_disk(size: int):
    """Files of this process cannot grow beyond a size: a write ends in the middle, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def texts(folder) -> list[str]:
    lines, damaged = read_segments(find_segments(folder))
    assert damaged == []
    return [line.text.decode() for line in lines]


def verdicts(con) -> set[str]:
    return {name for (name,) in con.execute("select verdict_id from ml.verdicts").fetchall()}


@pytest.mark.parametrize("length", [40, 900, 2500, 7000], ids=lambda length: f"{length} bytes")
def test_a_full_disk_keeps_what_it_took_and_nothing_that_was_refused(tmp_path, length):
    segments, numbers = JournalFiles(tmp_path), itertools.count()
    kept: list[str] = []
    refused: list[OSError] = []

    def append(count: int) -> None:
        batch = [f"{next(numbers)}-".ljust(length, "x") for _ in range(count)]
        try:
            segments.append([text.encode() for text in batch])
            kept.extend(batch)
        except OSError as error:
            refused.append(error)

    with full_disk(30_000):
        while not refused:
            append(3)
        assert texts(tmp_path) == kept
    with full_disk(10):
        append(1)
    assert [type(error) for error in refused] == [OSError, OSError], "what was refused is gone for certain"
    append(2)
    assert texts(tmp_path) == kept
    assert len(find_segments(tmp_path)) == 2, "what cannot be trusted is not written to again"


def test_verdicts_of_a_disk_that_was_full_are_in_the_warehouse_and_refused_ones_are_not(
    con, warehouse, verdict_journal
):
    kept, refused = set(), set()
    for number in range(60):
        name = f"V-{number}"
        with full_disk(9000 if number < 30 else 1 << 40):
            stored = verdict_journal.add(entry(name, label="x" * 500))
            assert stored.exception(30) is None or "so there is none" in str(stored.exception())
        (kept if stored.exception() is None else refused).add(name)
    assert refused
    assert {f"V-{number}" for number in range(30, 60)} <= kept
    verdict_journal.flush()
    assert verdicts(con) == kept
    assert not list(journal_folder(warehouse).iterdir())


def make_read_only(segments: JournalFiles, file) -> None:
    """The disk takes no more of a segment, and gives nothing back."""
    read_only = os.open(file, os.O_RDONLY)
    os.dup2(read_only, segments._descriptor)
    os.close(read_only)


def test_what_could_not_be_taken_back_is_void_before_anything_else_is_acknowledged(tmp_path):
    segments = JournalFiles(tmp_path)
    segments.append([b"first"])
    (file,) = find_segments(tmp_path)
    other = JournalFiles(tmp_path / "other")
    other.append([b"refused"])
    (written,) = find_segments(tmp_path / "other")
    make_read_only(segments, file)
    with pytest.raises(UncertainStorageError):
        segments.append([b"refused"])
    with file.open("ab") as stream:  # the disk had it after all
        stream.write(written.read_bytes().splitlines(keepends=True)[-1])
    assert texts(tmp_path) == ["first", "refused"]
    segments.append([b"second"])
    assert texts(tmp_path) == ["first", "second"]
    assert segments.cut() == find_segments(tmp_path)


def test_nothing_is_moved_while_it_is_uncertain_what_a_segment_holds(tmp_path):
    segments = JournalFiles(tmp_path)
    segments.append([b"first"])
    make_read_only(segments, *find_segments(tmp_path))
    with pytest.raises(UncertainStorageError):
        segments.append([b"refused"])
    with full_disk(4), pytest.raises(OSError, match="File too large"):
        segments.cut()
    assert len(segments.cut()) == 2


def test_a_damaged_line_is_set_aside_and_costs_its_neighbours_nothing(con, warehouse, caplog):
    folder = journal_folder(warehouse)
    segments = JournalFiles(folder)
    names = [f"V-{number}" for number in range(5)]
    segments.append([text_of(entry(name)) for name in names])
    (file,) = segments.cut()
    lines = file.read_bytes().splitlines(keepends=True)
    torn = lines[3][:40] + b"\0" * 100 + lines[3][60:]
    old = text_of(entry("V-old")) + b"\n"
    odd = text_of(entry("V-odd", uri="urn:\udc80"))
    file.write_bytes(b"".join([*lines[:3], torn, *lines[4:], old, odd, b"\n", lines[1][:30]]))
    recover(con, warehouse)
    assert verdicts(con) == {"V-0", "V-1", "V-3", "V-4", "V-old"}
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == torn + odd + b"\n"
    assert f"{file}: line 4 cannot be stored and is kept in {kept}: its checksum is wrong" in caplog.text
    assert f"{file}: line 8 cannot be stored" in caplog.text


def test_reading_a_journal_twice_stores_its_entries_once(con, warehouse):
    folder = journal_folder(warehouse)
    segments = JournalFiles(folder)
    segments.append([text_of(entry("V-1")), text_of(entry("V-2", error="png: it is no image", image_id=None))])
    (file,) = segments.cut()
    data = file.read_bytes()
    recover(con, warehouse)
    file.write_bytes(data)  # killed before it could be deleted
    recover(con, warehouse)
    assert verdicts(con) == {"V-1"}
    assert con.execute("select uri, reason from raw.rejected_files").fetchall() == [("urn:V-2", "png: it is no image")]


def test_a_request_that_is_cancelled_stops_nobody_and_its_verdict_is_stored(con, verdict_journal):
    async def ask() -> None:
        waiting = asyncio.create_task(asyncio.wait_for(asyncio.wrap_future(verdict_journal.add(entry("V-1"))), 30))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(asyncio.wrap_future(verdict_journal.add(entry("V-2"))), 30)

    asyncio.run(ask())
    assert thread_states()["journal"] == "ok"
    verdict_journal.flush()
    assert verdicts(con) == {"V-1", "V-2"}


def test_the_same_question_has_the_answer_that_is_on_record(con, warehouse, verdict_journal):
    first, second = entry("V-1", label="good", version=1), entry("V-1", label="bad", version=2)
    assert verdict_journal.find(first) is None
    waiting = [verdict_journal.add(first), verdict_journal.add(second)]
    assert [stored.result(30).label for stored in waiting] == ["good", "good"]
    verdict_journal.flush()
    assert verdict_journal.find(second) == first
    later = VerdictJournal(Session.of(con).cursor, journal_folder(warehouse))  # of a server that knows nothing of it
    assert later.add(second).result(30) is second
    later.close()
    assert verdict_journal.find(second) == first
    assert con.execute("select count(*) from ml.verdicts").fetchone() == (1,)


def test_a_refused_verdict_may_be_asked_for_again(con, warehouse, verdict_journal):
    folder = journal_folder(warehouse)
    folder.rmdir()
    folder.touch()
    with pytest.raises(WarehouseError, match="so there is none: Not a directory"):
        verdict_journal.add(entry("V-1")).result(30)
    assert thread_states()["journal"] == "its last task failed: Not a directory"
    assert not is_able()
    folder.unlink()
    folder.mkdir()
    verdict_journal.add(entry("V-1")).result(30)
    assert thread_states()["journal"] == "ok"
    assert is_able()
    verdict_journal.flush()
    assert verdicts(con) == {"V-1"}


@pytest.fixture
def alone(monkeypatch):
    """No other threads are watched."""
    monkeypatch.setattr("udfs.threads._watched", WeakSet())


def test_a_thread_goes_on_after_a_task_that_failed_and_says_so_until_one_succeeds(alone):
    begin, done = threading.Semaphore(0), threading.Semaphore(0)
    tasks = iter([ValueError("/a/path"), "good", None])

    def wait():
        done.release()
        begin.acquire()
        return next(tasks)

    def work(task):
        if isinstance(task, Exception):
            raise task

    def states():
        done.acquire()
        return thread_states()["tester"]

    thread = WorkerThread("tester", wait, work)
    assert states() == "ok"
    begin.release()
    assert states() == "its last task failed: ValueError; the log says more"
    begin.release()
    assert states() == "ok"
    begin.release()
    thread.join()
    assert thread_states()["tester"] == "ok", "it was told to end"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_makes_the_server_unready_if_it_is_vital(alone):
    def end(_):
        raise SystemExit

    for is_vital in (False, True):
        thread = WorkerThread("tester", lambda: True, end, is_vital=is_vital)
        thread.join()
        assert thread_states()["tester"] == "has ended"
        assert is_able() is not is_vital


def test_threads_that_finish_nothing_for_long_are_in_trouble(alone, monkeypatch):
    release = threading.Event()
    pool = WorkerPool("tester", 1)
    task = pool.submit(release.wait, PATIENCE)
    assert thread_states()["tester"] == "ok"
    monkeypatch.setattr("udfs.threads.STUCK", 0.0)
    assert "has finished nothing for" in thread_states()["tester"]
    release.set()
    assert task.result(PATIENCE)
    pool.shutdown()
    assert thread_states()["tester"] == "ok"


def test_a_kept_image_is_written_again_if_it_was_torn(tmp_path):
    album, data = KeptImages(tmp_path / "served"), picture(1)
    file = tmp_path / "served" / "ab" / f"{'ab' * 32}.jpeg"
    for there in (None, b"", data[:100], data[:-1] + b"x", data):
        if there is not None:
            file.write_bytes(there)
        assert album.keep(data, "ab" * 32, "jpeg").result(30) == str(file)
        assert file.read_bytes() == data
        assert list(file.parent.iterdir()) == [file]
    with full_disk(10), pytest.raises(WarehouseError, match=r"cannot be written: .*\(File too large\)"):
        album.keep(picture(2), "cd" * 32, "jpeg").result(30)
    assert not list((tmp_path / "served" / "cd").iterdir())


@pytest.fixture
def synced(monkeypatch):
    """What was forced to the disk, by inode."""
    found: list[int] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        real(descriptor)
        found.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    if hasattr(os, "F_FULLFSYNC"):
        monkeypatch.setattr("models_py.files.durable.fcntl.fcntl", lambda descriptor, _: note(descriptor))
    return found


def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_folder_is(tmp_path, synced):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with replacing(file) as partial:
        partial.write_bytes(b"new")
        assert synced == []
    assert file.read_bytes() == b"new"
    assert synced == [file.stat().st_ino, tmp_path.stat().st_ino]
    with full_disk(2), pytest.raises(FullDiskError, match="File too large"):
        write_file(file, b"longer")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_server_promises_to_keep_is_on_the_disk(served, tmp_path, synced):
    warehouse = tmp_path / "w.duckdb"
    version = register(served, "again", load(served, "kind"), [picture(3)], None, Origin({}, {}))
    image = KeptImages(files_folder(warehouse) / "served").keep(picture(4), "ab" * 32, "jpeg").result(30)
    JournalFiles(journal_folder(warehouse)).append([b"{}"])
    kept = [*version.folder.iterdir(), image, publish(warehouse), *find_segments(journal_folder(warehouse))]
    for path in map(type(warehouse), kept):
        assert path.stat().st_ino in synced, path
        assert path.parent.stat().st_ino in synced, path
    assert version.folder.parent.stat().st_ino in synced
    assert files_folder(warehouse).stat().st_ino in synced


def test_a_journal_that_was_killed_in_the_middle_of_a_line_is_taken_in_when_the_warehouse_is_opened(warehouse):
    connect(warehouse).close()
    segments = JournalFiles(journal_folder(warehouse))
    segments.append([text_of(entry("V-1"))])
    (file,) = segments.cut()
    with file.open("ab") as stream:
        stream.write(b"0123abcd " + json.dumps({"verdict_id": "V-2"}).encode())
    with connect(warehouse) as con:
        assert verdicts(con) == {"V-1"}
    assert not list(journal_folder(warehouse).iterdir())


def test_leftovers_of_killed_processes_are_removed_and_those_of_living_ones_stay(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [f".a[1].duckdb.{gone.pid}-1.partial", f".a[1].duckdb.{gone.pid}-1.partial.wal"]
    kept = [f".a[1].duckdb.{os.getpid()}-1.partial", f".b.duckdb.{gone.pid}-1.partial", "a[1].duckdb"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a[1].duckdb")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(kept)
