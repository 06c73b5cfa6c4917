"""The model registry: versions, their artifacts, aliases, thresholds, the promotion gate, import and export."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from models_py.registry.aliases import aliases, history
from models_py.registry.compiled.versions import Compilation, compile_version, is_to_be_compiled
from models_py.registry.deletion import collect_garbage, delete, stop_dead_runs
from models_py.registry.limit_warnings import limit_warning
from models_py.registry.loading import frozen_rows, load
from models_py.registry.operating_points import check_threshold, doubts_about, set_operating_point, thresholds
from models_py.registry.promotion import promote, rollback
from models_py.registry.registration import Origin, register
from models_py.registry.versions import Version, check_name, find, finite, list_versions
from models_py.warehouse.database import artifacts_folder

if TYPE_CHECKING:
    from models_py.registry import transfer
    from models_py.registry.artifact import GoldenBatch, load_artifact, save_artifact

__all__ = [
    "Compilation",
    "GoldenBatch",
    "Origin",
    "Version",
    "aliases",
    "artifacts_folder",
    "check_name",
    "check_threshold",
    "collect_garbage",
    "compile_version",
    "delete",
    "doubts_about",
    "find",
    "finite",
    "frozen_rows",
    "history",
    "is_to_be_compiled",
    "limit_warning",
    "list_versions",
    "load",
    "load_artifact",
    "promote",
    "register",
    "rollback",
    "save_artifact",
    "set_operating_point",
    "stop_dead_runs",
    "thresholds",
    "transfer",
]

_ARTIFACTS = ("GoldenBatch", "load_artifact", "save_artifact")


def __getattr__(name: str) -> Any:
    """Import the modules that need torch only when they are used: listing versions and moving aliases need none."""
    if name == "transfer":
        return importlib.import_module("models_py.registry.transfer")
    if name in _ARTIFACTS:
        return getattr(importlib.import_module("models_py.registry.artifact"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
