"""Find out which tensor of a file is which tensor of a network.

The same weights come under many names: with a prefix (`module.`, `encoder.`, `model.backbone.body.`), by another
library's names (torchvision's, timm's, those of our stages), or by names that nobody knows. Three ways are tried, and
the one that finds the most tensors counts:

1. The same names after a prefix is taken from one side and put before the other.
2. For networks whose libraries we know, both sides' names are looked up in the lists of each library's names.
3. The order of the tensors, if their shapes agree almost to the end: files keep the order of computation.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping

import torch

from models_py.model.architectures import BACKBONES
from models_py.model.backbone import library_network, stage_names

Tensors = Mapping[str, torch.Tensor]

_ENOUGH = 0.8
"""Share of the shorter side's tensors whose shapes must agree before their order is believed."""
_TIMM = {"mobilenet_v2": "mobilenetv2_100", "resnet18": "resnet18", "wide_resnet50_2": "wide_resnet50_2"}


def pair_names(own: Tensors, found: Tensors) -> dict[str, str]:
    """For each tensor of the network that the file has, the name in the file; shapes may differ in the head alone."""
    plain = _by_prefix(list(own), list(found))
    if len(plain) >= _ENOUGH * min(len(own), len(found)):
        return plain
    return max((plain, _by_library(list(own), list(found)), _by_order(own, found)), key=len)


def _by_prefix(own: list[str], found: list[str]) -> dict[str, str]:
    """Pairs of the same name but for one prefix on each side."""
    ours = {prefix: {key.removeprefix(prefix) for key in own if key.startswith(prefix)} for prefix in _prefixes(own)}
    theirs = {
        prefix: {key.removeprefix(prefix) for key in found if key.startswith(prefix)} for prefix in _prefixes(found)
    }
    mine, other = max(
        ((mine, other) for mine in ours for other in theirs),
        key=lambda pair: (len(ours[pair[0]] & theirs[pair[1]]), -len(pair[0]) - len(pair[1])),
    )
    return {mine + name: other + name for name in ours[mine] & theirs[other]}


def _prefixes(names: Iterable[str]) -> list[str]:
    """No prefix, and all that at least a fifth of the names begin with."""
    names = list(names)
    counts = Counter(name[: place + 1] for name in names for place, letter in enumerate(name) if letter == ".")
    return ["", *(prefix for prefix, count in counts.items() if count >= max(2, len(names) / 5))]


@functools.cache
def spellings(network: str) -> tuple[tuple[str, ...], ...]:
    """The names of a network's tensors in each library that has it, all in the order of computation."""
    import timm

    with torch.device("meta"):
        names = [tuple(library_network(network).state_dict())]
        if network in _TIMM:
            names.append(tuple(timm.create_model(_TIMM[network]).state_dict()))
    return (*dict.fromkeys(names), tuple(stage_names(network).values()))


def _by_library(own: list[str], found: list[str]) -> dict[str, str]:
    """Pairs of the same tensor of a network that both sides have under names of some library."""
    best: dict[str, str] = {}
    for network in BACKBONES:
        ours, theirs = _numbered(network, own), _numbered(network, found)
        pairs = {ours[number]: theirs[number] for number in ours.keys() & theirs.keys()}
        best = max(best, pairs, key=len)
    return best


def _numbered(network: str, names: list[str]) -> dict[int, str]:
    """The names by their number in the network, as the library has them that explains most."""
    numbers = [{name: number for number, name in enumerate(known)} for known in spellings(network)]
    readings = [
        {by_name[rest]: name for name in names if (rest := name.removeprefix(prefix)) in by_name}
        for prefix in _prefixes(names)
        for by_name in numbers
    ]
    return max(readings, key=len)


def _by_order(own: Tensors, found: Tensors) -> dict[str, str]:
    """Pairs in order, as far as the shapes agree; none if that is not almost to the end of the shorter side."""
    ours, theirs = _weights(own), _weights(found)
    pairs = list(zip(ours, theirs, strict=False))
    agree = next(
        (number for number, (one, other) in enumerate(pairs) if own[one].shape != found[other].shape), len(pairs)
    )
    return dict(pairs[:agree]) if pairs and agree >= _ENOUGH * len(pairs) else {}


def _weights(tensors: Tensors) -> list[str]:
    """The names in order, without the counters that some libraries leave out."""
    return [name for name in tensors if not name.endswith("num_batches_tracked")]
