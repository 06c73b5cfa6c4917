"""Reference images (golden boards) of images by the warehouse, where a query or a caller names none.

That is the one that `raw.templates` links to the image; else the golden board of the inspection's product at its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models_py.datasets.contents import has_raw
from models_py.datasets.golden import golden_of_inspections
from models_py.datasets.rows import DatasetRow
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

REFERENCE_REMEDY = (
    "Add a column reference to the query, load the pairs so that raw.templates links them, choose golden boards of the "
    "products (duckspect golden set), or train without: -o reference=none"
)
_LINKED = """
select templates.image_id, coalesce(images.uri, templates.uri) as uri
from raw.templates as templates
left join raw.images as images on images.image_id = templates.template_image_id
where templates.image_id in (select unnest(?::varchar[]))
order by templates.linked_at, templates.template_image_id
"""


def known_references(con: duckdb.DuckDBPyConnection, image_ids: Sequence[str]) -> dict[str, str]:
    """The path of each image's reference, of several links the newest; images that have none are left out."""
    if not image_ids or not has_raw(con):
        return {}
    full = stored_uris(con).full
    linked = {image_id: full(uri) for image_id, uri in con.execute(_LINKED, [list(image_ids)]).fetchall()}
    return golden_of_inspections(con, [image_id for image_id in image_ids if image_id not in linked]) | linked


def attach_references(con: duckdb.DuckDBPyConnection, rows: Sequence[DatasetRow]) -> list[DatasetRow]:
    """Give each row without a reference the one that the warehouse links to its image, if it does."""
    linked = known_references(con, [row.sha256 for row in rows if not row.reference])
    return [row if row.reference else replace(row, reference=linked.get(row.sha256, "")) for row in rows]
