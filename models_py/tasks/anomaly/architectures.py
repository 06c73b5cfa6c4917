"""Deep-feature modelling on pre-trained or self-supervised features, and PatchCore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_py.model.architectures import architecture

if TYPE_CHECKING:
    from torch import nn


@architecture("anomaly", family="backbone", weights=("starter", "imagenet", "none"), precision="fp32")
def patchcore(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """PatchCore: distance to the nearest remembered patch of a good image."""
    from models_py.tasks.anomaly.patchcore import PatchCore

    return PatchCore(backbone, layers)


@architecture("anomaly", family="backbone", weights=("imagenet", "starter", "none"), precision="fp32")
def dfm_imagenet(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """Deep-feature modelling: what a PCA of pre-trained features cannot rebuild."""
    from models_py.tasks.anomaly.dfm import DeepFeatures

    return DeepFeatures(backbone, layers)


@architecture("anomaly", family="backbone", weights=("starter", "imagenet", "none"), precision="fp32")
def dfm_simsiam(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """Deep-feature modelling on features that learned, here, that two views of an image are one (SimSiam)."""
    from models_py.tasks.anomaly.dfm import DeepFeatures

    return DeepFeatures(backbone, layers)


@architecture("anomaly", family="backbone", weights=("starter", "imagenet", "none"), precision="fp32")
def dfm_cutpaste(backbone: str, layers: tuple[int, ...]) -> nn.Module:
    """Deep-feature modelling on features that learned, here, to tell images with pasted patches (CutPaste)."""
    from models_py.tasks.anomaly.dfm import DeepFeatures

    return DeepFeatures(backbone, layers)
