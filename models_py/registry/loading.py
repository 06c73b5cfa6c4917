"""Load a registered version as a model, and its frozen rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from models_py.datasets import DatasetRow
    from models_py.model.trained_model import Model
from models_py.registry.versions import Version, find


def frozen_rows(con: duckdb.DuckDBPyConnection, version: Version, split: str) -> tuple[DatasetRow, ...]:
    """The frozen rows of one split of a version, with the current paths of their images."""
    from models_py.datasets import locate

    return locate(con, version.rows(split))


def load(con: duckdb.DuckDBPyConnection, reference: str | Version) -> Model:
    """Load a registered version, with its files verified and its current thresholds."""
    from models_py.registry.artifact import load_artifact
    from models_py.registry.operating_points import thresholds

    version = reference if isinstance(reference, Version) else find(con, reference)
    model = load_artifact(version.folder, version.artifact_sha256)
    model.spec = replace(model.spec, thresholds=thresholds(con, version))
    return model
