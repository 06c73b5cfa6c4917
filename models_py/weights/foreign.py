"""Read other programs' checkpoints (torch state dicts, Ultralytics) without running code that they may contain."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models_py.errors import RegistryError
from models_py.model.tensors import read_tensors

_NESTS = ("state_dict", "model_state_dict", "model", "ema")
_BEFORE_ARCHIVES = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin."""
_REMEDY = "Save the weights alone: torch.save(model.state_dict(), file), or as safetensors."


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """Tensors, and the classes and Ultralytics description that the file has for them."""

    tensors: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] = ()
    yaml: dict[str, Any] | None = None


def read_checkpoint(file: Path) -> ForeignCheckpoint:
    """Read safetensors, a torch state dict or an Ultralytics checkpoint; anything else is refused."""
    if file.suffix == ".safetensors":
        tensors, metadata = read_tensors(file)
        return ForeignCheckpoint(tensors, _labels(file, metadata.get("labels", "[]")))
    if file.suffix == ".onnx":
        raise RegistryError(
            f"{file}: ONNX cannot be imported, for it is a program, not weights alone. Import the checkpoint that it "
            "was exported from."
        )
    unknown = unsafe_globals(file)
    if any(name.startswith("ultralytics.") for name in unknown):
        from models_py.yolo.checkpoint import read_model

        return ForeignCheckpoint(*read_model(file, unknown))
    return ForeignCheckpoint(read_state_dict(file))


def _labels(file: Path, text: str) -> tuple[str, ...]:
    """The classes in the metadata of a safetensors file."""
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise RegistryError(f"{file}: its metadata `labels` must be a JSON list of names, but is {text[:80]!r}.")
    return tuple(labels)


def unsafe_globals(file: Path) -> list[str]:
    """The names that unpickling a file would import, beyond tensors and plain containers.

    Files of torch before 1.6 are no archives and cannot be asked; torch reads them with tensors and containers alone.
    """
    if not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            if opened.read(len(_BEFORE_ARCHIVES)) != _BEFORE_ARCHIVES:
                raise RegistryError(f"{file}: is no torch file, or one that is truncated. {_REMEDY}")
        return []
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RegistryError(f"{file}: is no torch file: {_first_line(error)} {_REMEDY}") from error


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name; a file with other objects is refused before any of them is created."""
    if names := unsafe_globals(file):
        raise RegistryError(f"{file}: holds {names[0]}, not weights alone, and was not read. {_REMEDY}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RegistryError(f"{file}: is no torch file of weights: {_first_line(error)} {_REMEDY}") from error
    for nest in _NESTS:
        if isinstance(state, Mapping) and isinstance(state.get(nest), Mapping):
            state = state[nest]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise RegistryError(f"{file}: holds a {type(state).__name__} that is no state dict. {_REMEDY}")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
