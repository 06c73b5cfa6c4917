"""Download each library's pre-trained weights, and adapt them to our networks' tensor names and input normalisation."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import urlopen

import torch

from models_py.errors import DuckspectError
from models_py.files.durable import replacing
from models_py.model.architectures import Architecture
from models_py.model.preprocess import Preprocess

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

Tensors = Mapping[str, torch.Tensor]
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]

_PATIENCE_S = 20.0
_PIECE = 1 << 17
_HASH = re.compile(r"-([0-9a-f]{8,})\.")


def torchvision_weights(architecture: Architecture, source: str) -> Tensors:  # noqa: ARG001 - there is one source
    """A whole classifier; also the backbones of anomaly detection, by their name."""
    return _read(_fetch(_default(architecture.name).url))


def detector_weights(architecture: Architecture, source: str) -> Tensors:
    """A detector trained on COCO, or its backbone trained on ImageNet."""
    from torchvision.models import VGG16_Weights

    name = architecture.name
    if source == "coco":
        found = _read(_fetch(_default(name).url))
        return _in_our_colours({f"model.{key}": value for key, value in found.items()}, name)
    if name == "ssd300_vgg16":
        found = _read(_fetch(VGG16_Weights.IMAGENET1K_FEATURES.url))
        return _in_our_colours({_ssd_key(key): value for key, value in found.items()}, name)
    found = _read(_fetch(_default(_BACKBONES[name]).url))
    return {f"model.backbone.body.{key.removeprefix('features.')}": value for key, value in found.items()}


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


def _in_our_colours(tensors: dict[str, torch.Tensor], name: str) -> Tensors:
    """Change the first convolution so that our normalised images give the outputs that the library's gave."""
    if name not in _COLOURS:
        return tensors
    weight, shift, (mean, deviation) = _COLOURS[name]
    ours = Preprocess(32)
    scale = torch.tensor(ours.std) / torch.tensor(deviation)
    offset = (torch.tensor(ours.mean) - torch.tensor(mean)) / torch.tensor(deviation)
    kernel = tensors[weight]
    added = (kernel * offset[:, None, None]).sum((1, 2, 3))
    moved = tensors[shift] - added if shift.endswith("running_mean") else tensors[shift] + added
    return {**tensors, weight: kernel * scale[:, None, None], shift: moved}


def encoder_weights(architecture: Architecture, source: str) -> Tensors:
    """The encoder of a U-Net, from where the library fetches it, but without the many retries of its client."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache
    from segmentation_models_pytorch.encoders import encoders

    name = _ENCODERS[architecture.name]
    place = encoders[name]["pretrained_settings"][source]
    where = {"repo_id": place["repo_id"], "filename": "model.safetensors", "revision": place["revision"]}
    kept = try_to_load_from_cache(**where)
    kept_as = f"smp_{name}_{place['revision'][:12]}.safetensors"
    file = Path(kept) if isinstance(kept, str) else _fetch(hf_hub_url(**where), kept_as)
    return {f"encoder.{key}": value for key, value in _read(file).items()}


_ENCODERS = {
    "unet_mobilenet_v2": "mobilenet_v2",
    "unet_resnet18": "resnet18",
    "unet_efficientnet_b0": "efficientnet-b0",
}


def yolo_weights(architecture: Architecture, source: str) -> Tensors:  # noqa: ARG001 - there is one source
    """Ultralytics' release of a YOLO trained on COCO."""
    from models_py.weights.foreign import read_checkpoint
    from models_py.yolo.checkpoint import release

    return read_checkpoint(_fetch(release(architecture.name))).tensors


def _default(name: str) -> WeightsEnum:
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT


def _fetch(url: str, name: str = "") -> Path:
    """Return the file in torch's download folder; download it if it is missing, and check the hash in its name."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / (name or Path(urlparse(url).path).name)
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    digest = _HASH.search(file.name)
    _download(url, file, digest[1] if digest else "")
    return file


def _download(url: str, file: Path, digest: str) -> None:
    """Fetch a file whole or not at all; torch's own download waits for ever on a silent network."""
    found = hashlib.sha256()
    with replacing(file) as partial, urlopen(url, timeout=_PATIENCE_S) as answer, partial.open("wb") as kept:  # noqa: S310
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


SOURCES: dict[str, Callable[[Architecture, str], Tensors]] = {
    "torchvision": torchvision_weights,
    "backbone": torchvision_weights,
    "torchvision_detection": detector_weights,
    "smp": encoder_weights,
    "yolo": yolo_weights,
}
