"""A YOLO network as a module whose output is boxes: one row of x1, y1, x2, y2, score, class per detection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.ops import batched_nms

from models_py.errors import RegistryError
from models_py.yolo import ultralytics

MOST_BOXES = 300
_CANDIDATES = 1000
_FAINTEST = 0.001
_OVERLAP = 0.7
_LARGEST = 10_000
_MOST_REPEATS = 100
"""Numbers in the description of a network: more than any of Ultralytics' own."""


class YoloNetwork(nn.Module):
    """The network of an architecture file, with the classes of this model."""

    def __init__(self, architecture: str | dict[str, Any], classes: int) -> None:
        super().__init__()
        if isinstance(architecture, dict):
            check_architecture(architecture)
        ultralytics()
        from ultralytics.nn.tasks import DetectionModel

        self.model = DetectionModel(architecture, nc=classes, verbose=False)

    @property
    def architecture(self) -> dict[str, Any]:
        """The architecture as data, enough to build the network again."""
        found: dict[str, Any] = self.model.yaml
        return {key: value for key, value in found.items() if key != "yaml_file"}

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Centre boxes and a score for each class (n, 4 + classes, k), or with YOLO26 what `choose` gives."""
        found = self.model(inputs)
        return (found[0] if isinstance(found, tuple | list) else found).float()

    def choose(self, found: torch.Tensor) -> torch.Tensor:
        """Detections (n, 300, 6), strongest first, the rest filled with zeros."""
        if found.shape[-1] == 6 and self.model.end2end:  # YOLO26 suppresses duplicates itself
            return _padded([rows[rows[:, 4] > _FAINTEST] for rows in found])
        return _padded([_suppress(rows) for rows in found.transpose(1, 2)])

    def fuse(self) -> None:
        """Fold batch norms into convolutions, for good."""
        self.model.fuse(verbose=False)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What enters the detection head, averaged over the image (n, d)."""
        seen: list[Any] = []
        hook = self.model.model[-1].register_forward_pre_hook(lambda _, entering: seen.append(entering[0]))
        try:
            self.model(inputs)
        finally:
            hook.remove()
        return torch.cat([found.float().mean((2, 3)) for found in seen[0]], 1)


def check_architecture(described: Mapping[str, Any]) -> None:
    """Refuse all but known layers and plain arguments: Ultralytics evaluates parts of a description as code."""
    for key, value in described.items():
        if key in ("backbone", "head") and isinstance(value, list | tuple):
            for layer in value:
                _check_layer(layer)
        elif key not in _KEYS or not _is_plain(value):
            raise RegistryError(
                f"architecture: {key!r} is not allowed in the description of a YOLO. Nothing was built."
            )


def _check_layer(layer: Any) -> None:
    if not isinstance(layer, list | tuple) or len(layer) != 4 or layer[2] not in _LAYERS or not _is_plain(layer[3]):
        raise RegistryError(f"architecture: {layer!r} is no known layer of a YOLO. Nothing was built.")
    if not _is_plain(layer[0]) or not isinstance(layer[1], int) or not 1 <= layer[1] <= _MOST_REPEATS:
        raise RegistryError(f"architecture: {layer!r} is no known layer of a YOLO. Nothing was built.")


def _is_plain(value: Any) -> bool:
    """Numbers, and the few words that Ultralytics' own descriptions use, in lists and mappings."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    return value is None or (isinstance(value, str) and value in _WORDS)


_KEYS = {"nc", "ch", "channels", "scales", "scale", "depth_multiple", "width_multiple", "reg_max", "end2end"}
_WORDS = {"nc", "nearest", "None", "n", "s", "m", "l", "x"}
_LAYERS = {"A2C2f", "C2PSA", "C2f", "C3", "C3k2", "Concat", "Conv", "DWConv", "Detect", "SPPF", "nn.Upsample"}


def _suppress(rows: torch.Tensor) -> torch.Tensor:
    """From centre boxes with class scores (k, 4 + classes) to the strongest of overlapping ones."""
    scores, classes = rows[:, 4:].max(1)
    order = scores.topk(min(_CANDIDATES, len(scores))).indices
    order = order[scores[order] > _FAINTEST]
    centre, half = rows[order, :2], rows[order, 2:4] / 2
    boxes = torch.cat([centre - half, centre + half], 1)
    kept = batched_nms(boxes, scores[order], classes[order], _OVERLAP)[:MOST_BOXES]
    chosen = order[kept]
    return torch.cat([boxes[kept], scores[chosen, None], classes[chosen, None].float()], 1)


def _padded(found: list[torch.Tensor]) -> torch.Tensor:
    filled = [
        nn.functional.pad(rows[:MOST_BOXES], (0, 0, 0, MOST_BOXES - min(len(rows), MOST_BOXES))) for rows in found
    ]
    return torch.stack(filled)
