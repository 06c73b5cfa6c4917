"""Options of detection."""

from __future__ import annotations

from dataclasses import dataclass

from models_py.model.options import LARGEST_SIDE, SearchRange, TrainingOptions, option


@dataclass(frozen=True, kw_only=True)
class DetectOptions(TrainingOptions):
    """Options of detection."""

    epochs: int = option(30, "Passes over the training rows", low=1)
    batch: int = option(8, "Images per step", low=1, tune=SearchRange(choices=(4, 8, 16)))
    image_size: int = option(
        640,
        "Side of the square the network sees, in pixels",
        low=32,
        high=LARGEST_SIDE,
        tune=SearchRange(choices=(416, 512, 640)),
    )
    learning_rate: float = option(2e-3, "Highest learning rate", low=0, tune=SearchRange(3e-4, 1e-2, log=True))
    weight_decay: float = option(5e-4, "Weight decay", low=0, tune=SearchRange(1e-5, 1e-2, log=True))
    momentum: float = option(0.9, "Momentum, or Adam's first beta", low=0, high=0.999, tune=SearchRange(0.85, 0.97))
    balance: float = option(0.25, "How far rare classes are weighted up: 0 not at all, 1 fully (YOLO)", low=0, high=1)
    mosaic: float = option(
        1.0, "Share of training images put together from four (YOLO)", low=0, high=1, tune=SearchRange(0.0, 1.0)
    )
    plain_epochs: int = option(3, "Last epochs without mosaics (YOLO)", low=0)
    flip: bool = option(True, "Flip images at random")
    zoom: float = option(0.3, "Zoom at random by up to this share", low=0, high=0.9, tune=SearchRange(0.0, 0.6))
    shift: float = option(0.1, "Shift at random by up to this share", low=0, high=0.5)
    light: float = option(0.2, "Change brightness at random by up to this share", low=0, high=1)


OPTIONS = DetectOptions
PRIMARY = "map50"
"""The metric by which versions are compared; more is better."""
