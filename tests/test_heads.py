"""Heads on frozen features: the cache of features, the linear classifier, and which architecture is the default."""

import numpy as np
import pytest
import torch
from drawn import draw_parts, fill_table

from models_py.datasets import DatasetRow
from models_py.datasets.feature_cache import Extractor, FeatureCache
from models_py.datasets.prepared_images import PreparedImages
from models_py.model.architectures import default_architecture
from models_py.model.backbone import Backbone
from models_py.model.preprocess import Preprocess
from models_py.progress import SilentReport
from models_py.registry import find, load, transfer
from models_py.tasks.classify.linear import LabelledFeatures, find_regression
from models_py.tasks.classify.options import ClassifyOptions
from models_py.training.train import train
from udfs import connect

QUERY = "select image, label from parts"


class Counting(SilentReport):
    """A report that keeps its sentences."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def ignore(done, total):
    """Report nothing."""


@pytest.fixture
def rows(tmp_path):
    drawn = draw_parts(tmp_path / "parts", count=6)
    return [DatasetRow(str(row["image"]), f"{number:064x}", "train", str(number)) for number, row in enumerate(drawn)]


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return Backbone("mobilenet_v2", (1, 2))


def features_of(cache, rows, backbone, *, what="maps", clahe=0.0):
    report = Counting()
    data = PreparedImages(rows, (), Preprocess(64, clahe=clahe))
    options = ClassifyOptions(batch=4, precision="fp32")
    found = list(cache.features(Extractor(backbone, backbone, what), data, options, report))
    return found, report.texts


def test_features_are_computed_once_and_read_again_the_same(tmp_path, rows, backbone):
    cache = FeatureCache(tmp_path / "features")
    first, said = features_of(cache, rows, backbone)
    assert said == []
    assert [[tuple(part.shape) for part in batch] for batch in first] == [
        [(4, 24, 16, 16), (4, 32, 8, 8)],
        [(2, 24, 16, 16), (2, 32, 8, 8)],
    ]
    again, said = features_of(cache, rows, backbone)
    assert said == ["Features of 6 of 6 images were there from before."]
    assert all(
        torch.equal(*pair) for one, other in zip(first, again, strict=True) for pair in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("change", ["what", "preprocessing", "weights", "image"])
def test_features_of_something_else_are_not_taken(tmp_path, rows, backbone, change):
    cache = FeatureCache(tmp_path / "features")
    features_of(cache, rows, backbone)
    torch.manual_seed(1)
    other = {
        "what": (rows, backbone, {"what": "mean"}),
        "preprocessing": (rows, backbone, {"clahe": 2.0}),
        "weights": (rows, Backbone("mobilenet_v2", (1, 2)), {}),
        "image": ([DatasetRow(row.image, "f" + row.sha256[1:], "train", "") for row in rows], backbone, {}),
    }[change]
    assert features_of(cache, *other[:2], **other[2])[1] == []


def test_each_tile_of_an_image_has_its_own_features(tmp_path, rows, backbone):
    data = PreparedImages(rows[:1], (), Preprocess(32, tile=32, overlap=0.0))
    options = ClassifyOptions(batch=4, precision="fp32")
    cache, extractor = FeatureCache(tmp_path / "features"), Extractor(backbone, backbone, "maps")
    first, again = (list(cache.features(extractor, data, options, SilentReport())) for _ in range(2))
    assert len(data) == 4
    assert len({data.content(number) for number in range(4)}) == 4
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0][0], first[0][0][1])


def test_a_torn_file_is_computed_again(tmp_path, rows, backbone):
    cache = FeatureCache(tmp_path / "features")
    first, _ = features_of(cache, rows, backbone)
    torn = next((tmp_path / "features").rglob("*.safetensors"))
    torn.write_bytes(torn.read_bytes()[:50])
    again, _ = features_of(cache, rows, backbone)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(first, again, strict=True))
    assert features_of(cache, rows, backbone)[1] == ["Features of 6 of 6 images were there from before."]


def test_the_cache_stays_within_its_limit(tmp_path, rows, backbone):
    cache = FeatureCache(tmp_path / "features", most_bytes=60_000)
    features_of(cache, rows, backbone)
    assert 0 < sum(file.stat().st_size for file in (tmp_path / "features").rglob("*.safetensors")) <= 60_000


def test_training_goes_on_where_features_cannot_be_kept(tmp_path, rows, backbone):
    (tmp_path / "features").write_text("a file where the folder should be")
    found, _ = features_of(FeatureCache(tmp_path / "features"), rows, backbone)
    assert sum(len(batch[0]) for batch in found) == 6


def clouds(counts, *, apart=4.0, groups=None):
    """Points around a corner for each class, one unit a point if not said otherwise."""
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(len(counts)), counts)
    points = rng.normal(size=(len(numbers), 6)) * (1, 2, 3, 4, 5, 6) + apart * np.eye(6)[numbers] * (1, 2, 3, 4, 5, 6)
    return LabelledFeatures(points + 100, numbers, groups or [str(number) for number in range(len(numbers))])


@pytest.mark.parametrize("counts", [(30, 30), (30, 20, 10), (3, 40)], ids=["two", "three", "rare"])
def test_a_regression_tells_classes_apart_on_features_as_they_come(counts):
    data = clouds(counts)
    found = find_regression(data, len(counts), 0.5, ignore)
    guessed = (data.features @ found.weight.T + found.bias).argmax(1)
    assert (guessed == data.numbers).mean() > 0.95
    assert 0 < found.loss < 0.4


def test_a_class_without_images_is_never_guessed():
    data = clouds((20, 20))
    found = find_regression(data, 3, 0.5, ignore)
    assert set((data.features @ found.weight.T + found.bias).argmax(1)) == {0, 1}


def test_one_unit_of_a_class_leaves_nothing_to_choose_by():
    data = clouds((6, 6), groups=["a"] * 6 + ["b"] * 6)
    assert find_regression(data, 2, 0.5, ignore).loss is None


def test_more_regularisation_is_chosen_where_features_say_nothing():
    useless, useful = clouds((20, 20), apart=0.0), clouds((20, 20), apart=6.0)
    assert find_regression(useless, 2, 0.5, ignore).strength < find_regression(useful, 2, 0.5, ignore).strength


@pytest.mark.parametrize(
    ("task", "has_gpu", "name"),
    [("classify", False, "linear"), ("classify", True, "mobilenet_v3_small"), ("anomaly", True, "patchcore")],
)
def test_the_default_is_a_head_on_frozen_features_without_a_gpu(task, has_gpu, name):
    assert default_architecture(task, has_gpu=has_gpu) == name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A warehouse with a linear classifier of drawn parts, and what its training said."""
    folder = tmp_path_factory.mktemp("linear")
    report = Counting()
    with pytest.MonkeyPatch.context() as patch, connect(folder / "w.duckdb") as con:
        patch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(folder))
        fill_table(con, draw_parts(folder / "parts", count=24))
        options = {"image_size": 64, "device": "cpu"}
        train(con, name="part", task="classify", query=QUERY, options=options, report=report)
        yield con, report, options


def test_a_linear_classifier_is_trained_by_default_on_a_cpu(trained):
    con, report, _ = trained
    row = con.execute("select architecture, parent from ml.model_versions where name = 'part'").fetchone()
    assert row == ("linear", "package")
    assert any(text.startswith("Regularisation C=") for text in report.texts)


def test_its_sql_function_knows_the_drawn_parts(trained):
    con = trained[0]
    found = con.execute(f"select label, predict(image, 'part@1') from ({QUERY})").fetchall()
    assert [answer["error"] for _, answer in found] == [None] * 24
    assert sum(answer["label"] == label for label, answer in found) > 20


def test_a_second_training_reads_the_features_and_fine_tuning_starts_from_the_head(trained):
    con, _, options = trained
    report = Counting()
    more = {**options, "fine_tune": True, "epochs": 1, "batch": 8}
    version = train(con, name="part", task="classify", query=QUERY, options=more, report=report)
    assert any("were there from before" in text for text in report.texts)
    first, tuned = (load(con, f"part@{number}") for number in (1, 2))
    assert version.metrics["accuracy"] >= 0.5
    assert not torch.equal(first.network.head.weight, tuned.network.head.weight)
    close = torch.nn.functional.cosine_similarity(first.network.head.weight, tuned.network.head.weight).min()
    assert close > 0.5


def test_a_linear_classifier_comes_back_from_an_export(trained, tmp_path):
    con = trained[0]
    model = load(con, "part@1")
    transfer.export(find(con, "part@1"), model, tmp_path / "part.zip")
    with connect(tmp_path / "other.duckdb") as other:
        again = load(
            other, transfer.import_file(other, tmp_path / "part.zip", "part", transfer.TensorFileDescription())
        )
    assert again.spec.build == {"backbone": "mobilenet_v2", "layers": [2, 3, 4]}
    assert torch.equal(again.network.head.weight, model.network.head.weight)


def test_anomaly_detection_reads_the_features_of_an_earlier_training(tmp_path):
    with connect(tmp_path / "w.duckdb") as con:
        fill_table(con, draw_parts(tmp_path / "parts", count=18))
        said = []
        for seed in (0, 1):
            report = Counting()
            options = {"image_size": 64, "device": "cpu", "memory": 50, "seed": seed, "coreset": 0.05}
            query = "select image, label, if(label = 'good', 'train', 'val') as split from parts"
            train(con, name="odd", task="anomaly", query=query, options=options, report=report)
            said.append(any("were there from before" in text for text in report.texts))
    assert said == [False, True]
