"""A server as its users start it, and clients of it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import requests
from waiting import PATIENCE, wait_for

from udfs.serving.handover import hand_over
from udfs.serving.quack import load_quack
from udfs.serving.tokens import add_token

ROLES = {"reader": "bob", "writer": "line1", "admin": "boss"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Server:
    """`duckspect serve` on ports of its own, with a token of each role."""

    def __init__(self, warehouse: Path, *options: str) -> None:
        self.warehouse = warehouse
        self.tokens_file = warehouse.with_name("tokens.json")
        self.tokens = {}
        if not self.tokens_file.exists():
            self.tokens = {role: add_token(self.tokens_file, name, role) for role, name in ROLES.items()}
        self.quack_port = free_port()
        self.log = warehouse.with_name(f"serve{self.quack_port}.log")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "udfs.cli", "serve", "--warehouse", str(warehouse)]
        command += ["--tokens", str(self.tokens_file), "--http", f"127.0.0.1:{port}"]
        command += ["--quack", f"127.0.0.1:{self.quack_port}", "--timeout", str(PATIENCE), *options]
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ)
        self._await_ready()

    def _await_ready(self) -> None:
        wait_for(lambda: "Ready." in self.said() or self.process.poll() is not None, self.said)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> bool:
        """Whether the log comes to hold a text: an answer is logged once it is sent."""
        return wait_for(lambda: text in self.said(), self.said)

    def headers(self, role: str = "writer") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def get(self, path: str, role: str = "reader", **given: object) -> requests.Response:
        return requests.get(self.url + path, headers=self.headers(role), timeout=PATIENCE, **given)

    def predict(self, model: str, image: bytes, role: str = "writer", **fields: str) -> requests.Response:
        return requests.post(
            f"{self.url}/v1/models/{model}/predict",
            files={"image": image},
            data=fields,
            headers=self.headers(role),
            timeout=PATIENCE,
        )

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def attach(self, role: str = "reader") -> duckdb.DuckDBPyConnection:
        """A DuckDB of somebody else's, attached as `wh`."""
        con = duckdb.connect()
        load_quack(con)
        con.execute(f"attach 'quack:127.0.0.1:{self.quack_port}' as wh (token '{self.tokens[role]}')")
        return con

    def settle(self) -> None:
        """Have verdicts moved into the warehouse now: every command that runs in the server sees them all."""
        assert hand_over(self.warehouse, ["info", "-w", str(self.warehouse)], lambda *_: None) == 0

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(warehouse: Path, *options: str) -> Iterator[Server]:
    server = Server(warehouse, *options)
    try:
        yield server
    finally:
        server.stop()


def at_once(count: int, call) -> list:
    """What `count` threads get that call at the same time."""
    results: list = [None] * count
    ready = threading.Barrier(count)

    def one(number: int) -> None:
        ready.wait()
        results[number] = call(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
