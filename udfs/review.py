"""Check an inspector's review of a prediction, and write it to `raw.reviews`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import DuckspectError
from models_py.suggestions import nearest
from models_py.warehouse.database import transaction
from udfs.session.session import connect

if TYPE_CHECKING:
    import duckdb

VERDICTS = ("confirmed", "rejected", "relabelled", "missed")
GOOD = "good"
Box = tuple[float, float, float, float]

_ASSIGNED = "select model from reference.scoring_assignments where inspected.product_type like product_pattern"
_KNOWN = """
with inspected as (
    select product_type from raw.inspections where inspection_id = $inspection
),

of_product as (
    select inspections.inspection_id, inspections.image_id
    from raw.inspections as inspections
    inner join inspected on inspections.product_type is not distinct from inspected.product_type
),

models as (
    select $model as model
    union all
    select model from ml.verdicts where inspection_id in (select inspection_id from of_product)
    {assigned}
)

select 'good' as label
union
select unnest(labels) from ml.model_versions where name in (select model from models)
union
select label from raw.current_annotations where image_id in (select image_id from of_product)
union
select label from raw.reviews where inspection_id in (select inspection_id from of_product) and label is not null
order by label
"""
_SIZE = "select width, height from raw.images inner join raw.inspections using (image_id) where inspection_id = ?"


class ReviewError(DuckspectError):
    """A review that was refused."""


@dataclass(frozen=True, slots=True)
class Review:
    """An inspector's review of an inspection, or of one region of it."""

    inspection_id: str
    verdict: str
    label: str | None
    reviewer: str
    model: str | None = None
    version: int | None = None
    box: Box | None = None
    is_new_label: bool = False
    """Whether the label may be a class that the product did not have so far."""


def known_labels(con: duckdb.DuckDBPyConnection, inspection_id: str, model: str | None = None) -> list[str]:
    """The classes that an inspection may have: from the product's models, annotations and reviews."""
    built = con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'reference' and table_name = 'scoring_assignments'"
    ).fetchone()
    query = _KNOWN.format(
        assigned=f"union all select a.model from inspected, lateral ({_ASSIGNED}) as a" if built else ""
    )
    return [label for (label,) in con.execute(query, {"inspection": inspection_id, "model": model}).fetchall()]


def record(warehouse: str | Path | None, review: Review) -> list[str]:
    """Append a review; return who else reviewed the same inspection in the last day, so that the user is told."""
    _check(review)
    with connect(warehouse) as con, transaction(con):
        known = con.execute("select 1 from raw.inspections where inspection_id = ?", [review.inspection_id]).fetchone()
        if known is None:
            raise ReviewError(f"inspection: there is no {review.inspection_id!r}. See raw.inspections.")
        _check_label(con, review)
        _check_box(con, review)
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
                GOOD if review.verdict == "rejected" else review.label,
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
    if review.verdict in ("relabelled", "missed") and review.label == GOOD:
        raise ReviewError(f"label: a {review.verdict} defect is not {GOOD}. If there is no defect, it is rejected.")
    if review.verdict == "rejected" and review.label not in (None, GOOD):
        raise ReviewError(
            f"label: rejected says that there is no defect, but the label is {review.label!r}. Leave it out, or say "
            f"relabelled if there is a defect of another class."
        )
    if not review.reviewer.strip():
        raise ReviewError("reviewer: must be your name.")
    if review.box is not None:
        x1, y1, x2, y2 = review.box
        if not (0 <= x1 < x2 and 0 <= y1 < y2):
            raise ReviewError(f"box: must be x1,y1,x2,y2 with x1 < x2 and y1 < y2, but is {review.box}.")


def _check_label(con: duckdb.DuckDBPyConnection, review: Review) -> None:
    if review.label is None or review.is_new_label:
        return
    known = known_labels(con, review.inspection_id, review.model)
    if review.label not in known:
        raise ReviewError(
            f"label: must be one of {', '.join(known)}, but is {review.label!r}.{nearest(review.label, known)} "
            f"If it is a class that nobody had so far: --new-label."
        )


def _check_box(con: duckdb.DuckDBPyConnection, review: Review) -> None:
    size = con.execute(_SIZE, [review.inspection_id]).fetchone()
    if review.box is None or size is None:
        return
    width, height = size
    if review.box[2] > width or review.box[3] > height:
        raise ReviewError(f"box: must be inside the image of {width} x {height} pixels, but is {review.box}.")
