"""Golden boards of products: chosen, changed, and found for what was captured before and after."""

import json
from datetime import UTC, datetime

import pytest
from conftest import duckspect, picture

from models_py.datasets.golden import golden_image, golden_images, set_golden_image
from models_py.datasets.references import known_references
from models_py.errors import ImageError
from udfs import connect

MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))


@pytest.fixture
def con(tmp_path):
    for number in range(3):
        (tmp_path / f"golden{number}.jpg").write_bytes(picture(number))
    with connect(tmp_path / "w.duckdb") as opened:
        yield opened


def choose(con, tmp_path, number, since, product="PCB-A1"):
    return set_golden_image(con, product, str(tmp_path / f"golden{number}.jpg"), by="me", reason="", since=since)


def name_of(path):
    return path and path.rsplit("/")[-1]


def test_a_product_has_the_golden_board_of_its_time(con, tmp_path):
    assert golden_image(con, "PCB-A1") is None
    choose(con, tmp_path, 0, MAY)
    choose(con, tmp_path, 1, JULY)
    assert name_of(golden_image(con, "PCB-A1")) == "golden1.jpg"
    assert name_of(golden_image(con, "PCB-A1", JUNE)) == "golden0.jpg"
    assert name_of(golden_image(con, "PCB-A1", JULY)) == "golden1.jpg"
    assert golden_image(con, "PCB-A2") is None


def test_the_first_golden_board_holds_for_what_was_before(con, tmp_path):
    choose(con, tmp_path, 1, JULY)
    choose(con, tmp_path, 0, JUNE)
    assert name_of(golden_image(con, "PCB-A1", MAY)) == "golden0.jpg"


def test_of_two_choices_for_one_moment_the_later_one_holds(con, tmp_path):
    choose(con, tmp_path, 0, MAY)
    choose(con, tmp_path, 1, MAY)
    assert name_of(golden_image(con, "PCB-A1", JUNE)) == "golden1.jpg"
    assert [name_of(item.uri) for item in golden_images(con)] == ["golden1.jpg", "golden0.jpg"]


def test_inspections_have_the_golden_board_of_their_product_at_their_time_unless_a_pair_is_linked(con, tmp_path):
    choose(con, tmp_path, 0, MAY)
    choose(con, tmp_path, 1, JULY)
    choose(con, tmp_path, 2, MAY, "PCB-A2")
    for image_id, product, captured_at in (("a", "PCB-A1", JUNE), ("b", "PCB-A1", JULY), ("c", "PCB-A2", JULY)):
        con.execute(
            "insert into raw.inspections by name select ? as inspection_id, ? as unit_id, ? as image_id, ? as uri, "
            "? as product_type, ?::timestamptz as captured_at, now() as ingested_at",
            [image_id, image_id, image_id, f"{image_id}.jpg", product, captured_at],
        )
    con.execute("insert into raw.templates values ('b', 'x', '/linked.jpg', now())")
    found = {key: name_of(path) for key, path in known_references(con, ["a", "b", "c", "d"]).items()}
    assert found == {"a": "golden0.jpg", "b": "linked.jpg", "c": "golden2.jpg"}


def test_what_is_no_image_cannot_be_a_golden_board(con, tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(ImageError):
        set_golden_image(con, "PCB-A1", str(tmp_path / "a.txt"), by="me", reason="")
    assert golden_images(con) == []


def test_the_command_line_chooses_and_lists(tmp_path):
    image = tmp_path / "golden.jpg"
    image.write_bytes(picture(1))
    warehouse = ("--warehouse", str(tmp_path / "w.duckdb"))
    since = ("--since", "2026-05-01", "--reason", "revision B")
    done = duckspect("golden", "set", "PCB-A1", str(image), *since, *warehouse)
    assert "golden.jpg is the golden board of PCB-A1 from 2026-05-01" in done.stdout
    assert "Its folder is not ingested" in done.stderr
    listed = json.loads(duckspect("golden", "list", "--json", *warehouse).stdout)
    assert [(row["product_type"], row["reason"]) for row in listed] == [("PCB-A1", "revision B")]
    assert "No product has a golden board" in duckspect("golden", "list", "PCB-A2", *warehouse).stdout
