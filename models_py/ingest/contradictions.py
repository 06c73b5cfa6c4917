"""Find images with the same bytes but different labels under another file name: a model cannot learn from both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One image under two names, with the labels of each."""

    uri: str
    labels: str
    other_uri: str
    other_labels: str


# Masks are files of their own, so only their labels are compared here; training compares their contents.
_LOOKUP = """
with copies as (
    select sha256
    from raw.files
    where label_set_id is not null
    group by sha256
    having count(*) > 1 and bool_or(uri in (from touched))
),

places as (
    select
        files.sha256,
        files.uri,
        string_agg(distinct annotations.label, ', ' order by annotations.label) as labels,
        list_sort(list((kind, label, x1, y1, x2, y2, polygon))) as contents
    from raw.files
    semi join copies on files.sha256 = copies.sha256
    inner join raw.annotations on files.label_set_id = annotations.label_set_id
    group by files.sha256, files.uri
)

select one.uri, one.labels, other.uri, other.labels
from places as one
inner join places as other on one.sha256 = other.sha256 and one.contents <> other.contents
where one.uri in (from touched) and (one.uri < other.uri or other.uri not in (from touched))
order by one.uri, other.uri
"""


def find_contradictions(con: duckdb.DuckDBPyConnection, uris: Collection[str]) -> tuple[Contradiction, ...]:
    """Compare the labels that now hold for these files with those of other files of the same bytes."""
    import pyarrow as pa

    if not uris:
        return ()
    con.register("touched", pa.table({"uri": pa.array(uris, pa.string())}))
    try:
        rows = con.execute(_LOOKUP).fetchall()
    finally:
        con.unregister("touched")
    return tuple(Contradiction(*row) for row in rows)
