"""A full disk: a small file system with so little room left, in which a real command is run."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import checks, ground
from faults.processes import Command, run
from faults.rows import Row, rounds_of

_HEADROOM = 1.3
_FREE = 512 << 20
_LOOK_EVERY = 0.001
_CASES = {
    "ingest": (("ingest", "more", "--layout", "folders"), 25),
    "train": ((*ground.TRAIN, "-o", "epochs=3"), 25),
    "import": (("models", "import", "strip.zip", "other"), 25),
    "build": (("build",), 10),
    "publish": (("publish",), 25),
}


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:
    """Run each command with too little room, then again with enough."""
    home = ground.make(folder)
    place = folder / "small"
    place.mkdir(exist_ok=True)
    for name, (arguments, usual) in _CASES.items():
        if not only or name in only:
            with _mounted(place):
                yield _torture(name, arguments, home, place, rounds or usual)


@contextmanager
def _mounted(place: Path) -> Iterator[None]:
    size = f"size={_FREE}"
    made = subprocess.run(
        [_program("mount"), "-t", "tmpfs", "-o", size, "torture", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        raise SystemExit(f"{made.stderr.strip()}\nRun it under: unshare -rm")
    try:
        yield
    finally:
        subprocess.run([_program("umount"), str(place)], check=True)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"disk: there is no `{name}` here.")
    return found


def _torture(name: str, arguments: tuple[str, ...], home: Path, place: Path, rounds: int) -> Row:
    row = Row(f"full disk in {name}")
    drawn = random.Random(name)
    _prepare(home, place)
    before = checks.kept(place)
    needed = _most_used(row, arguments, place)
    for _ in rounds_of(rounds):
        _prepare(home, place)
        room = int(_HEADROOM * needed * 10 ** drawn.uniform(-4, 0))  # little is missed where a checkpoint can wait
        _leave(place, room)
        status, said, crash = run((*arguments, "-w", ground.WAREHOUSE), place)
        row.count("commands")
        row.count("refused", status != 0)
        if crash:
            row.fault("crashed", f"with {room:,} bytes: {crash}")
        row.expect(status == 0 or "Error: " in said, "crashed", f"with {room:,} bytes: no sentence in {said[-300:]!r}")
        (place / "filler").unlink()
        _check(row, arguments, place, before)
        if row.faults.total() > 10:
            break
    return row


def _most_used(row: Row, arguments: tuple[str, ...], place: Path) -> int:
    """The most bytes that a command takes of the disk while it is at work."""
    free = least = shutil.disk_usage(place).free
    command = Command((*arguments, "-w", ground.WAREHOUSE), place)
    while command.is_alive():
        least = min(least, shutil.disk_usage(place).free)
        time.sleep(_LOOK_EVERY)
    status = command.wait()
    row.expect(status == 0, "crashed", f"with room it ended with {status}: {command.said()[-400:]}")
    return free - least


def _check(row: Row, arguments: tuple[str, ...], place: Path, before: checks.Kept) -> None:
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    status, said, crash = run((*arguments, "-w", ground.WAREHOUSE), place)
    if crash:
        row.fault("crashed", crash)
    row.expect(status == 0, "crashed", f"with room again it ended with {status}: {said[-400:]}")
    for kind, words in checks.problems(place, before):
        row.fault(kind, f"with room again: {words}")
    if rest := checks.leftovers(place):
        row.fault("half", f"with room again there are {rest}")


def _prepare(home: Path, place: Path) -> None:
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in home.iterdir():
        if path.name in (ground.FILES, ground.WAREHOUSE, "strip.zip") or ".published." in path.name:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, place / path.name)
    more = place / "more"
    pictures = (
        sorted(home.parent.joinpath("drawn").rglob("*.png"))[:40]
        or sorted(home.parent.joinpath("drawn").rglob("*.jpg"))[:40]
    )
    for number, picture in enumerate(pictures):
        target = more / ("good", "scratch")[number % 2]
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{number}{picture.suffix}").write_bytes(picture.read_bytes() + b"\0")


def _leave(place: Path, room: int) -> None:
    """Fill the disk up to so many bytes."""
    with (place / "filler").open("wb") as file:
        left = shutil.disk_usage(place).free - room
        with contextlib.suppress(OSError):
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))
