"""Feature extractors cut off after the last stage that is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models_py.errors import DuckspectError

if TYPE_CHECKING:
    from torchvision.models import MobileNetV2, ResNet


class Backbone(nn.Module):
    """Stages 1 to 4 halve the image to 1/4, 1/8, 1/16 and 1/32 of its side."""

    def __init__(self, name: str, layers: tuple[int, ...]) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise DuckspectError(f"backbone: must be one of {', '.join(BACKBONES)}, but is {name!r}.")
        if not layers or not set(layers) <= {1, 2, 3, 4}:
            raise DuckspectError(f"layers: must be stages from 1 to 4, such as 2,3, but is {layers}.")
        self.layers = tuple(sorted(set(layers)))
        self.stages = nn.ModuleList(BACKBONES[name]()[: self.layers[-1]])

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


def _mobilenet(network: MobileNetV2) -> list[nn.Module]:
    parts = list(network.features)
    return [nn.Sequential(*parts[first:last]) for first, last in ((0, 4), (4, 7), (7, 14), (14, 18))]


def _resnet(network: ResNet) -> list[nn.Module]:
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, network.layer1)
    return [stem, network.layer2, network.layer3, network.layer4]


def _mobilenet_v2() -> list[nn.Module]:
    from torchvision.models import mobilenet_v2

    return _mobilenet(mobilenet_v2())


def _resnet18() -> list[nn.Module]:
    from torchvision.models import resnet18

    return _resnet(resnet18())


def _wide_resnet50_2() -> list[nn.Module]:
    from torchvision.models import wide_resnet50_2

    return _resnet(wide_resnet50_2())


BACKBONES: dict[str, Callable[[], list[nn.Module]]] = {
    "mobilenet_v2": _mobilenet_v2,
    "resnet18": _resnet18,
    "wide_resnet50_2": _wide_resnet50_2,
}


def renamed(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Torchvision's names of a whole network as those of its stages here."""
    firsts = {"layer1": "stages.0.4", "layer2": "stages.1", "layer3": "stages.2", "layer4": "stages.3"}
    firsts |= {"conv1": "stages.0.0", "bn1": "stages.0.1"}
    found = {}
    for key, value in tensors.items():
        first, _, rest = key.partition(".")
        if name == "mobilenet_v2" and first == "features":
            part, _, rest = rest.partition(".")
            stage, start = next((s, a) for s, (a, b) in enumerate(((0, 4), (4, 7), (7, 14), (14, 99))) if int(part) < b)
            found[f"stages.{stage}.{int(part) - start}.{rest}"] = value
        elif first in firsts:
            found[f"{firsts[first]}.{rest}"] = value
    return found
