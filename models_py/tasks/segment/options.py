"""Options of segmentation."""

from __future__ import annotations

from dataclasses import dataclass

from models_py.model.options import SearchRange, TrainingOptions, option


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(TrainingOptions):
    """Options of segmentation."""

    epochs: int = option(40, "Passes over the training rows", low=1)
    batch: int = option(8, "Images per step", low=2, tune=SearchRange(choices=(4, 8, 16)))
    freeze: int = option(
        0, "Lower encoder stages whose weights stay as they are", low=0, high=5, tune=SearchRange(choices=(0, 1, 2, 3))
    )
    focus: float = option(
        0.5, "Share of the Dice loss; the rest is cross entropy", low=0, high=1, tune=SearchRange(0.2, 0.8)
    )
    balance: float = option(
        0.5, "How far images of rare classes are drawn more often: 0 not at all, 1 fully", low=0, high=1
    )
    smallest: int = option(4, "Fewest pixels of a region", low=1)
    flip: bool = option(True, "Flip images at random")
    turn: bool = option(True, "Turn images by quarters at random")
    zoom: float = option(0.2, "Zoom at random by up to this share", low=0, high=1, tune=SearchRange(0.0, 0.4))
    shift: float = option(0.1, "Shift at random by up to this share", low=0, high=0.5)
    light: float = option(
        0.2, "Change brightness at random by up to this share", low=0, high=1, tune=SearchRange(0.0, 0.4)
    )


OPTIONS = SegmentOptions
PRIMARY = "mean_iou"
"""The metric by which versions are compared; more is better."""
