"""PatchCore: remember a spread-out subset of good patches, and measure the distance to the nearest one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from models_py.model.backbone import Backbone
from models_py.progress import Counted, TrainingReport, counting
from models_py.tasks.anomaly.options import AnomalyOptions

_MOST_PATCHES = 80_000
_PROJECTED = 64


class PatchCore(nn.Module):
    """A backbone with a memory (m, c) of good patches."""

    memory: torch.Tensor

    def __init__(self, backbone: str, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, layers)
        self.register_buffer("scale", torch.ones(0))
        self.register_buffer("memory", torch.zeros(0, 0))

    def learn(self, patches: Iterable[torch.Tensor], options: AnomalyOptions, report: TrainingReport) -> None:
        """Fill the memory from the backbone's patches (n, c, h, w) of batches of good images."""
        maps = torch.cat([batch.half() for batch in patches])
        rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        generator = torch.Generator().manual_seed(options.seed)
        if len(rows) > _MOST_PATCHES:
            rows = rows[torch.randperm(len(rows), generator=generator)[:_MOST_PATCHES]]
        rows = rows.float()
        self.scale = 1 / rows.std(0).clamp(min=1e-6)
        rows = rows * self.scale
        wanted = max(1, min(options.memory, round(len(rows) * options.coreset)))
        self.memory = rows[
            _coreset(rows, wanted, generator, counting(report, "Choosing patches", "patches"))
        ].contiguous()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The distance of each place (n, h, w) to the nearest remembered patch."""
        maps = self.backbone.patches(inputs)
        count, channels, height, width = maps.shape
        rows = maps.permute(0, 2, 3, 1).reshape(-1, channels) * self.scale
        # Split, an exported network would keep the batch it was traced with.
        parts = (rows,) if torch.compiler.is_exporting() else torch.split(rows, 8192)
        nearest = torch.cat([_squared(part, self.memory).amin(1) for part in parts])
        return nearest.clamp(min=0).sqrt().view(count, height, width)


def _squared(rows: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    return torch.addmm(memory.square().sum(1), rows, memory.T, alpha=-2) + rows.square().sum(1, keepdim=True)


def _coreset(rows: torch.Tensor, wanted: int, generator: torch.Generator, progress: Counted) -> torch.Tensor:
    """Greedy k-centres in a random projection: each next patch is the farthest from those chosen."""
    projection = torch.randn(rows.shape[1], min(_PROJECTED, rows.shape[1]), generator=generator)
    places = rows @ (projection / projection.shape[1] ** 0.5).to(rows.device)
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    squares = places.square().sum(1)
    distances = torch.full_like(squares, torch.inf)
    while len(chosen) < min(wanted, len(rows)):
        last = places[chosen[-1]]
        distances = torch.minimum(distances, squares - 2 * (places @ last) + last.square().sum())
        chosen.append(int(distances.argmax()))
        progress(len(chosen), min(wanted, len(rows)))
    return torch.tensor(chosen)
