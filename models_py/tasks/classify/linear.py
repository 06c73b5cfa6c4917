"""A linear classifier on frozen features: logistic regression, its regularisation chosen by cross-validation.

The features are the mean and the deviation of the maps of some stages of a backbone: which textures an image has, and
how unevenly. They are standardised by the training images, which is folded into the weights of the linear layer, so
that the network is a backbone and one layer. On 10 images a class of six kinds of defects on steel, features with the
deviation got 0.978 of new images right, means alone 0.962 (mean of three draws).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from models_py.model.backbone import Backbone
from models_py.model.trained_model import Array
from models_py.progress import Counted

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation strengths that are tried, strongest first."""
_WITHOUT_CHOICE = 1e-2
_MOST_FOLDS = 5
_LEAST_DEVIATION = 1e-6


class LinearOnBackbone(nn.Module):
    """A backbone, the mean and deviation of its maps, and one linear layer."""

    def __init__(self, backbone: str, layers: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, layers)
        self.head = nn.Linear(2 * sum(self.backbone.channels), classes)

    def pooled(self, inputs: torch.Tensor) -> torch.Tensor:
        """Mean and deviation (n, d) of each channel of the maps of all wanted stages."""
        maps = [found.float().flatten(2) for found in self.backbone(inputs)]
        parts = [(each.mean(2), each.var(2, unbiased=False).clamp(min=_LEAST_DEVIATION).sqrt()) for each in maps]
        return torch.cat([part for pair in parts for part in pair], 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits of the classes (n, k)."""
        found: torch.Tensor = self.head(self.pooled(inputs))
        return found

    def set_head(self, weight: Array, bias: Array) -> None:
        """Take the weights (k, d) and biases (k) that were found."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """Features (n, d) of images with their class numbers, and the unit or template that each belongs to."""

    features: Array
    numbers: Array
    groups: Sequence[str]


@dataclass(frozen=True, slots=True)
class Regression:
    """A linear layer for features as they come, and what it was chosen by."""

    weight: Array
    bias: Array
    strength: float
    loss: float | None
    """Mean loss on images that were left out, or None where there are too few to leave any out."""


def find_regression(data: LabelledFeatures, classes: int, balance: float, progress: Counted) -> Regression:
    """Choose the regularisation by cross-validation over units, and fit all images with it."""
    mean, deviation = data.features.mean(0), np.maximum(data.features.std(0), _LEAST_DEVIATION)
    standard = (data.features - mean) / deviation
    weights = _image_weights(data.numbers, classes, balance)
    losses = _left_out_losses(standard, data, weights, classes, progress)
    strength = min(losses, key=lambda tried: losses[tried]) if losses else _WITHOUT_CHOICE
    weight, bias = _fit(standard, data.numbers, weights, strength, classes)
    weight = weight / deviation
    return Regression(weight, bias - weight @ mean, strength, losses.get(strength))


def _image_weights(numbers: Array, classes: int, balance: float) -> Array:
    """How much each image counts: the rarer its class, the more."""
    counts = np.bincount(numbers, minlength=classes)
    weights = np.maximum(counts, 1.0)[numbers] ** -balance
    return np.asarray(weights / weights.mean())


def _left_out_losses(
    standard: Array, data: LabelledFeatures, weights: Array, classes: int, progress: Counted
) -> dict[float, float]:
    """The mean loss of each strength on left-out images; empty where a class has but one unit."""
    groups = np.array(data.groups)
    units = [len(set(groups[data.numbers == number])) for number in np.unique(data.numbers)]
    folds = min(_MOST_FOLDS, *units)
    if folds < 2:
        return {}
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    parts = list(split.split(standard, data.numbers, groups))
    losses = {}
    for strength in _STRENGTHS:
        losses[strength] = sum(
            _loss(
                _fit(standard[known], data.numbers[known], weights[known], strength, classes), standard[new], data, new
            )
            for known, new in parts
        ) / len(data.numbers)
        progress(len(losses), len(_STRENGTHS))
    return losses


def _loss(layer: tuple[Array, Array], standard: Array, data: LabelledFeatures, new: Array) -> float:
    """The sum of the negative log likelihoods of left-out images."""
    logits = torch.from_numpy(standard @ layer[0].T + layer[1])
    return float(nn.functional.cross_entropy(logits, torch.from_numpy(data.numbers[new]), reduction="sum"))


def _fit(standard: Array, numbers: Array, weights: Array, strength: float, classes: int) -> tuple[Array, Array]:
    """Weights (k, d) and biases (k) of all classes; one that no image has is all but impossible."""
    fitted = LogisticRegression(C=strength, max_iter=2000).fit(standard, numbers, sample_weight=weights)
    weight, bias = np.zeros((classes, standard.shape[1])), np.full(classes, -30.0)
    if len(fitted.classes_) == 2:  # one row that says how much the second is likelier than the first
        bias[fitted.classes_] = 0.0
        weight[fitted.classes_[1]], bias[fitted.classes_[1]] = fitted.coef_[0], fitted.intercept_[0]
    else:
        weight[fitted.classes_], bias[fitted.classes_] = fitted.coef_, fitted.intercept_
    return weight, bias
