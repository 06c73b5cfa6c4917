"""A reader that opens the published copy again and again while it is swapped."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb

from faults import ground
from faults.rows import Row, rounds_of
from udfs import connect
from udfs.builds.build import publish, published_path


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Swap so often; every state of the warehouse has as many rows in one table as in the other."""
    count = rounds or 1000
    home = ground.make(folder)
    place = ground.copy(home, folder / "swaps")
    warehouse = place / "small.duckdb"
    with connect(warehouse) as con:
        con.execute("create table first (n integer); create table second (n integer)")
        con.execute("create view kpi_first as select count(*) as row_count from first")
    publish(warehouse)
    ours, theirs = multiprocessing.get_context("forkserver").Pipe()
    reader = multiprocessing.get_context("forkserver").Process(
        target=_read, args=(theirs, str(published_path(warehouse)))
    )
    reader.start()
    row = Row("a reader during swaps of the published copy")
    started = time.perf_counter()
    for number in rounds_of(count):
        with connect(warehouse) as con:
            con.execute("begin")
            con.execute("insert into first values (?)", [number])
            con.execute("insert into second values (?)", [number])
            con.execute("commit")
        publish(warehouse)
        row.count("swaps")
    ours.send("end")
    reads, faults = ours.recv()
    reader.join()
    row.count("reads", reads)
    for kind, words in faults:
        row.fault(kind, words)
    with duckdb.connect(published_path(warehouse), read_only=True) as con:
        last = con.execute("select row_count from kpi_first").fetchall()[0][0]
    done = row.counts["swaps"]
    row.expect(last == done, "lost", f"readers have {last} of {done} rows")
    left = [path.name for path in place.iterdir() if "partial" in path.name]
    row.expect(not left, "half", f"there are {left}")
    print(f"  {1000 * (time.perf_counter() - started) / done:.0f} ms a swap")
    shutil.rmtree(place)
    yield row


def _read(stop: Connection, file: str) -> None:
    """Open, read and close until told to end."""
    reads, before = 0, 0
    faults: list[tuple[str, str]] = []
    while not stop.poll():
        reads += 1
        try:
            with duckdb.connect(file, read_only=True) as con:
                first, second, shown = con.execute(
                    "select (select count(*) from first), (select count(*) from second), row_count from kpi_first"
                ).fetchall()[0]
        except duckdb.Error as error:
            faults.append(("half", f"read {reads}: {error}"))
            continue
        if not first == second == shown:
            faults.append(("half", f"read {reads} saw {first}, {second} and {shown} rows"))
        if first < before:
            faults.append(("lost", f"read {reads} saw {first} rows after {before}"))
        before = first
    stop.send((reads, faults))
