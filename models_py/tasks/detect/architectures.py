"""Ultralytics' YOLO and torchvision's detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models_py.model.architectures import architecture

if TYPE_CHECKING:
    from torch import nn


def _yolo(generation: str, size: str, title: str, *weights: str) -> None:
    name = f"yolo{generation}{size}"

    def build(classes: int, yaml: dict[str, Any] | None = None) -> nn.Module:
        from models_py.yolo.network import YoloNetwork

        return YoloNetwork(yaml or f"{name}.yaml", classes)

    build.__name__ = name
    build.__doc__ = f"{title}, trained by Ultralytics' own trainer."
    architecture("detect", family="yolo", weights=(*weights, "coco", "none"))(build)


_yolo("11", "n", "YOLO11 nano: the fastest on a CPU", "starter")
_yolo("11", "s", "YOLO11 small")
_yolo("11", "m", "YOLO11 medium")
_yolo("12", "n", "YOLO12 nano, with attention")
_yolo("12", "s", "YOLO12 small, with attention")
_yolo("12", "m", "YOLO12 medium, with attention")
_yolo("26", "n", "YOLO26 nano, without suppression of duplicates")
_yolo("26", "s", "YOLO26 small, without suppression of duplicates")
_yolo("26", "m", "YOLO26 medium, without suppression of duplicates")


@architecture("detect", family="torchvision_detection", weights=("coco", "imagenet", "none"), learning_rate=1e-3)
def fasterrcnn_resnet50_fpn(classes: int, image_size: int = 640) -> nn.Module:
    """Faster R-CNN on ResNet-50 with a feature pyramid."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn as build

    from models_py.tasks.detect.torchvision_detectors import TorchvisionDetector

    sides = {"min_size": image_size, "max_size": image_size}
    return TorchvisionDetector(build(weights=None, weights_backbone=None, num_classes=classes + 1, **sides))


@architecture(
    "detect", family="torchvision_detection", weights=("coco", "imagenet", "none"), learning_rate=1e-3, image_size=320
)
def fasterrcnn_mobilenet_v3_large_320_fpn(classes: int, image_size: int = 320) -> nn.Module:
    """Faster R-CNN on MobileNetV3 with a feature pyramid."""
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn as build

    from models_py.tasks.detect.torchvision_detectors import TorchvisionDetector

    sides = {"min_size": image_size, "max_size": image_size}
    return TorchvisionDetector(build(weights=None, weights_backbone=None, num_classes=classes + 1, **sides))


@architecture(
    "detect", family="torchvision_detection", weights=("coco", "imagenet", "none"), learning_rate=1e-3, image_size=300
)
def ssd300_vgg16(classes: int, image_size: int = 300) -> nn.Module:
    """SSD on VGG-16 at 300 pixels."""
    from torchvision.models.detection import ssd300_vgg16 as build

    from models_py.tasks.detect.torchvision_detectors import TorchvisionDetector, fixed

    fixed("ssd300_vgg16", image_size, 300)
    return TorchvisionDetector(build(weights=None, weights_backbone=None, num_classes=classes + 1))


@architecture("detect", family="torchvision_detection", weights=("coco", "none"), learning_rate=1e-3, image_size=320)
def ssdlite320_mobilenet_v3_large(classes: int, image_size: int = 320) -> nn.Module:
    """SSDlite on MobileNetV3 at 320 pixels."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large as build

    from models_py.tasks.detect.torchvision_detectors import TorchvisionDetector, fixed

    fixed("ssdlite320_mobilenet_v3_large", image_size, 320)
    return TorchvisionDetector(build(weights=None, weights_backbone=None, num_classes=classes + 1))


@architecture("detect", family="difference", reference="same", epochs=30, learning_rate=2e-3, zoom=0.0, shift=0.0)
def difference(classes: int, image_size: int = 640) -> nn.Module:  # noqa: ARG001 - its windows are of one size
    """A small network that looks at each place where the image differs from its reference image."""
    from models_py.tasks.detect.difference import DifferenceNetwork

    return DifferenceNetwork(classes)
