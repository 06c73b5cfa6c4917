"""Where the images of frozen rows are now: rows are kept by content, and the warehouse knows where that lies."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from models_py.datasets.contents import has_raw
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


def locate(con: duckdb.DuckDBPyConnection, examples: Sequence[DatasetRow]) -> tuple[DatasetRow, ...]:
    """Give each example the place where the warehouse has its image, and masks that are gone the place of their bytes.

    What the warehouse does not know stays where it was.
    """
    if not has_raw(con):
        return tuple(examples)
    uris = stored_uris(con)
    examples = [item.renamed(uris.full) for item in examples]
    images = _by_image(con, uris, _IMAGES, [item.sha256 for item in examples])
    found = [
        replace(item, image=next(filter(_is_there, [*images[item.sha256], item.image]), item.image))
        for item in examples
    ]
    lost = [item.sha256 for item in found if not all(map(_is_there, item.masks))]
    masks = _by_image(con, uris, _MASKS, lost) if lost else {}
    return tuple(_with_masks(item, masks.get(item.sha256, [])) for item in found)


def _by_image(con: duckdb.DuckDBPyConnection, uris: StoredUris, query: str, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for image_id, uri in con.execute(query, {"ids": list(ids)}).fetchall():
        found[image_id].append(uris.full(uri))
    return found


def _is_there(uri: str) -> bool:
    """Whether a file exists; a URL is taken to."""
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
    except ImageError:  # no mask that can be read, so none that is looked for
        return None
