"""What ingestion remembers of the files it has read, so that an unchanged one is not opened again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_py.images import ImageFacts
from models_py.layouts import Stat

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `raw.files`, with the facts of its image if it is one."""

    size: int
    version: str
    role: str
    sha256: str | None
    layout: str
    label_set_id: str | None
    facts: ImageFacts | None

    def is_current(self, stat: Stat) -> bool:
        return self.size == stat.size and self.version == stat.version


_LOOKUP = """
select
    files.uri, files.size_bytes, files.version, files.role, files.sha256, files.layout, files.label_set_id,
    images.format, images.width, images.height, images.channels
from raw.files
semi join wanted on files.uri = wanted.uri
left join raw.images on files.sha256 = images.image_id
"""


def remembered(con: duckdb.DuckDBPyConnection, uris: Iterable[str]) -> dict[str, Entry]:
    """Fetch the entries of these files; those never read are absent."""
    import pyarrow as pa

    con.register("wanted", pa.table({"uri": pa.array(uris, pa.string())}))
    try:
        rows = con.execute(_LOOKUP).fetchall()
    finally:
        con.unregister("wanted")
    return {
        uri: Entry(size, version, role, sha256, layout, label_set, ImageFacts(*facts) if facts[0] else None)
        for uri, size, version, role, sha256, layout, label_set, *facts in rows
    }
