"""Ultralytics' own files: they hold whole modules, which are made without running any code of the file."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from models_py.errors import RegistryError
from models_py.ultralytics_gate import ultralytics
from models_py.ultralytics_gate.network import check_architecture

_MODULES = ("torch.nn.modules.", "ultralytics.nn.")
_RELEASE = "v8.4.0"
_PLAIN = {"ultralytics.utils.IterableSimpleNamespace", "torch.Size", "pathlib.PosixPath", "builtins.set"}


def read_model(file: Path, names: Iterable[str]) -> tuple[dict[str, torch.Tensor], tuple[str, ...], dict[str, Any]]:
    """Return the tensors, classes and architecture of a checkpoint; `names` are the globals it asks for."""
    ultralytics()
    allowed = [_allowed(file, name) for name in names]
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise RegistryError(f"{file}: cannot be read as an Ultralytics checkpoint: {words}") from error
    model = found.get("ema") or found.get("model") if isinstance(found, dict) else found
    if not isinstance(model, nn.Module) or type(model).__name__ != "DetectionModel":
        raise RegistryError(f"{file}: holds no detection model of Ultralytics, but {type(model).__name__}.")
    labels: Any = model.names
    ordered = tuple(labels[key] for key in sorted(labels)) if isinstance(labels, dict) else tuple(labels)
    tensors = {f"model.{key}": value.float() for key, value in model.state_dict().items()}
    return tensors, ordered, _described(cast("dict[str, Any]", model.yaml))


def _described(yaml: dict[str, Any]) -> dict[str, Any]:
    """The architecture, checked before anything is built of it, with the name of the file it came from."""
    described = {key: value for key, value in yaml.items() if key not in ("yaml_file", "kpt_shape", "names")}
    check_architecture(described)
    return {**described, "yaml_file": str(yaml.get("yaml_file", ""))}


def _allowed(file: Path, name: str) -> Any:
    """The class a checkpoint asks for, if it is a layer, or plain data."""
    module, _, attribute = name.rpartition(".")
    if name.startswith(_MODULES) or name in _PLAIN:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise RegistryError(f"{file}: holds {name}, which this version of ultralytics does not have.") from error
        if name in _PLAIN or (isinstance(found, type) and issubclass(found, nn.Module)):
            return found
    raise RegistryError(f"{file}: holds {name}, which is no layer of a network, so the file was not read.")


def release(name: str) -> str:
    """Where Ultralytics publishes the weights of an architecture."""
    ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_REPO

    return f"https://github.com/{GITHUB_ASSETS_REPO}/releases/download/{_RELEASE}/{name}.pt"
