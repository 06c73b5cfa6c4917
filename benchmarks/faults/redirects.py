"""A web server of which one folder is allowed: no spelling and no redirection leads beside it."""

from __future__ import annotations

import itertools
import json
import posixpath
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import cv2
import numpy as np

from faults import ground
from faults.processes import run
from faults.rows import Row

_UP = (
    "..",
    "%2e%2e",
    "%2E%2e",
    ".%2e",
    "%252e%252e",
    "..;",
    "..\\",
    "%c0%ae%c0%ae",
    ".%0a.",
    "..%2f",
    "..%5c",
    "\u2025",
)
_TARGETS = ("internal/a.png", "internal/a.png?x=/allowed/a.png", "internal/a.png#/allowed/", "internal%2fa.png")
_HOSTS = (
    "localhost:{0}",
    "127.1:{0}",
    "0x7f000001:{0}",
    "user@127.0.0.1:{0}",
    "127.0.0.1:{0}@127.0.0.1:{0}",
    "[::1]:{0}",
)


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Ask for so many odd URLs and redirections in real queries; the server writes down what reached it."""
    count = rounds or 1000
    home = ground.make(folder)
    place = ground.copy(home, folder / "redirects")
    row = Row("URLs and redirections beside an allowed folder")
    with _server() as (port, reached):
        odd = _urls(port, count)
        good = [f"http://127.0.0.1:{port}/allowed/{n}.png" for n in range(5)]
        good += [f"http://127.0.0.1:{port}/allowed/to?to=/allowed/{n}.png" for n in range(5)]
        listed = ", ".join("'" + url.replace("'", "''") + "'" for url in odd + good)
        query = place / "ask.sql"
        query.write_text(f"select unnest as uri, image_error(unnest) as error from unnest([{listed}])")
        status, output, crash = run(
            ("sql", "--file", query, "--format", "json", "-w", ground.WAREHOUSE),
            place,
            DUCKSPECT_ALLOWED_ROOTS=f"http://127.0.0.1:{port}/allowed/",
        )
        row.count("URLs", len(odd))
        row.count("redirections", sum("?to=" in url for url in odd))
        row.expect(status == 0 and not crash, "crashed", output[-600:])
        if status == 0:
            answers = {item["uri"]: item["error"] for item in json.loads(output[output.index("[") :])}
            row.expect(all(answers[url] is None for url in good), "wrong", "what is allowed was refused")
            row.count("refused", sum(answers[url] is not None for url in odd))
        for path in reached:
            row.fault("wrong", f"{path} was asked for")
    yield row


def _urls(port: int, count: int) -> list[str]:
    drawn = random.Random(5)
    base = f"http://127.0.0.1:{port}/allowed"
    found = [f"{base}/{up}/{target}" for up, target in itertools.product(_UP, _TARGETS)]
    found += [f"{base}/deep/{up}/{up}/{target}" for up, target in itertools.product(_UP, _TARGETS)]
    found += [f"http://{host.format(port)}/allowed/a.png" for host in _HOSTS]
    elsewhere = [f"/{up}/{target}" for up, target in itertools.product(_UP, _TARGETS)]
    elsewhere += [f"http://{host.format(port)}/internal/a.png" for host in _HOSTS]
    elsewhere += [
        "/internal/a.png",
        "//127.0.0.1/internal/a.png",
        "file:///etc/hostname",
        "../internal/a.png",
        "ftp://h/a",
    ]
    while len(found) < count:
        target = drawn.choice(elsewhere)
        if target.startswith("/") and drawn.random() < 0.5:
            target = f"/allowed{target}"
        hops = "".join(f"/allowed/{n}?to=" for n in range(drawn.randrange(4)))
        found.append(f"{base}/{len(found)}?to={quote(hops + target) if drawn.random() < 0.5 else hops + target}")
    return found[:count]


def _is_beside(path: str) -> bool:
    """Whether a server that decodes as often as it can would leave the allowed folder."""
    found, before = path.partition("?")[0], ""
    while found != before:
        found, before = unquote(found), found
    return not posixpath.normpath(found.replace("\\", "/").replace("..;", "..")).startswith("/allowed/")


class _server:  # noqa: N801 - used as a context
    """Answers everything with a picture, or with a redirection where it is asked for one."""

    def __enter__(self) -> tuple[int, list[str]]:
        reached: list[str] = []
        picture = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if _is_beside(self.path):
                    reached.append(self.path)
                target = unquote(self.path.partition("?to=")[2])
                self.send_response(302 if target else 200)
                if target:
                    self.send_header("Location", target.encode().decode("latin-1"))
                self.send_header("Content-Length", str(len(picture)))
                self.end_headers()
                self.wfile.write(picture)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self._server.server_port, reached

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
