"""Measure the server's latency and throughput at 1, 8 and 32 clients, compared with LitServe on the same artifact.

Both servers get the same JSON (base64 of pictures that nobody sent before, so no cache answers), on loopback, one
after the other in turns; ours also keeps every image and records every verdict. Ours runs the compiled form, as
`duckspect models compile` makes it; LitServe runs torch, and in turns of its own our compiled form. The load comes
from a process of its own.

    pip install 'duckspect[bench]'
    python benchmarks/serving.py                          # both models
    python benchmarks/serving.py mobilenet --rounds 5
    python benchmarks/serving.py --loading                # how long mobilenet takes while yolo's versions are loaded
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

try:
    import litserve as ls
except ModuleNotFoundError:
    ls = None

CLIENTS = (1, 8, 32)
PICTURES = 48
SIDE = 640
LITSERVE_BATCH = 16
FAINTEST = 0.01
VERSIONS = 40
"""More than the server keeps loaded for its references, so that each is loaded again in its turn."""


@dataclass(frozen=True)
class Load:
    """The result of one run of clients."""

    seconds: float
    latencies: list[float]
    failures: int

    @property
    def throughput(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        ranked = sorted(self.latencies)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def pictures(count: int) -> list[bytes]:
    """Drawn boards as JPEG files."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        board = np.full((SIDE, SIDE, 3), (40, 90, 30), np.uint8)
        for _ in range(60):
            x, y = (int(value) for value in rng.integers(0, SIDE - 80, 2))
            size = (x + int(rng.integers(8, 80)), y + int(rng.integers(2, 12)))
            cv2.rectangle(board, (x, y), size, tuple(int(value) for value in rng.integers(60, 220, 3)), -1)
        noisy = np.clip(board + rng.normal(0, 6, board.shape), 0, 255).astype(np.uint8)
        found.append(cv2.imencode(".jpg", noisy)[1].tobytes())
    return found


# The process that makes the load.


def drive(target: dict[str, Any]) -> None:
    """Send requests from so many clients for so long, and print what they saw."""
    images = [Path(name).read_bytes() for name in target["images"]]
    load = asyncio.run(_drive(target, images))
    print(json.dumps({"seconds": load.seconds, "latencies": load.latencies, "failures": load.failures}))


async def _drive(target: dict[str, Any], images: list[bytes]) -> Load:
    latencies: list[float] = []
    failures = 0
    until = time.perf_counter() + target["seconds"]
    sent = 0

    def body() -> bytes:
        """A picture with bytes behind its end: another file, the same pixels."""
        nonlocal sent
        sent += 1
        unique = f"{target['salt']}-{sent}".encode()
        return json.dumps({"image": base64.b64encode(images[sent % len(images)] + unique).decode()}).encode()

    async def client() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection("127.0.0.1", target["port"])
        head = f"POST {target['path']} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{target['headers']}"
        while time.perf_counter() < until:
            data = body()
            started = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = answer.lower().split(b"content-length: ")
            await reader.readexactly(int(fields[1].split(b"\r\n")[0]))
            latencies.append(time.perf_counter() - started)
            failures += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(target["clients"])))
    return Load(time.perf_counter() - started, latencies, failures)


def measure(port: int, path: str, headers: str, images: list[str], clients: int, seconds: float) -> Load:
    """One run of the load process."""
    target = {"port": port, "path": path, "headers": headers, "images": images, "clients": clients, "seconds": seconds}
    command = [sys.executable, __file__, "--drive", json.dumps(target | {"salt": time.time_ns()})]
    found = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=True)
    return Load(**json.loads(found.stdout))


# The servers.


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A server as a group of processes, from its first answer on."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=said, stderr=said, start_new_session=True
        ) as process,
    ):
        try:
            _await(port, process)
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"a server ended with {process.returncode}: {process.args}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if b"HTTP/1.1 5" not in client.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("a server does not answer")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Api(ls.LitAPI if ls else object):  # type: ignore[misc]
    """LitServe around the same artifact: its own batching, our decoding and preprocessing; nothing is recorded."""

    def __init__(self, folder: Path, compiled: Path | None, **options: Any) -> None:
        super().__init__(**options)
        self.files = folder, compiled

    def setup(self, device: str) -> None:  # noqa: ARG002 - theirs
        self.model, self.mixed = ready(*self.files)

    def decode_request(self, request: dict[str, str]) -> Any:
        from models_py.images.decode import decode

        pixels = decode(base64.b64decode(request["image"]))
        return self.model.prepare(pixels), tuple(pixels.shape[1:])

    def batch(self, inputs: list[Any]) -> Any:
        import torch

        return torch.stack([square for square, _ in inputs]), [size for _, size in inputs]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return list(output)

    def predict(self, batch: Any) -> list[Any]:
        import torch

        squares, sizes = batch
        with torch.inference_mode(), self.mixed():
            outputs = self.model.forward(squares.contiguous(memory_format=torch.channels_last))
            return self.model.interpret(outputs, sizes)

    def encode_response(self, output: Any) -> dict[str, Any]:
        regions = [
            {"label": item.label, "confidence": item.confidence, "box": [item.x1, item.y1, item.x2, item.y2]}
            for item in output.regions
            if item.confidence >= FAINTEST
        ]
        return {"label": output.label, "score": output.score, "confidence": output.confidence, "regions": regions}


def litserve(port: int, folder: Path, compiled: Path | None) -> None:
    """Serve with LitServe."""
    api = Api(folder, compiled, max_batch_size=LITSERVE_BATCH, batch_timeout=0.002)
    server = ls.LitServer(api, accelerator="cpu", timeout=120)
    server.run(port=port, num_api_servers=1, generate_client_file=False, log_level="error")


def ready(folder: Path, compiled: Path | None) -> tuple[Any, Callable[[], Any]]:
    """The model as our engine prepares it, and its precision."""
    import torch

    from models_py.model.devices import find_devices, mixed
    from models_py.registry import load_artifact
    from models_py.registry.compiled.folding import fold_batch_norms
    from models_py.registry.compiled.network import CompiledNetwork

    model = load_artifact(folder)
    fold_batch_norms(model.network)
    model.network.to(memory_format=torch.channels_last).eval()
    if compiled is not None:
        model.stand_in = CompiledNetwork(compiled).on(torch.get_num_threads())
    return model, lambda: mixed(find_devices("cpu")[0], "auto")


def bare(folder: Path, compiled: Path | None, images: list[bytes], seconds: float) -> float:
    """Milliseconds of the model alone, one picture after the other: decode, prepare, forward, interpret."""
    import torch

    from models_py.images.decode import decode

    model, mixed = ready(folder, compiled)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        with torch.inference_mode(), mixed():
            pixels = decode(images[len(times) % len(images)])
            square = model.prepare(pixels)[None].contiguous(memory_format=torch.channels_last)
            model.interpret(model.forward(square), [tuple(pixels.shape[1:])])
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


# The models: starter weights with untrained heads, since only their speed is measured.


def mobilenet() -> Any:
    from models_py.model.architectures import find_architecture
    from models_py.model.preprocess import Preprocess
    from models_py.model.trained_model import ModelSpec
    from models_py.progress import SilentReport
    from models_py.tasks.classify.task import rebuild_empty
    from models_py.weights.first_weights import start

    classes = tuple(f"class{number}" for number in range(8))
    model = rebuild_empty(ModelSpec("classify", "mobilenet_v3_small", classes, Preprocess(224), {}))
    start(model.network, find_architecture("classify", "mobilenet_v3_small"), "starter", SilentReport(), classes)
    return model


def yolo() -> Any:
    from starter import starter

    return starter("detect", "yolo11n", SIDE)


MODELS: dict[str, Callable[[], Any]] = {"mobilenet": mobilenet, "yolo": yolo}


def run(name: str, rounds: int, seconds: float, *, by_torch: bool) -> None:
    """Compare on one model, and print the table."""
    from models_py.registry import Origin, compile_version, find, promote, register
    from udfs import connect
    from udfs.serving.tokens import add_token

    folder = Path(tempfile.mkdtemp())
    try:
        files = [folder / f"{number}.jpg" for number in range(PICTURES)]
        for file, data in zip(files, pictures(PICTURES), strict=True):
            file.write_bytes(data)
        with connect(folder / "w.duckdb") as con:
            version = register(con, name, MODELS[name](), [files[0].read_bytes()], None, Origin({}, {}))
            promote(con, version.reference)
            print(f"{name}: {compile_version(con, version).note}")
            version = find(con, version.reference)
            if by_torch:
                con.execute("delete from ml.compiled_models")
        token = add_token(folder / "tokens.json", "load", "writer")
        ours = free_port()
        command = [sys.executable, "-m", "udfs.cli", "serve", "--warehouse", str(folder / "w.duckdb")]
        command += ["--tokens", str(folder / "tokens.json"), "--http", f"127.0.0.1:{ours}"]
        other = [sys.executable, __file__, "--litserve", str(version.folder)]
        theirs, compiled = free_port(), free_port()
        places = {
            "duckspect": (command, ours, f"/v1/models/{name}/predict", f"X-API-Key: {token}\r\n"),
            "litserve": ([*other, "--port", str(theirs)], theirs, "/predict", ""),
            "litserve, compiled": (
                [*other, "--port", str(compiled), "--compiled", str(version.compiled_file)],
                compiled,
                "/predict",
                "",
            ),
        }
        alone, loads = _rounds(places, version, [str(file) for file in files], rounds, seconds)
        _show(name, alone, loads)
    finally:
        shutil.rmtree(folder)


def run_while_loading(rounds: int, seconds: float) -> None:
    """Latencies of one model as usual, and while versions of another are loaded one after the other."""
    from models_py.registry import Origin, promote, register
    from udfs import connect
    from udfs.serving.tokens import add_token

    folder = Path(tempfile.mkdtemp())
    try:
        files = [folder / f"{number}.jpg" for number in range(PICTURES)]
        for file, data in zip(files, pictures(PICTURES), strict=True):
            file.write_bytes(data)
        image = files[0].read_bytes()
        with connect(folder / "w.duckdb") as con:
            promote(con, register(con, "mobilenet", mobilenet(), [image], None, Origin({}, {})).reference)
            model = yolo()
            for number in range(VERSIONS):  # each another artifact, or it would be loaded once
                model.spec = replace(model.spec, thresholds={"*": 0.1 + number / 1000})
                register(con, "yolo", model, [image], None, Origin({}, {}))
        token = add_token(folder / "tokens.json", "load", "writer")
        port = free_port()
        command = [sys.executable, "-m", "udfs.cli", "serve", "--warehouse", str(folder / "w.duckdb")]
        command += ["--tokens", str(folder / "tokens.json"), "--http", f"127.0.0.1:{port}"]
        target = (port, "/v1/models/mobilenet/predict", f"X-API-Key: {token}\r\n", [str(file) for file in files])
        numbers = itertools.cycle(range(1, VERSIONS + 1))
        found: dict[int, list[tuple[Load, Load]]] = {clients: [] for clients in CLIENTS}
        loads: list[float] = []
        with running(command, port, {"CUDA_VISIBLE_DEVICES": ""}):
            measure(*target, 32, 2.0)
            _load_version(port, token, next(numbers))
            for _ in range(rounds):
                for clients, pairs in found.items():
                    usual = measure(*target, clients, seconds)
                    with ThreadPoolExecutor(1) as pool:
                        under = pool.submit(measure, *target, clients, seconds)
                        while not under.done():
                            loads.append(_load_version(port, token, next(numbers)))
                        pairs.append((usual, under.result()))
        _show_while_loading(found, loads)
    finally:
        shutil.rmtree(folder)


def _show_while_loading(found: dict[int, list[tuple[Load, Load]]], loads: list[float]) -> None:
    print(f"\nmobilenet as usual, and while {len(loads)} versions of yolo are loaded one after the other,")
    print(f"{statistics.median(loads):.2f} s each; medians of {len(next(iter(found.values())))} rounds")
    print(f"{'clients':>7}  {'':<9} {'p50 ms':>8} {'p99 ms':>8} {'failures':>8}")
    for clients, pairs in found.items():
        for name, column in zip(("usual", "loading"), zip(*pairs, strict=True), strict=True):
            p50, p99 = (statistics.median(load.percentile(share) for load in column) for share in (0.5, 0.99))
            print(f"{clients:>7}  {name:<9} {p50:>8.1f} {p99:>8.1f} {sum(load.failures for load in column):>8}")
    for clients, pairs in found.items():
        ratios = sorted(loading.percentile(0.99) / usual.percentile(0.99) for usual, loading in pairs)
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{clients:>7}  p99 while loading over p99 as usual: {statistics.median(ratios):.2f} of {shown}")


def _load_version(port: int, token: str, number: int) -> float:
    """Have a version of yolo loaded by asking whether it is ready; how many seconds that took."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/v2/models/yolo/versions/{number}/ready", headers={"X-API-Key": token})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"yolo@{number}: {answer.read().decode()}")
    return time.perf_counter() - started


def _rounds(
    places: dict[str, tuple[list[str], int, str, str]], version: Any, files: list[str], rounds: int, seconds: float
) -> tuple[dict[str, list[float]], dict[tuple[str, int], list[Load]]]:
    """All servers are up, and the turns are short, for this machine's own speed changes from minute to minute.

    Whoever has no turn is stopped: some servers poll their queues.
    """
    alone: dict[str, list[float]] = {"torch": [], "compiled": []}
    loads: dict[tuple[str, int], list[Load]] = {}
    images = [Path(file).read_bytes() for file in files]
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    groups: dict[str, int] = {}
    with ExitStack() as stack:
        for server, (command, port, path, headers) in places.items():
            groups[server] = stack.enter_context(running(command, port, environment))
            measure(port, path, headers, files, 32, 2.0)  # the first batches of each size
            os.killpg(groups[server], signal.SIGSTOP)
        for number in range(rounds):
            alone["torch"].append(bare(version.folder, None, images, seconds / 2))
            alone["compiled"].append(bare(version.folder, version.compiled_file, images, seconds / 2))
            for clients in CLIENTS:
                for server, (_, port, path, headers) in list(places.items())[:: -1 if number % 2 else 1]:
                    os.killpg(groups[server], signal.SIGCONT)
                    load = measure(port, path, headers, files, clients, seconds)
                    os.killpg(groups[server], signal.SIGSTOP)
                    loads.setdefault((server, clients), []).append(load)
    return alone, loads


def _show(name: str, alone: dict[str, list[float]], loads: dict[tuple[str, int], list[Load]]) -> None:
    def middle(server: str, clients: int, of: Callable[[Load], float]) -> float:
        return statistics.median(of(load) for load in loads[server, clients])

    servers = dict.fromkeys(server for server, _ in loads)
    torch_ms, compiled_ms = (statistics.median(times) for times in alone.values())
    print(f"\n{name}, median of {len(alone['torch'])} rounds; the model alone takes", end=" ")
    print(f"{compiled_ms:.1f} ms an image compiled, {torch_ms:.1f} ms in torch")
    print(f"{'clients':>7}  {'server':<18} {'p50 ms':>8} {'p99 ms':>8} {'images/s':>9} {'failures':>8}")
    for clients in CLIENTS:
        for server in servers:
            p50, p99 = (
                middle(server, clients, lambda load, share=share: load.percentile(share)) for share in (0.5, 0.99)
            )
            failed = sum(load.failures for load in loads[server, clients])
            rate = middle(server, clients, lambda load: load.throughput)
            print(f"{clients:>7}  {server:<18} {p50:>8.1f} {p99:>8.1f} {rate:>9.1f} {failed:>8}")
    for server in list(servers)[1:]:
        for clients in CLIENTS:
            pairs = list(zip(loads["duckspect", clients], loads[server, clients], strict=True))
            faster = statistics.median(b.percentile(0.5) / a.percentile(0.5) for a, b in pairs)
            more = statistics.median(a.throughput / b.throughput for a, b in pairs)
            print(f"{clients:>7}  duckspect / {server}: {more:.2f}x the throughput, p50 {faster:.2f}x as fast")
    overhead = statistics.median(
        load.percentile(0.5) - ms for load, ms in zip(loads["duckspect", 1], alone["compiled"], strict=True)
    )
    both = zip(loads["duckspect", 32], loads["duckspect", 1], strict=True)
    print(
        f"over the compiled model alone at 1 client: {overhead:.1f} ms; 32 clients get "
        f"{statistics.median(many.throughput / one.throughput for many, one in both):.2f}x the throughput of 1"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)}; all if left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--torch", action="store_true", help="ours runs torch, as before `models compile`")
    parser.add_argument("--loading", action="store_true", help="measure one model while another is loaded")
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--litserve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--compiled", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(json.loads(given.drive))
    elif given.litserve:
        litserve(given.port, given.litserve, given.compiled)
    elif given.loading:
        run_while_loading(given.rounds, given.seconds)
    elif ls is None:
        raise SystemExit("LitServe is missing: pip install 'duckspect[bench]'")
    else:
        for name in given.models or MODELS:
            run(name, given.rounds, given.seconds, by_torch=given.torch)


if __name__ == "__main__":
    main()
