"""Warn about a version's threshold that breaks its limits on the validation images, by the scores from training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_py.registry.operating_points import thresholds
from models_py.registry.versions import Version

if TYPE_CHECKING:
    import duckdb


def limit_warning(con: duckdb.DuckDBPyConnection, version: Version) -> str | None:
    """The warning about a version's threshold on its frozen validation rows, with the remedy; None if it is fine.

    For a version that was imported, or registered before scores were stored, only the next build can tell.
    """
    from models_py.metrics import MistakeCosts, MistakeLimits, check_limits  # scikit-learn takes a second to import

    rows = con.execute(
        "select score, is_defective from ml.version_images where name = ? and version = ? and score is not null",
        [version.name, version.version],
    ).fetchall()
    threshold = thresholds(con, version).get("*")
    if not rows or threshold is None:
        return None
    scores, marks = zip(*rows, strict=True)
    costs, limits = MistakeCosts(**_given(version, "cost")), MistakeLimits(**_given(version, "limit"))
    breach = check_limits(scores, marks, threshold, costs, limits)
    return None if breach is None else breach.sentence(version.reference)


def _given(version: Version, what: str) -> dict[str, float]:
    """The training options escape_WHAT and overkill_WHAT; older versions may lack them."""
    named = {mistake: version.params.get(f"{mistake}_{what}") for mistake in ("escape", "overkill")}
    return {mistake: float(value) for mistake, value in named.items() if value is not None}
