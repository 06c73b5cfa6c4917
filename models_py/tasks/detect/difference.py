"""Detection by what differs from the reference image: a small network looks at each place that does.

The channels are the image, its reference and their difference (see Preprocess). An opening takes the thin lines out of
the difference that edges leave which lie a pixel apart; of what is left, the local maxima after a blur are the places,
the strongest first. A window of all three channels around each place is given a class, or none, and a box. Only the
windows pass through the network, so it is small, learns from few boards, and trains in minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import batched_nms

WINDOW = 64
"""Side of the square that is looked at, in pixels of the network's square."""
_PLACES = 64
_BLUR, _WIDE_BLUR, _APART = 5, 15, 9
_FAINTEST_PLACE = 0.01
_NEAR = 4.0
"""A place this far outside a box still belongs to it, in pixels."""
_JITTER = 5
_UNIT = WINDOW / 2
_WEIGHT_OF_BOXES = 2.0
_MOST_BOXES, _FAINTEST, _OVERLAP = 300, 0.01, 0.3


class DifferenceNetwork(nn.Module):
    """Takes images of three channels from 0 to 1; gives boxes and probabilities of each place (n, 64, 4 + classes)."""

    def __init__(self, classes: int, width: int = 24) -> None:
        super().__init__()
        self.classes = classes
        channels = (3, width, width, 2 * width, 2 * width, 4 * width, 4 * width, 4 * width)
        strides = (2, 1, 2, 1, 2, 1, 2)
        blocks = [_block(*sides) for sides in zip(channels, channels[1:], strides, strict=False)]
        self.body = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(nn.Linear(4 * width * (WINDOW // 16) ** 2, 128), nn.ReLU(), nn.Dropout(0.3))
        self.label = nn.Linear(128, classes + 1)
        self.box = nn.Linear(128, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        centres, are_there = find_places(inputs)
        logits, boxes = self._judge_some(windows(inputs, centres).flatten(0, 1), are_there.flatten())
        chances = logits.softmax(1)[:, :-1].view(len(inputs), _PLACES, -1) * are_there[..., None]
        corners = boxes.view(len(inputs), _PLACES, 4) * _UNIT + centres.repeat(1, 1, 2)
        sides = torch.minimum(corners[..., :2], corners[..., 2:]), torch.maximum(corners[..., :2], corners[..., 2:])
        return torch.cat([*sides, chances], 2)

    def _judge(self, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        described = self.head(self.body(found * 2 - 1)).float()
        return self.label(described).float(), self.box(described).float()

    def _judge_some(self, found: torch.Tensor, are_there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if torch.compiler.is_exporting():  # other runtimes want to know how many
            return self._judge(found)
        logits, boxes = (found.new_zeros(len(found), many) for many in (self.classes + 1, 4))
        logits[are_there], boxes[are_there] = (part.to(found.dtype) for part in self._judge(found[are_there]))
        return logits, boxes

    def choose(self, found: torch.Tensor) -> torch.Tensor:
        """Rows of x1, y1, x2, y2, score, class (n, 300, 6): of overlapping boxes of one class the strongest."""
        return torch.stack([self._suppress(rows) for rows in found])

    def _suppress(self, rows: torch.Tensor) -> torch.Tensor:
        places, classes = (rows[:, 4:] > _FAINTEST).nonzero(as_tuple=True)
        boxes, scores = rows[places, :4], rows[places, 4 + classes]
        kept = batched_nms(boxes, scores, classes, _OVERLAP)[:_MOST_BOXES]
        chosen = torch.cat([boxes[kept], scores[kept, None], classes[kept, None].float()], 1)
        return functional.pad(chosen, (0, 0, 0, _MOST_BOXES - len(kept)))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What describes the windows best known to differ, averaged over the image (n, d)."""
        centres, _ = find_places(inputs)
        described: torch.Tensor = self.head(self.body(windows(inputs, centres).flatten(0, 1) * 2 - 1)).float()
        return described.view(len(inputs), _PLACES, -1).mean(1)

    def loss(self, inputs: torch.Tensor, boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Class and box of each place, and of the centre of each box, seen a few pixels off and turned at random."""
        found, targets, classes = [], [], []
        for image, its_boxes, its_labels in zip(inputs, boxes, labels, strict=True):
            centres, are_there = find_places(image[None])
            middles = (its_boxes[:, :2] + its_boxes[:, 2:]).round() / 2
            all_centres = torch.cat([centres[0][are_there[0]], middles.round()])
            own = self._nearest(all_centres, its_boxes)
            seen = all_centres + torch.randint_like(all_centres, -_JITTER, _JITTER + 1)
            known = torch.cat([its_labels, its_labels.new_tensor([self.classes])])
            sides = torch.cat([its_boxes, its_boxes.new_zeros(1, 4)])
            found.append(windows(image[None], seen[None])[0])
            targets.append((sides[own] - seen.repeat(1, 2)) / _UNIT)
            classes.append(known[own])
        return self._loss(torch.cat(found), torch.cat(targets), torch.cat(classes))

    def _nearest(self, centres: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """The number of the box that each centre belongs to; -1, the last, for none."""
        if not len(boxes):
            return torch.full((len(centres),), -1, device=centres.device)
        inside = (centres[:, None] >= boxes[:, :2] - _NEAR) & (centres[:, None] <= boxes[:, 2:] + _NEAR)
        apart = (centres[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).abs().amax(2)
        near, number = apart.masked_fill(~inside.all(2), torch.inf).min(1)
        return number.masked_fill(near.isinf(), -1)

    def _loss(self, found: torch.Tensor, targets: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        if len(found) < 2:  # batch norms need two
            return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0.0
        found, targets = _turned(found, targets)
        logits, boxes = self._judge(found)
        are_defects = classes < self.classes
        loss = functional.cross_entropy(logits, classes, label_smoothing=0.05)
        if are_defects.any():
            apart = functional.smooth_l1_loss(boxes[are_defects], targets[are_defects], beta=0.1)
            loss = loss + _WEIGHT_OF_BOXES * apart
        return loss


def _block(channels: int, made: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU())


def find_places(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (n, 64, 2) where the difference is largest, as x and y, and whether there is any."""
    difference = inputs[:, 2:3].float().contiguous(memory_format=torch.contiguous_format)
    opened = _largest(-_largest(-difference, 3), 3)
    heat = _mean(functional.avg_pool2d(opened, 2), _BLUR)  # in half of the pixels, at a quarter of the time
    height, width = heat.shape[2:]
    # Larger differences are flat inside: a wider blur and a slight slope leave one maximum of many equal ones.
    rows, columns = (torch.linspace(0, 1e-3, side, device=heat.device) for side in (height, width))
    slope = rows[:, None] + 0.6 * columns
    sloped = heat + 0.01 * _mean(heat, _WIDE_BLUR) + slope
    are_peaks = (sloped == _largest(sloped, _APART)) & (heat > _FAINTEST_PLACE)
    strength, places = (sloped * are_peaks).flatten(1).topk(_PLACES)
    return torch.stack([places % width, places // width], 2) * 2.0, strength > 0


def _largest(pixels: torch.Tensor, side: int) -> torch.Tensor:
    half = side // 2
    return functional.max_pool2d(functional.max_pool2d(pixels, (side, 1), 1, (half, 0)), (1, side), 1, (0, half))


def _mean(pixels: torch.Tensor, side: int) -> torch.Tensor:
    half = side // 2
    return functional.avg_pool2d(functional.avg_pool2d(pixels, (side, 1), 1, (half, 0)), (1, side), 1, (0, half))


def windows(inputs: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Squares around centres (n, k, 2) of images (n, 3, height, width): (n, k, 3, 64, 64), mirrored outside."""
    margin = WINDOW // 2
    height, width = inputs.shape[2:]
    offsets = torch.arange(WINDOW, device=inputs.device) - margin
    columns = _mirrored(centres[..., 0].long()[..., None] + offsets, width)
    rows = _mirrored(centres[..., 1].long()[..., None] + offsets, height)
    places = (rows[..., :, None] * width + columns[..., None, :]).flatten(1)
    taken = inputs.flatten(2).gather(2, places[:, None].expand(-1, inputs.shape[1], -1))
    return taken.view(*inputs.shape[:2], centres.shape[1], WINDOW, WINDOW).transpose(1, 2)


def _mirrored(places: torch.Tensor, size: int) -> torch.Tensor:
    inside = places.abs()
    return (size - 1 - (size - 1 - inside).abs()).clamp(0, size - 1)


def _turned(found: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows and their boxes, all mirrored or transposed in one of eight ways."""
    x1, y1, x2, y2 = targets.unbind(1)
    if torch.rand(()) < 0.5:
        found, x1, x2 = found.flip(3), -x2, -x1
    if torch.rand(()) < 0.5:
        found, y1, y2 = found.flip(2), -y2, -y1
    if torch.rand(()) < 0.5:
        found, x1, y1, x2, y2 = found.transpose(2, 3), y1, x1, y2, x2
    return found, torch.stack([x1, y1, x2, y2], 1)
