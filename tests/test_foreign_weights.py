"""Weights from elsewhere: local downloads, torch state dicts, Ultralytics checkpoints; nothing in them is run."""

import json
import os
import pickle
import shutil
import threading
import warnings
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from drawn import draw_parts
from safetensors.torch import save_file
from torch import nn

from models_py.errors import DuckspectError
from models_py.model.architectures import find_architecture, list_architectures
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec
from models_py.progress import SilentReport
from models_py.registry import find, load, transfer
from models_py.task import find_task
from models_py.tasks.anomaly.options import AnomalyOptions
from models_py.weights.first_weights import download, fetch, load_matching, start
from models_py.weights.sources import with_default_trunk
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
    from models_py.yolo.network import YoloNetwork

    torch.manual_seed(0)
    model = YoloNetwork("yolo11n.yaml", classes).model.half()
    model.names = {number: f"class{number}" for number in range(classes)}
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"imgsz": 64}, "version": "8.4"}, file)
    return file


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Call:
    """Asks for a network of an architecture when it is unpickled."""

    def __init__(self, described):
        self.described = described

    def __reduce__(self):
        from ultralytics.nn.tasks import DetectionModel

        return DetectionModel, (self.described,)


def test_a_state_dict_is_imported_with_its_architecture_and_classes(tmp_path):
    network = find_architecture("classify", "resnet18").build(2)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "r.pt"
    )
    described = transfer.TensorFileDescription(
        task="classify", architecture="resnet18", labels=("bad", "good"), image_size=64
    )
    with connect(tmp_path / "w.duckdb") as con:
        version = transfer.import_file(con, tmp_path / "r.pt", "part", described)
        model = load(con, version)
    assert version.reference == "part@1"
    assert model.spec.preprocess.size == 64
    assert torch.equal(model.network.fc.weight, network.fc.weight)


def test_an_ultralytics_file_is_imported_with_its_classes(tmp_path):
    file = ultralytics_file(tmp_path / "best.pt")
    with connect(tmp_path / "w.duckdb") as con:
        transfer.import_file(con, file, "pcb", transfer.TensorFileDescription(image_size=64))
        version = find(con, "pcb@challenger")
        model = load(con, version)
    assert version.labels == ("class0", "class1", "class2")
    assert version.architecture == "yolo11n"
    assert model.predict([torch.zeros(3, 50, 40, dtype=torch.uint8)])[0].label


def test_training_starts_from_an_ultralytics_file_with_the_rows_of_its_classes(tmp_path):
    file = ultralytics_file(tmp_path / "best.pt")
    found = fetch(find_architecture("detect", "yolo11n"), str(file))
    assert found.labels == ("class0", "class1", "class2")
    network = find_architecture("detect", "yolo11n").build(3)
    assert load_matching(network, found.tensors, found.labels, found.labels) == len(network.state_dict())


@pytest.mark.parametrize(
    "wrap", [lambda trap: trap, lambda trap: {"model": trap}, lambda trap: {"a": torch.zeros(1), "b": trap}]
)
def test_code_in_a_file_is_never_run(tmp_path, wrap):
    marker = tmp_path / "marker"
    torch.save(wrap(Trap(marker)), tmp_path / "evil.pt")
    with connect(tmp_path / "w.duckdb") as con, pytest.raises(DuckspectError, match=r"system.*was not read"):
        transfer.import_file(
            con, tmp_path / "evil.pt", "evil", transfer.TensorFileDescription(task="classify", architecture="resnet18")
        )
    assert not marker.exists()


def test_a_trap_inside_an_ultralytics_file_is_refused(tmp_path):
    from models_py.yolo.network import YoloNetwork

    marker = tmp_path / "marker"
    torch.save({"model": YoloNetwork("yolo11n.yaml", 2).model, "train_args": Trap(marker)}, tmp_path / "evil.pt")
    with connect(tmp_path / "w.duckdb") as con, pytest.raises(DuckspectError, match=r"system, which is no layer"):
        transfer.import_file(con, tmp_path / "evil.pt", "evil", transfer.TensorFileDescription())
    assert not marker.exists()


def test_a_layer_in_an_ultralytics_file_is_not_called(tmp_path):
    from models_py.weights.foreign import read_checkpoint
    from models_py.yolo.network import YoloNetwork

    marker = tmp_path / "marker"
    described = YoloNetwork("yolo11n.yaml", 2).architecture
    described["activation"] = f"__import__('os').system('touch {marker}') or torch.nn.SiLU()"
    torch.save({"model": Call(described)}, tmp_path / "evil.pt")
    with pytest.raises(DuckspectError, match="takes no arguments"):
        read_checkpoint(tmp_path / "evil.pt")
    assert not marker.exists()


def test_the_files_of_ultralytics_own_trainer_are_read(tmp_path, monkeypatch):
    from models_py.weights.foreign import read_checkpoint
    from models_py.yolo.network import YoloNetwork

    last = train_with_ultralytics(tmp_path, monkeypatch)
    for file in (last, last.with_name("best.pt"), tmp_path / "resumable.pt"):
        found = read_checkpoint(file)
        assert found.labels == ("scratch", "dent", "spot")
        described = {key: value for key, value in found.yaml.items() if key != "yaml_file"}
        assert not any(YoloNetwork(described, 3).load_state_dict(dict(found.tensors)))
    whole = torch.load(last, weights_only=False)["model"].state_dict()
    read = read_checkpoint(last).tensors
    assert len(read) == len(whole)
    assert all(torch.equal(read[f"model.{key}"], value.float()) for key, value in whole.items())


def train_with_ultralytics(folder, monkeypatch):
    """One epoch on four drawn images, by a user's own means; returns the last checkpoint."""
    from models_py.yolo import ultralytics

    draw_parts(folder / "drawn", count=4)
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number, image in enumerate(sorted((folder / "drawn").rglob("*.png"))[:4]):
        shutil.copy(image, folder / f"images/{number}.png")
        (folder / f"labels/{number}.txt").write_text(f"{number % 3} 0.4 0.4 0.3 0.3\n")
    names = "names: {0: scratch, 1: dent, 2: spot}"
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\n{names}\n")
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ultralytics' own affair
        yolo = ultralytics().YOLO("yolo11n.yaml")
        # The trainer strips its checkpoints at the end; this is what an interrupted run leaves.
        yolo.add_callback("on_model_save", lambda trainer: shutil.copy(trainer.last, folder / "resumable.pt"))
        plain = {"plots": False, "amp": False, "verbose": False, "workers": 0, "device": "cpu"}
        yolo.train(data=str(folder / "data.yaml"), epochs=1, imgsz=64, batch=2, project=str(folder / "runs"), **plain)
    return Path(yolo.trainer.last)


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
    from models_py.yolo.network import YoloNetwork

    monkeypatch.chdir(tmp_path)
    described = YoloNetwork("yolo11n.yaml", 2).architecture
    with pytest.raises(DuckspectError, match="Nothing was built"):
        YoloNetwork({**described, **spoil}, 2)
    assert not (tmp_path / "marker").exists()


def truncated(file):
    torch.save(nn.Linear(2, 2).state_dict(), file)
    file.write_bytes(file.read_bytes()[:-200])


def old_pickle(file):
    file.write_bytes(pickle.dumps({"a": 1}))


def torchscript(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch no longer wants it, but such files exist
        torch.jit.script(nn.Linear(2, 2)).save(file)


def zip_of_text(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")


@pytest.mark.parametrize(
    "write",
    [
        truncated,
        old_pickle,
        torchscript,
        zip_of_text,
        lambda file: file.write_text("hello"),
        lambda file: torch.save([1, 2], file),
    ],
    ids=["truncated", "old pickle", "torchscript", "zip", "text", "list"],
)
def test_what_is_no_file_of_weights_is_refused_in_a_sentence(tmp_path, write):
    write(tmp_path / "odd.pt")
    described = transfer.TensorFileDescription(task="classify", architecture="resnet18", labels=("a", "b"))
    with connect(tmp_path / "w.duckdb") as con:
        with pytest.raises(DuckspectError, match=r"odd\.pt: .*Save the weights alone"):
            transfer.import_file(con, tmp_path / "odd.pt", "odd", described)
        assert con.execute("select count(*) from ml.model_versions").fetchone() == (0,)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "small.pt")
    described = transfer.TensorFileDescription(task="classify", architecture="resnet18", labels=("a", "b"))
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
    start(fresh, find_architecture("classify", "resnet18"), "imagenet", SilentReport(), ("a", "b", "c", "d"))
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


@pytest.mark.slow  # its network is large
@pytest.mark.parametrize(
    ("name", "first"), [("ssd300_vgg16", "features.0"), ("ssdlite320_mobilenet_v3_large", "features.0.0")]
)
def test_a_detector_trained_on_other_colours_sees_ours_as_its_own(hub, name, first):
    from torchvision.models import detection, get_model_weights

    torch.manual_seed(0)
    theirs = getattr(detection, name)(weights=None, weights_backbone=None).eval()
    torch.save(theirs.state_dict(), hub / get_model_weights(name).DEFAULT.url.rsplit("/", 1)[1])
    architecture = find_architecture("detect", name)
    ours = architecture.build(90).eval()
    assert load_matching(ours, fetch(architecture, "coco").tensors) == len(ours.state_dict())
    side = architecture.defaults["image_size"]
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = theirs.backbone.get_submodule(first)(theirs.transform([image[0] / 255])[0].tensors)
        found = ours.model.backbone.get_submodule(first)(Preprocess(side).normalise(image))
    inside = (..., slice(1, -1), slice(1, -1))  # what lies around an image is grey for one, and not quite for the other
    assert torch.allclose(found[inside], wanted[inside], rtol=1e-3, atol=1e-3)


@pytest.mark.slow  # its network is large
def test_a_vgg_trained_on_imagenet_fills_the_whole_backbone_of_ssd(hub):
    from torchvision.models import VGG16_Weights, vgg16

    torch.save(vgg16().state_dict(), hub / VGG16_Weights.IMAGENET1K_FEATURES.url.rsplit("/", 1)[1])
    architecture = find_architecture("detect", "ssd300_vgg16")
    assert load_matching(architecture.build(2), fetch(architecture, "imagenet").tensors) == 2 * 13


@pytest.fixture
def served(tmp_path):
    """A folder, and the address of a web server on this machine that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """A web server that does not log."""

    def log_message(self, *_):
        """Say nothing."""


def test_an_encoder_is_downloaded_once_without_a_word(hub, served, monkeypatch, capfd):
    import segmentation_models_pytorch as smp
    from huggingface_hub import constants

    folder, address = served
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{filename}?{repo_id}{revision}")
    architecture = find_architecture("segment", "unet_resnet18")
    assert load_matching(architecture.build(2), fetch(architecture, "imagenet").tensors) == len(encoder.state_dict())
    (folder / "model.safetensors").unlink()
    assert fetch(architecture, "imagenet").tensors
    assert capfd.readouterr() == ("", "")


def test_a_download_that_is_not_what_its_name_promises_is_not_kept(hub, served, monkeypatch):
    from torchvision.models import ResNet18_Weights

    folder, address = served
    (folder / "resnet18-f37072fd.pth").write_bytes(b"something else")
    monkeypatch.setattr(ResNet18_Weights.DEFAULT.value, "url", f"{address}/resnet18-f37072fd.pth")
    with pytest.raises(DuckspectError, match="is not what its name promises"):
        fetch(find_architecture("classify", "resnet18"), "imagenet")
    assert not list(hub.iterdir())


def test_a_damaged_download_is_named(hub):
    from torchvision.models import ResNet18_Weights

    (hub / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]).write_bytes(b"half a file")
    with pytest.raises(DuckspectError, match=r"resnet18.*\.pth: is damaged\. Delete it"):
        fetch(find_architecture("classify", "resnet18"), "imagenet")


def test_rows_of_the_head_go_to_the_classes_of_the_same_name():
    network = nn.Linear(4, 2)
    known = nn.Linear(4, 3)
    before = network.weight.detach().clone()
    load_matching(network, known.state_dict(), ("new", "spot"), ("bar", "good", "spot"))
    assert torch.equal(network.weight[1], known.weight[2])
    assert torch.equal(network.weight[0], before[0])


@pytest.mark.parametrize(
    "item", [a for a in map(with_default_trunk, list_architectures()) if "starter" in a.weights], ids=lambda a: a.name
)
def test_starter_weights_are_shipped_for_every_architecture_that_names_them(item):
    found = fetch(item, "starter")
    assert found.source == "starter"
    assert all(value.dtype != torch.float32 for value in found.tensors.values())


def test_starter_weights_are_small():
    from models_py.weights.starter import STARTERS

    assert sum(file.stat().st_size for file in STARTERS.glob("*.safetensors")) < 15_000_000


def model_of(task, name):
    """An untrained model that sees 64 pixels."""
    torch.manual_seed(0)
    if task == "anomaly":
        build = {"backbone": "resnet18", "layers": (2, 3), "top": 0.01}
        model = find_task(task).rebuild_empty(ModelSpec(task, name, ("anomaly",), Preprocess(64), build))
        with torch.inference_mode():
            patches = [model.network.backbone.patches(batch) for batch in torch.randn(2, 4, 3, 64, 64)]
            model.network.learn(patches, AnomalyOptions(), SilentReport())
        return model
    network = find_architecture(task, name).build(2)
    build = {"yaml": network.architecture} if task == "detect" else {}
    spec = ModelSpec(task, name, ("a", "b"), Preprocess(64, letterbox=task == "detect"), build)
    return find_task(task).rebuild(spec, network.state_dict())


@pytest.mark.parametrize(
    ("task", "name"),
    [("classify", "resnet18"), ("segment", "unet_resnet18"), ("detect", "yolo11n"), ("anomaly", "dfm_imagenet")],
)
def test_onnx_says_the_same_as_torch(tmp_path, capfd, task, name):
    import onnxruntime

    from models_py.registry.compiled.onnx import export_onnx

    model = model_of(task, name)
    images = [torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8) for _ in range(2)]
    batch = torch.stack([model.prepare(image) for image in images]).contiguous()
    assert export_onnx(model, tmp_path / "model.onnx", batch) < 1e-3
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    described = session.get_modelmeta().custom_metadata_map
    assert described["task"] == task
    assert json.loads(described["labels"]) == list(model.labels)
    assert Preprocess.from_dict(json.loads(described["preprocess"])) == model.spec.preprocess
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]
    if task == "detect":  # without the suppression of duplicates: centre boxes, and a score for each class
        assert session.run(None, {"images": batch.numpy()})[0].shape == (2, 4 + 2, 84)
        return
    more = torch.cat([batch, batch[:1]])
    with torch.inference_mode():
        wanted = model.forward(more)[0]
    assert torch.allclose(torch.from_numpy(session.run(None, {"images": more.numpy()})[0]), wanted, atol=1e-3)


def test_a_detector_of_torchvision_is_not_exported_to_onnx(tmp_path):
    from models_py.registry.compiled.onnx import export_onnx

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = find_architecture("detect", name).build(2)
    model = find_task("detect").rebuild(
        ModelSpec("detect", name, ("a", "b"), Preprocess(320), {"image_size": 320}), network.state_dict()
    )
    with pytest.raises(DuckspectError, match=r"cannot be exported to ONNX.*Train a YOLO"):
        export_onnx(model, tmp_path / "model.onnx", torch.zeros(1, 3, 320, 320, dtype=torch.uint8))
    assert not list(tmp_path.iterdir())
