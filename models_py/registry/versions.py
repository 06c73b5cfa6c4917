"""Rows of `ml.model_versions`: register a version whole or not at all, and find it by name, alias or number."""

from __future__ import annotations

import getpass
import json
import math
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py import __version__
from models_py.errors import RegistryError
from models_py.files.durable import put_in_place
from models_py.task import Threshold
from models_py.warehouse.database import file_of, files_folder, transaction
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow, FrozenDataset
    from models_py.model.trained_model import Model

CHAMPION, CHALLENGER = "champion", "challenger"
INCOMING = ".incoming-"
_LONGEST_NAME = 100
_LONGEST_FOLDER = 200
_DIGITS = 9
registering = threading.Lock()
"""Two threads must not take one version number; two processes cannot, for DuckDB has one writer."""


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
    compiled_sha256: str | None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def compiled_file(self) -> Path:
        """Where the compiled form is, if there is one."""
        return self.folder.parents[2] / "compiled" / f"{self.artifact_sha256}.onnx"

    def rows(self, split: str) -> tuple[DatasetRow, ...]:
        """The frozen rows of one split, with the names that their images had then; see `frozen_rows`."""
        from models_py.registry.artifact import read_rows, read_spec

        return read_rows(self.folder, read_spec(self.folder, self.artifact_sha256)).part(split)


def frozen_rows(con: duckdb.DuckDBPyConnection, version: Version, split: str) -> tuple[DatasetRow, ...]:
    """The frozen rows of one split of a version, with their images where the warehouse has them now."""
    from models_py.datasets import locate

    return locate(con, version.rows(split))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from."""

    params: dict[str, Any]
    metrics: dict[str, float | None]
    snapshot: FrozenDataset | None = None
    parent: str | None = None
    run_id: str | None = None


_COLUMNS = (
    "name, version, task, architecture, artifact_uri, artifact_sha256, labels, params, metrics, train_query, "
    "snapshot_sha256, parent, created_at, created_by, "
    "(select file_sha256 from ml.compiled_models where artifact_sha256 = ml.model_versions.artifact_sha256)"
)


def artifacts_folder(con: duckdb.DuckDBPyConnection) -> Path:
    """The folder beside the warehouse file that a connection has open."""
    file = file_of(con)
    if file is None:
        raise RegistryError("Models are stored beside the warehouse file, but this warehouse is in memory.")
    return files_folder(file) / "artifacts"


def register(
    con: duckdb.DuckDBPyConnection,
    name: str,
    model: Model,
    golden: Sequence[bytes],
    threshold: Threshold | None,
    origin: Origin,
) -> Version:
    """Store a model as the next version and make it the challenger; verified first, whole or not at all."""
    from models_py.registry.artifact import (
        GoldenBatch,
        check_golden,
        load_artifact,
        read_golden,
        read_spec,
        save_artifact,
    )

    check_name(name)
    root = artifacts_folder(con) / name
    incoming = root / f"{INCOMING}{os.getpid()}-{threading.get_ident()}"
    _sweep(root, incoming)
    if origin.snapshot is not None:  # its files are found again after a move of the warehouse
        origin = replace(origin, snapshot=origin.snapshot.renamed(stored_uris(con).stored))
    spec = model.spec if threshold is None else replace(model.spec, thresholds={"*": threshold.value})
    model.spec = spec
    try:
        sha256 = save_artifact(model, incoming, GoldenBatch.of(model, golden), origin.snapshot, origin.params)
        described = read_spec(incoming, sha256)
        check_golden(load_artifact(incoming, sha256), read_golden(incoming, described))
        with registering:
            return _commit(con, name, model, incoming, sha256, threshold, origin)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _sweep(root: Path, incoming: Path) -> None:
    """Remove what killed processes left: only ours has the warehouse open, so it alone registers."""
    for folder in root.glob(f"{INCOMING}*"):
        if folder == incoming or not folder.name.startswith(f"{INCOMING}{os.getpid()}-"):
            shutil.rmtree(folder, ignore_errors=True)


def _commit(
    con: duckdb.DuckDBPyConnection,
    name: str,
    model: Model,
    incoming: Path,
    sha256: str,
    threshold: Threshold | None,
    origin: Origin,
) -> Version:
    from models_py.registry.aliases import point

    # The history remembers deleted versions: a number is never given twice, so thresholds and judgements stay apart.
    row = con.execute(
        "select coalesce(max(version), 0) + 1 from (from ml.model_versions select name, version "
        "union all from ml.alias_history select name, version) where name = ?",
        [name],
    ).fetchone()
    version = int(row[0]) if row else 1
    folder = incoming.with_name(str(version))
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed before it could write the row
    put_in_place(incoming, folder)
    try:
        with transaction(con):
            _insert(con, name, version, model, folder, sha256, origin)
            if origin.snapshot is not None:
                _insert_images(con, name, version, origin.snapshot, {} if threshold is None else threshold.scores)
            if threshold is not None:
                con.execute(
                    "insert into ml.thresholds values (?, ?, '*', ?, now(), ?)",
                    [name, version, threshold.value, f"{who()}: {threshold.reason}"],
                )
            point(con, name, CHALLENGER, version, "registered")
            if origin.run_id:
                con.execute(
                    "update ml.training_runs set version = ?, status = 'finished', finished_at = now() "
                    "where run_id = ?",
                    [version, origin.run_id],
                )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return find(con, f"{name}@{version}")


def _insert(
    con: duckdb.DuckDBPyConnection, name: str, version: int, model: Model, folder: Path, sha256: str, origin: Origin
) -> None:
    from models_py.registry.artifact import libraries

    spec, snapshot = model.spec, origin.snapshot
    base = artifacts_folder(con).parents[1]
    values = {
        "name": name,
        "version": version,
        "task": spec.task,
        "architecture": spec.architecture,
        "artifact_uri": folder.relative_to(base).as_posix(),
        "artifact_sha256": sha256,
        "labels": list(spec.labels),
        "preprocess": json.dumps(spec.preprocess.as_dict()),
        "params": json.dumps(origin.params),
        "metrics": json.dumps(finite(origin.metrics)),
        "train_query": snapshot.query if snapshot else None,
        "snapshot_sha256": snapshot.sha256 if snapshot else None,
        "parent": origin.parent,
        "created_by": who(),
        "code_version": __version__,
        "libraries": json.dumps(libraries()),
    }
    marks = ", ".join("?" * len(values))
    con.execute(
        f"insert into ml.model_versions ({', '.join(values)}, created_at) values ({marks}, now())",
        list(values.values()),
    )


def _insert_images(
    con: duckdb.DuckDBPyConnection, name: str, version: int, snapshot: FrozenDataset, scores: Mapping[str, float]
) -> None:
    items = snapshot.examples
    found = [scores.get(item.sha256) if item.split == "val" else None for item in items]
    marks = [None if score is None else item.is_defective for item, score in zip(items, found, strict=True)]
    con.execute(
        "insert into ml.version_images (name, version, image_id, split, score, is_defective) select ?, ?, "
        "unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::double[]), unnest(?::boolean[])",
        [name, version, [item.sha256 for item in items], [item.split for item in items], found, marks],
    )


def who() -> str:
    """The user in whose name things are done."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"


def finite(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Metrics with None for what is no number: a division of nothing by nothing is no evidence."""
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
    """Where an artifact is: in the folder that the row names, or in that of the warehouse if both were renamed."""
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


def load(con: duckdb.DuckDBPyConnection, reference: str | Version) -> Model:
    """Load a registered version, verified, with the operating thresholds that now hold."""
    from models_py.registry.artifact import load_artifact
    from models_py.registry.operating_points import thresholds

    version = reference if isinstance(reference, Version) else find(con, reference)
    model = load_artifact(version.folder, version.artifact_sha256)
    model.spec = replace(model.spec, thresholds=thresholds(con, version))
    return model
