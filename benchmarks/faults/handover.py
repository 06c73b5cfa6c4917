"""Commands that are handed over to a server while clients ask it for verdicts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from faults import checks, ground
from faults.processes import run
from faults.rows import Row
from faults.server import Load, Server
from faults.soak import count_lost, pictures
from udfs import connect

_CLIENTS = 8
_COMMANDS = (
    ("info",),
    ("models", "promote", "strip@2", "--force", "torture"),
    ("models", "rollback", "strip"),
    ("models", "threshold", "strip@1", "0.4", "--reason", "torture"),
    ("models", "import", "strip.zip", "other"),
    ("publish",),
    ("models", "list"),
    ("models", "show", "nothing"),
)
_REFUSED = ("models", "show", "nothing")


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Run all kinds of commands so often, two at a time, under load, and kill the server at the end."""
    count = rounds or 20
    home = ground.make(folder)
    place = ground.copy(home, folder / "handover")
    before = checks.kept(place)
    row = Row(f"commands handed over under the load of {_CLIENTS} clients")
    answers = Load()
    ended = threading.Event()
    with Server(place) as server:
        load = threading.Thread(
            target=lambda: answers.acknowledged.extend(_all(server, ended, answers)), name="torture-load", daemon=True
        )
        load.start()
        for _ in range(count):
            for pair in zip(_COMMANDS[::2], _COMMANDS[1::2], strict=True):
                at_once = [threading.Thread(target=_command, args=(row, place, words)) for words in pair]
                for thread in at_once:
                    thread.start()
                for thread in at_once:
                    thread.join()
        ended.set()
        load.join()
        server.command.kill()
    row.count("requests", len(answers.acknowledged) + sum(answers.refused.values()))
    for words in answers.broken:
        row.fault("crashed", f"a client's connection: {words}")
    count_lost(row, place, answers)
    with connect(place / ground.WAREHOUSE) as con:
        rows = con.execute("select count(*) filter (where name = 'other') from ml.model_versions").fetchall()[0][0]
    row.expect(rows == count, "lost", f"{rows} of {count} imported versions are there")
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    yield row


def _all(server: Server, ended: threading.Event, answers: Load) -> list[str]:
    found = server.load(_CLIENTS, lambda: not ended.is_set(), pictures())
    answers.refused.update(found.refused)
    answers.broken.extend(found.broken)
    return found.acknowledged


def _command(row: Row, place: Path, words: tuple[str, ...]) -> None:
    status, output, crash = run((*words, "-w", ground.WAREHOUSE), place)
    row.count("commands")
    if crash:
        row.fault("crashed", crash)
    wanted = 1 if words == _REFUSED else 0
    row.expect(status == wanted, "crashed", f"{words} ended with {status}: {output[-300:]}")
