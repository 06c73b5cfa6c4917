"""Torchvision's detectors as modules whose output is boxes: rows of x1, y1, x2, y2, score, class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models_py.errors import DuckspectError

MOST_BOXES = 300


class TorchvisionDetector(nn.Module):
    """A detector that takes normalised images of its own size; class 0 of the library is the background."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        model.transform.image_mean, model.transform.image_std = [0.0] * 3, [1.0] * 3  # type: ignore[union-attr]
        for holder in (model, getattr(model, "roi_heads", None)):
            if hasattr(holder, "score_thresh"):
                holder.score_thresh = 0.01  # type: ignore[union-attr]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Detections (n, 300, 6), strongest first, the rest filled with zeros."""
        filled = []
        for found in self.model(list(inputs.float())):
            columns = (found["boxes"], found["scores"][:, None], (found["labels"] - 1)[:, None].float())
            rows = torch.cat(columns, 1)[:MOST_BOXES]
            filled.append(functional.pad(rows, (0, 0, 0, MOST_BOXES - len(rows))))
        return torch.stack(filled)

    def choose(self, found: torch.Tensor) -> torch.Tensor:
        """The library has suppressed duplicates already."""
        return found

    def loss(self, inputs: torch.Tensor, boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sum of the library's losses; images without boxes are background."""
        targets = [{"boxes": box, "labels": label + 1} for box, label in zip(boxes, labels, strict=True)]
        losses: dict[str, torch.Tensor] = self.model(list(inputs), targets)
        return torch.stack(list(losses.values())).sum()

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """The coarsest features of the backbone, averaged over the image (n, d)."""
        found: Any = self.model.backbone(inputs)  # type: ignore[operator]
        last: torch.Tensor = list(found.values())[-1] if isinstance(found, dict) else found
        return last.float().mean((2, 3))


def fixed(name: str, image_size: int, only: int) -> None:
    """Refuse another size than the one an architecture is made for."""
    if image_size != only:
        raise DuckspectError(
            f"image_size: {name} sees {only} pixels, not {image_size}. Leave it out, or choose another."
        )
