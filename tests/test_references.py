"""Models that judge an image beside its reference image (golden board)."""

import base64
import hashlib

import numpy as np
import pytest
import requests
import torch
from conftest import duckspect
from drawn import SIDE, fill_table
from PIL import Image
from server import Server
from trained import copy_warehouse
from waiting import PATIENCE

from models_py.datasets import freeze, locate, read_parquet, write_parquet
from models_py.errors import DuckspectError, ImageError
from models_py.images.decode import decode, open_bytes
from models_py.metrics.evaluation import evaluate
from models_py.model.preprocess import Preprocess
from models_py.registry import find, load, promote
from models_py.registry.artifact import read_golden, read_spec
from models_py.tasks.detect.difference import find_places, windows
from models_py.training.train import train
from udfs import connect

QUICK = {"image_size": SIDE, "batch": 8, "weights": "none", "precision": "fp32", "reference": "same"}
QUERIES = {
    "classify": "select image, reference, label from parts",
    "detect": "select image, reference, label, x1, y1, x2, y2 from parts",
    "segment": "select image, reference, label, mask from parts",
    "anomaly": "select image, reference, label from parts",
}


def draw_pairs(folder, count=36):
    """Parts of random blocks, each with its own reference; a third lacks a block, a third has one more."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        places = rng.permutation(16)[:9]
        defect = (None, "missing", "extra")[number % 3]
        shown = {None: places[:8], "missing": places[:7], "extra": places}[defect]
        place = places[7] if defect == "missing" else places[8]
        box = [int(place % 4) * 16 + 2, int(place // 4) * 16 + 2]
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if defect:
            mask[box[1] : box[1] + 12, box[0] : box[0] + 12] = 255
        names = {name: folder / f"{number:02}_{name}.png" for name in ("test", "temp", "mask")}
        Image.fromarray(_blocks(shown, rng)).save(names["test"])
        Image.fromarray(_blocks(places[:8], rng)).save(names["temp"])
        Image.fromarray(mask).save(names["mask"])
        corners = [*box, box[0] + 12, box[1] + 12] if defect else [None] * 4
        sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
        row = {"image": str(names["test"]), "label": "wrong" if defect else "good", **sides, "mask": str(names["mask"])}
        rows.append((row, str(names["temp"])))
    return rows


def _blocks(places, rng):
    pixels = rng.normal(60, 4, (SIDE, SIDE))
    for place in places:
        top, left = int(place // 4) * 16 + 2, int(place % 4) * 16 + 2
        pixels[top : top + 12, left : left + 12] += 120
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """A warehouse with pairs, and a classifier that learned to compare them."""
    folder = tmp_path_factory.mktemp("pairs")
    pairs = draw_pairs(folder / "parts")
    with connect(folder / "w.duckdb") as opened:
        fill_table(opened, [row for row, _ in pairs])
        opened.execute("alter table parts add column reference varchar")
        opened.execute("update parts set reference = replace(image, '_test', '_temp')")
        options = {**QUICK, "epochs": 12, "learning_rate": 3e-3, "zoom": 0.0}
        made = train(
            opened,
            name="pairs",
            task="classify",
            architecture="mobilenet_v3_small",
            query=QUERIES["classify"],
            options=options,
        )
        promote(opened, made.reference)
    return folder / "w.duckdb"


@pytest.fixture(scope="module")
def served(warehouse):
    """A copy of the warehouse, and the model in it, behind a server."""
    folder = warehouse.parent / "served"
    folder.mkdir()
    copy_warehouse(warehouse, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(warehouse.parent))
        server = Server(folder / "w.duckdb")
        yield server
        server.stop()


@pytest.fixture(scope="module")
def con(warehouse):
    with pytest.MonkeyPatch.context() as patch, connect(warehouse) as opened:
        patch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(warehouse.parent))
        yield opened


@pytest.fixture
def version(con):
    return find(con, "pairs")


def test_what_only_the_reference_tells_is_learned(con, version):
    assert version.metrics["accuracy"] == 1.0
    found, dataset = evaluate(con, load(con, version), QUERIES["classify"])
    assert len(dataset.rows) == 36
    assert found.metrics["accuracy"] >= 0.95


@pytest.mark.parametrize("task", ["detect", "segment", "anomaly"])
def test_every_task_learns_with_references(con, task):
    options = {**QUICK, "epochs": 1, "layers": "1,2"} if task == "anomaly" else {**QUICK, "epochs": 1}
    made = train(con, name=f"pairs_{task}", task=task, query=QUERIES[task], options=options)
    model = load(con, made)
    assert model.spec.preprocess.reference == "same"
    assert all(row.reference for row in made.rows("val"))
    with pytest.raises(ImageError, match="reference"):
        model.predict([torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)])


def test_places_that_differ_are_found_and_judged_one_by_one(con):
    options = {**QUICK, "epochs": 20, "light": 0.0}
    made = train(con, name="places", task="detect", query=QUERIES["detect"], architecture="difference", options=options)
    assert made.metrics["map33"] > 0.9
    with pytest.raises(DuckspectError, match="reference: difference looks at what differs"):
        train(
            con,
            name="places",
            task="detect",
            query=QUERIES["detect"],
            architecture="difference",
            options={"reference": "none"},
        )


def test_places_are_the_centres_of_what_differs():
    inputs = torch.zeros(2, 3, 96, 128)
    inputs[0, 2, 20:32, 40:52] = 1.0
    inputs[0, 2, 70:74, 90:94] = 0.3
    inputs[0, 2, :, 10:12] = 1.0  # an edge that lies two pixels apart
    centres, are_there = find_places(inputs)
    assert are_there.sum(1).tolist() == [2, 0]
    assert (centres[0, :2] - torch.tensor([[46.0, 26.0], [92.0, 72.0]])).abs().max() <= 3
    assert torch.equal(
        windows(inputs, centres)[0, 0, :, 32, 32], inputs[0, :, int(centres[0, 0, 1]), int(centres[0, 0, 0])]
    )


def test_a_model_refuses_an_image_without_reference_and_takes_one_with_it(con, version):
    model = load(con, version)
    image, reference = (
        decode(open_bytes(path)) for path in con.execute("select image, reference from parts limit 1").fetchone()
    )
    assert model.predict([image], [reference])[0].label == "good"
    assert model.predict([image], [torch.zeros_like(reference)])[0].probabilities
    with pytest.raises(ImageError, match="has no reference image"):
        model.predict([image])


def test_the_artifact_keeps_golden_images_with_their_references(con, version):
    golden = read_golden(version.folder, read_spec(version.folder))
    assert all(isinstance(image, tuple) for image in golden.images)
    assert golden.prepared(load(con, version)).shape == (len(golden.images), 3, SIDE, SIDE)


def test_the_channels_are_image_reference_and_largest_difference_of_colour():
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    reference = image.clone()
    reference[2, 2, 3] = 40
    found = Preprocess(8, reference="same")(image, reference)
    assert found[0].unique().tolist() == [100]
    assert found[2].sum() == found[2, 2, 3] == 60
    assert 90 < found[1, 2, 3] < 100


def test_a_reference_of_another_size_is_resized():
    image = torch.full((3, 40, 60), 100, dtype=torch.uint8)
    found = Preprocess(32, letterbox=True, reference="same")(image, torch.full((3, 20, 30), 100, dtype=torch.uint8))
    assert found.shape == (3, 32, 32)
    assert found[2, 16].tolist() == [0] * 32


def test_the_hash_depends_on_the_reference_only_where_it_is_used(con):
    plain = freeze(con, "select image, label from parts", "classify")
    assert freeze(con, QUERIES["classify"], "classify").sha256 == plain.sha256
    paired = freeze(con, QUERIES["classify"], "classify", references=True)
    other = "select image, label, first_value(reference) over (order by image) as reference from parts"
    assert len({plain.sha256, paired.sha256, freeze(con, other, "classify", references=True).sha256}) == 3


def test_rows_keep_their_references(con, tmp_path):
    frozen = freeze(con, QUERIES["classify"], "classify", references=True)
    write_parquet(frozen, tmp_path / "rows.parquet")
    assert read_parquet(tmp_path / "rows.parquet").rows == frozen.rows
    renamed = frozen.renamed(lambda name: name.upper())
    assert renamed.rows[0].reference == frozen.rows[0].reference.upper()
    assert renamed.sha256 == frozen.sha256


def test_an_image_with_two_references_is_refused(con):
    query = "select image, reference, label from parts union all select image, image, label from parts"
    with pytest.raises(DuckspectError, match=r"has the references .* and .* Choose one"):
        freeze(con, query, "classify", references=True)


def test_images_without_reference_are_left_out_and_named(con):
    query = "select image, label, if(image like '%00_test.png', null, reference) as reference from parts"
    frozen = freeze(con, query, "classify", references=True)
    assert len(frozen.rows) == 35
    assert any("1 image left out, which have no reference image: " in note for note in frozen.notes)
    with pytest.raises(DuckspectError, match=r"none of 36 images has a reference image\. Add a column reference"):
        freeze(con, "select image, label from parts", "classify", references=True)


def test_the_warehouse_links_references(boards, tmp_path):
    from models_py.ingest import IngestOptions, ingest, open_tree

    with connect(tmp_path / "w.duckdb") as con:
        ingest(con, open_tree(str(boards), tmp_path), tmp_path, IngestOptions())
        query = "select uri as image, label, x1, y1, x2, y2 from raw.current_annotations"
        frozen = freeze(con, query, "detect", references=True)
        assert [row.image.rsplit("/")[-1] for row in frozen.rows] == ["00041000_test.jpg"]
        assert frozen.rows[0].reference.endswith("00041000_temp.jpg")
        plain = freeze(con, query, "detect", split="val")
        assert not any(row.reference for row in plain.rows)
        located = locate(con, plain.rows)
        assert sorted(row.reference.rsplit("/")[-1] for row in located) == ["", "", "", "00041000_temp.jpg"]


def test_a_registered_version_says_that_it_needs_references(con, version):
    assert find(con, version.reference).needs_reference_image


def test_sql_judges_an_image_beside_the_reference_that_is_named(con):
    rows = con.execute("select label, classify(image, 'pairs', reference := reference).label from parts").fetchall()
    assert sum(label == found for label, found in rows) >= 34
    image, reference = con.execute("select image, reference from parts where label = 'good' limit 1").fetchone()
    data = [open_bytes(path) for path in (image, reference)]
    by_path = con.execute("select predict(?, 'pairs', reference := ?).score", [image, reference]).fetchone()
    by_bytes = con.execute("select predict(?::blob, 'pairs', reference := ?::blob).score", data).fetchone()
    beside_itself = con.execute("select predict($1, 'pairs', reference := $1).score", [image]).fetchone()
    assert by_path == by_bytes
    assert by_path != beside_itself


def test_the_cache_tells_references_apart(con):
    ask = "select image, predict(image, 'pairs', reference := {}).score as score from parts order by image"
    first, other, again = (
        con.execute(ask.format(reference)).fetchall() for reference in ("reference", "image", "reference")
    )
    assert first == again
    assert sum(one != two for one, two in zip(first, other, strict=True)) > 24
    hits = con.execute("select cache_hits from ml.inference_log order by logged_at desc limit 1").fetchone()
    assert hits == (36,)


def test_sql_refuses_an_image_without_reference_and_spares_its_neighbours(con):
    beside = "if(image like '%00_test.png', null, reference)"
    query = f"select image, predict(image, 'pairs', reference := {beside}) from parts"
    found = {image.rsplit("/")[-1]: answer for image, answer in con.execute(query).fetchall()}
    refused = found.pop("00_test.png")
    assert refused["label"] is None
    assert "00_test.png has no reference image (golden board), and pairs@1 judges an image beside" in refused["error"]
    assert all(answer["label"] for answer in found.values())
    assert con.execute("select classify(image, 'pairs') from parts limit 1").fetchone() == (None,)


def test_an_unreadable_reference_is_named(con):
    query = "select predict(image, 'pairs', reference := '/nowhere/x.png').error from parts"
    assert con.execute(query).fetchone()[0].startswith("its reference image: /nowhere/x.png: ")


def test_sql_finds_the_reference_that_the_warehouse_links(con):
    rows = con.execute("select image, reference from parts order by image limit 12").fetchall()
    for image, reference in rows:
        ids = [hashlib.sha256(open_bytes(path)).hexdigest() for path in (image, reference)]
        con.execute("insert or ignore into raw.templates values (?, ?, ?, now())", [*ids, reference])
    data = [open_bytes(image) for image, _ in rows]
    con.execute("create or replace table sent (n integer, data blob)")
    con.executemany("insert into sent values (?, ?)", list(enumerate(data)))
    linked = con.execute("select predict(data, 'pairs').score from sent order by n").fetchall()
    query = "select predict(image, 'pairs', reference := reference).score from parts order by image limit 12"
    assert linked == con.execute(query).fetchall()
    con.execute("delete from raw.templates")


def test_http_takes_the_reference_as_upload_base64_or_uri(served):
    parts = served.warehouse.parents[1] / "parts"
    image, reference = parts / "00_test.png", parts / "00_temp.png"
    encoded = {name: base64.b64encode(file.read_bytes()).decode() for name, file in (("i", image), ("r", reference))}
    answers = [
        asked(served, files={"image": image.read_bytes(), "reference": reference.read_bytes()}),
        asked(served, json={"image": encoded["i"], "reference": encoded["r"]}),
        asked(served, json={"uri": str(image), "reference_uri": str(reference)}),
        asked(served, files={"image": image.read_bytes()}, data={"reference_uri": str(reference)}),
    ]
    assert {answer.json()["label"] for answer in answers} == {"good"}
    assert len({answer.json()["score"] for answer in answers}) == 1
    refused = asked(served, json={"uri": str(image)})
    assert refused.status_code == 422
    assert "00_test.png has no reference image (golden board), and pairs@1" in refused.json()["error"]


def test_the_picture_shows_both_boards_and_their_difference(served):
    parts = served.warehouse.parents[1] / "parts"
    body = {"uri": str(parts / "01_test.png"), "reference_uri": str(parts / "01_temp.png")}
    answer = requests.post(
        f"{served.url}/v1/models/pairs/predict?picture=true", headers=served.headers(), timeout=PATIENCE, json=body
    )
    drawn = decode(base64.b64decode(answer.json()["picture"]))
    assert drawn.shape == (3, SIDE, 3 * SIDE)
    image, reference = (decode(open_bytes(uri)) for uri in body.values())
    assert torch.equal(drawn[:, :, :SIDE], image)
    assert torch.equal(drawn[:, :, SIDE : 2 * SIDE], reference)
    assert torch.equal(drawn[:, :, 2 * SIDE :], (image.int() - reference.int()).abs().byte())


def test_http_takes_the_golden_board_of_the_product(served):
    parts = served.warehouse.parents[1] / "parts"
    image, reference = parts / "00_test.png", parts / "00_temp.png"
    command = ("golden", "set", "PART-1", str(reference), "--warehouse", str(served.warehouse))
    assert f"{reference} is the golden board of PART-1 from " in duckspect(*command).stdout
    found = asked(served, files={"image": image.read_bytes()}, data={"product_type": "PART-1"})
    beside = asked(served, json={"uri": str(image), "reference_uri": str(reference)})
    assert found.json()["score"] == beside.json()["score"]
    other = asked(served, files={"image": image.read_bytes()}, data={"product_type": "PART-2"})
    assert other.status_code == 422
    assert "duckspect golden set PRODUCT IMAGE" in other.json()["error"]


def asked(server, **body):
    url = f"{server.url}/v1/models/pairs/predict"
    return requests.post(url, headers=server.headers(), timeout=PATIENCE, **body)
