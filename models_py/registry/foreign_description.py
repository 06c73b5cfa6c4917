"""Check the `model.json` of an imported archive, field by field, before a network is built from it.

Libraries accept a path where a description belongs, allocate what a size asks for, and fail with a traceback on what
they do not expect. The `model.json` of a registered version is not checked like this: the registry has its hash.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from models_py import __version__
from models_py.errors import DuckspectError, RegistryError
from models_py.model.architectures import find_architecture
from models_py.model.options import LARGEST_SIDE
from models_py.model.preprocess import Preprocess

FORMAT = 1
_MOST_LABELS = 10_000
_MOST_CONTRAST = 1000
_LONGEST_LABEL = 200
_LONGEST_SHOWN = 80
_DEEPEST = 20
_REMEDY = "Export the model again with `duckspect models export`."
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_description(data: bytes) -> dict[str, Any]:
    """Read a `model.json` and check every part of it; raise RegistryError with a sentence if one is wrong."""
    try:
        described = json.loads(data, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"model.json: is not JSON that can be read: {_shown(str(error))}. {_REMEDY}") from error
    _check_depth(described)
    if not isinstance(described, dict):
        raise _refusal("the whole", "an object", described)
    _check_format(described.get("format"))
    for name, check in _CHECKS.items():
        if name not in described:
            raise RegistryError(f"model.json: has no {name!r}, but needs {', '.join(_CHECKS)}. {_REMEDY}")
        check(described[name])
    _check_task(described)
    return described


def check_labels(labels: Any, where: str = "model.json") -> None:
    """Refuse class names that cannot be stored, and names that occur twice."""
    if not isinstance(labels, list | tuple) or not 1 <= len(labels) <= _MOST_LABELS:
        raise _refusal("labels", f"a list of 1 to {_MOST_LABELS:,} names", labels, where)
    for label in labels:
        if not isinstance(label, str) or not label.strip() or len(label) > _LONGEST_LABEL or not _is_text(label):
            raise _refusal("labels", f"names of 1 to {_LONGEST_LABEL} characters", label, where)
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise _refusal(f"the label {label!r}", "there once", f"there {count} times", where)


def _check_format(value: Any) -> None:
    if value == FORMAT and not isinstance(value, bool):
        return
    is_newer = isinstance(value, int | float) and value > FORMAT
    remedy = "Upgrade duckspect, or export the model with this version." if is_newer else _REMEDY
    raise RegistryError(
        f"model.json: has artifact format {_shown(ascii(value))}, but this duckspect {__version__} reads {FORMAT}. "
        f"{remedy}"
    )


def _check_preprocess(value: Any) -> None:
    known = [item.name for item in fields(Preprocess)]
    if not isinstance(value, dict) or "size" not in value or not set(value) <= set(known):
        raise _refusal("preprocess", f"an object of {', '.join(known)}", value)
    size = value["size"]
    if not _is_whole(size) or not 1 <= size <= LARGEST_SIDE:
        raise _refusal("preprocess.size", f"a whole number from 1 to {LARGEST_SIDE}", size)
    if not isinstance(value.get("letterbox", False), bool):
        raise _refusal("preprocess.letterbox", "true or false", value["letterbox"])
    if not _is_number(value.get("clahe", 0)) or not 0 <= value.get("clahe", 0) <= _MOST_CONTRAST:
        raise _refusal("preprocess.clahe", f"a number from 0 to {_MOST_CONTRAST}", value["clahe"])
    for name in ("mean", "std"):
        values = value.get(name, [1, 1, 1])
        if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
            raise _refusal(f"preprocess.{name}", "three numbers", values)
    if min(value.get("std", [1])) <= 0:
        raise _refusal("preprocess.std", "three numbers above 0", value["std"])


def _check_thresholds(value: Any) -> None:
    if not isinstance(value, dict) or not all(map(_is_number, value.values())):
        raise _refusal("thresholds", "an object of numbers by label", value)


def _check_object(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _refusal(name, "an object", value)

    return check


def _check_files(value: Any) -> None:
    if not isinstance(value, dict) or not all(isinstance(x, str) and _SHA256.fullmatch(x) for x in value.values()):
        raise _refusal("files", "an object of SHA-256 hashes by file name", value)


def _check_text(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise _refusal(name, "text", value)

    return check


_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "task": _check_text("task"),
    "architecture": _check_text("architecture"),
    "labels": check_labels,
    "preprocess": _check_preprocess,
    "build": _check_object("build"),
    "thresholds": _check_thresholds,
    "params": _check_object("params"),
    "files": _check_files,
}


def _check_task(described: Mapping[str, Any]) -> None:
    """Check what depends on the task: the architecture, and the arguments with which its network is built."""
    try:
        find_architecture(described["task"], described["architecture"])
    except DuckspectError as error:
        raise RegistryError(f"model.json: {error} If a newer duckspect wrote it, upgrade this one.") from error
    metrics = described.get("metrics", {})
    if not isinstance(metrics, dict) or not all(value is None or _is_number(value) for value in metrics.values()):
        raise _refusal("metrics", "an object of numbers", metrics)
    for name, value in described["build"].items():
        if name not in _BUILD[described["task"]]:
            known = ", ".join(_BUILD[described["task"]]) or "nothing"
            raise _refusal("build", f"an object of {known} for {described['task']}", described["build"])
        words, check = _BUILD[described["task"]][name]
        if not check(value):
            raise _refusal(f"build.{name}", words, value)
    if described["task"] == "anomaly" and len(described["build"]) < len(_BUILD["anomaly"]):
        raise _refusal("build", f"an object of {', '.join(_BUILD['anomaly'])}", described["build"])


def _is_yaml(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(part), list) for part in ("backbone", "head"))


def _is_side(value: Any) -> bool:
    return _is_whole(value) and 32 <= value <= LARGEST_SIDE


_SIDE = (f"a whole number from 32 to {LARGEST_SIDE}", _is_side)
_BACKBONE = ("the name of a backbone", lambda value: isinstance(value, str))
_LAYERS = ("a list of whole numbers", lambda value: isinstance(value, list) and all(map(_is_whole, value)))
_BUILD: Mapping[str, Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "classify": {"image_size": _SIDE, "backbone": _BACKBONE, "layers": _LAYERS},
    "detect": {
        "image_size": _SIDE,
        "yaml": ("the description of a YOLO itself, an object with backbone and head", _is_yaml),
    },
    "segment": {"smallest": ("a whole number of pixels", lambda value: _is_whole(value) and value >= 0)},
    "anomaly": {
        "backbone": _BACKBONE,
        "layers": _LAYERS,
        "top": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
    },
}


def _check_depth(value: Any, depth: int = 0) -> None:
    """Refuse what is nested too deep, and text that cannot be stored."""
    if depth > _DEEPEST:
        raise RegistryError(f"model.json: must not be nested more than {_DEEPEST} deep, but is. {_REMEDY}")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_depth(name, depth + 1)
            _check_depth(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth(item, depth + 1)
    elif not _is_storable(value):
        raise _refusal("a value", "text in UTF-8 or a finite number of 64 bits", value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands in it twice")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


def _is_storable(value: Any) -> bool:
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 1 << 63


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(words: str) -> str:
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}... ({len(words):,} characters)"


def _refusal(what: str, wanted: str, value: Any, where: str = "model.json") -> RegistryError:
    remedy = _REMEDY if where == "model.json" else "Say them in order, as in --labels open,short,spur."
    return RegistryError(f"{where}: {what} must be {wanted}, but is {_shown(json.dumps(value, default=str))}. {remedy}")
