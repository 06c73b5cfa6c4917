"""Versions of models: artifacts in folders, rows in the warehouse, aliases with a history."""

from models_py.registry import transfer
from models_py.registry._aliases import aliases, history, promote, rollback
from models_py.registry._artifact import Golden, load_artifact, save_artifact
from models_py.registry._housekeeping import collect_garbage, delete
from models_py.registry._versions import (
    Origin,
    Version,
    artifacts_folder,
    check_name,
    find,
    finite,
    list_versions,
    load,
    register,
    set_operating_point,
    thresholds,
)

__all__ = [
    "Golden",
    "Origin",
    "Version",
    "aliases",
    "artifacts_folder",
    "check_name",
    "collect_garbage",
    "delete",
    "find",
    "finite",
    "history",
    "list_versions",
    "load",
    "load_artifact",
    "promote",
    "register",
    "rollback",
    "save_artifact",
    "set_operating_point",
    "thresholds",
    "transfer",
]
