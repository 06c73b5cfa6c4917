"""An inspector's verdict on a prediction, written to `raw.reviews`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models_py.errors import DuckspectError
from models_py.warehouse import transaction
from udfs.session import connect

VERDICTS = ("confirmed", "rejected", "relabelled", "missed")
_GOOD = "good"
Box = tuple[float, float, float, float]


class ReviewError(DuckspectError):
    """A review that does not make sense."""


@dataclass(frozen=True, slots=True)
class Review:
    """What an inspector says of an inspection, or of one region of it."""

    inspection_id: str
    verdict: str
    label: str | None
    reviewer: str
    model: str | None = None
    version: int | None = None
    box: Box | None = None


def record(warehouse: str | Path | None, review: Review) -> list[str]:
    """Append a review; who else reviewed the same inspection in the last day is returned, for two may be at work."""
    _check(review)
    with connect(warehouse) as con, transaction(con):
        known = con.execute("select 1 from raw.inspections where inspection_id = ?", [review.inspection_id]).fetchone()
        if known is None:
            raise ReviewError(f"inspection: there is no {review.inspection_id!r}. See raw.inspections.")
        others = con.execute(
            "select distinct reviewer from raw.reviews where inspection_id = ? and reviewer <> ? "
            "and reviewed_at > now() - interval 1 day order by reviewer",
            [review.inspection_id, review.reviewer],
        ).fetchall()
        box = review.box or (None, None, None, None)
        con.execute(
            "insert into raw.reviews (inspection_id, verdict, label, reviewer, reviewed_at, model, version, "
            "x1, y1, x2, y2) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                review.inspection_id,
                review.verdict,
                _GOOD if review.verdict == "rejected" else review.label,
                review.reviewer,
                datetime.now(UTC),
                review.model,
                review.version,
                *box,
            ],
        )
    return [name for (name,) in others]


def _check(review: Review) -> None:
    if review.verdict not in VERDICTS:
        raise ReviewError(f"verdict: must be one of {', '.join(VERDICTS)}, but is {review.verdict!r}.")
    if review.verdict in ("relabelled", "missed") and not review.label:
        raise ReviewError(f"label: a {review.verdict} defect needs its class.")
    if not review.reviewer.strip():
        raise ReviewError("reviewer: must be your name.")
    if review.box is not None:
        x1, y1, x2, y2 = review.box
        if not (0 <= x1 < x2 and 0 <= y1 < y2):
            raise ReviewError(f"box: must be x1,y1,x2,y2 with x1 < x2 and y1 < y2, but is {review.box}.")
