"""Ultralytics' own files: they hold whole modules, of which only the attributes are read; no module is made.

A module made on demand of a file could be told to run anything: Ultralytics evaluates an architecture's `activation`.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models_py.errors import RegistryError
from models_py.yolo import ultralytics
from models_py.yolo.network import check_architecture

_LAYERS = ("torch.nn.modules.", "ultralytics.nn.")
_LOSSES = ("ultralytics.utils.loss.", "ultralytics.utils.tal.")
_PLAIN = {"torch.Size": torch.Size, "builtins.set": set}
_UNREAD = {
    "_codecs.encode",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.dtypes.Float64DType",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "ultralytics.utils.IterableSimpleNamespace",
}
_RELEASE = "v8.4.0"
_DAMAGE = (
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    EOFError,
    OverflowError,
    pickle.UnpicklingError,
)


class _ModuleStandIn:
    """What a file says of a module, in place of the module: it takes attributes, and no arguments."""


class _IgnoredObject:
    """Plain data that is of no interest."""

    def __init__(self, *_arguments: object) -> None:
        """Take what the real one would."""

    def __setstate__(self, _state: object) -> None:
        """Forget it."""


def read_model(file: Path, names: Iterable[str]) -> tuple[dict[str, torch.Tensor], tuple[str, ...], dict[str, Any]]:
    """Return the tensors, classes and architecture of a checkpoint; `names` are the globals it asks for."""
    ultralytics()
    allowed: list[Any] = [(_stand_in(file, name), name) for name in names]
    try:
        with torch.serialization.safe_globals(allowed):
            found = torch.load(file, map_location="cpu", weights_only=True)
        model = _model(file, found)
        tensors = {f"model.{key}": value for key, value in _tensors(model)}
        return tensors, _labels(model.names), _described(model.yaml)
    except _DAMAGE as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise RegistryError(f"{file}: cannot be read as an Ultralytics checkpoint: {words}") from error


def _described(yaml: dict[str, Any]) -> dict[str, Any]:
    """The architecture, checked before anything is built of it, with the name of the file it came from."""
    described = {key: value for key, value in yaml.items() if key not in ("yaml_file", "kpt_shape", "names")}
    check_architecture(described)
    return {**described, "yaml_file": str(yaml.get("yaml_file", ""))}


def _stand_in(file: Path, name: str) -> Any:
    """What is made where a file asks for a class: a shell for a layer or a loss, or plain data."""
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _UNREAD:
        return _IgnoredObject
    if name.startswith(_LOSSES) or (name.startswith(_LAYERS) and _is_module(name)):
        return type(name.rpartition(".")[2], (_ModuleStandIn,), {})
    raise RegistryError(f"{file}: holds {name}, which is no layer of a network, so the file was not read.")


def _is_module(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, nn.Module)


def _model(file: Path, found: Any) -> Any:
    model = found.get("ema") or found.get("model") if isinstance(found, dict) else found
    if not isinstance(model, _ModuleStandIn) or type(model).__name__ != "DetectionModel":
        raise RegistryError(
            f"{file}: holds no detection model of Ultralytics, but {type(model).__name__}. "
            "Import a file that `yolo detect train` wrote."
        )
    return model


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The state dict of a shell, in float32."""
    own = {**module._parameters, **module._buffers}
    for name in own.keys() - module._non_persistent_buffers_set:
        if isinstance(tensor := own[name], torch.Tensor):
            yield f"{prefix}{name}", tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
    for name, child in module._modules.items():
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")


def _labels(names: Mapping[int, str] | list[str]) -> tuple[str, ...]:
    ordered = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
    return tuple(map(str, ordered))


def release(name: str) -> str:
    """Where Ultralytics publishes the weights of an architecture."""
    ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_REPO

    return f"https://github.com/{GITHUB_ASSETS_REPO}/releases/download/{_RELEASE}/{name}.pt"
