"""What tiles cost against the plain resize: time and memory of one image of growing size, by the same network."""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models_py.images.tiles import tile_places
from models_py.model.architectures import find_architecture
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import Model, ModelSpec
from models_py.tasks.detect.task import rebuild
from udfs.session.host import prepare_process

SIDE, OVERLAP = 640, 0.2
SIDES = (1280, 2560, 5120)
_STATM, _PAGE = Path("/proc/self/statm"), 4096


def detector(name: str) -> Model:
    """A detector with random weights: its time does not depend on what it learned."""
    torch.manual_seed(0)
    network = find_architecture("detect", name).build(2)
    preprocess = Preprocess(SIDE, letterbox=True, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    build = {"yaml": network.architecture} if hasattr(network, "architecture") else {}
    spec = ModelSpec("detect", name, ("a", "b"), preprocess, build)
    return rebuild(spec, network.state_dict())


def measured(work: Callable[[], object], runs: int) -> tuple[float, float]:
    """The median time in seconds, and how many MB of memory are taken beside those at the start."""
    work()
    seen, is_over = [_taken()], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            seen.append(_taken())

    watcher = threading.Thread(target=watch)
    watcher.start()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    is_over.set()
    watcher.join()
    return statistics.median(times), (max(seen) - seen[0]) / 1e6


def _taken() -> int:
    return int(_STATM.read_text().split()[1]) * _PAGE if _STATM.exists() else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="yolo11n")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    given = parser.parse_args()
    prepare_process()
    whole = detector(given.architecture)
    cut = detector(given.architecture)
    cut.spec = replace(cut.spec, preprocess=replace(cut.spec.preprocess, tile=True, overlap=OVERLAP))
    print(f"{given.architecture} at {SIDE} pixels, {torch.get_num_threads()} threads, overlap {OVERLAP}")
    print(
        "| image | tiles | resized, s | by tiles, s | for each tile, ms | memory for tiles, MB | 20 pixels, resized |"
    )
    print("|---|---|---|---|---|---|---|")
    for side in given.sides:
        pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        tiles = len(tile_places((side, side), SIDE, OVERLAP))
        resized, _ = measured(lambda image=image: whole.predict([image]), given.runs)  # type: ignore[misc]
        tiled, memory = measured(lambda image=image: cut.predict([image]), given.runs)  # type: ignore[misc]
        print(
            f"| {side} x {side} | {tiles} | {resized:.2f} | {tiled:.2f} | {1000 * tiled / tiles:.0f} | {memory:.0f} "
            f"| {20 * SIDE / side:.1f} |"
        )


if __name__ == "__main__":
    main()
