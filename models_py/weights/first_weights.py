"""First weights of a network: read from their source, and put where they belong in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from models_py.errors import DuckspectError
from models_py.model.architectures import Architecture
from models_py.progress import SilentReport, TrainingReport
from models_py.weights.downloads import find_download
from models_py.weights.names import pair_names
from models_py.weights.packages import read_package
from models_py.weights.sources import PATIENCE, choose_source, offered
from models_py.weights.starter import starter_file


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """First weights, their source, and the classes of their head if it has some."""

    source: str
    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] = ()


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
            f"weights: {first.source} has no tensor that fits {architecture.trunk or architecture.name}. "
            f"Was it made for another?"
        )
    report.note(f"Starting from {first.source}: {loaded} of {len(network.state_dict())} tensors.")


def fetch(architecture: Architecture, wanted: str) -> FirstWeights:
    """Read the weights of a source; for `none` there are no tensors."""
    source = choose_source(architecture, wanted, SilentReport())
    if source == "none":
        return FirstWeights(source, {})
    if source == "package":
        return FirstWeights(source, read_package(architecture.trunk))
    if source == "starter":
        return replace(_read(starter_file(architecture)), source=source)
    if source in ("imagenet", "coco"):
        return FirstWeights(source, download(architecture, source))
    return _read(Path(source))


def _read(file: Path) -> FirstWeights:
    """Read tensors from safetensors, a torch state dict or an Ultralytics checkpoint, without running its code."""
    from models_py.weights.foreign import read_checkpoint

    checkpoint = read_checkpoint(file)
    return FirstWeights(str(file), checkpoint.tensors, checkpoint.labels)


def download(architecture: Architecture, source: str) -> Mapping[str, torch.Tensor]:
    """Download the library's own weights; an error says what to do without a network."""
    found = find_download(architecture, source)
    try:
        found.fetch(PATIENCE)
    except OSError as error:
        others = ", ".join(name for name in offered(architecture) if name not in ("imagenet", "coco"))
        raise DuckspectError(
            f"weights: the {source} weights of {architecture.name} could not be downloaded ({error}). "
            f"Go online once, give a file, or choose one of {others}."
        ) from error
    return found.read()


def load_matching(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], labels: Sequence[str] = (), known: Sequence[str] = ()
) -> int:
    """Load the tensors that fit, and single rows of the head where only the classes differ; return how many."""
    own = network.state_dict()
    fitting = {}
    for key, theirs in pair_names(own, tensors).items():
        value = tensors[theirs]
        if own[key].shape == value.shape:
            fitting[key] = value.to(own[key].dtype)
        elif (rows := _rows_by_name(own[key], value, labels, known)) is not None:
            fitting[key] = rows
    if not any(value.ndim for value in fitting.values()):  # the counters of any two networks are alike
        return 0
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
