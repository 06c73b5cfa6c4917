"""Promotion through the gate: not worse than the champion on the frozen validation rows. And the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_py.errors import RegistryError
from models_py.registry.aliases import CHALLENGER, CHAMPION
from models_py.registry.loading import frozen_rows, load
from models_py.registry.versions import Version, find
from models_py.warehouse.database import transaction

if TYPE_CHECKING:
    import duckdb
from models_py.registry.aliases import aliases, history, point

_ROLLBACK = "rollback"
"""How the reason of a rollback begins, so that the history tells it from a promotion of the same version."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found on the challenger's frozen validation rows."""

    is_passed: bool
    reason: str


def judge_challenger(con: duckdb.DuckDBPyConnection, challenger: Version, champion: Version) -> GateResult:
    """Measure both on the challenger's frozen validation rows."""
    from models_py.metrics.evaluation import evaluate_model

    if champion.task != challenger.task:
        return GateResult(
            is_passed=False, reason=f"it is a model for {challenger.task}, the champion one for {champion.task}"
        )
    if challenger.snapshot_sha256 is None:
        return GateResult(is_passed=False, reason="it was imported without rows to compare the two on")
    rows = frozen_rows(con, challenger, "val")
    new = sorted({label for row in rows for label in row.labels} - set(champion.labels))
    if new and challenger.task == "classify":
        return GateResult(is_passed=False, reason=f"version {champion.version} does not know the class {new[0]!r}")
    ours, theirs = (
        evaluate_model(load(con, version), rows).metrics.get(challenger.gate_metric)
        for version in (challenger, champion)
    )
    what = f"{challenger.gate_metric} on {len(rows)} frozen validation images"
    if ours is None or theirs is None:
        return GateResult(is_passed=False, reason=f"{what} cannot be computed for both")
    better = "not worse" if ours >= theirs else "worse"
    reason = f"{what}: {ours:.4f}, {better} than {theirs:.4f} of version {champion.version}"
    return GateResult(is_passed=ours >= theirs, reason=reason)


def promote(
    con: duckdb.DuckDBPyConnection, reference: str, *, alias: str = CHAMPION, force: str | None = None
) -> tuple[Version, str]:
    """Give a version an alias; the champion must pass the gate, or be forced with a reason."""
    version = find(con, reference if "@" in reference else f"{reference}@{CHALLENGER}")
    current = aliases(con, version.name).get(alias)
    if current == version.version:
        raise RegistryError(f"{version.reference} is the {alias} already.")
    if alias.isdigit() or not alias.replace("_", "").replace("-", "").isalnum():
        raise RegistryError(f"alias: must be a word such as champion, but is {alias!r}.")
    reason = force or "asked for"
    if alias == CHAMPION and not force:
        reason = "the first champion" if current is None else _pass_gate(con, version, current)
    with transaction(con):
        point(con, version.name, alias, version.version, reason)
        if alias == CHAMPION and aliases(con, version.name).get(CHALLENGER) == version.version:
            point(con, version.name, CHALLENGER, None, reason)
    return version, reason


def _pass_gate(con: duckdb.DuckDBPyConnection, version: Version, current: int) -> str:
    verdict = judge_challenger(con, version, find(con, f"{version.name}@{current}"))
    if not verdict.is_passed:
        raise RegistryError(
            f"{version.reference} was not promoted: {verdict.reason}. "
            f'To promote it all the same, give a reason: `duckspect models promote {version.reference} --force "..."`.'
        )
    return verdict.reason


def rollback(con: duckdb.DuckDBPyConnection, name: str, *, alias: str = CHAMPION, reason: str = "") -> Version:
    """Let an alias name the version it named before; a new row of the history, nothing is taken back."""
    find(con, f"{name}@{alias}")
    current = aliases(con, name)[alias]
    known = {
        version for (version,) in con.execute("select version from ml.model_versions where name = ?", [name]).fetchall()
    }
    earlier = [change for change in history(con, name) if change.alias == alias]
    # Going back twice goes two versions back: a rollback takes its version off the trail.
    trail: list[int] = []
    for change in earlier:
        if change.reason.startswith(_ROLLBACK) and trail[-2:-1] == [change.version]:
            trail.pop()
        else:
            trail.append(change.version)
    trail = [version for version in trail if version in known]
    if len(trail) < 2 or trail[-1] != current:
        raise RegistryError(f"{name}: no earlier version was its {alias}, so there is nothing to go back to.")
    with transaction(con):
        point(con, name, alias, trail[-2], f"{_ROLLBACK}: {reason}" if reason else _ROLLBACK)
    return find(con, f"{name}@{trail[-2]}")
