"""Large images that are cut into tiles: in training, judgement and evaluation."""

import itertools
import resource
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models_py.datasets import DatasetRow
from models_py.datasets.prepared_images import PreparedImages
from models_py.errors import DuckspectError
from models_py.images.tiles import TilePlace, boxes_inside, cut_tile, tile_places
from models_py.metrics.evaluation import evaluate
from models_py.model.prediction import Prediction, Region
from models_py.model.preprocess import Preprocess
from models_py.model.tiles import PlacedPrediction, merge_tiles
from models_py.model.trained_model import ModelSpec
from models_py.registry import load, promote
from models_py.tasks.segment.task import Segmenter
from models_py.training.train import train
from udfs import connect

QUICK = {"batch": 8, "weights": "none", "precision": "fp32", "tile": 64}
QUERIES = {
    "classify": "select image, label from sheets",
    "detect": "select image, label, x1, y1, x2, y2 from sheets",
    "segment": "select image, label, mask from sheets",
    "anomaly": "select image, label from sheets",
}


def draw_sheet(file, seed, defect, size=(200, 300)):
    """A grey sheet; a defect is a bright square of 12 pixels, small against the sheet."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 6, size).clip(0, 255).astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    box = [None] * 4
    if defect:
        x, y = int(rng.integers(0, size[1] - 12)), int(rng.integers(0, size[0] - 12))
        pixels[y : y + 12, x : x + 12] = 240
        mask[y : y + 12, x : x + 12] = 255
        box = [x, y, x + 12, y + 12]
    cv2.imwrite(str(file), pixels)
    cv2.imwrite(str(file.with_suffix(".mask.png")), mask)
    return [str(file), "spot" if defect else "good", *box, str(file.with_suffix(".mask.png"))]


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    rows = [draw_sheet(folder / f"sheet{number:02}.png", number, number % 2) for number in range(16)]
    with pytest.MonkeyPatch.context() as patch, connect(folder / "w.duckdb") as opened:
        patch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(folder))
        sides = "x1 double, y1 double, x2 double, y2 double"
        opened.execute(f"create table sheets (image varchar, label varchar, {sides}, mask varchar)")
        opened.executemany("insert into sheets values (?, ?, ?, ?, ?, ?, ?)", rows)
        yield opened


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (200, 300), (30, 500), (1000, 64)], ids=str)
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_an_image_and_overlap(size, overlap):
    seen = np.zeros(size, bool)
    places = tile_places(size, 64, overlap)
    for place in places:
        seen[place.top : place.top + 64, place.left : place.left + 64] = True
        assert place.top + 64 <= max(size[0], 64)
        assert place.left + 64 <= max(size[1], 64)
    assert seen.all()
    lefts = sorted({place.left for place in places})
    assert all(64 - (after - before) >= 64 * overlap - 1 for before, after in itertools.pairwise(lefts))


def test_an_image_smaller_than_a_tile_is_mirrored_at_its_end():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tile = cut_tile(pixels, TilePlace(0, 0), 6)
    assert tile.shape == (6, 6)
    assert np.array_equal(tile[:3, :4], pixels)
    assert tile[3, 0] == pixels[2, 0]


def test_boxes_are_clipped_to_a_tile_and_slivers_go():
    boxes = np.array([[10, 10, 20, 20], [60, 60, 80, 80], [62, 10, 82, 20], [200, 200, 210, 210]], np.float32)
    inside, kept = boxes_inside(boxes, TilePlace(0, 3), 64)
    assert kept.tolist() == [0]
    assert inside.tolist() == [[7, 10, 17, 20]]
    assert boxes_inside(boxes, TilePlace(0, 8), 64)[1].tolist() == [0, 2]


def spec(task, labels=("spot", "bar")):
    return ModelSpec(task, "", labels, Preprocess(64, tile=True), {}, {"*": 0.5})


def placed(left, *regions, score=0.9, pixels=None, top=0):
    return PlacedPrediction(TilePlace(top, left), Prediction(None, None, score, regions, pixels=pixels))


def box(label, confidence, x1, y1, x2, y2):
    return Region(label, confidence, x1, y1, x2, y2, (x2 - x1) * (y2 - y1))


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (box("spot", 0.9, 58, 10, 64, 20), box("spot", 0.7, 8, 10, 20, 20), [(58, 10, 70, 20)]),  # the whole one counts
        (box("spot", 0.9, 30, 10, 64, 20), box("spot", 0.7, 0, 10, 30, 20), [(30, 10, 80, 20)]),  # both are cut
        (box("spot", 0.9, 52, 10, 60, 20), box("spot", 0.7, 2, 10, 10, 20), [(52, 10, 60, 20)]),  # seen twice
        (box("spot", 0.9, 52, 10, 60, 20), box("bar", 0.7, 2, 10, 10, 20), [(52, 10, 60, 20), (52, 10, 60, 20)]),
        (box("spot", 0.9, 10, 10, 20, 20), box("spot", 0.7, 30, 10, 40, 20), [(10, 10, 20, 20), (80, 10, 90, 20)]),
    ],
    ids=["cut by one border", "cut by both", "in the overlap", "of two classes", "apart"],
)
def test_boxes_of_neighbouring_tiles_become_one_where_they_are_one_defect(left, right, wanted):
    found = merge_tiles(spec("detect"), [placed(0, left), placed(50, right)], (64, 114))
    assert [(item.x1, item.y1, item.x2, item.y2) for item in found.regions] == wanted
    assert found.label == "spot"
    assert found.score == 0.9


def test_masks_that_touch_across_a_border_are_one_region():
    left = Region("spot", 0.6, 50, 10, 64, 20, 140, np.ones((10, 14), bool))
    right = Region("spot", 0.8, 0, 10, 30, 20, 300, np.ones((10, 30), bool))
    other = Region("bar", 0.7, 0, 30, 4, 34, 16, np.ones((4, 4), bool))
    found = merge_tiles(spec("segment"), [placed(0, left), placed(50, right, other)], (64, 114), pixels=True)
    whole, bar = found.regions
    assert (whole.x1, whole.x2, whole.area, whole.confidence) == (50, 80, 300, 0.8)
    assert whole.mask.all()
    assert found.pixels.shape == (64, 114)
    assert (found.pixels == 1).sum() == 300
    assert (found.pixels == 2).sum() == bar.area == 16


def test_maps_are_laid_over_each_other_and_the_worst_tile_decides():
    maps = [np.full((64, 64), value, np.float32) for value in (1.0, 3.0)]
    parts = [placed(place * 64, score=float(place + 1), pixels=pixels) for place, pixels in enumerate(maps)]
    found = merge_tiles(spec("anomaly", ("anomaly",)), parts, (64, 128), pixels=True)
    assert found.score == 2.0
    assert found.label == "anomaly"
    assert found.pixels.shape == (64, 64)
    assert found.pixels[:, :31].max() == 1.0
    assert found.pixels[:, 33:].min() == 3.0


def test_the_class_of_an_image_is_that_of_its_worst_tile():
    good = Prediction("good", 0.9, 0.1, probabilities={"good": 0.9, "spot": 0.1})
    bad = Prediction("spot", 0.7, 0.7, probabilities={"good": 0.3, "spot": 0.7})
    parts = [PlacedPrediction(TilePlace(0, place), found) for place, found in ((0, good), (50, bad), (90, good))]
    assert merge_tiles(spec("classify", ("good", "spot")), parts, (64, 154)) == bad


def test_training_sees_each_defect_in_several_tiles(tmp_path):
    row = draw_sheet(tmp_path / "a.png", 1, True, (400, 600))
    item = DatasetRow(row[0], "0123456789", "train", "a", ("spot",), (tuple(map(float, row[2:6])),))
    data = PreparedImages([item], ("spot",), Preprocess(64, tile=True))
    with_defect = [number for number in range(len(data)) if len(data[number].boxes)]
    assert len(data) == 10
    assert len(with_defect) >= 2
    for number in with_defect:
        (x1, y1, x2, y2), pixels = data[number].boxes[0].astype(int), data[number].image
        assert (pixels[y1:y2, x1:x2] == 240).all()
    assert PreparedImages([item], ("spot",), Preprocess(64, tile=True)).rows == data.rows


@pytest.mark.parametrize(
    ("task", "options", "metric", "least"),
    [
        ("detect", {"epochs": 1, "mosaic": 0.0}, "map50", 0.0),
        ("segment", {"epochs": 6, "learning_rate": 5e-3}, "defect_iou", 0.5),
        ("anomaly", {"layers": "1,2"}, "image_auroc", 0.99),
        ("classify", {"epochs": 1}, "accuracy", 0.0),
    ],
    ids=["detect", "segment", "anomaly", "classify"],
)
def test_every_task_learns_and_judges_by_tiles(con, task, options, metric, least):
    version = train(con, name=f"sheet_{task}", task=task, query=QUERIES[task], options={**QUICK, **options})
    model = load(con, version)
    assert model.spec.preprocess == Preprocess(
        64, letterbox=task == "detect", tile=True, mean=model.spec.preprocess.mean, std=model.spec.preprocess.std
    )
    assert version.params["image_size"] == 64
    found = evaluate(con, model, QUERIES[task])[0]
    assert len(found.predictions) == 16
    assert found.metrics[metric] >= least


def test_sql_says_what_the_model_says(con):
    options = {**QUICK, "layers": "1,2"}
    version = train(con, name="sheet", task="anomaly", query=QUERIES["anomaly"], options=options)
    promote(con, version.reference, force="test")
    model = load(con, version)
    found = dict(evaluate(con, model, QUERIES["anomaly"])[0].predictions)
    wanted = {row.image: prediction.score for row, prediction in found.items()}
    scores = dict(con.execute("select image, anomaly(image, 'sheet').score from sheets").fetchall())
    assert scores == pytest.approx(wanted, rel=1e-4)
    vector, heat = con.execute(
        "select embed(image, 'sheet'), anomaly_map(image, 'sheet') from sheets limit 1"
    ).fetchone()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
    assert cv2.imdecode(np.frombuffer(heat, np.uint8), cv2.IMREAD_COLOR).shape == (200, 300, 3)
    hits = con.execute("select anomaly(image, 'sheet').score from sheets").fetchall()
    assert len(hits) == 16
    logged = con.execute("select cache_hits from ml.inference_log order by logged_at desc limit 1").fetchone()
    assert logged == (16,)


def test_a_tile_that_is_too_small_is_refused(con):
    with pytest.raises(DuckspectError, match="tile: must be 0 or at least 32, but is 8"):
        train(con, name="sheet", task="anomaly", query=QUERIES["anomaly"], options={"tile": 8})


def tiny_segmenter():
    """A segmenter of two layers that learned on drawn tiles that a defect is bright."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model = Segmenter(ModelSpec("segment", "", ("spot",), Preprocess(640, tile=True), {}, {"*": 0.5}), network)
    optimizer = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(80):
        batch, targets = torch.full((8, 3, 64, 64), 120.0), torch.zeros(8, 16, 16, dtype=torch.long)
        for number, (row, column) in enumerate(torch.randint(0, 11, (8, 2)).tolist()):
            batch[number, :, row * 4 : row * 4 + 20, column * 4 : column * 4 + 20] = 230
            targets[number, row : row + 5, column : column + 5] = 1
        inputs = model.spec.preprocess.normalise(batch + 6 * torch.randn_like(batch))
        loss = functional.cross_entropy(network(inputs), targets, torch.tensor([1.0, 5.0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return model


@pytest.mark.slow  # it looks at 108 million pixels
def test_a_defect_of_20_pixels_is_found_in_an_image_of_12000_by_9000_within_bounded_memory():
    model = tiny_segmenter()
    strip = np.random.default_rng(0).normal(120, 6, (900, 12_000, 1)).astype(np.uint8)
    pixels = np.tile(strip, (10, 1, 3))
    pixels[7000:7020, 11_000:11_020] = 230
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    with most_memory() as growth:
        found = model.predict([image])[0]
    # The whole image would take four times its bytes as the network's input alone. What earlier tests have left to the
    # allocator moves the growth between 0.4 and 0.8 times.
    assert growth() < image.nbytes * 1.5
    assert found.label == "spot"
    assert len(found.regions) == 1
    region = found.regions[0]
    assert [region.x1, region.y1, region.x2, region.y2] == pytest.approx([11_000, 7000, 11_020, 7020], abs=4)
    whole = replace(model.spec, preprocess=Preprocess(640))
    assert not Segmenter(whole, model.network).predict([image])[0].regions  # scaled down, it cannot be seen


@contextmanager
def most_memory():
    """How much more memory than at the start this process takes at most, in bytes."""
    statistics, page = Path("/proc/self/statm"), resource.getpagesize()
    if not statistics.exists():
        pytest.skip("only Linux tells how much memory a process takes")

    def taken():
        return int(statistics.read_text().split()[1]) * page

    seen, is_over = [taken()], threading.Event()

    def watch():
        while not is_over.wait(0.02):
            seen.append(taken())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(seen) - seen[0]
    finally:
        is_over.set()
        watcher.join()
