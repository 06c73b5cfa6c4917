"""Measure how fast images are ingested, compared with only reading and hashing the same bytes.

Each pair is a first load into a fresh warehouse and a bare loop over the same files, in turn; the loop is the faster of
one thread and one per core. Listing the folder is part of both. Then a reload with nothing new, as a whole process.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from models_py.ingest import ingest, open_tree
from udfs import connect


def jpeg(side: int, grain: int) -> bytes:
    """Encode a picture with enough detail to have the size of a real one."""
    noise = np.random.default_rng(side).integers(0, 256, (side // grain, side // grain), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side)).save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


def write_boards(folder: Path, count: int, picture: bytes) -> None:
    """Lay out boards as DeepPCB does; a JPEG comment makes the bytes of each its own."""
    images, labels = folder / "PCBData/group1/1", folder / "PCBData/group1/1_not"
    images.mkdir(parents=True)
    labels.mkdir()
    for number in range(count):
        comment = f"board {number:08d}".encode()
        unique = picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]
        (images / f"{number:08d}_test.jpg").write_bytes(unique)
        (labels / f"{number:08d}.txt").write_text("".join(f"{10 * i} 20 {10 * i + 30} 60 {i + 1}\n" for i in range(6)))


def read_and_hash(path: str) -> int:
    with open(path, "rb", 0) as file:
        data = file.read()
    hashlib.sha256(data).hexdigest()
    return len(data)


def bare_loop(folder: Path, threads: int) -> float:
    started = time.perf_counter()
    paths = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
    if threads == 1:
        sum(map(read_and_hash, paths))
    else:
        with ThreadPoolExecutor(threads) as pool:
            sum(pool.map(read_and_hash, paths, chunksize=64))
    return time.perf_counter() - started


def first_load(folder: Path, scratch: Path) -> float:
    warehouse = scratch / f"{time.time_ns()}.duckdb"
    with connect(warehouse) as con:
        started = time.perf_counter()
        ingest(con, open_tree(str(folder), scratch), scratch)
        seconds = time.perf_counter() - started
    warehouse.unlink()
    return seconds


def reload(folder: Path, scratch: Path) -> float:
    warehouse = scratch / "reload.duckdb"
    command = [sys.executable, "-m", "udfs.cli", "ingest", str(folder), "--warehouse", str(warehouse)]
    subprocess.run(command, check=True, capture_output=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def compare(title: str, count: int, picture: bytes, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, scratch = Path(name) / "data", Path(name)
        write_boards(folder, count, picture)
        ratios, loads = [], []
        first_load(folder, scratch)
        for _ in range(pairs):
            limit = min(bare_loop(folder, threads) for threads in (1, os.cpu_count() or 1))
            loads.append(first_load(folder, scratch))
            ratios.append(limit / loads[-1])
        load = statistics.median(loads)
        print(
            f"{title}: {count:,} images of {len(picture) / 1000:,.0f} kB: {count / load:,.0f} images/s, "
            f"{count * len(picture) / load / 1e6:,.0f} MB/s, {statistics.median(ratios):.2f} of reading and hashing "
            f"(median of {pairs}, {min(ratios):.2f} to {max(ratios):.2f})"
        )
        print(f"{title}: reload with nothing new, whole process: {reload(folder, scratch):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=10_000, help="boards of 640 x 640 pixels")
    parser.add_argument("--medium", type=int, default=2_000, help="pictures of 1280 x 1280 pixels")
    parser.add_argument("--large", type=int, default=500, help="pictures of 2400 x 2400 pixels")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    compare("boards", options.small, jpeg(640, 6), options.pairs)
    compare("cameras", options.medium, jpeg(1280, 5), options.pairs)
    compare("large pictures", options.large, jpeg(2400, 4), options.pairs)


if __name__ == "__main__":
    main()
