"""First weights of a network: shipped starter weights, a library's download, a file, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import torch
from torch import nn

from models_py.errors import DuckspectError
from models_py.model.architectures import Architecture

if TYPE_CHECKING:
    from models_py.progress import TrainingReport

STARTERS = Path(__file__).with_name("starter")


def resolve(architecture: Architecture, wanted: str) -> str:
    """Replace `auto` by the architecture's best source, and check the choice."""
    source = architecture.weights[0] if wanted == "auto" else wanted
    if source in architecture.weights or Path(source).is_file():
        return source
    raise DuckspectError(
        f"weights: {architecture.name} starts from {', '.join(architecture.weights)} or a file, but there is no "
        f"{source!r}. Choose one of these."
    )


def start(
    network: nn.Module, architecture: Architecture, wanted: str, report: TrainingReport, labels: Sequence[str] = ()
) -> None:
    """Load first weights into a network. Rows of the head are copied by class name; other classes start at random."""
    first = fetch(architecture, wanted)
    if first.source == "none":
        return
    loaded = load_matching(network, first.tensors, labels, first.labels)
    if not loaded:
        raise DuckspectError(
            f"weights: {first.source} has no tensor that fits {architecture.name}. Was it made for another?"
        )
    report.note(f"Starting from {first.source}: {loaded} of {len(network.state_dict())} tensors.")


def load_matching(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], labels: Sequence[str] = (), known: Sequence[str] = ()
) -> int:
    """Load the tensors whose names and shapes match, and single rows where only the classes differ; return how many."""
    own = network.state_dict()
    fitting = {}
    for key, value in tensors.items():
        if key not in own:
            continue
        if own[key].shape == value.shape:
            fitting[key] = value.to(own[key].dtype)
        elif (rows := _rows_by_name(own[key], value, labels, known)) is not None:
            fitting[key] = rows
    network.load_state_dict(own | fitting)
    return len(fitting)


def _rows_by_name(
    own: torch.Tensor, value: torch.Tensor, labels: Sequence[str], known: Sequence[str]
) -> torch.Tensor | None:
    """Copy the rows of classes that both have, if the first axis is the classes, with or without a background first."""
    if own.ndim == 0 or own.shape[1:] != value.shape[1:]:
        return None
    before = own.shape[0] - len(labels)
    if before not in (0, 1) or value.shape[0] - len(known) != before:
        return None
    rows = own.clone()
    rows[:before] = value[:before].to(own.dtype)
    for number, label in enumerate(labels):
        if label in known:
            rows[before + number] = value[before + list(known).index(label)].to(own.dtype)
    return rows


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """First weights, their source, and the classes of their head if it has some."""

    source: str
    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] = ()


def fetch(architecture: Architecture, wanted: str) -> FirstWeights:
    """Read the weights of a source; for `none` there are no tensors."""
    source = resolve(architecture, wanted)
    if source == "none":
        return FirstWeights(source, {})
    if source == "starter":
        return _starter(architecture.name)
    if source in ("imagenet", "coco"):
        return FirstWeights(source, download(architecture, source))
    return _read(Path(source))


_INSIDE = {"mobilenet_v2": ("unet_mobilenet_v2", "encoder.")}
"""Backbones that are the encoder of another starter file, with the prefix there, so that they are not shipped twice."""


def _starter(name: str) -> FirstWeights:
    if name in _INSIDE:
        whole, prefix = _INSIDE[name]
        tensors = _starter(whole).tensors
        encoder = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        return FirstWeights("starter", encoder)
    file = STARTERS / f"{name}.safetensors"
    if not file.exists():
        shipped = ", ".join(sorted(path.stem for path in STARTERS.glob("*.safetensors"))) or "none"
        raise DuckspectError(
            f"weights: there are no starter weights for {name}. Shipped: {shipped}. Choose none or a file."
        )
    return replace(_read(file), source="starter")


def _read(file: Path) -> FirstWeights:
    """Read tensors from safetensors, a torch state dict or an Ultralytics checkpoint, without running its code."""
    from models_py.weights.foreign import read_checkpoint

    checkpoint = read_checkpoint(file)
    return FirstWeights(str(file), checkpoint.tensors, checkpoint.labels)


def download(architecture: Architecture, source: str) -> Mapping[str, torch.Tensor]:
    """Download the library's own weights; an error says what to do without a network."""
    from models_py.weights.sources import SOURCES

    try:
        return SOURCES[architecture.family](architecture, source)
    except (URLError, ConnectionError, TimeoutError, OSError) as error:
        raise DuckspectError(
            f"weights: the {source} weights of {architecture.name} could not be downloaded ({error}). "
            f"Go online once, give a file, or choose one of "
            f"{', '.join(name for name in architecture.weights if name not in ('imagenet', 'coco'))}."
        ) from error
