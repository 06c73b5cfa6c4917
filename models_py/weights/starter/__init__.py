"""Small weights to start from, trained on the drawn plant alone.

    python -m models_py.training.starter_weights

makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_py.model.architectures import Architecture

STARTERS = Path(__file__).parent
_INSIDE = {"mobilenet_v2": "unet_mobilenet_v2"}
"""Networks that are the encoder of another file, so that they are not shipped twice."""


def starter_file(architecture: Architecture) -> Path:
    """The file with an architecture's starter weights, or its trunk's; it may not exist."""
    own = STARTERS / f"{architecture.name}.safetensors"
    return own if own.exists() else STARTERS / f"{_INSIDE.get(architecture.trunk, architecture.name)}.safetensors"


def has_starter(architecture: Architecture) -> bool:
    """Whether starter weights of an architecture are shipped."""
    return starter_file(architecture).exists()
