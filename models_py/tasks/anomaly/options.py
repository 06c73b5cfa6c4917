"""Options of anomaly detection."""

from __future__ import annotations

from dataclasses import dataclass

from models_py.model.architectures import BACKBONES
from models_py.model.options import SearchRange, TrainingOptions, option


@dataclass(frozen=True, kw_only=True)
class AnomalyOptions(TrainingOptions):
    """Options of anomaly detection."""

    epochs: int = option(20, "Passes of self-supervised training, where the architecture has any", low=1)
    backbone: str = option("mobilenet_v2", "Feature extractor", choices=BACKBONES)
    layers: str = option(
        "2,3", "Stages whose features are used, 1 (fine) to 4 (coarse)", tune=SearchRange(choices=("2", "3", "2,3"))
    )
    variance: float = option(
        0.99, "Share of the variance that the PCA keeps", low=0.1, high=1, tune=SearchRange(0.9, 0.999)
    )
    scope: str = option("place", "What the PCA sees: `place`, each place of the image alone, or `image`, all at once")
    coreset: float = option(
        0.1, "Share of the patches that PatchCore remembers", low=0, high=1, tune=SearchRange(0.01, 0.25)
    )
    memory: int = option(4_000, "Most patches that PatchCore remembers", low=10)
    top: float = option(0.01, "The image's score is the mean of this share of its highest places", low=0, high=1)
    normal_quantile: float = option(
        0.99, "Share of good images accepted, where no defective one is known", low=0.5, high=1
    )


OPTIONS = AnomalyOptions
PRIMARY = "image_auroc"
"""The metric by which versions are compared; more is better."""
