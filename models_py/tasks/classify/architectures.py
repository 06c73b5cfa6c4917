"""Torchvision's backbones with a new head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_py.model.architectures import architecture

if TYPE_CHECKING:
    from torch import nn


@architecture(
    "classify",
    family="backbone",
    weights=("imagenet", "starter", "none"),
    is_cpu_default=True,
    epochs=12,
    learning_rate=3e-4,
)
def linear(classes: int, backbone: str = "mobilenet_v2", layers: tuple[int, ...] = (2, 3, 4)) -> nn.Module:
    """Logistic regression on the frozen features of a backbone: trained in seconds."""
    from models_py.tasks.classify.linear import LinearOnBackbone

    return LinearOnBackbone(backbone, tuple(layers), classes)


@architecture("classify", family="torchvision", weights=("starter", "imagenet", "none"), precision="fp32")
def mobilenet_v3_small(classes: int) -> nn.Module:
    """MobileNetV3 small: the fastest on a CPU."""
    from torchvision.models import mobilenet_v3_small as build

    return build(num_classes=classes)


@architecture("classify", family="torchvision", weights=("imagenet", "none"), precision="fp32")
def mobilenet_v3_large(classes: int) -> nn.Module:
    """MobileNetV3 large."""
    from torchvision.models import mobilenet_v3_large as build

    return build(num_classes=classes)


@architecture("classify", family="torchvision", weights=("imagenet", "none"), trunk="mobilenet_v2", precision="fp32")
def mobilenet_v2(classes: int) -> nn.Module:
    """MobileNetV2."""
    from torchvision.models import mobilenet_v2 as build

    return build(num_classes=classes)


def _efficientnet_lite(size: int) -> None:
    name = f"efficientnet_lite{size}"

    def build(classes: int) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(f"tf_{name}", num_classes=classes)
        return network

    build.__name__ = name
    build.__doc__ = f"EfficientNet-Lite{size}: without squeeze-and-excitation, for integer arithmetic."
    architecture("classify", family="torchvision", weights=("imagenet", "none"), trunk=name)(build)


for _size in (0, 1, 2):
    _efficientnet_lite(_size)


@architecture("classify", family="torchvision", weights=("imagenet", "none"), trunk="resnet18")
def resnet18(classes: int) -> nn.Module:
    """ResNet-18."""
    from torchvision.models import resnet18 as build

    return build(num_classes=classes)


@architecture("classify", family="torchvision", weights=("imagenet", "none"))
def resnet50(classes: int) -> nn.Module:
    """ResNet-50."""
    from torchvision.models import resnet50 as build

    return build(num_classes=classes)


@architecture("classify", family="torchvision", weights=("imagenet", "none"), precision="fp32")
def efficientnet_b0(classes: int) -> nn.Module:
    """EfficientNet-B0."""
    from torchvision.models import efficientnet_b0 as build

    return build(num_classes=classes)


@architecture("classify", family="torchvision", weights=("imagenet", "none"), learning_rate=1e-4)
def vit_b_16(classes: int, image_size: int = 224) -> nn.Module:
    """Vision transformer B/16: for a GPU."""
    from torchvision.models import vit_b_16 as build

    return build(num_classes=classes, image_size=image_size)
