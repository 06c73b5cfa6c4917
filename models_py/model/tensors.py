"""Named tensors in a safetensors file, with metadata: how weights and checkpoints are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from models_py.errors import DuckspectError
from models_py.files.durable import replacing


def write_tensors(tensors: Mapping[str, torch.Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all."""
    own = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with replacing(file) as partial:
        save_file(own, partial, metadata)
        partial.chmod(0o644)  # the library lets nobody else read it


def read_tensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata; a damaged one is named."""
    metadata = read_metadata(file)
    try:
        return load_file(file), metadata
    except (SafetensorError, OSError) as error:
        raise DuckspectError(f"{file}: is not a whole safetensors file: {error}") from error


def read_metadata(file: Path) -> dict[str, str]:
    """Read what a safetensors file says beside its tensors."""
    try:
        with safe_open(file, "pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise DuckspectError(f"{file}: is not a whole safetensors file: {error}") from error
