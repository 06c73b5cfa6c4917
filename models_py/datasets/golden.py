"""Golden boards of products: which one holds when, as an append-only history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_py.images.decode import decode, open_bytes
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

_INSERT = "insert into raw.golden_images values (?, ?, ?, ?, ?, ?, ?)"
# The first golden board of a product holds for what was captured before it was chosen, too.
_AT = """
select uri from raw.golden_images
where product_type = $product
order by valid_from <= $at desc, if(valid_from <= $at, valid_from, null) desc, valid_from, set_at desc
limit 1
"""
_OF_INSPECTIONS = """
with shown as (
    select image_id, product_type, coalesce(captured_at, ingested_at) as seen_at
    from raw.inspections
    where product_type is not null and image_id in (select unnest($ids::varchar[]))
    qualify row_number() over (partition by image_id order by seen_at desc, product_type) = 1
)

select shown.image_id, golden.uri
from shown
inner join raw.golden_images as golden using (product_type)
qualify row_number() over (
    partition by shown.image_id
    order by
        golden.valid_from <= seen_at desc,
        if(golden.valid_from <= seen_at, golden.valid_from, null) desc,
        golden.valid_from,
        golden.set_at desc
) = 1
"""


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """A choice of a product's golden board."""

    product_type: str
    uri: str
    valid_from: datetime
    set_by: str
    reason: str


def set_golden_image(
    con: duckdb.DuckDBPyConnection, product: str, file: str, *, by: str, reason: str, since: datetime | None = None
) -> GoldenImage:
    """Choose a product's golden board, from now on or from another moment; the file must be an image."""
    data = open_bytes(file)
    decode(data)
    now = datetime.now(UTC)
    uri, valid_from = stored_uris(con).normal(file), since or now
    con.execute(_INSERT, [product, hashlib.sha256(data).hexdigest(), uri, valid_from, now, by, reason])
    return GoldenImage(product, uri, valid_from, by, reason)


def golden_image(con: duckdb.DuckDBPyConnection, product: str, at: datetime | None = None) -> str | None:
    """The path of the golden board that a product has now, or had at a moment; None if it never had one."""
    row = con.execute(_AT, {"product": product, "at": at or datetime.now(UTC)}).fetchone()
    return stored_uris(con).full(str(row[0])) if row else None


def golden_images(con: duckdb.DuckDBPyConnection, product: str | None = None) -> list[GoldenImage]:
    """All choices, by product, the newest first."""
    rows = con.execute(
        "select product_type, uri, valid_from, set_by, reason from raw.golden_images "
        "where $product is null or product_type = $product order by product_type, valid_from desc, set_at desc",
        {"product": product},
    ).fetchall()
    full = stored_uris(con).full
    return [GoldenImage(name, full(uri), valid_from, by, reason) for name, uri, valid_from, by, reason in rows]


def golden_of_inspections(con: duckdb.DuckDBPyConnection, image_ids: Sequence[str]) -> dict[str, str]:
    """The golden board of each inspected image's product at the time at which it was captured."""
    full = stored_uris(con).full
    rows = con.execute(_OF_INSPECTIONS, {"ids": list(image_ids)}).fetchall()
    return {image_id: full(uri) for image_id, uri in rows}
