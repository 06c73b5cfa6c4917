"""Weights trained on images with another normalisation, changed so that they fit images normalised as ours are."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from models_py.model.preprocess import Preprocess

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and deviation of the colours, from 0 to 1."""
HALVES = (0.5, 0.5, 0.5)
"""Both of EfficientNet-Lite."""


def in_our_colours(
    tensors: Mapping[str, torch.Tensor], weight: str, shift: str, colours: Colours
) -> dict[str, torch.Tensor]:
    """Change the first convolution and what shifts its output (a bias or a norm's mean): what comes out is the same.

    Only at the border it is not quite: there the convolution sees zeros, which stand for another grey.
    """
    ours, (mean, deviation) = Preprocess(32), colours
    scale = torch.tensor(ours.std) / torch.tensor(deviation)
    offset = (torch.tensor(ours.mean) - torch.tensor(mean)) / torch.tensor(deviation)
    kernel = tensors[weight]
    added = (kernel * offset[:, None, None]).sum((1, 2, 3))
    moved = tensors[shift] - added if shift.endswith("running_mean") else tensors[shift] + added
    return {**tensors, weight: kernel * scale[:, None, None], shift: moved}
