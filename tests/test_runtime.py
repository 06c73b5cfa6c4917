"""What stands between a SQL function and a network: caches, budgets, batches that fit, folded norms."""

import gc
import sys
import threading
import tracemalloc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import picture
from waiting import PATIENCE

from models_py.images.decode import decode
from models_py.model.architectures import find_architecture
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec, Prediction, Region
from models_py.registry.compiled.folding import fold_batch_norms
from models_py.tasks.classify.task import Classifier
from models_py.tasks.detect.task import BoxDetector
from models_py.tasks.segment.task import Segmenter
from udfs.runtime import EMBED, PREDICT, LoadedModel
from udfs.runtime.batcher import Batcher, PreparedInput
from udfs.runtime.byte_cache import ByteCache
from udfs.runtime.devices import DeviceGroup
from udfs.runtime.memory_budget import MemoryBudget
from udfs.runtime.results import PredictionResult, stored
from udfs.serving.interpreter import share_fairly

LABELS = ("a", "b", "c")


class Crowded(Classifier):
    """A classifier whose device holds three images."""

    seen: tuple[int, ...] = ()

    def forward(self, batch):
        type(self).seen += (len(batch),)
        if len(batch) > 3:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99999999999 bytes")
        return super().forward(batch)


def classifier(kind=Classifier):
    torch.manual_seed(0)
    network = find_architecture("classify", "mobilenet_v3_small").build(len(LABELS))
    return kind(ModelSpec("classify", "mobilenet_v3_small", LABELS, Preprocess(64), {}), network)


def prepared(model, count):
    images = [decode(picture(seed)) for seed in range(count)]
    return images, [
        PreparedInput(model.prepare(image).permute(1, 2, 0).contiguous(), image.shape[1:]) for image in images
    ]


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    model = classifier(Crowded)
    images, items = prepared(model, 10)
    engine = Batcher(model, "cpu", "fp32")
    answers = [outcome.answer for outcome in engine.submit(PREDICT, {}, items).result().results]
    assert Crowded.seen == (10, 5, 2, 3, 5, 2, 3)
    assert engine.batch <= 5
    wanted = classifier().predict(images)
    assert [answer.label for answer in answers] == [item.label for item in wanted]
    assert [answer.score for answer in answers] == pytest.approx([item.score for item in wanted], abs=1e-5)


class Overflowing:
    """A model to whose network the second image of a batch is too much."""

    found = float("nan")

    def compute(self, batch):
        outputs = super().compute(batch).clone()
        outputs[1][(0,) * (outputs.ndim - 1)] = self.found
        return outputs


class OverflowingClassifier(Overflowing, Classifier):
    pass


class OverflowingDetector(Overflowing, BoxDetector):
    pass


def detector(kind):
    network = find_architecture("detect", "yolo11n").build(len(LABELS))
    return kind(ModelSpec("detect", "yolo11n", LABELS, Preprocess(64), {"*": 0.1}), network)


@pytest.mark.parametrize("found", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("make", [lambda: classifier(OverflowingClassifier), lambda: detector(OverflowingDetector)])
def test_an_image_whose_outputs_are_no_numbers_has_an_error_and_is_never_good(monkeypatch, make, found):
    monkeypatch.setattr(Overflowing, "found", found)
    model = make()
    _, items = prepared(model, 3)
    first, second, third = Batcher(model, "cpu", "fp32").submit(PREDICT, {"*": 0.1}, items).result().results
    assert second.answer is None
    assert "outputs for this image are NaN or infinite" in second.error
    assert first.error is third.error is None
    assert first.answer.label in (*LABELS, "good")


def test_another_error_of_the_network_is_not_taken_for_a_lack_of_memory():
    class Broken(Classifier):
        def forward(self, batch):
            raise RuntimeError(f"shapes do not match: {len(batch)}")

    model = classifier(Broken)
    with pytest.raises(RuntimeError, match="shapes"):
        Batcher(model, "cpu", "fp32").submit(PREDICT, {}, prepared(model, 4)[1]).result()


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("classify", "mobilenet_v3_small"),
        ("classify", "resnet18"),
        ("classify", "efficientnet_b0"),
        ("segment", "unet_mobilenet_v2"),
        ("segment", "unet_resnet18"),
        ("detect", "yolo11n"),
    ],
)
def test_folding_batch_norms_does_not_change_what_a_network_says(task, name):
    torch.manual_seed(0)
    network = find_architecture(task, name).build(3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    inputs = torch.rand(2, 3, 64, 64)
    before = sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        wanted = network(inputs)
        fold_batch_norms(network)
        assert torch.allclose(network(inputs), wanted, rtol=1e-3, atol=1e-3)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()) < before / 2


def test_a_cache_forgets_what_was_not_asked_for_longest():
    cache = ByteCache(100)
    for name in "abc":
        cache.put(name, name.upper(), 40)
    assert "a" not in cache
    assert cache.get("b") == "B"
    cache.put("d", "D", 40)
    assert "c" not in cache
    assert (cache.get("b"), cache.get("d")) == ("B", "D")
    cache.put("d", "larger than all", 101)
    assert "d" not in cache


def verdicts(number, regions):
    found = tuple(Region(LABELS[at % 3], 0.5, 1.0, 2.0, 30.0 + number, 40.0, 99.0) for at in range(regions))
    chances = {} if found else dict(zip(LABELS, (0.5 + number / 1e6, 0.3, 0.2), strict=True))
    return PredictionResult(stored(Prediction("a", 0.5 + number / 1e6, 0.4 + number / 1e6, found, chances)))


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        pytest.param(PREDICT, lambda number: verdicts(number, 0), id="classes"),
        pytest.param(PREDICT, lambda number: verdicts(number, 9), id="regions"),
        pytest.param(PREDICT, lambda number: PredictionResult(error=f"image {number} is broken"), id="error"),
        pytest.param(EMBED, lambda number: PredictionResult(np.full(64, number, np.float32)), id="vector"),
    ],
)
def test_a_cache_of_results_takes_the_bytes_that_it_counts(kind, outcome):
    version = SimpleNamespace(artifact_sha256="a" * 64)
    counted, results = 0, ByteCache(1 << 30)
    tracemalloc.start()
    for number in range(1000):
        result = outcome(number)
        digest = number.to_bytes(32, "big")
        served = LoadedModel(version, None, {"*": 0.5})
        results.put(((served.key, kind.name), digest), result, kind.size_of(result))
        counted += kind.size_of(result)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / 1.3 < counted < taken * 1.5


@pytest.fixture
def own_interpreter():
    """The settings of the test's process, as they were."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


@pytest.mark.usefixtures("own_interpreter")
def test_a_full_collection_of_a_server_looks_at_nothing_that_was_there_at_its_start():
    before = len(gc.get_objects())
    share_fairly()
    assert len(gc.get_objects()) < before / 10
    assert gc.get_freeze_count() > before / 2
    assert sys.getswitchinterval() < 0.001


@pytest.mark.parametrize(
    ("task", "architecture", "kind"),
    [
        pytest.param("classify", "mobilenet_v3_small", Classifier, id="classify"),
        pytest.param("detect", "yolo11n", BoxDetector, id="detect"),
        pytest.param("segment", "unet_mobilenet_v2", Segmenter, id="segment"),
    ],
)
def test_a_model_that_is_replaced_is_freed_without_a_collection(task, architecture, kind):
    network = find_architecture(task, architecture).build(len(LABELS))
    model = kind(ModelSpec(task, architecture, LABELS, Preprocess(64), {}), network)
    del network
    gc.collect()
    gc.disable()
    try:
        engine = Batcher(model, "cpu", "fp32")
        engine.submit(PREDICT, {}, [PreparedInput(torch.rand(64, 64, 3), (64, 64))]).result()
        last = weakref.ref(model.network)
        freed = threading.Event()
        weakref.finalize(model.network, freed.set)
        del model, engine
        assert freed.wait(PATIENCE), gc.get_referrers(last())
    finally:
        gc.enable()


def test_a_budget_lends_no_more_than_it_has_and_all_of_it_to_one_that_wants_more():
    budget = MemoryBudget(100)
    most, held, lock = [0], [0], threading.Lock()

    def borrow(size):
        with budget.lend(size):
            with lock:
                held[0] += min(size, 100)
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= min(size, 100)

    threads = [threading.Thread(target=borrow, args=(size,)) for size in (30, 80, 1000, 60, 100, 10) * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert 0 < most[0] <= 100


def test_an_order_alone_gets_all_cores_and_others_one_each(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # whatever this machine has, or another test has left
    found = DeviceGroup([torch.device("cpu")])
    gate = threading.Event()
    assert found.choose() is found.first
    running = found.first.submit(gate.wait)
    assert found.choose() is not found.first
    gate.set()
    assert running.result()


def test_orders_that_wait_share_a_forward_pass_and_each_gets_its_own():
    model = classifier()
    images, items = prepared(model, 9)
    engine, gate = Batcher(model, "cpu", "fp32"), threading.Event()
    slow = replace(PREDICT, name="slow", run=lambda model, batch: gate.wait(PATIENCE) and model.forward(batch))
    first = engine.submit(slow, {}, items[:1])
    orders = [engine.submit(PREDICT, {}, [item]) for item in items]
    gate.set()
    ran = [order.result(PATIENCE) for order in (first, *orders)][1:]
    assert max(one.images for one in ran) > 1
    wanted = classifier().predict(images)
    assert [one.results[0].answer.score for one in ran] == pytest.approx([item.score for item in wanted], abs=1e-5)


def test_one_broken_order_fails_alone():
    class Picky(Classifier):
        def forward(self, batch):
            if (batch.float().mean(dim=(1, 2, 3)) > 250).any():
                raise RuntimeError("too bright")
            return super().forward(batch)

    model = classifier(Picky)
    _, items = prepared(model, 6)
    bad = PreparedInput(torch.full_like(items[0].square, 255), items[0].size)
    engine = Batcher(model, "cpu", "fp32")
    orders = [engine.submit(PREDICT, {}, [item]) for item in (*items[:3], bad, *items[3:])]
    failed = [order.exception(PATIENCE) is not None for order in orders]
    assert failed == [False, False, False, True, False, False, False]


def test_a_model_that_is_always_asked_leaves_turns_to_another():
    model, other = classifier(), classifier()
    _, items = prepared(model, 8)
    busy, quiet = Batcher(model, "cpu", "fp32"), Batcher(other, "cpu", "fp32")
    enough, running = threading.Event(), []

    def ask_again(_=None):
        if not enough.is_set():
            running.append(busy.submit(PREDICT, {}, items))
            running[-1].add_done_callback(ask_again)

    for _ in range(6):
        ask_again()
    try:
        assert quiet.submit(PREDICT, {}, items[:1]).result(PATIENCE).results
    finally:
        enough.set()
    assert all(order.result(PATIENCE).results for order in running)
