"""`kill -9` in real commands at drawn moments, two of three of them at a change of the files, where commits are."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faults import checks, ground
from faults.processes import Command, changes, run, state_of
from faults.rows import Row, rounds_of
from models_py.registry import aliases, list_versions
from models_py.warehouse.database import applied_version, migrate, migrations
from udfs import connect

Ask = Callable[[Path], bool]
_SHARE_AT_CHANGES = 2 / 3
_AFTER_A_CHANGE = 0.02
"""Seconds after a change within which the kill comes, for half of them; the others come at once."""


@dataclass(frozen=True)
class Case:
    """A command, the sentence by which it acknowledges, and how to see that it is done."""

    name: str
    arguments: tuple[str, ...]
    rounds: int
    says: str
    is_done: Ask
    again: tuple[str, ...] = ()
    """More words when it is run again."""
    already: str = ""
    """What it says when it is run again although it was done."""


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:
    """Kill each command so often."""
    home = ground.make(folder)
    _make_old(home)
    run(("--version",), home)  # the first command waits for the server that forks it
    for case in _cases():
        if not only or case.name in only:
            yield _torture(case, home, folder / "kills", rounds or case.rounds)


def _cases() -> list[Case]:
    name = ground.MODEL
    return [
        Case("train", (*ground.TRAIN, "-o", "epochs=3"), 100, "is registered", _has_versions(3), ("--resume",)),
        Case("register", ("models", "import", "strip.zip", "other"), 100, "is registered", _has_versions(3)),
        Case(
            "promote",
            ("models", "promote", f"{name}@2", "--force", "torture"),
            100,
            "is the champion",
            _is_promoted,
            already="is the champion already",
        ),
        Case("compile", ("models", "compile", f"{name}@1"), 100, "strip@1", _is_compiled),
        Case("build", ("build",), 100, "Readers find it", _is_built),
        Case("migrate", ("init",), 100, "is up to date", _is_migrated),
    ]


def _torture(case: Case, home: Path, place: Path, rounds: int) -> Row:
    row = Row(f"`kill -9` in {case.name}")
    seconds, moments = _undisturbed(case, home, place, row)
    drawn = random.Random(case.name)
    _prepare(case, home, place)
    before = checks.kept(place)
    if case.name == "migrate":  # an old schema cannot be asked before it is opened, which is what is killed
        before |= {"raw.images": _ROWS // 10, "raw.annotations": _ROWS}
    started = time.perf_counter()
    for _ in rounds_of(rounds):
        _prepare(case, home, place)
        command = Command((*case.arguments, "-w", ground.WAREHOUSE), place)
        was_killed = _kill(command, place, seconds, moments, drawn)
        row.count("kills" if was_killed else "ends before the kill")
        acknowledged = case.says in command.output() and command.process.exitcode == 0
        _check(case, place, row, before, was_acknowledged=acknowledged)
        if row.faults.total() > 10:
            break
    each = (time.perf_counter() - started) / max(row.counts.total(), 1)
    print(
        f"  {case.name}: undisturbed {seconds:.2f} s, {len(moments)} changes of files, {each:.1f} s a round", flush=True
    )
    return row


def _prepare(case: Case, home: Path, place: Path) -> None:
    ground.copy(home, place)
    old = place / "old.duckdb"
    if case.name == "migrate":
        old.replace(place / ground.WAREHOUSE)
        shutil.rmtree(place / ground.FILES)
    old.unlink(missing_ok=True)


def _undisturbed(case: Case, home: Path, place: Path, row: Row) -> tuple[float, list[float]]:
    """How long the command takes, and when it changes files."""
    _prepare(case, home, place)
    command = Command((*case.arguments, "-w", ground.WAREHOUSE), place)
    moments = list(changes(command, lambda: state_of(place)))
    seconds = time.perf_counter() - command.started
    status = command.wait()
    if status or case.says not in command.output() or not case.is_done(place):
        row.fault("crashed", f"undisturbed it ended with {status}: {command.output()[-600:]}")
    return seconds, moments


def _kill(command: Command, place: Path, seconds: float, moments: list[float], drawn: random.Random) -> bool:
    """Kill it at a drawn moment; whether it was still at work."""
    if moments and drawn.random() < _SHARE_AT_CHANGES:
        number = drawn.randrange(len(moments))
        found = changes(command, lambda: state_of(place))
        for _ in range(number + 1):
            next(found, None)
        time.sleep(drawn.choice([0.0, drawn.uniform(0, _AFTER_A_CHANGE)]))
    else:
        time.sleep(max(0.0, drawn.uniform(0, seconds) - (time.perf_counter() - command.started)))
    was_alive = command.is_alive()
    command.kill()
    return was_alive


def _check(case: Case, place: Path, row: Row, before: checks.Kept, *, was_acknowledged: bool) -> None:
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    was_done = case.is_done(place)
    row.expect(was_done or not was_acknowledged, "lost", f"{case.name} said that it was done, and is not")
    status, output, crash = run((*case.arguments, *case.again, "-w", ground.WAREHOUSE), place)
    if crash:
        row.fault("crashed", crash)
    is_refused = was_done and bool(case.already) and case.already in output
    row.expect(status == 0 or is_refused, "crashed", f"run again it ended with {status}: {output[-400:]}")
    row.expect(case.is_done(place), "lost", f"run again {case.name} is not done: {output[-400:]}")
    for kind, words in checks.problems(place, before):
        row.fault(kind, f"after another run: {words}")
    if rest := checks.leftovers(place):
        row.fault("half", f"after another run there are {rest}")


def _has_versions(count: int) -> Ask:
    def ask(place: Path) -> bool:
        with connect(place / ground.WAREHOUSE) as con:
            return len(list_versions(con)) >= count

    return ask


def _is_promoted(place: Path) -> bool:
    with connect(place / ground.WAREHOUSE) as con:
        return aliases(con, ground.MODEL).get("champion") == 2


def _is_compiled(place: Path) -> bool:
    with connect(place / ground.WAREHOUSE) as con:
        return bool(con.execute("select 1 from ml.compiled_models").fetchall())


def _is_built(place: Path) -> bool:
    with connect(place / ground.WAREHOUSE) as con:
        return bool(con.execute("select unit_count from kpi_summary").fetchall())


def _is_migrated(place: Path) -> bool:
    with connect(place / ground.WAREHOUSE) as con:
        rows = con.execute("select count(*) from raw.annotations where kind = 'box'").fetchall()[0][0]
        return applied_version(con) == len(migrations()) and rows == _ROWS


_ROWS = 20_000


def _make_old(home: Path) -> None:
    """A warehouse of an early schema with annotations, beside the plant."""
    import duckdb

    file = home / "old.duckdb"
    if file.exists():
        return
    schema = home / "early"
    schema.mkdir(exist_ok=True)
    for migration in migrations()[:5]:
        (schema / migration.name).write_text(migration.sql)
    with duckdb.connect(file) as con:
        con.execute("set TimeZone = 'UTC'")
        migrate(con, folder=schema)
        _fill_table(con, "raw.images", _ROWS // 10)
        _fill_table(con, "raw.annotations", _ROWS)
    shutil.rmtree(schema)


def _fill_table(con: object, table: str, rows: int) -> None:
    """Rows of plausible values of each column's type."""
    described = con.execute(f"describe {table}").fetchall()  # type: ignore[attr-defined]
    values = ", ".join(_value(name, kind) for name, kind, *_ in described)
    con.execute(f"insert into {table} select {values} from range({rows}) as numbers (i)")  # type: ignore[attr-defined]


def _value(name: str, kind: str) -> str:
    if name == "kind":
        return "'box'"
    if name == "mask_uri":
        return "null"
    if re.match("VARCHAR", kind):
        return f"'{name}' || i"
    if re.match("TIMESTAMP", kind):
        return "timestamptz '2026-01-01 00:00:00+00'"
    if name in ("x2", "y2"):
        return "9"
    return "1" if kind != "BOOLEAN" else "true"
