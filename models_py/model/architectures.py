"""The list of architectures: help, tuning, registry and tests iterate it. A new one is one decorated function."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_py.errors import DuckspectError

if TYPE_CHECKING:
    from torch import nn

TASKS = ("classify", "detect", "segment", "anomaly")
BACKBONES = (
    "mobilenet_v2",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet18",
    "wide_resnet50_2",
)
"""The networks that can be a feature extractor: `models_py.model.backbone` cuts them into stages."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build a network for one task; `build` takes the number of classes and the training options."""

    name: str
    task: str
    title: str
    build: Callable[..., nn.Module]
    family: str
    weights: tuple[str, ...]
    trunk: str
    """The network inside it that is trained on ImageNet; empty where an option `backbone` names it, or none is."""
    is_cpu_default: bool
    """Whether it is its task's choice where there is no GPU; with one it is the first that is not."""
    defaults: dict[str, Any]


_registered: dict[str, Architecture] = {}
Builder = Callable[..., "nn.Module"]


def architecture(
    task: str,
    *,
    family: str,
    weights: tuple[str, ...] = ("none",),
    trunk: str = "",
    is_cpu_default: bool = False,
    **defaults: Any,
) -> Callable[[Builder], Builder]:
    """Register a builder under its function's name; `defaults` are options that fit it better than the task's."""

    def add(build: Builder) -> Builder:
        if build.__name__ in _registered:
            raise ValueError(f"architecture {build.__name__} is registered twice")
        title = (build.__doc__ or "").strip().splitlines()[0]
        name = build.__name__
        _registered[name] = Architecture(name, task, title, build, family, weights, trunk, is_cpu_default, defaults)
        return build

    return add


def list_architectures(task: str | None = None) -> tuple[Architecture, ...]:
    """All registered architectures, or those of one task, in the order in which they are declared."""
    for name in TASKS:
        importlib.import_module(f"models_py.tasks.{name}.architectures")
    return tuple(item for name in TASKS for item in _registered.values() if item.task == name and task in (None, name))


def default_architecture(task: str, *, has_gpu: bool) -> str:
    """What a task trains where nothing is said: on a CPU a head on frozen features, where the task has one."""
    known = list_architectures(find_architecture(task, None).task)
    heads = [item.name for item in known if item.is_cpu_default]
    others = [item.name for item in known if not item.is_cpu_default]
    return others[0] if has_gpu or not heads else heads[0]


def find_architecture(task: str, name: str | None) -> Architecture:
    """Look an architecture up by name; without a name, the task's first."""
    if task not in TASKS:
        raise DuckspectError(f"task: must be one of {', '.join(TASKS)}, but is {task!r}.")
    known = list_architectures(task)
    for item in known:
        if name in (None, item.name):
            return item
    choices = ", ".join(item.name for item in known)
    raise DuckspectError(f"architecture: there is no {name!r} for {task}. Choose one of {choices}.")


def check_backbone(name: str) -> None:
    """Refuse the name of a backbone that does not exist."""
    if name not in BACKBONES:
        raise DuckspectError(f"backbone: must be one of {', '.join(BACKBONES)}, but is {name!r}.")
