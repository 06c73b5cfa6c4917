"""Deep-feature modelling: features -> PCA -> what the kept components cannot rebuild is unusual."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional

from models_py.errors import DuckspectError
from models_py.model.backbone import Backbone
from models_py.progress import TrainingReport
from models_py.tasks.anomaly.options import AnomalyOptions

_MOST_ROWS = 200_000


class DeepFeatures(nn.Module):
    """A backbone with the mean and the principal components of its features on good images."""

    mean: torch.Tensor
    components: torch.Tensor

    def __init__(self, backbone: str, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, layers)
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("components", torch.zeros(0, 0))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Feature maps (n, c, h, w) of half the finest stage's size."""
        return _halved(self.backbone.patches(inputs))

    def learn(self, patches: Iterable[torch.Tensor], options: AnomalyOptions, report: TrainingReport) -> None:
        """Fit the PCA to the backbone's patches (n, c, h, w) of batches of good images."""
        if options.scope not in ("place", "image"):
            raise DuckspectError(f"scope: must be place or image, but is {options.scope!r}.")
        maps = torch.cat([_halved(batch) for batch in patches])
        rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]) if options.scope == "place" else maps.flatten(1)
        if len(rows) > _MOST_ROWS:
            rows = rows[torch.linspace(0, len(rows) - 1, _MOST_ROWS).long()]
        report.progress("Finding principal components", 0, None)
        self.mean = rows.mean(0)
        self.components = _components(rows, options.variance)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """How far each place (n, h, w) is from what the PCA can rebuild."""
        maps = self.features(inputs)
        count, channels, height, width = maps.shape
        if self.mean.numel() == channels:
            rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
            return self._residual(rows).norm(dim=1).view(count, height, width)
        return self._residual(maps.flatten(1)).view_as(maps).norm(dim=1)

    def _residual(self, rows: torch.Tensor) -> torch.Tensor:
        centred = rows - self.mean
        return centred - centred @ self.components.T @ self.components


def _halved(maps: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(maps, 2, ceil_mode=True)


def _components(rows: torch.Tensor, variance: float) -> torch.Tensor:
    """The fewest principal directions (k, d) that keep this share of the variance, in double precision."""
    pca = PCA(svd_solver="covariance_eigh" if rows.shape[0] >= rows.shape[1] else "full")
    pca.fit(rows.double().cpu().numpy())
    kept = int((pca.explained_variance_ratio_.cumsum() < variance - 1e-12).sum()) + 1
    return torch.from_numpy(pca.components_[:kept]).float().to(rows.device).contiguous()
