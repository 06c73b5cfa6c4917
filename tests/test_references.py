"""Models that judge an image beside its reference image (golden board)."""

import numpy as np
import pytest
import torch
from drawn import SIDE, fill_table
from PIL import Image

from models_py.datasets import freeze, locate, read_parquet, write_parquet
from models_py.errors import DuckspectError, ImageError
from models_py.images.decode import decode, open_bytes
from models_py.metrics.evaluation import evaluate
from models_py.model.preprocess import Preprocess
from models_py.registry import find, load
from models_py.registry.artifact import read_golden, read_spec
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
def con(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    pairs = draw_pairs(folder / "parts")
    with connect(folder / "w.duckdb") as opened:
        fill_table(opened, [row for row, _ in pairs])
        opened.execute("alter table parts add column reference varchar")
        opened.execute("update parts set reference = replace(image, '_test', '_temp')")
        yield opened


@pytest.fixture(scope="module")
def version(con):
    options = {**QUICK, "epochs": 12, "learning_rate": 3e-3, "zoom": 0.0}
    return train(con, name="pairs", task="classify", query=QUERIES["classify"], options=options)


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
