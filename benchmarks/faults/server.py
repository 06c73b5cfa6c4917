"""A real server of the plant, and clients of it that note what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from faults import ground
from faults.processes import Command, resident_megabytes
from udfs.serving.tokens import add_token

_BEGINS = 300.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Load:
    """The answers that clients got: acknowledged ids, refusals by status, and broken connections."""

    acknowledged: list[str] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


class Server:
    """`duckspect serve` beside a warehouse."""

    def __init__(self, place: Path) -> None:
        tokens = place / "clients.json"
        tokens.unlink(missing_ok=True)
        self.token = add_token(tokens, "load", "writer")
        self.port = free_port()
        http_place, quack = f"127.0.0.1:{self.port}", f"127.0.0.1:{free_port()}"
        given = ("serve", "-w", ground.WAREHOUSE, "--tokens", "clients.json", "--http", http_place, "--quack", quack)
        self.command = Command(given, place)
        until = time.monotonic() + _BEGINS
        while "Ready." not in self.command.output():
            if not self.command.is_alive() or time.monotonic() > until:
                raise SystemExit(f"the server did not begin: {self.command.output()}")
            time.sleep(0.05)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.command.is_alive():
            self.command.terminate()

    @property
    def megabytes(self) -> float:
        return resident_megabytes(int(self.command.process.pid or 0))

    @property
    def cached_megabytes(self) -> float:
        """What the cache of results holds, by the server's own metrics."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(client):
            client.request("GET", "/metrics", headers={"X-API-Key": self.token})
            lines = client.getresponse().read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("duckspect_result_cache_bytes ")) / 1e6

    def ask(self, model: str, image: bytes) -> tuple[int, str]:
        """One verdict: the status and the body."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"X-API-Key": self.token, "Content-Type": "image/png"}
        with contextlib.closing(client):
            client.request("POST", f"/v1/models/{model}/predict", image, headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def load(self, clients: int, go_on: Callable[[], bool], images: list[bytes]) -> Load:
        """Have so many clients ask for verdicts while `go_on` is true; each image is another file."""
        found = Load()
        asyncio.run(self._load(found, clients, go_on, images))
        return found

    async def _load(self, found: Load, clients: int, go_on: Callable[[], bool], images: list[bytes]) -> None:
        salt, sent = time.time_ns(), 0

        async def client() -> None:
            nonlocal sent
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            head = f"POST /v1/models/{ground.MODEL}/predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {self.token}\r\n"
            head += "Content-Type: image/png\r\n"
            while go_on():
                sent += 1
                body = images[sent % len(images)] + f"{salt}-{sent}".encode()
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                text = await reader.readexactly(length)
                status = int(answer.split()[1])
                if status == 200:
                    found.acknowledged.append(json.loads(text)["request_id"])
                else:
                    found.refused[status] = found.refused.get(status, 0) + 1
            writer.close()

        async def guarded() -> None:
            try:
                await client()
            except (OSError, EOFError, ValueError, LookupError) as error:
                found.broken.append(f"{type(error).__name__}: {error}")

        await asyncio.gather(*(guarded() for _ in range(clients)))
