"""Feature extractors cut off after the last stage that is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from models_py.errors import DuckspectError
from models_py.model.architectures import check_backbone

if TYPE_CHECKING:
    from timm.models import EfficientNet
    from torchvision.models import MobileNetV2, ResNet


class Backbone(nn.Module):
    """Stages 1 to 4 halve the image to 1/4, 1/8, 1/16 and 1/32 of its side."""

    def __init__(self, name: str, layers: tuple[int, ...]) -> None:
        super().__init__()
        check_backbone(name)
        if not layers or not set(layers) <= {1, 2, 3, 4}:
            raise DuckspectError(f"layers: must be stages from 1 to 4, such as 2,3, but is {layers}.")
        self.layers = tuple(sorted(set(layers)))
        self.stages = nn.ModuleList(_STAGES[name](library_network(name))[: self.layers[-1]])

    @property
    def channels(self) -> tuple[int, ...]:
        """How many maps each wanted stage gives."""
        with torch.no_grad():
            device = next(self.parameters()).device
            was_training = self.training
            found = self.eval()(torch.zeros(1, 3, 64, 64, device=device))
            self.train(was_training)
        return tuple(part.shape[1] for part in found)

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The feature maps of the wanted stages, finest first."""
        found = []
        for number, stage in enumerate(self.stages, 1):
            inputs = stage(inputs)
            if number in self.layers:
                found.append(inputs)
        return found

    def patches(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features of all wanted stages at the places of the finest (n, c, h, w), each smoothed over its neighbours."""
        maps = [functional.avg_pool2d(found.float(), 3, 1, 1) for found in self(inputs)]
        size = maps[0].shape[2:]
        scaled = [functional.interpolate(found, size, mode="bilinear", align_corners=False) for found in maps]
        return torch.cat(scaled, 1)


def parse_stages(text: str) -> tuple[int, ...]:
    """Read the numbers of stages, such as `2,3`."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise DuckspectError(f"layers: must be stages from 1 to 4, such as 2,3, but is {text!r}.") from error


def _mobilenet(network: MobileNetV2) -> list[nn.Module]:
    parts = list(network.features)
    return [nn.Sequential(*parts[first:last]) for first, last in ((0, 4), (4, 7), (7, 14), (14, 18))]


def _resnet(network: ResNet) -> list[nn.Module]:
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, network.layer1)
    return [stem, network.layer2, network.layer3, network.layer4]


def _lite(network: EfficientNet) -> list[nn.Module]:
    blocks = list(network.blocks)
    stem = nn.Sequential(network.conv_stem, network.bn1, *blocks[:2])
    return [stem, blocks[2], nn.Sequential(*blocks[3:5]), nn.Sequential(*blocks[5:7])]


def library_network(name: str) -> nn.Module:
    """The whole network that a backbone is cut from, as torchvision or timm builds it, with random weights."""
    import timm
    from torchvision import models

    return timm.create_model(f"tf_{name}") if name.startswith("efficientnet_lite") else models.get_model(name)


_STAGES: dict[str, Callable[[Any], list[nn.Module]]] = {
    "mobilenet_v2": _mobilenet,
    "efficientnet_lite0": _lite,
    "efficientnet_lite1": _lite,
    "efficientnet_lite2": _lite,
    "resnet18": _resnet,
    "wide_resnet50_2": _resnet,
}
"""How the stages of each of `BACKBONES` are cut from the library's network."""


def stage_names(name: str) -> dict[str, str]:
    """The names of the library's tensors with those they have here; both have them in the order of computation."""
    with torch.device("meta"):
        theirs, ours = library_network(name).state_dict(), Backbone(name, (1, 2, 3, 4)).state_dict()
    return dict(zip(theirs, ours, strict=False))  # the library's head has no place here
