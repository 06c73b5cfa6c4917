"""Register a trained model as the next version: its artifact and its rows, completely or not at all.

The order makes a kill at any point harmless:

1. The artifact is written to a folder `.incoming-...`, read back, and must reproduce its golden outputs.
2. Under the lock `registering`, the next version number is taken and the folder is renamed to it.
3. One transaction writes all rows: version, frozen images, threshold, alias, training run.

A kill before 3 leaves a folder without a row. `models gc` removes it, and the next registration overwrites it. A row
without a folder cannot arise. Deletion (deletion.py) goes the other way round, for the same reason.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_py import __version__
from models_py.files.durable import put_in_place
from models_py.task import Threshold, primary_of
from models_py.warehouse.database import transaction
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import FrozenDataset
    from models_py.model.trained_model import Model
    from models_py.registry.artifact import GoldenImage
from models_py.registry.aliases import CHALLENGER, who
from models_py.registry.versions import Version, check_name, find, finite
from models_py.warehouse.database import artifacts_folder

INCOMING = ".incoming-"


registering = threading.Lock()
"""Keeps two threads from taking the same version number. Two processes cannot: DuckDB has one writing process."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from: its options, metrics, frozen rows, first weights and training run."""

    params: dict[str, Any]
    metrics: dict[str, float | None]
    dataset: FrozenDataset | None = None
    parent: str | None = None
    run_id: str | None = None


def register(
    con: duckdb.DuckDBPyConnection,
    name: str,
    model: Model,
    golden: Sequence[GoldenImage],
    threshold: Threshold | None,
    origin: Origin,
) -> Version:
    """Store a model as the next version and make it the challenger, after checking that its files reproduce it."""
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
    if origin.dataset is not None:  # stored with relative URIs, so that the warehouse can be moved
        origin = replace(origin, dataset=origin.dataset.renamed(stored_uris(con).stored))
    spec = model.spec if threshold is None else replace(model.spec, thresholds={"*": threshold.value})
    model.spec = spec
    try:
        sha256 = save_artifact(model, incoming, GoldenBatch.of(model, golden), origin.dataset, origin.params)
        described = read_spec(incoming, sha256)
        check_golden(load_artifact(incoming, sha256), read_golden(incoming, described))
        with registering:
            return _commit(con, name, model, incoming, sha256, threshold, origin)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _sweep(root: Path, incoming: Path) -> None:
    """Remove the unfinished folders of killed processes; no other process registers while we have the warehouse."""
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

    # The alias history also has deleted versions. A number is never used twice, or thresholds and predictions of a
    # deleted version would pass for those of a new one.
    row = con.execute(
        "select coalesce(max(version), 0) + 1 from (from ml.model_versions select name, version "
        "union all from ml.alias_history select name, version) where name = ?",
        [name],
    ).fetchone()
    version = int(row[0]) if row else 1
    folder = incoming.with_name(str(version))
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed before it wrote the row
    put_in_place(incoming, folder)  # before the rows: a kill here leaves a folder without a row, never the reverse
    try:
        with transaction(con):
            _insert(con, name, version, model, folder, sha256, origin)
            if origin.dataset is not None:
                _insert_images(con, name, version, origin.dataset, {} if threshold is None else threshold.scores)
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

    spec, dataset = model.spec, origin.dataset
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
        "train_query": dataset.query if dataset else None,
        "snapshot_sha256": dataset.sha256 if dataset else None,
        "parent": origin.parent,
        "gate_metric": primary_of(spec.task),
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
    con: duckdb.DuckDBPyConnection, name: str, version: int, dataset: FrozenDataset, scores: Mapping[str, float]
) -> None:
    items = dataset.rows
    found = [scores.get(item.sha256) if item.split == "val" else None for item in items]
    marks = [None if score is None else item.is_defective for item, score in zip(items, found, strict=True)]
    con.execute(
        "insert into ml.version_images (name, version, image_id, split, score, is_defective) select ?, ?, "
        "unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::double[]), unnest(?::boolean[])",
        [name, version, [item.sha256 for item in items], [item.split for item in items], found, marks],
    )
