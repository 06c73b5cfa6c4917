"""What features learn from good images alone: SimSiam's two views, CutPaste's pasted patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from models_py.datasets.augment import Augment
from models_py.datasets.prepared_images import PreparedImage, PreparedImages, stack
from models_py.model.backbone import Backbone
from models_py.model.preprocess import Preprocess
from models_py.training.loop import Trainable

_HELD_OUT_SEED = 12345


class _Pretext(Trainable):
    """Learn from images whose labels nobody knows; judged by the same loss on held-out good images."""

    def __init__(
        self, backbone: Backbone, preprocess: Preprocess, data: PreparedImages, held_out: PreparedImages, batch: int
    ) -> None:
        self.data = data
        self.augment = Augment(flip=True, light=0.1)
        self._preprocess = preprocess
        self._held_out = held_out
        self._batch = batch
        self.network = self.build(backbone)

    def build(self, backbone: Backbone) -> nn.Module:
        raise NotImplementedError

    def batch_loss(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def loss(self, samples: Sequence[PreparedImage], device: torch.device) -> torch.Tensor:
        return self.batch_loss(self._preprocess.normalise(stack(samples).to(device)))

    def validate(self) -> dict[str, float | None]:
        device = next(self.network.parameters()).device
        torch.manual_seed(_HELD_OUT_SEED)
        losses, done = [], 0
        for samples in self._held_out.batches(range(len(self._held_out)), self._batch):
            losses.append(float(self.loss(samples, device)))
            done += len(samples)
            self.validating(done, len(self._held_out))
        loss = sum(losses) / len(losses)
        return {"fitness": -loss, "val/loss": loss}


def _pooled(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([found.mean((2, 3)) for found in backbone(images)], 1)


def _width(backbone: Backbone) -> int:
    backbone.eval()
    with torch.no_grad():
        return _pooled(backbone, torch.zeros(1, 3, 64, 64)).shape[1]


class SimSiam(_Pretext):
    """Two random views of an image predict each other."""

    def build(self, backbone: Backbone) -> nn.Module:
        width = _width(backbone)
        projector = nn.Sequential(nn.Linear(width, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256))
        predictor = nn.Sequential(nn.Linear(256, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 256))
        return nn.ModuleDict({"backbone": backbone, "projector": projector, "predictor": predictor})

    def batch_loss(self, images: torch.Tensor) -> torch.Tensor:
        parts = self.network
        one, other = (parts["projector"](_pooled(parts["backbone"], view(images))) for _ in range(2))  # type: ignore[index]
        return (self._distance(one, other) + self._distance(other, one)) / 2

    def _distance(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        predicted = self.network["predictor"](one)  # type: ignore[index]
        return -functional.cosine_similarity(predicted.float(), other.detach().float()).mean()


class CutPaste(_Pretext):
    """Tell an image as it is from one with a patch, and one with a scar, pasted elsewhere."""

    def build(self, backbone: Backbone) -> nn.Module:
        head = nn.Sequential(nn.Linear(_width(backbone), 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 3))
        return nn.ModuleDict({"backbone": backbone, "head": head})

    def batch_loss(self, images: torch.Tensor) -> torch.Tensor:
        kinds = torch.cat([images, paste(images, scar=False), paste(images, scar=True)])
        found = self.network["head"](_pooled(self.network["backbone"], kinds))  # type: ignore[index]
        targets = torch.arange(3, device=images.device).repeat_interleave(len(images))
        return functional.cross_entropy(found.float(), targets)


def view(images: torch.Tensor) -> torch.Tensor:
    """A random crop of each image, scaled back, flipped and lit at random; randomness from torch's generator."""
    count = len(images)
    scale = torch.empty(count).uniform_(0.5, 1.0)
    shift = torch.empty(count, 2).uniform_(-1, 1) * (1 - scale)[:, None]
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = scale * torch.randint(0, 2, (count,)).mul(2).sub(1)
    matrix[:, 1, 1] = scale * torch.randint(0, 2, (count,)).mul(2).sub(1)
    matrix[:, :, 2] = shift
    grid = functional.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    cropped = functional.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    gain = torch.empty(count, 1, 1, 1).uniform_(0.7, 1.3).to(images.device)
    bias = torch.empty(count, 1, 1, 1).uniform_(-0.3, 0.3).to(images.device)
    return cropped * gain + bias


def paste(images: torch.Tensor, *, scar: bool) -> torch.Tensor:
    """Copy a rectangle of each image to another place of it: a patch of 2 to 15 % of the area, or a thin scar."""
    pasted = images.clone()
    side = images.shape[-1]
    for image in pasted:
        height, width = _scar_sides(side) if scar else _patch_sides(side)
        top, left = _place(side - height), _place(side - width)
        to_top, to_left = _place(side - height), _place(side - width)
        patch = image[:, top : top + height, left : left + width].clone()
        if float(torch.rand(())) < 0.5:
            patch = patch.flip(2)
        patch += float(torch.empty(()).uniform_(-0.4, 0.4))
        image[:, to_top : to_top + height, to_left : to_left + width] = patch
    return pasted


def _place(most: int) -> int:
    return int(torch.randint(0, max(most, 0) + 1, ()))


def _patch_sides(side: int) -> tuple[int, int]:
    area = float(torch.empty(()).uniform_(0.005, 0.1)) * side * side
    ratio = float(torch.empty(()).uniform_(-1.2, 1.2).exp())
    return _within(area**0.5 * ratio**0.5, side), _within(area**0.5 / ratio**0.5, side)


def _scar_sides(side: int) -> tuple[int, int]:
    long, thin = float(torch.empty(()).uniform_(0.06, 0.3)) * side, float(torch.empty(()).uniform_(0.01, 0.05)) * side
    pair = (_within(long, side), _within(thin, side))
    return pair if float(torch.rand(())) < 0.5 else (pair[1], pair[0])


def _within(length: float, side: int) -> int:
    return max(2, min(int(length), side - 1))
