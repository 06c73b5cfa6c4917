"""U-Nets of segmentation-models-pytorch: an encoder, and a decoder that puts the details back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_py.model.architectures import architecture

if TYPE_CHECKING:
    from torch import nn


@architecture("segment", family="smp", weights=("starter", "imagenet", "none"), trunk="mobilenet_v2")
def unet_mobilenet_v2(classes: int) -> nn.Module:
    """U-Net on MobileNetV2, with a slim decoder."""
    return _unet("mobilenet_v2", classes, (64, 64, 48, 32, 16))


@architecture("segment", family="smp", weights=("imagenet", "none"), trunk="resnet18")
def unet_resnet18(classes: int) -> nn.Module:
    """U-Net on ResNet-18."""
    return _unet("resnet18", classes, (256, 128, 64, 32, 16))


@architecture("segment", family="smp", weights=("imagenet", "none"))
def unet_efficientnet_b0(classes: int) -> nn.Module:
    """U-Net on EfficientNet-B0."""
    return _unet("efficientnet-b0", classes, (256, 128, 64, 32, 16))


def _unet_efficientnet_lite(size: int) -> None:
    trunk = f"efficientnet_lite{size}"

    def build(classes: int) -> nn.Module:
        return _unet(f"tu-tf_{trunk}", classes, (64, 64, 48, 32, 16))

    build.__name__ = f"unet_{trunk}"
    build.__doc__ = f"U-Net on EfficientNet-Lite{size}, with a slim decoder."
    architecture("segment", family="smp", weights=("imagenet", "none"), trunk=trunk)(build)


for _size in (0, 1, 2):
    _unet_efficientnet_lite(_size)


def _unet(encoder: str, classes: int, channels: tuple[int, ...]) -> nn.Module:
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.Unet(encoder, encoder_weights=None, decoder_channels=channels, classes=classes + 1)
    return network
