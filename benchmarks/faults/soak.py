"""Load that goes on: 32 clients, whose verdicts must all be on record, and a server whose memory must stay flat."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from faults import ground
from faults.rows import Row
from faults.server import Load, Server
from udfs import connect

_CLIENTS = 32
_SETTLED = 0.2
"""Share of the time until queues, pools and the allocator have their size."""
_FLAT = 1.05
_EVERY = 1.0
_Sizes = list[tuple[float, float]]
"""Megabytes of the process, and those of them that are the cache of results: it has a bound, and is long in filling."""


def fill(folder: Path, rounds: int | None, seconds: float | list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Ask for so many seconds, kill the server, and look for each verdict that was given."""
    lasting = float(seconds) if isinstance(seconds, int | float) else 600.0
    home = ground.make(folder)
    place = ground.copy(home, folder / "soak")
    row = Row(f"{_CLIENTS} clients, then `kill -9` of the server")
    sizes: _Sizes = []
    with Server(place) as server:
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(server, ended, sizes), daemon=True)
        watch.start()
        until = time.monotonic() + lasting
        heard = server.load(_CLIENTS, lambda: time.monotonic() < until, pictures())
        ended.set()
        watch.join()
        server.command.kill()
    row.count("s", int(lasting))
    row.count("requests", len(heard.acknowledged) + sum(heard.refused.values()))
    for words in heard.broken:
        row.fault("crashed", f"a client's connection: {words}")
    row.expect(not heard.refused, "wrong", f"refused: {heard.refused}")
    settled = sizes[int(_SETTLED * len(sizes)) :]
    first, last = _middle(settled[: len(settled) // 2]), _middle(settled[len(settled) // 2 :])
    row.remarks.append(
        f"memory without the cache of results {first[0] - first[1]:,.0f} MB in the first half, "
        f"{last[0] - last[1]:,.0f} MB in the second; the cache {first[1]:,.0f} and {last[1]:,.0f} MB"
    )
    row.expect(last[0] - last[1] < (first[0] - first[1]) * _FLAT, "wrong", f"memory grew from {first} to {last} MB")
    print("  MB, cache:", ", ".join(f"{size:.0f} {cache:.0f}" for size, cache in sizes[:: max(1, len(sizes) // 20)]))
    count_lost(row, place, heard)
    yield row


def _middle(sizes: _Sizes) -> tuple[float, float]:
    """The medians of both numbers."""
    size, cache = (statistics.median(column) for column in zip(*sizes, strict=True))
    return size, cache


def _watch(server: Server, ended: threading.Event, sizes: _Sizes) -> None:
    while not ended.wait(_EVERY):
        sizes.append((server.megabytes, server.cached_megabytes))


def count_lost(row: Row, place: Path, heard: Load) -> None:
    """Every verdict that was acknowledged is in the warehouse, once."""
    with connect(place / ground.WAREHOUSE) as con:
        rows = con.execute("select request_id from ml.verdicts").fetchall()
    stored = [name for (name,) in rows]
    lost = set(heard.acknowledged) - set(stored)
    row.count("verdicts on record", len(stored))
    for name in sorted(lost):
        row.fault("lost", f"verdict {name}")
    row.expect(len(stored) == len(set(stored)), "wrong", "a verdict is on record twice")


def pictures(count: int = 16, side: int = 96) -> list[bytes]:
    """Drawn strips as PNG files."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        strip = rng.normal(120, 12, (side, side)).clip(0, 255).astype(np.uint8)
        start, end = rng.integers(0, side, (2, 2)).tolist()
        cv2.line(strip, start, end, int(rng.integers(0, 255)), 2)
        found.append(cv2.imencode(".png", strip)[1].tobytes())
    return found
