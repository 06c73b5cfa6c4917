"""NaN and infinity from networks, thresholds and boxes: none may lead to a verdict or be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from faults import checks, ground
from faults.processes import run
from faults.rows import Row
from faults.server import Server
from udfs import connect

_NUMBERS = ("nan", "inf", "-inf", "NaN", "1e999", "-1e999")


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Ask a network that overflows on every image but black ones, and give numbers that are none."""
    home = ground.make(folder)
    place = ground.copy(home, folder / "confidences")
    _add_overflowing(place)
    yield _asked(place, rounds or 200)
    yield _given(place)


def _add_overflowing(place: Path) -> None:
    """A classifier whose outputs are no numbers unless the image is black, as its golden one is."""
    import torch

    from models_py.model.preprocess import Preprocess
    from models_py.model.trained_model import ModelSpec
    from models_py.registry import Origin, promote, register, set_operating_point
    from models_py.tasks.classify.task import rebuild_empty

    torch.manual_seed(0)
    prepare = Preprocess(32, mean=(0.0, 0.0, 0.0), std=(1e-38, 1e-38, 1e-38))
    model = rebuild_empty(ModelSpec("classify", "mobilenet_v3_small", ("bad", "good"), prepare, {}))
    with connect(place / ground.WAREHOUSE) as con:
        version = register(con, "overflow", model, [_picture(0)], None, Origin({}, {}))
        promote(con, version.reference)
        set_operating_point(con, version.reference, 0.5, "drawn")


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8) if seed else np.zeros((32, 32), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _asked(place: Path, rounds: int) -> Row:
    row = Row("a network whose outputs are no numbers")
    for number in range(rounds):
        (place / f"p{number}.png").write_bytes(_picture(number))
    query = "select p.label, p.score, p.error from (select predict(file, 'overflow') as p from glob('p*.png'))"
    status, output, crash = run(
        ("sql", query, "--format", "json", "-w", ground.WAREHOUSE), place, DUCKSPECT_ALLOWED_ROOTS=str(place)
    )
    row.expect(status == 0 and not crash, "crashed", output[-600:])
    answers = json.loads(output[output.index("[") :]) if status == 0 else []
    row.count("images in SQL", len(answers))
    row.expect(sum(item["error"] is None for item in answers) == 1, "wrong", f"not one verdict: {answers[:3]}")
    for item in answers:
        row.expect(item["label"] is None or item["error"] is None, "wrong", f"a verdict with an error: {item}")
    with Server(place) as server:
        for number in range(min(rounds, 50)):
            status, body = server.ask("overflow", _picture(number))
            row.count("requests")
            odd: list[str] = []
            json.loads(body, parse_constant=odd.append)
            row.expect(not odd, "wrong", f"{odd} are no JSON: {body[:200]}")
            row.expect(status == (200 if number == 0 else 422), "wrong", f"{status} for image {number}: {body[:200]}")
    return row


def _given(place: Path) -> Row:
    row = Row("thresholds, boxes and labels that are no numbers")
    before = checks.kept(place)
    with connect(place / ground.WAREHOUSE) as con:
        inspection, uri = con.execute("select inspection_id, uri from raw.inspections limit 1").fetchall()[0]
    labels = place / "boxes"
    labels.mkdir()
    for number, value in enumerate(_NUMBERS):
        box = f"{value},1,2,3"
        for arguments in (
            ("models", "threshold", "strip", "--reason", "x", "--", value),
            (
                "review",
                inspection,
                "--verdict",
                "missed",
                "--label",
                "x",
                "--new-label",
                "--reviewer",
                "a",
                f"--box={box}",
            ),
        ):
            given = (*arguments[:2], "-w", ground.WAREHOUSE, *arguments[2:])
            status, output, crash = run(given, place)
            row.count("commands")
            row.expect(status in (1, 2) and not crash, "wrong", f"{arguments}: {status}, {output[-200:]}")
        (labels / f"{number}.png").write_bytes(_picture(number + 1000))
        (labels / f"{number}.csv").write_text("")
        with (place / "boxes.csv").open("a") as file:
            file.write("" if number else "uri,label,x1,y1,x2,y2\n")
            file.write(f"boxes/{number}.png,scratch,{value},1,9,9\n")
    status, output, crash = run(("ingest", "boxes.csv", "--no-publish", "-w", ground.WAREHOUSE), place)
    row.count("labels", len(_NUMBERS))
    row.expect(not crash, "crashed", output[-300:])
    with connect(place / ground.WAREHOUSE) as con:
        odd = con.execute(
            "select count(*) from raw.annotations where not isfinite(coalesce(x1, 0)) or not isfinite(coalesce(x2, 0))"
        ).fetchall()[0][0]
        rejects = con.execute("select count(*) from raw.rejected_files where uri like '%boxes%'").fetchall()[0][0]
    row.expect(odd == 0, "wrong", f"{odd} boxes are stored that are none")
    row.expect(
        rejects >= len(_NUMBERS),
        "wrong",
        f"only {rejects} rejects for {len(_NUMBERS)} odd boxes: {output[-300:]}, {uri}",
    )
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    return row
