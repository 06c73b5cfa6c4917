"""Each library's downloads of pre-trained weights: where they are, and what is changed so that they fit here."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import urlopen

import torch

from models_py.errors import DuckspectError
from models_py.files.durable import replacing
from models_py.model.architectures import Architecture
from models_py.weights.colours import HALVES, Colours, in_our_colours

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

Tensors = Mapping[str, torch.Tensor]

_PIECE = 1 << 17
_HASH = re.compile(r"-([0-9a-f]{8,})\.")


def downloads_folder() -> Path:
    """Torch's folder of downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _as_they_are(tensors: Tensors) -> Tensors:
    return tensors


@dataclass(frozen=True, slots=True)
class Download:
    """A file of weights: its address, where it is kept, and how its tensors are changed to fit.

    The address is a function because finding it may take an import that nobody has who does not download.
    """

    address: Callable[[], str]
    file: Path
    adapt: Callable[[Tensors], Tensors] = _as_they_are
    reader: Callable[[Path], Tensors] | None = None
    """What reads a file that holds more than tensors."""

    def fetch(self, patience: float) -> None:
        """Download the file if it is missing; OSError if there is no answer for so many seconds."""
        if self.file.exists():
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        digest = _HASH.search(self.file.name)
        _download(self.address(), self.file, digest[1] if digest else "", patience)

    def read(self) -> Tensors:
        """The tensors of the downloaded file."""
        return self.adapt((self.reader or _read)(self.file))


def find_download(architecture: Architecture, source: str) -> Download:
    """The download of an architecture's weights from a source that it has."""
    return _FAMILIES[architecture.family](architecture, source)


def _from_torchvision(name: str) -> Download:
    return _in_torch_folder(_default(name).url)


def _in_torch_folder(url: str, adapt: Callable[[Tensors], Tensors] = _as_they_are) -> Download:
    return Download(lambda: url, downloads_folder() / Path(urlparse(url).path).name, adapt)


def _classifier(architecture: Architecture, source: str) -> Download:  # noqa: ARG001 - there is one source
    """A whole classifier: torchvision's, or timm's where torchvision has none."""
    name = architecture.trunk or architecture.name
    return _from_timm(name) if name.startswith("efficientnet_lite") else _from_torchvision(name)


def _from_timm(name: str) -> Download:
    """An EfficientNet-Lite, which was trained on colours from -1 to 1."""

    def adapt(tensors: Tensors) -> Tensors:
        return in_our_colours(tensors, "conv_stem.weight", "bn1.running_mean", (HALVES, HALVES))

    return _from_hub(f"timm/tf_{name}.in1k", None, f"timm_{name}.safetensors", adapt)


def _from_hub(repo: str, revision: str | None, kept_as: str, adapt: Callable[[Tensors], Tensors]) -> Download:
    """A file of the Hugging Face hub, from its client's cache or by us, without the many retries of its client."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, "model.safetensors", revision=revision)
    file = Path(cached) if isinstance(cached, str) else downloads_folder() / kept_as
    return Download(lambda: hf_hub_url(repo, "model.safetensors", revision=revision), file, adapt)


def _detector(architecture: Architecture, source: str) -> Download:
    """A detector trained on COCO, or its backbone trained on ImageNet."""
    from torchvision.models import VGG16_Weights

    name = architecture.name
    if source == "coco":
        return _in_torch_folder(_default(name).url, lambda found: _recoloured(_prefixed(found, "model."), name))
    if name == "ssd300_vgg16":
        url = VGG16_Weights.IMAGENET1K_FEATURES.url
        return _in_torch_folder(url, lambda found: _recoloured({_ssd_key(key): found[key] for key in found}, name))
    url = _default(_BACKBONES[name]).url
    return _in_torch_folder(
        url, lambda found: {f"model.backbone.body.{key.removeprefix('features.')}": found[key] for key in found}
    )


def _prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


_BACKBONES = {"fasterrcnn_resnet50_fpn": "resnet50", "fasterrcnn_mobilenet_v3_large_320_fpn": "mobilenet_v3_large"}
_SPLIT = 23
"""The layer of VGG-16 at which SSD's extra layers begin."""

_COLOURS: dict[str, tuple[str, str, Colours]] = {
    "ssd300_vgg16": (
        "model.backbone.features.0.weight",
        "model.backbone.features.0.bias",
        ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
    ),
    "ssdlite320_mobilenet_v3_large": (
        "model.backbone.features.0.0.0.weight",
        "model.backbone.features.0.0.1.running_mean",
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ),
}
"""By detector: its first convolution, the tensor that shifts its output, and the mean and deviation of its training."""


def _ssd_key(key: str) -> str:
    _, layer, rest = key.split(".") if key.startswith("features.") else ("", "0", key)
    place = f"features.{layer}" if int(layer) < _SPLIT else f"extra.0.{int(layer) - _SPLIT}"
    return f"model.backbone.{place}.{rest}"


def _recoloured(tensors: Tensors, name: str) -> Tensors:
    return in_our_colours(tensors, *_COLOURS[name]) if name in _COLOURS else tensors


def _encoder(architecture: Architecture, source: str) -> Download:
    """The encoder of a U-Net."""
    from segmentation_models_pytorch.encoders import encoders

    if architecture.trunk.startswith("efficientnet_lite"):
        return _from_timm(architecture.trunk)
    name = _ENCODERS[architecture.name]
    place = encoders[name]["pretrained_settings"][source]
    kept_as = f"smp_{name}_{place['revision'][:12]}.safetensors"
    return _from_hub(place["repo_id"], place["revision"], kept_as, lambda found: _prefixed(found, "encoder."))


_ENCODERS = {
    "unet_mobilenet_v2": "mobilenet_v2",
    "unet_resnet18": "resnet18",
    "unet_efficientnet_b0": "efficientnet-b0",
}


def _yolo(architecture: Architecture, source: str) -> Download:  # noqa: ARG001 - there is one source
    """Ultralytics' release of a YOLO trained on COCO."""
    from models_py.weights.foreign import read_checkpoint
    from models_py.yolo.checkpoint import release

    file = downloads_folder() / f"{architecture.name}.pt"
    return Download(lambda: release(architecture.name), file, reader=lambda kept: read_checkpoint(kept).tensors)


def _default(name: str) -> WeightsEnum:
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT


def _download(url: str, file: Path, digest: str, patience: float) -> None:
    """Fetch a file whole or not at all; torch's own download waits for ever on a silent network."""
    found = hashlib.sha256()
    with replacing(file) as partial, urlopen(url, timeout=patience) as answer, partial.open("wb") as kept:  # noqa: S310
        total = int(answer.headers.get("Content-Length") or 0) or None
        progress: Any = torch.hub.tqdm  # type: ignore[attr-defined] # or a small one of torch's own without the package
        with progress(total=total, disable=not sys.stderr.isatty(), unit="B", unit_scale=True) as bar:
            while piece := answer.read(_PIECE):
                kept.write(piece)
                found.update(piece)
                bar.update(len(piece))
        if not found.hexdigest().startswith(digest):
            raise DuckspectError(f"{url}: what was downloaded is not what its name promises. Try again.")


def _read(file: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: Any = (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except (RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise DuckspectError(f"{file}: is damaged. Delete it, and it will be downloaded again.") from error
    return dict(found)


_FAMILIES: dict[str, Callable[[Architecture, str], Download]] = {
    "torchvision": _classifier,
    "backbone": _classifier,
    "torchvision_detection": _detector,
    "smp": _encoder,
    "yolo": _yolo,
}
