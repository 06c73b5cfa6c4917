"""Look up files in `raw.files`, which records every file that was loaded, so that unchanged ones are not read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_py.images import ImageFacts
from models_py.layouts import FileStat
from models_py.warehouse.location import StoredUris, full_uri

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A row of `raw.files`, with the facts of its image if it is one."""

    size: int
    version: str
    role: str
    sha256: str | None
    layout: str
    label_set_id: str | None
    first_uri: str | None
    facts: ImageFacts | None

    def is_current(self, stat: FileStat) -> bool:
        return self.size == stat.size and self.version == stat.version


_LOOKUP = """
select
    files.uri, files.size_bytes, files.version, files.role, files.sha256, files.layout, files.label_set_id,
    files.first_uri, images.format, images.width, images.height, images.channels
from raw.files
semi join wanted on files.uri = wanted.uri
left join raw.images on files.sha256 = images.image_id
"""

_VANISHED = f"""
select files.uri
from raw.files
anti join wanted on files.uri = wanted.uri
where
    files.role in ('image', 'template', 'label')
    and list_bool_or(list_transform($prefixes::varchar[], lambda folder: starts_with({full_uri("files.uri")}, folder)))
order by files.uri
"""


def known_files(con: duckdb.DuckDBPyConnection, uris: Iterable[str]) -> dict[str, KnownFile]:
    """Fetch the entries of these files from `raw.files`, by URI; files that were never read have none."""
    with _wanted(con, uris):
        rows = con.execute(_LOOKUP).fetchall()
    return {
        uri: KnownFile(size, version, role, sha256, layout, label_set, first, ImageFacts(*facts) if facts[0] else None)
        for uri, size, version, role, sha256, layout, label_set, first, *facts in rows
    }


def vanished(
    con: duckdb.DuckDBPyConnection, uris: Iterable[str], prefixes: Sequence[str], names: StoredUris
) -> list[str]:
    """The files that were loaded from below these prefixes and are not among the ones listed now."""
    if not prefixes:
        return []
    with _wanted(con, uris):
        return [
            names.full(uri)
            for (uri,) in con.execute(_VANISHED, {"prefixes": list(prefixes), "prefix": names.prefix}).fetchall()
        ]


def free_names(con: duckdb.DuckDBPyConnection, uris: Iterable[str]) -> dict[str, str]:
    """Names for the ids of new files whose URI is taken as `first_uri` by a file that moved away: `URI#2`, `URI#3`, ...

    Only URIs that need such a name are in the result.
    """
    names: dict[str, str] = {}
    if con.execute("select 1 from raw.files where first_uri is not null limit 1").fetchone() is None:
        return names
    candidates, number = {uri: uri for uri in uris}, 1
    while candidates:
        with _wanted(con, candidates):
            rows = con.execute("select distinct first_uri from raw.files semi join wanted on first_uri = wanted.uri")
            taken = [candidates[name] for (name,) in rows.fetchall()]
        number += 1
        candidates = {f"{uri}#{number}": uri for uri in taken}
        names.update({uri: name for name, uri in candidates.items()})
    return names


@contextmanager
def _wanted(con: duckdb.DuckDBPyConnection, uris: Iterable[str]) -> Iterator[None]:
    import pyarrow as pa

    con.register("wanted", pa.table({"uri": pa.array(uris, pa.string())}))
    try:
        yield
    finally:
        con.unregister("wanted")
