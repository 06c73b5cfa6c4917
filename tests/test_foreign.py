"""Weights from elsewhere: local downloads, torch state dicts, Ultralytics checkpoints; nothing in them is run."""

import os
import pickle
import zipfile

import pytest
import torch
from drawn import draw_parts
from torch import nn

from models_py.architectures import find_architecture, list_architectures
from models_py.errors import DuckspectError
from models_py.model import Spec
from models_py.preprocess import Preprocess
from models_py.registry import find, load, transfer
from models_py.tasks import find_task
from models_py.training import Silent
from models_py.weights import download, fetch, load_matching, start
from udfs import connect


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch's download folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def ultralytics_file(file, classes=3):
    """A checkpoint as Ultralytics writes it: the whole model, in half precision."""
    from models_py.ultralytics_gate.network import Yolo

    torch.manual_seed(0)
    model = Yolo("yolo11n.yaml", classes).model.half()
    model.names = {number: f"class{number}" for number in range(classes)}
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"imgsz": 64}, "version": "8.4"}, file)
    return file


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_state_dict_is_imported_with_its_architecture_and_classes(tmp_path):
    network = find_architecture("classify", "resnet18").build(2)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "r.pt"
    )
    described = transfer.Described(task="classify", architecture="resnet18", labels=("bad", "good"), image_size=64)
    with connect(tmp_path / "w.duckdb") as con:
        version = transfer.import_file(con, tmp_path / "r.pt", "part", described)
        model = load(con, version)
    assert version.reference == "part@1"
    assert model.spec.preprocess.size == 64
    assert torch.equal(model.network.fc.weight, network.fc.weight)


def test_an_ultralytics_file_is_imported_with_its_classes(tmp_path):
    file = ultralytics_file(tmp_path / "best.pt")
    with connect(tmp_path / "w.duckdb") as con:
        transfer.import_file(con, file, "pcb", transfer.Described(image_size=64))
        version = find(con, "pcb@challenger")
        model = load(con, version)
    assert version.labels == ("class0", "class1", "class2")
    assert version.architecture == "yolo11n"
    assert model.predict([torch.zeros(3, 50, 40, dtype=torch.uint8)])[0].label


@pytest.mark.parametrize(
    "wrap", [lambda trap: trap, lambda trap: {"model": trap}, lambda trap: {"a": torch.zeros(1), "b": trap}]
)
def test_code_in_a_file_is_never_run(tmp_path, wrap):
    marker = tmp_path / "marker"
    torch.save(wrap(Trap(marker)), tmp_path / "evil.pt")
    with connect(tmp_path / "w.duckdb") as con, pytest.raises(DuckspectError, match=r"system.*was not read"):
        transfer.import_file(
            con, tmp_path / "evil.pt", "evil", transfer.Described(task="classify", architecture="resnet18")
        )
    assert not marker.exists()


def test_a_trap_inside_an_ultralytics_file_is_refused(tmp_path):
    from models_py.ultralytics_gate.network import Yolo

    marker = tmp_path / "marker"
    torch.save({"model": Yolo("yolo11n.yaml", 2).model, "train_args": Trap(marker)}, tmp_path / "evil.pt")
    with connect(tmp_path / "w.duckdb") as con, pytest.raises(DuckspectError, match=r"system, which is no layer"):
        transfer.import_file(con, tmp_path / "evil.pt", "evil", transfer.Described())
    assert not marker.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        {"activation": "__import__('os').system('touch marker')"},
        {"backbone": [[-1, 1, "os.system", ["touch marker"]]]},
        {"backbone": [[-1, 1, "Conv", ["__import__('os').system('touch marker')"]]]},
        {"nc": "__import__('os').system('touch marker')"},
    ],
    ids=["activation", "layer", "argument", "number of classes"],
)
def test_an_architecture_description_is_never_run(tmp_path, monkeypatch, spoil):
    from models_py.ultralytics_gate.network import Yolo

    monkeypatch.chdir(tmp_path)
    described = Yolo("yolo11n.yaml", 2).architecture
    with pytest.raises(DuckspectError, match="Nothing was built"):
        Yolo({**described, **spoil}, 2)
    assert not (tmp_path / "marker").exists()


def truncated(file):
    torch.save(nn.Linear(2, 2).state_dict(), file)
    file.write_bytes(file.read_bytes()[:-200])


def old_pickle(file):
    file.write_bytes(pickle.dumps({"a": 1}))


def zip_of_text(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")


@pytest.mark.parametrize(
    "write",
    [truncated, old_pickle, zip_of_text, lambda file: file.write_text("hello"), lambda file: torch.save([1, 2], file)],
    ids=["truncated", "old pickle", "zip", "text", "list"],
)
def test_what_is_no_file_of_weights_is_refused_in_a_sentence(tmp_path, write):
    write(tmp_path / "odd.pt")
    described = transfer.Described(task="classify", architecture="resnet18", labels=("a", "b"))
    with connect(tmp_path / "w.duckdb") as con:
        with pytest.raises(DuckspectError, match=r"odd\.pt: .*Save the weights alone"):
            transfer.import_file(con, tmp_path / "odd.pt", "odd", described)
        assert con.execute("select count(*) from ml.model_versions").fetchone() == (0,)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "small.pt")
    described = transfer.Described(task="classify", architecture="resnet18", labels=("a", "b"))
    with (
        connect(tmp_path / "w.duckdb") as con,
        pytest.raises(DuckspectError, match="does not fit resnet18 with 2 classes"),
    ):
        transfer.import_file(con, tmp_path / "small.pt", "small", described)


@pytest.mark.parametrize(
    ("task", "name", "source"),
    [
        ("classify", "resnet18", "imagenet"),
        ("detect", "yolo11n", "coco"),
        ("detect", "fasterrcnn_resnet50_fpn", "imagenet"),
        ("segment", "unet_resnet18", "imagenet"),
    ],
)
def test_a_download_that_fails_is_said_in_a_sentence(hub, monkeypatch, task, name, source):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DuckspectError, match=f"the {source} weights of {name} could not be downloaded.*Go online once"):
        download(find_architecture(task, name), source)


def test_downloaded_weights_are_used_from_the_local_folder(hub):
    from torchvision.models import ResNet18_Weights, resnet18

    network = resnet18()
    torch.save(network.state_dict(), hub / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1])
    fresh = find_architecture("classify", "resnet18").build(4)
    start(fresh, find_architecture("classify", "resnet18"), "imagenet", Silent(), ("a", "b", "c", "d"))
    assert torch.equal(fresh.layer1[0].conv1.weight, network.layer1[0].conv1.weight)
    assert fresh.fc.weight.shape[0] == 4


def test_an_ultralytics_release_is_used_from_the_local_folder(hub):
    ultralytics_file(hub / "yolo11n.pt", classes=80)
    found = fetch(find_architecture("detect", "yolo11n"), "coco")
    network = find_architecture("detect", "yolo11n").build(2)
    assert load_matching(network, found.tensors) > 400


def test_a_backbone_trained_on_imagenet_fits_the_detectors(hub):
    from torchvision.models import ResNet50_Weights, resnet50

    torch.save(resnet50().state_dict(), hub / ResNet50_Weights.DEFAULT.url.rsplit("/", 1)[1])
    architecture = find_architecture("detect", "fasterrcnn_resnet50_fpn")
    assert load_matching(architecture.build(2), fetch(architecture, "imagenet").tensors) > 250


def test_rows_of_the_head_go_to_the_classes_of_the_same_name():
    network = nn.Linear(4, 2)
    known = nn.Linear(4, 3)
    before = network.weight.detach().clone()
    load_matching(network, known.state_dict(), ("new", "spot"), ("bar", "good", "spot"))
    assert torch.equal(network.weight[1], known.weight[2])
    assert torch.equal(network.weight[0], before[0])


@pytest.mark.parametrize("item", [a for a in list_architectures() if a.weights[0] == "starter"], ids=lambda a: a.name)
def test_starter_weights_are_shipped_for_every_architecture_that_names_them(item):
    name = "mobilenet_v2" if item.task == "anomaly" else item.name
    found = fetch(find_architecture_like(item, name), "starter")
    assert found.source == "starter"
    assert all(value.dtype != torch.float32 for value in found.tensors.values())


def find_architecture_like(item, name):
    from dataclasses import replace

    return replace(item, name=name)


def test_starter_weights_are_small():
    from models_py.weights import STARTERS

    assert sum(file.stat().st_size for file in STARTERS.glob("*.safetensors")) < 15_000_000


def test_onnx_says_the_same_as_torch(tmp_path):
    draw_parts(tmp_path / "parts", count=3)
    for task, name in (("classify", "mobilenet_v3_small"), ("segment", "unet_mobilenet_v2"), ("detect", "yolo11n")):
        torch.manual_seed(0)
        labels = ("a", "b")
        build = {"yaml": find_architecture(task, name).build(2).architecture} if task == "detect" else {}
        network = find_architecture(task, name).build(2, **build)
        spec = Spec(task, name, labels, Preprocess(64, letterbox=task == "detect"), build)
        model = find_task(task).rebuild(spec, network.state_dict())
        from models_py.registry.onnx import export_onnx

        images = [torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8) for _ in range(2)]
        assert export_onnx(model, tmp_path / f"{name}.onnx", images) < 1e-2
        assert (tmp_path / f"{name}.onnx").stat().st_size > 100_000
