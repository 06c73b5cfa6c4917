"""The rows of `ml.model_versions`, looked up by name, alias or number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py.errors import RegistryError
from models_py.registry.aliases import CHAMPION
from models_py.warehouse.database import artifacts_folder

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow

_LONGEST_NAME = 100
_LONGEST_FOLDER = 200
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Version:
    """One row of the registry."""

    name: str
    version: int
    task: str
    architecture: str
    folder: Path
    artifact_sha256: str
    labels: tuple[str, ...]
    params: dict[str, Any]
    metrics: dict[str, float | None]
    train_query: str | None
    snapshot_sha256: str | None
    parent: str | None
    created_at: datetime
    created_by: str
    gate_metric: str
    compiled_sha256: str | None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def needs_reference_image(self) -> bool:
        """Whether it judges an image only beside its reference image (golden board)."""
        return self.params.get("reference", "none") != "none"

    @property
    def compiled_file(self) -> Path:
        """The path of the compiled form, whether or not there is one."""
        return self.folder.parents[2] / "compiled" / f"{self.artifact_sha256}.onnx"

    def rows(self, split: str) -> tuple[DatasetRow, ...]:
        """The frozen rows of one split, with the paths at training; `frozen_rows` gives the current ones."""
        from models_py.registry.artifact import read_rows, read_spec

        return read_rows(self.folder, read_spec(self.folder, self.artifact_sha256)).part(split)


_COLUMNS = (
    "name, version, task, architecture, artifact_uri, artifact_sha256, labels, params, metrics, train_query, "
    "snapshot_sha256, parent, created_at, created_by, gate_metric, "
    "(select file_sha256 from ml.compiled_models where artifact_sha256 = ml.model_versions.artifact_sha256)"
)


def finite(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """The metrics, with None in place of NaN and infinity."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def check_name(name: str) -> None:
    """Refuse names that could not be written as name@alias, or that would leave the artifacts folder."""
    if len(name) > _LONGEST_NAME:
        raise RegistryError(f"name: must be at most {_LONGEST_NAME} characters, but has {len(name)}.")
    if len(name.encode(errors="replace")) > _LONGEST_FOLDER:
        raise RegistryError(f"name: must be at most {_LONGEST_FOLDER} bytes in UTF-8, for it names a folder.")
    if not name or not all(char.isalnum() or char in "_-." for char in name) or name[0] in ".-":
        raise RegistryError(f"name: must be letters, digits, _, - and ., but is {name!r}.")


def list_versions(con: duckdb.DuckDBPyConnection, name: str | None = None) -> list[Version]:
    """All versions, or those of one model, newest first within a name."""
    rows = con.execute(
        f"select {_COLUMNS} from ml.model_versions where ? is null or name = ? order by name, version desc",
        [name, name],
    ).fetchall()
    files = artifacts_folder(con).parent
    return [_version(row, files) for row in rows]


def _version(row: tuple[Any, ...], files: Path) -> Version:
    values = list(row)
    values[4] = _artifact_folder(values[4], files)
    values[6], values[7], values[8] = tuple(values[6]), json.loads(values[7]), json.loads(values[8])
    return Version(*values)


def _artifact_folder(uri: str, files: Path) -> Path:
    """An artifact's folder: as the row names it, or the same path in the warehouse's folder if that was renamed."""
    named = files.parent / uri
    renamed = files.joinpath(*Path(uri).parts[1:])
    return renamed if renamed.exists() and not named.exists() else named


def find(con: duckdb.DuckDBPyConnection, reference: str) -> Version:
    """Look up `name`, `name@alias` or `name@7`; a bare name means its champion."""
    name, _, which = reference.partition("@")
    versions = {item.version: item for item in list_versions(con, name)}
    if not versions:
        names = sorted({item.name for item in list_versions(con)})
        known = f"Registered: {', '.join(names)}." if names else "None is registered; train one with `duckspect train`."
        raise RegistryError(f"model: there is no {name!r}. {known}")
    wanted = which or CHAMPION
    if wanted.isdecimal() and len(wanted) <= _DIGITS:
        number = int(wanted)
    else:
        from models_py.registry.aliases import aliases

        number = aliases(con, name).get(wanted, 0)
    if number not in versions:
        raise RegistryError(_no_such(con, name, wanted, versions))
    return versions[number]


def _no_such(con: duckdb.DuckDBPyConnection, name: str, wanted: str, versions: dict[int, Version]) -> str:
    from models_py.registry.aliases import aliases

    choices = [f"{name}@{alias} (version {number})" for alias, number in aliases(con, name).items()]
    choices += [f"{name}@{number}" for number in versions]
    remedy = f" Make one with `duckspect models promote {name}@{max(versions)}`." if wanted == CHAMPION else ""
    return f"model: {name} has no {wanted!r}. There is {', '.join(choices)}.{remedy}"
