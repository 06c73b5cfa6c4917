"""Where each library keeps its own pre-trained weights, in the names that our networks use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from models_py.architectures import Architecture

Tensors = Mapping[str, torch.Tensor]


def torchvision_weights(architecture: Architecture, source: str) -> Tensors:  # noqa: ARG001 - there is one source
    """A whole classifier; also the backbones of anomaly detection, by their name."""
    from torchvision.models import get_model_weights

    return _state(get_model_weights(architecture.name).DEFAULT)


def detector_weights(architecture: Architecture, source: str) -> Tensors:
    """A detector trained on COCO, or its backbone trained on ImageNet."""
    from torchvision import models

    if source == "coco":
        found = _state(models.get_model_weights(architecture.name).DEFAULT)
        return {f"model.{key}": value for key, value in found.items()}
    backbone, prefix = _BACKBONES[architecture.name]
    tensors = _state(getattr(models, backbone).DEFAULT)
    return {f"{prefix}{key.removeprefix('features.')}": value for key, value in tensors.items()}


_BACKBONES = {
    "fasterrcnn_resnet50_fpn": ("ResNet50_Weights", "model.backbone.body."),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("MobileNet_V3_Large_Weights", "model.backbone.body."),
    "ssd300_vgg16": ("VGG16_Weights", "model.backbone.features."),
}


def encoder_weights(architecture: Architecture, source: str) -> Tensors:  # noqa: ARG001 - there is one source
    """The encoder of a U-Net, from the library's own hub."""
    import segmentation_models_pytorch as smp

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    name = _ENCODERS[architecture.name]
    encoder = smp.encoders.get_encoder(name, weights="imagenet")
    return {f"encoder.{key}": value for key, value in encoder.state_dict().items()}


_ENCODERS = {
    "unet_mobilenet_v2": "mobilenet_v2",
    "unet_resnet18": "resnet18",
    "unet_efficientnet_b0": "efficientnet-b0",
}


def yolo_weights(architecture: Architecture, source: str) -> Tensors:  # noqa: ARG001 - there is one source
    """Ultralytics' release of a YOLO trained on COCO, kept where torch keeps its downloads."""
    from models_py.foreign import read_checkpoint
    from models_py.ultralytics_gate.checkpoint import release

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / f"{architecture.name}.pt"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(release(architecture.name), str(file), progress=sys.stderr.isatty())
    return read_checkpoint(file).tensors


def _state(weights: Any) -> Tensors:
    found: Tensors = weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    return found


SOURCES: dict[str, Callable[[Architecture, str], Tensors]] = {
    "torchvision": torchvision_weights,
    "backbone": torchvision_weights,
    "torchvision_detection": detector_weights,
    "smp": encoder_weights,
    "yolo": yolo_weights,
}
