"""Operating thresholds of a version: the current ones, and how a new one is checked and set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from models_py.errors import RegistryError
from models_py.registry.aliases import who
from models_py.registry.versions import Version, find
from models_py.suggestions import nearest
from models_py.task import SCORE_RANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

ALL_CLASSES = "*"
_SINGLE = 2.0**-23
"""The least that a single-precision 1 can grow: a threshold of 1 plus this passes even a score of 1."""
_BY_CLASS = ("detect", "segment")
_VALIDATED = "select image_id, score from ml.version_images where name = $name and version = $version"
_PREDICTED = "select image_id, score from predictions where model = $name and version = $version"
_SCORED = "select count(distinct image_id), min(score), max(score) from ({scores}) where score is not null"


def thresholds(con: duckdb.DuckDBPyConnection, version: Version) -> dict[str, float]:
    """The latest operating point of each label of a version."""
    rows = con.execute(
        "select label, arg_max(threshold, valid_from) from ml.thresholds where name = ? and version = ? group by label",
        [version.name, version.version],
    ).fetchall()
    return {str(label): float(threshold) for label, threshold in rows}


def set_operating_point(
    con: duckdb.DuckDBPyConnection, reference: str, value: float, reason: str, *, label: str = ALL_CLASSES
) -> Version:
    """Set a threshold from now on, for all classes or one, with who chose it and why."""
    version = find(con, reference)
    check_threshold(version.task, version.labels, label, value)
    if not reason.strip():
        raise RegistryError("reason: must say why, for the record.")
    con.execute(
        "insert into ml.thresholds values (?, ?, ?, ?, now(), ?)",
        [version.name, version.version, label, value, f"{who()}: {reason}"],
    )
    return version


def check_threshold(task: str, labels: Sequence[str], label: str, value: float) -> None:
    """Refuse a threshold outside the range of the task's scores, or for a class that the model does not have."""
    if label not in (ALL_CLASSES, *labels):
        raise RegistryError(
            f"label: must be {ALL_CLASSES} or one of {', '.join(labels)}, but is {label!r}.{nearest(label, labels)}"
        )
    if not math.isfinite(value):
        raise RegistryError(f"threshold: must be a number, but is {value}.")
    lowest, highest = SCORE_RANGES.get(task, (-math.inf, math.inf))
    if not lowest <= value <= highest + _SINGLE:
        raise RegistryError(
            f"threshold: must be from {lowest:g} to {highest:g}, between which the scores of a model to {task} lie, "
            f"but is {value:g}."
        )


def doubts_about(con: duckdb.DuckDBPyConnection, version: Version, label: str, value: float) -> list[str]:
    """Warnings about a threshold that is allowed but may not be what was meant."""
    doubts = []
    if label != ALL_CLASSES and version.task not in _BY_CLASS:
        doubts.append(
            f"{version.reference} judges an image by one score, so the threshold for {label!r} changes nothing. "
            f"Leave --label out."
        )
    built = con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() and table_name = 'predictions' "
        "and schema_name = 'main'"
    ).fetchone()
    scores = _SCORED.format(scores=f"{_VALIDATED} union all {_PREDICTED}" if built else _VALIDATED)
    row = con.execute(scores, {"name": version.name, "version": version.version}).fetchone()
    count, lowest, highest = row or (0, None, None)
    if count and not lowest < value <= highest:
        what = "rejects every one" if value <= lowest else "rejects none"
        doubts.append(
            f"{value:g} {what} of the {count:,} images that {version.reference} scored so far: "
            f"their scores lie from {lowest:.4g} to {highest:.4g}."
        )
    return doubts
