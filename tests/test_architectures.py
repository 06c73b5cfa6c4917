"""Every registered architecture, by being registered: it builds, judges, embeds, and is the same after a round trip."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import duckspect

from models_py.errors import DuckspectError
from models_py.model.architectures import TASKS, find_architecture, list_architectures
from models_py.model.options import parse_options
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import GOOD, ModelSpec
from models_py.progress import SilentReport
from models_py.task import find_task, options_of

LABELS = {
    "classify": ("bar", "good", "spot"),
    "detect": ("bar", "spot"),
    "segment": ("bar", "spot"),
    "anomaly": ("anomaly",),
}
ARCHITECTURES = [item.name for item in list_architectures()]


def made(name):
    """A model of an architecture with random weights, at the smallest size it takes."""
    item = next(item for item in list_architectures() if item.name == name)
    options = parse_options(options_of(item.task), item.defaults)
    fixed = name.startswith(("ssd", "vit"))
    size = options.image_size if fixed else 96
    torch.manual_seed(0)
    build = {"backbone": "mobilenet_v2", "layers": [2, 3], "top": 0.01} if item.task == "anomaly" else {}
    if item.family == "torchvision_detection":
        build = {"image_size": size}
    if item.family == "yolo":
        build = {"yaml": item.build(2).architecture}
    spec = ModelSpec(item.task, name, LABELS[item.task], Preprocess(size, letterbox=item.task == "detect"), build)
    network = {
        "classify": lambda: item.build(len(spec.labels)),
        "detect": lambda: item.build(len(spec.labels), **build),
        "segment": lambda: item.build(len(spec.labels)),
        "anomaly": lambda: item.build("mobilenet_v2", (2, 3)),
    }[item.task]()
    if item.task == "anomaly":
        with torch.inference_mode():
            patches = network.eval().backbone.patches(torch.rand(4, 3, size, size))
            network.learn([patches], options, SilentReport())
    return find_task(item.task).rebuild(spec, network.state_dict())


@pytest.mark.slow  # it makes large networks, and there are many of them
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_judges_embeds_and_survives_a_round_trip(name):
    model = made(name)
    generator = torch.Generator().manual_seed(1)
    images = [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in ((80, 120), (64, 64))
    ]
    found = model.predict(images, pixels=True)
    assert len(found) == 2
    for prediction, image in zip(found, images, strict=True):
        if model.task == "anomaly":  # it was given no operating point, so it decides nothing
            assert (prediction.label, prediction.confidence) == (None, None)
        else:
            assert prediction.label in (*model.labels, GOOD)
            assert 0 <= prediction.confidence <= 1
        for region in prediction.regions:
            assert 0 <= region.x1 <= region.x2 <= image.shape[2]
            assert 0 <= region.y1 <= region.y2 <= image.shape[1]
    batch = torch.stack([model.prepare(image) for image in images])
    with torch.inference_mode():
        vectors = model.embed(batch)
    assert vectors.shape[0] == 2
    assert vectors.isfinite().all()
    spec = model.spec
    stored = json.loads(json.dumps({"build": spec.build, "preprocess": spec.preprocess.as_dict()}))
    again = find_task(spec.task).rebuild(
        replace(spec, build=stored["build"], preprocess=Preprocess.from_dict(stored["preprocess"])), model.state()
    )
    with torch.inference_mode():
        for one, other in zip(model.forward(batch), again.forward(batch), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("task", TASKS)
def test_every_architecture_is_found_by_name_and_by_help(task):
    assert list_architectures(task)
    for item in list_architectures(task):
        assert find_architecture(task, item.name) is item
        assert item.title.endswith(".")
        assert item.weights
    assert find_architecture(task, None) is list_architectures(task)[0]


def test_the_command_line_lists_architectures_and_their_options():
    listed = json.loads(duckspect("architectures", "--json").stdout)
    assert [row["architecture"] for row in listed] == ARCHITECTURES
    text = (
        duckspect("train", "--help", env={"COLUMNS": "160"}).stdout.replace("\n", "").replace(" ", "").replace("│", "")
    )
    assert all(name in text for name in ARCHITECTURES)
    options = {
        row["option"]: row["default"] for row in json.loads(duckspect("architectures", "ssd300_vgg16", "--json").stdout)
    }
    assert options["image_size"] == "300"
    assert "there is no 'resnet'" in duckspect("architectures", "resnet").stderr


def test_the_reference_architectures_of_every_task_are_there():
    names = set(ARCHITECTURES)
    assert {"mobilenet_v3_small", "resnet50", "efficientnet_b0", "vit_b_16"} <= names
    assert {f"yolo{generation}{size}" for generation in ("11", "12", "26") for size in "nsm"} <= names
    assert {"fasterrcnn_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"} <= names
    assert {"unet_mobilenet_v2", "dfm_imagenet", "dfm_simsiam", "dfm_cutpaste", "patchcore"} <= names


def test_a_size_that_an_architecture_cannot_see_is_refused():
    with pytest.raises(DuckspectError, match="ssd300_vgg16 sees 300 pixels, not 640"):
        find_architecture("detect", "ssd300_vgg16").build(2, image_size=640)


@pytest.mark.parametrize("size", [(50, 100), (100, 50), (64, 64), (33, 97)], ids=str)
@pytest.mark.parametrize("letterbox", [False, True])
def test_boxes_go_into_the_square_and_back(size, letterbox):
    preprocess = Preprocess(64, letterbox=letterbox)
    boxes = np.array([[3, 4, 20, 30], [0, 0, size[1], size[0]]], np.float32)
    inside = preprocess.boxes_in(boxes, size)
    assert inside.min() >= -0.5
    assert inside.max() <= 64.5
    assert np.allclose(preprocess.boxes_out(inside, size), boxes, atol=1e-3)


def test_a_letterboxed_image_lies_where_its_boxes_say():
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, 10:20, 30:50] = 255
    preprocess = Preprocess(160, letterbox=True)
    square = preprocess(image)
    x1, y1, x2, y2 = (round(float(side)) for side in preprocess.boxes_in(np.array([[30, 10, 50, 20]]), (40, 80))[0])
    assert square[:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() == 255
    assert square.float().mean() < 100
    assert (square[0, 0], square[0, -1])[0].unique().tolist() == [114]


def test_clahe_makes_a_faint_defect_stand_out():
    rng = np.random.default_rng(0)
    pixels = rng.normal(128, 0.6, (64, 64, 3)).round().astype(np.uint8)
    pixels[20:30, 20:30] += 4
    image = torch.from_numpy(pixels).permute(2, 0, 1)

    def contrast(square):
        grey = square.float().mean(0)
        return float(grey[22:28, 22:28].mean() - grey[40:50, 40:50].mean())

    assert contrast(Preprocess(64, clahe=4.0)(image)) > 2 * contrast(Preprocess(64)(image))
