"""Find the files of frozen rows where they are now: rows are stored with hashes, and the warehouse knows the URIs."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models_py.datasets.contents import has_raw
from models_py.datasets.references import attach_references
from models_py.datasets.rows import DatasetRow
from models_py.errors import ImageError
from models_py.images.decode import open_bytes
from models_py.warehouse.location import StoredUris, stored_uris

if TYPE_CHECKING:
    import duckdb

_IMAGES = """
select image_id, uri from raw.images where image_id in (select unnest($ids::varchar[]))
union all
select image_id, uri from raw.inspections where image_id in (select unnest($ids::varchar[]))
"""
_MASKS = """
select distinct image_id, mask_uri
from raw.annotations
where image_id in (select unnest($ids::varchar[])) and mask_uri is not null
"""


def locate(con: duckdb.DuckDBPyConnection, rows: Sequence[DatasetRow]) -> tuple[DatasetRow, ...]:
    """Give each row the current path of its image and reference, and of masks that are gone one with the same hash.

    Files that the warehouse does not know keep their path. Rows that were frozen without a reference get the one that
    the warehouse links to their image: another version than the one they were frozen for may need it.
    """
    if not has_raw(con):
        return tuple(rows)
    uris = stored_uris(con)
    rows = [row.renamed(uris.full) for row in rows]
    images = _by_image(con, uris, _IMAGES, [row.sha256 for row in rows])
    located = [replace(row, image=next(filter(_is_there, [*images[row.sha256], row.image]), row.image)) for row in rows]
    without_masks = [row.sha256 for row in located if not all(map(_is_there, row.masks))]
    masks = _by_image(con, uris, _MASKS, without_masks) if without_masks else {}
    moved = _with_moved_references(con, uris, [_with_masks(row, masks.get(row.sha256, [])) for row in located])
    return tuple(attach_references(con, moved))


def _with_moved_references(
    con: duckdb.DuckDBPyConnection, uris: StoredUris, rows: Sequence[DatasetRow]
) -> list[DatasetRow]:
    gone = [row.reference_sha256 for row in rows if row.reference and not _is_there(row.reference)]
    known = _by_image(con, uris, _IMAGES, gone) if gone else {}
    return [
        replace(row, reference=next(filter(_is_there, known.get(row.reference_sha256, [])), row.reference))
        if row.reference and not _is_there(row.reference)
        else row
        for row in rows
    ]


def _by_image(con: duckdb.DuckDBPyConnection, uris: StoredUris, query: str, ids: Sequence[str]) -> dict[str, list[str]]:
    by_image: dict[str, list[str]] = defaultdict(list)
    for image_id, uri in con.execute(query, {"ids": list(ids)}).fetchall():
        by_image[image_id].append(uris.full(uri))
    return by_image


def _is_there(uri: str) -> bool:
    """Whether a file exists; URLs are assumed to exist."""
    return "://" in uri or os.path.exists(uri)


def _with_masks(item: DatasetRow, known: Iterable[str]) -> DatasetRow:
    hashes = {_hash(uri): uri for uri in known if _is_there(uri)}
    return replace(
        item,
        masks=tuple(
            mask if _is_there(mask) else hashes.get(digest, mask)
            for mask, digest in zip(item.masks, item.mask_sha256 or item.masks, strict=True)
        ),
    )


def _hash(uri: str) -> str | None:
    try:
        return hashlib.sha256(open_bytes(uri)).hexdigest()
    except ImageError:  # a mask that cannot be read is not the one that is looked for
        return None
