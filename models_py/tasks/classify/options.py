"""Options of classification."""

from __future__ import annotations

from dataclasses import dataclass

from models_py.model.architectures import BACKBONES
from models_py.model.options import SearchRange, TrainingOptions, option


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(TrainingOptions):
    """Options of classification."""

    smoothing: float = option(0.05, "Label smoothing", low=0, high=0.5, tune=SearchRange(0.0, 0.2))
    balance: float = option(0.5, "How far rare classes are weighted up: 0 not at all, 1 fully", low=0, high=1)
    flip: bool = option(True, "Flip images at random")
    turn: bool = option(True, "Turn images by quarters at random")
    zoom: float = option(0.15, "Zoom at random by up to this share", low=0, high=1, tune=SearchRange(0.0, 0.4))
    backbone: str = option("mobilenet_v2", "Frozen network of `linear`", choices=BACKBONES)
    layers: str = option("2,3,4", "Its stages whose features `linear` uses, 1 (fine) to 4 (coarse)")
    fine_tune: bool = option(False, "Train all weights of `linear` as well, from the classifier on frozen features")
    light: float = option(
        0.2, "Change brightness at random by up to this share", low=0, high=1, tune=SearchRange(0.0, 0.4)
    )


OPTIONS = ClassifyOptions
PRIMARY = "accuracy"
"""The metric by which versions are compared; more is better."""
