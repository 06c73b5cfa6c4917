"""Which reference image (golden board) stands beside an image when a model that compares the two judges it.

The one that the caller names; else the one that `raw.templates` links to the image; else the golden board of the
inspection's product at its time, or for an image that is no inspection yet the one that its product has now. All images
of a call are looked up together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from models_py.datasets.golden import golden_image
from models_py.datasets.references import known_references
from models_py.warehouse.location import StoredUris
from udfs.runtime.image_reader import ImageSource

if TYPE_CHECKING:
    import duckdb

    from models_py.registry import Version

NO_REFERENCE_KNOWN = (
    "there is no reference image: name one with reference := ..., load the pair so that raw.templates links them, or "
    "choose the product's: duckspect golden set PRODUCT IMAGE"
)
_IDS = """
select uri, sha256 from raw.files where sha256 is not null and uri in (select unnest($uris::varchar[]))
union all
select uri, image_id from raw.inspections where uri in (select unnest($uris::varchar[]))
"""


class ReferenceResolver:
    """Puts reference images beside images, for the models that need them."""

    def __init__(
        self, cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]], uris: StoredUris
    ) -> None:
        self._cursor = cursor
        self._uris = uris

    def beside(self, sources: Sequence[ImageSource | None], version: Version) -> list[ImageSource | None]:
        """The images with their references if the version needs any, else without; one that has none stays alone."""
        if not version.needs_reference_image:
            return [source and source.alone for source in sources]
        return self.all_beside(sources)

    def all_beside(self, sources: Sequence[ImageSource | None]) -> list[ImageSource | None]:
        """The images with their references; one that has none stays alone."""
        found = self._found([source for source in sources if source is not None and source.reference is None])
        return [
            source and (source if source.reference is not None else replace(source, reference=found.get(source.key)))
            for source in sources
        ]

    def _found(self, sources: Sequence[ImageSource]) -> dict[object, ImageSource]:
        if not sources:
            return {}
        with self._cursor() as con:
            ids = self._image_ids(con, sources)
            known = known_references(con, list(set(ids.values())))
            of_products = {name: golden_image(con, name) for name in {source.product for source in sources} if name}
        found: dict[object, ImageSource] = {}
        for source in sources:
            uri = known.get(ids.get(source.key, "")) or of_products.get(source.product or "")
            if uri is not None:
                found[source.key] = ImageSource(uri, None)
        return found

    def _image_ids(self, con: duckdb.DuckDBPyConnection, sources: Sequence[ImageSource]) -> dict[object, str]:
        """The hash of each image by its key: of bytes by computing it, of files as the warehouse knows it."""
        ids: dict[object, str] = {
            source.key: hashlib.sha256(source.data).hexdigest() for source in sources if source.data is not None
        }
        keys = {self._uris.normal(source.uri): source.key for source in sources if source.uri is not None}
        if keys:
            rows = con.execute(_IDS, {"uris": list(keys)}).fetchall()
            ids |= {keys[uri]: image_id for uri, image_id in rows}
        return ids
