"""Files of other programs: torch state dicts and Ultralytics checkpoints, read without running what they may hold."""

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
_REMEDY = "Save the weights alone: torch.save(model.state_dict(), file), or as safetensors."


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """Tensors, and what the file says of their network."""

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
    """The classes that a safetensors file names."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise RegistryError(f"{file}: its metadata `labels` must be a JSON list of names, but is {text[:80]!r}.")
    return tuple(found)


def unsafe_globals(file: Path) -> list[str]:
    """What a file would import if it were unpickled, beyond tensors and plain containers."""
    if not zipfile.is_zipfile(file):
        raise RegistryError(f"{file}: is no torch file, or one that is truncated. {_REMEDY}")
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RegistryError(f"{file}: is no torch file: {_first_line(error)} {_REMEDY}") from error


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name; a file that holds other objects is refused, and none of them is made."""
    if names := unsafe_globals(file):
        raise RegistryError(f"{file}: holds {names[0]}, not weights alone, and was not read. {_REMEDY}")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RegistryError(f"{file}: is no torch file of weights: {_first_line(error)} {_REMEDY}") from error
    for nest in _NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise RegistryError(f"{file}: holds a {type(found).__name__} that is no state dict. {_REMEDY}")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
