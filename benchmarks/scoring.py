"""Measure how fast SQL scores images, compared with a torch loop, with Ultralytics, row by row, and from the cache.

Every ratio is the median of pairs taken in turn in one run, on drawn images and starter weights.

    python benchmarks/scoring.py                       # everything
    python benchmarks/scoring.py torch cache --pairs 7
    python benchmarks/scoring.py torch --compiled      # SQL runs what `duckspect models compile` makes
    python benchmarks/scoring.py torch --guest         # with the settings of a process that is not ours
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import torch
from starter import BOARDS as LABELLED
from starter import starter

from models_py.datasets import freeze
from models_py.images.decode import decode, open_bytes
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.metrics.evaluation import evaluate_model
from models_py.model.architectures import find_architecture
from models_py.model.devices import find_devices, mixed
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import Model, ModelSpec, Prediction
from models_py.plant import build
from models_py.progress import SilentReport
from models_py.registry import Origin, compile_version, load, promote, register, set_operating_point
from models_py.registry.compiled.folding import fold_batch_norms
from models_py.tasks.classify.task import rebuild_empty
from models_py.warehouse.location import stored_uris
from models_py.weights.first_weights import start
from udfs import connect
from udfs.runtime import Query
from udfs.session.host import prepare_process
from udfs.session.session import Session

CLASSES = tuple(f"class{number}" for number in range(8))
BOARDS = 96
SMALL = 2048


def classifier() -> Model:
    """A small classifier with an untrained head, since only its speed is measured."""
    torch.manual_seed(0)
    model = rebuild_empty(ModelSpec("classify", "mobilenet_v3_small", CLASSES, Preprocess(128), {}))
    start(model.network, find_architecture("classify", "mobilenet_v3_small"), "starter", SilentReport(), CLASSES)
    return model


class Bench:
    """A warehouse with drawn boards, small pictures and two models."""

    def __init__(self, folder: Path, pairs: int, *, compiled: bool = False) -> None:
        self.folder = folder
        self.pairs = pairs
        self._point = 0
        build(folder / "plant", units=BOARDS * 2, seed=11, workers=os.cpu_count() or 1)
        small = draw_small(folder / "small", SMALL)
        os.environ["DUCKSPECT_ALLOWED_ROOTS"] = str(folder)
        self.con = connect(folder / "w.duckdb")
        ingest(self.con, open_tree(str(folder / "plant"), folder), folder, IngestOptions(source="plant"))
        shown = self.con.execute(
            "select uri from raw.inspections where product_type like 'PCB-%' order by uri"
        ).fetchall()
        boards = [stored_uris(self.con).full(row[0]) for row in shown[:BOARDS]]
        golden = [Path(boards[0]).read_bytes()]
        for name, model in (("board", starter("detect", "yolo11n", 640)), ("small", classifier())):
            version = register(self.con, name, model, golden, None, Origin({}, {}))
            promote(self.con, version.reference)
            if compiled:
                print(f"{name}: {compile_version(self.con, version).note}", flush=True)
        for table, files in (("boards", boards), ("smalls", small)):
            self.con.execute(f"create table {table} as select unnest(?) as uri", [files])

    def files(self, table: str) -> list[str]:
        return [row[0] for row in self.con.execute(f"select uri from {table} order by uri").fetchall()]

    def batch(self, model: str) -> int:
        """The batch size that the runtime has chosen."""
        self.con.execute(f"select count(predict(uri, '{model}')) from {model}s").fetchall()
        return Session.of(self.con).runtime().models.serve(model, Query(0, 0), None).engine.batch

    def forget(self, model: str) -> None:
        """Set a new operating point, so that the cached results are not used."""
        self._point += 1
        set_operating_point(self.con, model, 0.25 + self._point * 1e-9, "benchmark")

    def compare(
        self, ours: Callable[[], Any], theirs: Callable[[], Any], before: Callable[[], Any]
    ) -> dict[str, float]:
        """Time both in turn; the first pair warms up and is not counted."""
        times: list[tuple[float, float]] = []
        for number in range(self.pairs + 1):
            before()
            pair = (clock(ours), clock(theirs)) if number % 2 else tuple(reversed((clock(theirs), clock(ours))))
            times.append((pair[0], pair[1]))
        counted = times[1:]
        return {
            "ratio": statistics.median(b / a for a, b in counted),
            "ours": statistics.median(a for a, _ in counted),
            "theirs": statistics.median(b for _, b in counted),
        }


def clock(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def draw_small(folder: Path, count: int, side: int = 160) -> list[str]:
    """Small pictures, each of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        pixels = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (side, side))
        file = folder / f"{number:05d}.jpg"
        cv2.imwrite(str(file), pixels)
        files.append(str(file))
    return files


def bare_loop(model: Model, files: Sequence[str], batch: int, precision: str) -> list[Prediction]:
    """A good loop without a warehouse: a pool of threads decodes ahead while the device computes."""
    device = find_devices("auto")[0]
    found: list[Prediction] = []

    def prepare(file: str) -> tuple[torch.Tensor, tuple[int, int]]:
        image = decode(open_bytes(file))
        return model.prepare(image).permute(1, 2, 0).contiguous(), (image.shape[1], image.shape[2])

    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool, torch.inference_mode():
        prepared = pool.map(prepare, files)
        for first in range(0, len(files), batch):
            items = [next(prepared) for _ in files[first : first + batch]]
            images = torch.stack([image for image, _ in items]).to(device).permute(0, 3, 1, 2)
            with mixed(device, precision):
                outputs = model.forward(images)
            found += model.interpret(outputs, [size for _, size in items])
    return found


def engine_of(bench: Bench, name: str) -> tuple[Model, str]:
    """The model as SQL runs it: same fusing, same precision."""
    model = load(bench.con, name)
    fold_batch_norms(model.network)
    device = find_devices("auto")[0]
    model.network.to(device).to(memory_format=torch.channels_last).eval()
    architecture = find_architecture(model.task, model.spec.architecture)
    return model, architecture.defaults.get("precision", "auto")


def against_torch(bench: Bench) -> dict[str, Any]:
    """SQL over a table of paths against a bare torch loop; aim 0.95."""
    found = {}
    for name, table, sql in (
        ("detector", "board", "select sum(len(detect(uri, 'board'))) from boards"),
        ("classifier", "small", "select count(classify(uri, 'small')) from smalls"),
    ):
        model, precision = engine_of(bench, table)
        files = bench.files(f"{table}s")
        batch = bench.batch(table)
        measured = bench.compare(
            lambda sql=sql: bench.con.execute(sql).fetchall(),
            lambda model=model, files=files, batch=batch, precision=precision: bare_loop(
                model, files, batch, precision
            ),
            lambda table=table: bench.forget(table),
        )
        found[name] = {
            "ratio": round(measured["ratio"], 3),
            "ms an image": round(1000 * measured["ours"] / len(files), 1),
        }
    return found


def against_ultralytics(bench: Bench) -> dict[str, Any]:
    """SQL against YOLO.predict(source=list, stream=True, batch=16), same weights and boxes; aim 4."""
    from models_py.yolo import ultralytics

    bench.batch("board")  # before theirs, which leaves torch in this process one thread
    yolo = ultralytics().YOLO("yolo11n.yaml", verbose=False)
    from ultralytics.nn.tasks import DetectionModel

    model = load(bench.con, "board")
    network = DetectionModel(model.network.architecture, nc=len(model.labels), verbose=False)
    network.load_state_dict(model.network.model.state_dict())
    network.names = dict(enumerate(model.labels))
    yolo.model = network.eval()
    files = bench.files("boards")
    device = str(find_devices("auto")[0])

    def theirs() -> list[Any]:
        asked = {"imgsz": 640, "conf": 0.25, "iou": 0.7, "device": device, "verbose": False}
        return [
            (r.boxes.xyxy.cpu().numpy(), r.boxes.cls.cpu().numpy())
            for r in yolo.predict(source=files, stream=True, batch=16, **asked)
        ]

    sql = "select uri, detect(uri, 'board', threshold := 0.25) from boards order by uri"
    measured = bench.compare(lambda: bench.con.execute(sql).fetchall(), theirs, lambda: bench.forget("board"))
    ours = [row[1] for row in bench.con.execute(sql).fetchall()]
    pairs = [
        _best_overlap(box, model.labels[int(label)], found)
        for (boxes, labels), found in zip(theirs(), ours, strict=True)
        for box, label in zip(boxes, labels, strict=True)
    ]
    return {
        "ratio": round(measured["ratio"], 2),
        "ms an image": round(1000 * measured["ours"] / len(files), 1),
        "ms of theirs": round(1000 * measured["theirs"] / len(files), 1),
        "their boxes": len(pairs),
        "found by us with IoU 0.99": round(float(np.mean([value >= 0.99 for value in pairs])), 4),
        "median IoU": round(float(np.median(pairs)), 4),
    }


def _best_overlap(box: Any, label: str, found: list[dict[str, Any]]) -> float:
    best = 0.0
    for region in found:
        if region["label"] != label:
            continue
        wide = max(0.0, min(box[2], region["x2"]) - max(box[0], region["x1"]))
        high = max(0.0, min(box[3], region["y2"]) - max(box[1], region["y1"]))
        union = (box[2] - box[0]) * (box[3] - box[1]) + (region["x2"] - region["x1"]) * (region["y2"] - region["y1"])
        best = max(best, wide * high / (union - wide * high))
    return best


def against_rows(bench: Bench) -> dict[str, Any]:
    """SQL against a plain Python function that is called row by row; aim 3."""
    from PIL import Image

    model = load(bench.con, "small")
    plain = duckdb.connect()

    def classify(uri: str) -> str:
        image = torch.from_numpy(np.array(Image.open(uri).convert("RGB"))).permute(2, 0, 1)
        return model.predict([image])[0].label

    plain.create_function("classify", classify, ["VARCHAR"], "VARCHAR")
    files = bench.files("smalls")
    plain.execute("create table smalls as select unnest(?) as uri", [files])
    measured = bench.compare(
        lambda: bench.con.execute("select count(classify(uri, 'small')) from smalls").fetchall(),
        lambda: plain.execute("select count(classify(uri)) from smalls").fetchall(),
        lambda: bench.forget("small"),
    )
    return {"ratio": round(measured["ratio"], 2), "ms an image": round(1000 * measured["ours"] / len(files), 2)}


def again(bench: Bench) -> dict[str, Any]:
    """The same query again, from the cache; aim 100."""
    ratios = []
    for _ in range(bench.pairs):
        bench.forget("board")
        first = clock(lambda: bench.con.execute("select sum(len(detect(uri, 'board'))) from boards").fetchall())
        second = clock(lambda: bench.con.execute("select sum(len(detect(uri, 'board'))) from boards").fetchall())
        ratios.append(first / second)
    return {"ratio": round(statistics.median(ratios), 0)}


def written(bench: Bench, script: str) -> str:
    """A script as a file: DuckDB shows a progress bar to what is given with -c."""
    file = bench.folder / "script.py"
    file.write_text(script)
    return str(file)


MEMORY = """
import json, sys
import udfs
con = udfs.connect(sys.argv[1])
con.execute(sys.argv[2]).fetchall()
most = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]  # of this program, not of its parent
print(json.dumps(int(most[0].split()[1]) / 1024))
"""


def memory(bench: Bench) -> dict[str, Any]:
    """Most resident memory: 20,000 images against 200 (aim: 300 MB more), and 1 MB BLOBs, 1,200 against 60."""
    many = draw_small(bench.folder / "many", 20_000, side=64)
    bench.con.execute("create or replace table many as select unnest(?) as uri", [many])
    rng = np.random.default_rng(1)
    bench.con.execute("create or replace table blobs (b blob)")
    for _ in range(60):
        noise = cv2.imencode(".png", rng.integers(0, 256, (580, 600, 3), dtype=np.uint8))[1].tobytes()
        bench.con.execute("insert into blobs select ?::blob || i::varchar::blob from range(20) as t (i)", [noise])
    bench.con.execute("checkpoint")
    bench.con.close()
    script = written(bench, MEMORY)
    found = {}
    for name, sql in (
        ("200 images", "select count(classify(uri, 'small')) from (from many limit 200)"),
        ("20,000 images", "select count(classify(uri, 'small')) from many"),
        ("60 BLOBs of 1 MB", "select count(classify(b, 'small')) from (from blobs limit 60)"),
        ("1,200 BLOBs of 1 MB", "select count(classify(b, 'small')) from blobs"),
    ):
        command = [sys.executable, script, str(bench.folder / "w.duckdb"), sql]
        found[f"MB for {name}"] = round(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    bench.con = connect(bench.folder / "w.duckdb")
    return found


BEGIN = """
import sys, time
started = time.perf_counter()
import udfs
con = udfs.connect(sys.argv[1])
connected = time.perf_counter() - started
assert "torch" not in sys.modules
started = time.perf_counter()
con.execute("select detect(uri, 'board') from boards limit 1").fetchall()
print(connected, time.perf_counter() - started)
"""


def begin(bench: Bench) -> dict[str, Any]:
    """A new process: seconds to connect (aim 0.3), and from the first query to its result (aim 5)."""
    bench.con.close()
    command = [sys.executable, written(bench, BEGIN), str(bench.folder / "w.duckdb")]
    times = [
        list(map(float, subprocess.run(command, capture_output=True, check=True).stdout.split()))
        for _ in range(bench.pairs)
    ]
    bench.con = connect(bench.folder / "w.duckdb")
    connected, first = (round(statistics.median(column), 2) for column in zip(*times, strict=True))
    return {"seconds to connect": connected, "seconds to the first result": first}


def precision(bench: Bench) -> dict[str, Any]:
    """MAP in bf16 against fp32 (aim: at most 0.002 apart), on the drawn boards with their drawn labels."""
    dataset = freeze(bench.con, LABELLED, "detect", split="test")
    found = {}
    for kind in ("fp32", "bf16"):
        metrics = evaluate_model(load(bench.con, "board"), dataset.rows[:BOARDS], precision=kind).metrics
        found[kind] = {name: round(metrics[name] or 0.0, 4) for name in ("map50", "map50_95")}
    return found


CASES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "torch": against_torch,
    "ultralytics": against_ultralytics,
    "rows": against_rows,
    "cache": again,
    "begin": begin,
    "memory": memory,
    "precision": precision,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="compile the models first, as the command does")
    parser.add_argument("--guest", action="store_true", help="as in a notebook, whose settings stay as they are")
    given = parser.parse_args()
    if not given.guest:
        prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.pairs, compiled=given.compiled)
        for name, case in CASES.items():
            if not given.cases or name in given.cases:
                print(f"{name}: {json.dumps(case(bench))}", flush=True)
        bench.con.close()


if __name__ == "__main__":
    main()
