"""Where training starts from: shipped starter weights, a library's download, a file, or nothing."""

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
    """Turn `auto` into the architecture's best source, and check the choice."""
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
    """Give a network its first weights; rows of the head go to the classes of the same name, others keep their own."""
    found = fetch(architecture, wanted)
    if found.source == "none":
        return
    taken = load_matching(network, found.tensors, labels, found.labels)
    if not taken:
        raise DuckspectError(
            f"weights: {found.source} has no tensor that fits {architecture.name}. Was it made for another?"
        )
    report.note(f"Starting from {found.source}: {taken} of {len(network.state_dict())} tensors.")


def load_matching(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], labels: Sequence[str] = (), known: Sequence[str] = ()
) -> int:
    """Load the tensors whose names and shapes fit, and the rows of those that differ in classes; return how many."""
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
    """Copy the rows of classes that both have, where the first axis counts classes, maybe after the background."""
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
    """First weights, where they come from, and the classes of their head if it is known."""

    source: str
    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] = ()


def fetch(architecture: Architecture, wanted: str) -> FirstWeights:
    """The source that was chosen, and its tensors; none for `none`."""
    source = resolve(architecture, wanted)
    if source == "none":
        return FirstWeights(source, {})
    if source == "starter":
        return _starter(architecture.name)
    if source in ("imagenet", "coco"):
        return FirstWeights(source, download(architecture, source))
    return _read(Path(source))


_INSIDE = {"mobilenet_v2": ("unet_mobilenet_v2", "encoder.")}
"""A backbone that is the encoder of another starter is not shipped twice."""


def _starter(name: str) -> FirstWeights:
    if name in _INSIDE:
        whole, prefix = _INSIDE[name]
        found = _starter(whole)
        inside = {key.removeprefix(prefix): value for key, value in found.tensors.items() if key.startswith(prefix)}
        return FirstWeights("starter", inside)
    file = STARTERS / f"{name}.safetensors"
    if not file.exists():
        shipped = ", ".join(sorted(found.stem for found in STARTERS.glob("*.safetensors"))) or "none"
        raise DuckspectError(
            f"weights: there are no starter weights for {name}. Shipped: {shipped}. Choose none or a file."
        )
    return replace(_read(file), source="starter")


def _read(file: Path) -> FirstWeights:
    """Read tensors from safetensors, a torch state dict or an Ultralytics checkpoint, running nothing of theirs."""
    from models_py.weights.foreign import read_checkpoint

    found = read_checkpoint(file)
    return FirstWeights(str(file), found.tensors, found.labels)


def download(architecture: Architecture, source: str) -> Mapping[str, torch.Tensor]:
    """Fetch the library's own weights, or say in a sentence that it cannot be reached."""
    from models_py.weights.sources import SOURCES

    try:
        return SOURCES[architecture.family](architecture, source)
    except (URLError, ConnectionError, TimeoutError, OSError) as error:
        raise DuckspectError(
            f"weights: the {source} weights of {architecture.name} could not be downloaded ({error}). "
            f"Go online once, give a file, or choose one of "
            f"{', '.join(name for name in architecture.weights if name not in ('imagenet', 'coco'))}."
        ) from error
