"""The URIs under which a warehouse stores its files, made so that the warehouse can be moved together with them.

A file below the warehouse's folder is stored by its path relative to that folder, such as `images/a.png`; any other
file by its absolute path or URL. Only `StoredUris` converts between the stored form and what can be opened.

The table `warehouse_location` holds the folder in which the warehouse was last opened for writing. If that is another
one now, `settle` goes through every stored URI: files that came along keep their relative URI, files that are still
only in the old folder get their absolute path, and files that are now below the folder become relative. It runs in the
transaction of the migrations. A copy that is only read cannot be changed, so `StoredUris.full` looks beside the copy
first, and then in the folder of the original.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import duckdb


class NewPlace(NamedTuple):
    """A file's old and new URI; `version` is its modification time there if its bytes were read and are the same."""

    old: str
    new: str
    version: str | None = None


def is_relative(uri: str) -> bool:
    """Whether a URI is relative to the warehouse's folder. `./a.png` is relative to the current folder instead."""
    return bool(uri) and not uri.startswith(("/", "./", "../", "~", "urn:")) and "://" not in uri


@dataclass(frozen=True, slots=True)
class StoredUris:
    """Converts between stored URIs and those that can be opened; in a database without a folder they are the same."""

    folder: str | None = None
    original_folder: str | None = None
    """The folder of the original warehouse, if this one is a copy of it for readers."""

    @property
    def prefix(self) -> str:
        """What to put before a relative URI to make it absolute: the folder with a slash."""
        return "" if self.folder is None else _below(self.folder)

    def full(self, uri: str) -> str:
        """The absolute path or URL of a stored URI."""
        if self.folder is None or not is_relative(uri):
            return uri
        path = _below(self.folder) + uri
        if self.original_folder is not None and not os.path.lexists(path):
            original = _below(self.original_folder) + uri
            return original if os.path.lexists(original) else path
        return path

    def folders(self, known: Iterable[str]) -> Iterator[str]:
        """The absolute folders that stored folders may stand for; '' is the warehouse's own."""
        for folder in known:
            if self.folder is None or (folder and not is_relative(folder)):
                yield folder
                continue
            yield _below(self.folder) + folder
            if self.original_folder is not None:
                yield _below(self.original_folder) + folder

    def stored(self, uri: str) -> str:
        """The form in which to store a URL, or an absolute path whose links are resolved."""
        if self.folder is None or not uri.startswith(self.prefix):
            return uri
        rest = uri[len(self.prefix) :]
        return rest if is_relative(rest) else uri

    def normal(self, uri: str) -> str:
        """The stored form of a file, from any spelling of its path."""
        path = uri.removeprefix("file://")
        if "://" in path or path.startswith("urn:"):
            return uri
        return self.stored(os.path.realpath(os.path.expanduser(self.full(path))))


def _below(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def stored_uris(con: duckdb.DuckDBPyConnection) -> StoredUris:
    """The conversion for a connection's warehouse; for a database that is no warehouse it changes nothing."""
    here, recorded = _folder(con), _recorded_folder(con)
    return StoredUris() if recorded is None else StoredUris(here, recorded if recorded != here else None)


def full_uri(column: str) -> str:
    """SQL that does to a column what `StoredUris.full` does, with `StoredUris.prefix` bound as `$prefix`."""
    return rf"if(regexp_matches({column}, '^(/|\.\.?/|~|urn:)|://'), {column}, $prefix || {column})"


def _folder(con: duckdb.DuckDBPyConnection) -> str | None:
    row = con.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()
    return None if row is None or row[0] is None else os.path.dirname(os.path.realpath(row[0]))


def _recorded_folder(con: duckdb.DuckDBPyConnection) -> str | None:
    if not _has_table(con):
        return None
    row = con.execute("select folder from warehouse_location").fetchone()
    return None if row is None else str(row[0])


def _has_table(con: duckdb.DuckDBPyConnection) -> bool:
    row = con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'main' and table_name = 'warehouse_location'"
    ).fetchone()
    return row is not None


def is_settled(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the warehouse is in the folder in which it was last opened for writing."""
    here = _folder(con)
    return here is None or not _has_table(con) or _recorded_folder(con) == here


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Update all stored URIs for the folder in which the warehouse is now; call it within a transaction.

    Files below the folder become relative, also in a warehouse made before there were relative URIs. A file that is not
    here but still in the old folder becomes absolute: the warehouse was copied or moved without it.
    """
    if is_settled(con):
        return
    here, before = StoredUris(_folder(con)), StoredUris(_recorded_folder(con))
    known = dict(_known_files(con))
    new_uris = {uri: _uri_from_here(uri, here, before, state) for uri, state in known.items()}
    places = [NewPlace(uri, new) for uri, new in new_uris.items() if new != uri and new not in known]
    rename_everywhere(con, places)
    con.execute("delete from warehouse_location")
    con.execute("insert into warehouse_location values (?, now())", [here.folder])


_State = tuple[int, str] | None
"""Size and version of a file when it was loaded; None for a file that was not loaded itself, such as a drawn mask."""


def _known_files(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, _State]]:
    """Every stored URI in the tables of `raw`, with the file's state."""
    rows = con.execute(
        f"select found.uri, files.size_bytes, files.version from ({raw_uris(con)}) as found "
        "left join raw.files on found.uri = files.uri order by found.uri"
    ).fetchall()
    for uri, size, version in rows:
        yield uri, None if size is None else (size, version)


def _uri_from_here(uri: str, here: StoredUris, before: StoredUris, state: _State) -> str:
    if not is_relative(uri):
        return here.stored(uri)
    old_path = before.full(uri)
    stayed_behind = before.folder is not None and not os.path.lexists(here.full(uri)) and _is_same(old_path, state)
    return old_path if stayed_behind else uri


def _is_same(path: str, state: _State) -> bool:
    """Whether a file exists with the size and time it had when it was loaded, so that it is not another file."""
    try:
        stat = os.stat(path)
    except OSError:
        return False
    return state in (None, (stat.st_size, str(stat.st_mtime_ns)))


# All tables with a URI follow, those that dbt built and users made too: joins on the URI would find nothing until the
# next build otherwise. Two are left out: raw.superseded_inspections says where a file was at the time, and raw.files is
# updated by _UPDATE_FILES, which also keeps the first URI, because ids are made from it.
_URI_COLUMNS = """
select columns.schema_name, columns.table_name, columns.column_name
from duckdb_columns() as columns
inner join duckdb_tables() as tables using (database_oid, schema_oid, table_oid)
where
    columns.database_name = current_database()
    and not tables.temporary
    and columns.column_name in ('uri', 'mask_uri')
    and columns.data_type = 'VARCHAR'
    and (columns.schema_name, columns.table_name) not in (('raw', 'files'), ('raw', 'superseded_inspections'))
order by all
"""
_UPDATE_FILES = """
update raw.files
set
    uri = new_places.new,
    first_uri = nullif(coalesce(files.first_uri, files.uri), new_places.new),
    version = coalesce(new_places.version, files.version)
from new_places
where files.uri = new_places.old
"""
_SUPERSEDE = """
insert into raw.superseded_inspections by name
select inspections.*, now() as superseded_at, $command as superseded_by
from raw.inspections
semi join new_places on inspections.uri = new_places.old
"""


def raw_uris(con: duckdb.DuckDBPyConnection) -> str:
    """SQL for the distinct URIs in the tables of `raw`."""
    columns = [(table, name) for schema, table, name in _uri_columns(con) if schema == "raw"]
    parts = [f"select {name} as uri from raw.{table} where {name} is not null" for table, name in columns]
    return " union ".join([*parts, "select uri from raw.files"])


def _uri_columns(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Schema, table and column of everything that holds URIs."""
    return con.execute(_URI_COLUMNS).fetchall()


def rename_everywhere(
    con: duckdb.DuckDBPyConnection, places: Iterable[NewPlace], command: str | None = None
) -> dict[str, int]:
    """Give files new URIs in every table that names them, within a transaction; return the rows changed by table.

    None of the new URIs may be in raw.files already. Ids stay, because they are made from the first URI. With a
    `command`, the inspections as they were are copied to raw.superseded_inspections.
    """
    import pyarrow as pa

    rows = [place._asdict() for place in places]
    if not rows:
        return {}
    names = pa.schema([(name, pa.string()) for name in NewPlace._fields])
    con.register("new_places", pa.Table.from_pylist(rows, schema=names))
    try:
        if command is not None:
            con.execute(_SUPERSEDE, {"command": command})
        counts: dict[str, int] = {}
        for schema, table, column in _uri_columns(con):
            updated = con.execute(
                f'update "{schema}"."{table}" as target set {column} = new_places.new from new_places '
                f"where target.{column} = new_places.old"
            ).fetchone()
            counts[f"{schema}.{table}"] = counts.get(f"{schema}.{table}", 0) + (int(updated[0]) if updated else 0)
        updated = con.execute(_UPDATE_FILES).fetchone()
        counts["raw.files"] = int(updated[0]) if updated else 0
        return {table: count for table, count in counts.items() if count}
    finally:
        con.unregister("new_places")
