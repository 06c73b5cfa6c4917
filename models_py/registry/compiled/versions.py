"""Compile versions: a process of its own makes and times the form, which is stored beside the artifacts by its hash."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.errors import DuckspectError, RegistryError
from models_py.registry.versions import Version, list_versions

if TYPE_CHECKING:
    import duckdb

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Compilation:
    """The result of compiling a version; without `file_sha256` torch stays in use."""

    artifact_sha256: str
    file_sha256: str | None
    torch_ms: float | None
    compiled_ms: float | None
    note: str


def is_to_be_compiled(con: duckdb.DuckDBPyConnection, version: Version) -> bool:
    """Whether other versions of the model run compiled and this one was not tried; false without ONNX Runtime."""
    known = con.execute("select artifact_sha256 from ml.compiled_models").fetchall()
    is_new = (version.artifact_sha256,) not in known
    return is_new and not _missing() and any(item.compiled_sha256 for item in list_versions(con, version.name))


def _missing() -> list[str]:
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def compile_version(con: duckdb.DuckDBPyConnection, version: Version) -> Compilation:
    """Make the compiled form of a version; it is used from then on if it is faster than torch."""
    if missing := _missing():
        raise DuckspectError(
            f"Compiling needs {', '.join(missing)}, which is not installed. "
            f"Install it with: pip install 'duckspect[onnx]'"
        )
    for left in version.compiled_file.parent.glob(f".{version.compiled_file.name}.*"):
        left.unlink(missing_ok=True)  # of a process that was killed; no other can be at it, since we have the warehouse
    done = _judge(version, _make(version))
    if done.file_sha256 is None:
        version.compiled_file.unlink(missing_ok=True)
    con.execute(
        "insert or replace into ml.compiled_models values (?, ?, ?, ?, ?, now())",
        [done.artifact_sha256, done.file_sha256, done.torch_ms, done.compiled_ms, done.note],
    )
    return done


def _make(version: Version) -> dict[str, Any]:
    try:
        return run_exporter("network", version, version.compiled_file)
    except RegistryError as error:
        raise RegistryError(f"{version.reference}: could not be compiled: {error}") from error


def run_exporter(module: str, version: Version, output: Path) -> dict[str, Any]:
    """Have a process of its own write a version for another runtime, and return what it found out.

    The exporter is busy for long, and talks by standard output, loggers and warnings, which belong to a whole process.
    """
    command = [sys.executable, "-m", f"models_py.registry.compiled.{module}"]
    command += [str(version.folder), version.artifact_sha256, str(output)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - ourselves
    except subprocess.TimeoutExpired as error:
        raise RegistryError(f"{version.reference}: was not exported within {_SECONDS:g} seconds.") from error
    if ran.returncode:
        raise RegistryError((ran.stderr.strip() or f"exit status {ran.returncode}").splitlines()[-1])
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def _judge(version: Version, made: dict[str, Any]) -> Compilation:
    if "refused" in made:
        return Compilation(version.artifact_sha256, None, None, None, made["refused"])
    by_torch, compiled = made["torch_ms"], made["compiled_ms"]
    if compiled >= by_torch:
        return Compilation(version.artifact_sha256, None, by_torch, compiled, "torch is as fast on this machine")
    sha256 = hashlib.sha256(version.compiled_file.read_bytes()).hexdigest()
    note = f"{by_torch / compiled:.2f} times as fast as torch, outputs at most {made['apart']:.1g} of their range apart"
    return Compilation(version.artifact_sha256, sha256, by_torch, compiled, note)
