"""Tamper at random with registered artifacts, compiled models and files to import, and check that each is refused."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import checks, ground
from faults.processes import run
from faults.rows import Row
from models_py.registry import find
from udfs import connect

_PARTS = ("model.safetensors", "model.json", "golden.safetensors", "rows.parquet")
_ASK = "select classify(uri, 'strip').label from raw.inspections where product_type like 'STRIP-%' limit 1"


class _Command:
    """What a hostile pickle runs when it is loaded."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.words,)


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Tamper with what is registered, with what is compiled, and with what is imported."""
    home = ground.make(folder)
    place = folder / "artifacts"
    count = rounds or 10
    yield _registered(home, place, 10 * count)
    yield _compiled(home, place, 2 * count)
    yield _imported(home, place, count)


def _flip(data: bytes, drawn: random.Random) -> bytes:
    at = drawn.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << drawn.randrange(8))]) + data[at + 1 :]


def _tamper(data: bytes, drawn: random.Random) -> bytes:
    """Change a bit, cut off the end, add to it, let a safetensors header lie of its length, or put something else."""
    return drawn.choice(
        [
            _flip(data, drawn),
            data[: drawn.randrange(len(data))],
            data + drawn.randbytes(9),
            pickle.dumps(_Command("touch run")),
            struct.pack("<Q", 1 << drawn.randrange(20, 63)) + data[8:],
            b"",
        ]
    )


def _registered(home: Path, place: Path, rounds: int) -> Row:
    """A tampered part that a command needs is refused by name."""
    row = Row("tampered artifacts of registered versions")
    drawn = random.Random(1)
    ground.copy(home, place)
    with connect(place / ground.WAREHOUSE) as con:
        folder = find(con, "strip").folder
    uses = {
        "model.safetensors": ("sql", _ASK),
        "model.json": ("sql", _ASK),
        "golden.safetensors": ("models", "export", "strip", "out.zip"),
        "rows.parquet": ("evaluate", "strip"),
    }
    for number in range(rounds):
        part = _PARTS[number % len(_PARTS)]
        file = folder / part
        data = file.read_bytes()
        changed = _tamper(data, drawn)
        file.write_bytes(changed)
        status, output, crash = run((*uses[part], "-w", ground.WAREHOUSE), place)
        file.write_bytes(data)
        row.count("files")
        if crash:
            row.fault("crashed", crash)
        row.expect(
            status == 1 and part in output, "wrong", f"{part} was taken, or not named: {status}, {output[-300:]}"
        )
        row.expect(not (place / "run").exists(), "wrong", "code of a pickle was run")
    status, output, _ = run(("sql", _ASK, "-w", ground.WAREHOUSE), place)
    row.expect(status == 0, "lost", f"the restored artifact is not answered from: {output}")
    return row


def _compiled(home: Path, place: Path, rounds: int) -> Row:
    """A tampered compiled form is not used: torch gives the same answers as before."""
    row = Row("tampered compiled models, also with external data")
    drawn = random.Random(2)
    ground.copy(home, place)
    _, wanted, _ = run(("sql", _ASK, "--format", "json", "-w", ground.WAREHOUSE), place)
    status, output, _ = run(("models", "compile", "strip@1", "-w", ground.WAREHOUSE), place)
    row.expect(status == 0, "crashed", output)
    with connect(place / ground.WAREHOUSE) as con:
        version = find(con, "strip@1")
    if version.compiled_sha256 is None:
        row.remarks.append("torch was as fast, so none was kept")
        return row
    data = version.compiled_file.read_bytes()
    secret = place / "secret"
    secret.write_bytes(bytes(4_000_000))
    for number in range(rounds):
        changed = _with_external_data(data, secret) if number % 2 else _tamper(data, drawn)
        version.compiled_file.write_bytes(changed)
        status, output, crash = run(("sql", _ASK, "--format", "json", "-w", ground.WAREHOUSE), place)
        row.count("files")
        if crash:
            row.fault("crashed", crash)
        answers = [line for line in output.splitlines() if line in wanted.splitlines()]
        row.expect(status == 0 and answers, "wrong", f"{status}: {output[-300:]} instead of {wanted}")
    return row


def _with_external_data(data: bytes, file: Path) -> bytes:
    """The same network, whose largest tensor is read from another file."""
    import onnx

    model = onnx.load_from_string(data)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    size = len(largest.raw_data)
    largest.ClearField("raw_data")
    largest.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": os.path.relpath(file, file.parent), "offset": "0", "length": str(size)}.items():
        largest.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def _imported(home: Path, place: Path, rounds: int) -> Row:
    """Code in a foreign file is never run, no member is written outside the folder, and nothing is half registered."""
    row = Row("hostile files to import, and names with paths")
    drawn = random.Random(3)
    ground.copy(home, place)
    before = checks.kept(place)
    for number in range(rounds):
        for title, file, name in _hostile(place, drawn):
            said_state = sorted(path.name for path in place.parent.iterdir())
            given = (
                "models",
                "import",
                str(file),
                name,
                "-t",
                "classify",
                "-a",
                "mobilenet_v3_small",
                "--labels",
                "a,b",
            )
            status, output, crash = run((*given, "-w", ground.WAREHOUSE), place)
            row.count("imports")
            if crash:
                row.fault("crashed", f"{title}: {crash}")
            row.expect(status in (1, 2), "wrong", f"{title} was imported in round {number}: {output[-300:]}")
            row.expect(not (place / "run").exists(), "wrong", f"{title}: its code was run")
            row.expect(
                sorted(path.name for path in place.parent.iterdir()) == said_state, "wrong", f"{title} left files"
            )
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    row.expect(checks.kept(place) == before, "wrong", "something was registered")
    row.expect(not checks.leftovers(place), "half", f"there are {checks.leftovers(place)}")
    return row


def _hostile(place: Path, drawn: random.Random) -> Iterator[tuple[str, Path, str]]:
    """Files that must be refused: what they are, where, and the name to import them under."""
    import torch

    whole = place / "strip.zip"
    file = place / "hostile.pt"
    torch.save({"state_dict": _Command(f"touch {place}/run")}, file)
    yield "a torch file that runs a command", file, "hostile"
    file.write_bytes(pickle.dumps(_Command(f"touch {place}/run")))
    yield "a bare pickle that runs a command", file, "hostile"
    torch.save({"a.weight": torch.zeros(drawn.randrange(1, 9))}, file)
    yield "tensors of another network", file, "hostile"
    file.write_bytes(whole.read_bytes()[: drawn.randrange(100, whole.stat().st_size)])
    yield "an archive that is cut off", file, "hostile"
    for title, changes in (
        ("a header that lies of its length", {"model.safetensors": struct.pack("<Q", 1 << drawn.randrange(20, 63))}),
        ("offsets beyond the file", {"model.safetensors": _lying(drawn)}),
        ("a pickle for tensors", {"model.safetensors": pickle.dumps(_Command(f"touch {place}/run"))}),
        ("a member that leads out of the folder", {"../escaped.json": b"{}"}),
        ("an absolute member", {"/srv/escaped.json": b"{}"}),
        ("a spec that is no object", {"model.json": drawn.choice([b"null", b"[]", b"1", b'"x"', b"{"])}),
        ("a spec without fields", {"model.json": b'{"format": 1}'}),
        ("a network of another size", {"model.json": _with(whole, "labels", ["a"] * drawn.randrange(1, 500))}),
        ("a huge image size", {"model.json": _with(whole, "preprocess", {"size": 1 << 40})}),
    ):
        _repack(whole, file, changes)
        yield title, file, "hostile"
    for name in ("../out", "/srv/out", "a/b", "..", ".hidden", "a\\b", "a@b", "", "x" * 300, "a\nb", "%2e%2e%2fout"):
        yield f"the name {name!r}", whole, name


def _lying(drawn: random.Random) -> bytes:
    """A safetensors file whose tensors are declared to lie beyond its end."""
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [1 << 20], "data_offsets": [0, drawn.randrange(1 << 22, 1 << 40)]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


def _with(whole: Path, key: str, value: object) -> bytes:
    with zipfile.ZipFile(whole) as archive:
        described = json.loads(archive.read("model.json"))
    return json.dumps({**described, key: value}).encode()


def _repack(whole: Path, target: Path, changes: dict[str, bytes]) -> None:
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(target, "w") as archive:
        for name in {*source.namelist(), *changes}:
            archive.writestr(name, changes[name] if name in changes else source.read(name))
