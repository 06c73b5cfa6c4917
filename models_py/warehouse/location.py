"""What a warehouse calls its files, so that it can be moved together with them.

A file below the warehouse's folder is stored by its path from there, such as `images/a.png`; any other by its absolute
path or URL. `StoredUris` is the one place where the two are turned into each other. The warehouse remembers its folder;
when it is opened for writing in another one, `settle` decides of every file whether it came along. A copy that is only
read does not change: where it has no such file beside it, the folder that it remembers is meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import duckdb


class NewPlace(NamedTuple):
    """A file under its old and its new URI; `version` if it was read there, and has the bytes it had."""

    old: str
    new: str
    version: str | None = None


def is_relative(uri: str) -> bool:
    """Whether a URI is relative to the warehouse's folder; `./a.png` is one relative to the current folder."""
    return bool(uri) and not uri.startswith(("/", "./", "../", "~", "urn:")) and "://" not in uri


@dataclass(frozen=True, slots=True)
class StoredUris:
    """Between stored URIs and those that can be opened; in a warehouse without a folder they are the same."""

    folder: str | None = None
    remembered: str | None = None
    """The folder of the warehouse of which this one is a copy."""

    @property
    def prefix(self) -> str:
        """What a relative URI lacks."""
        return "" if self.folder is None else _below(self.folder)

    def full(self, uri: str) -> str:
        """The absolute path or URL of a stored URI."""
        if self.folder is None or not is_relative(uri):
            return uri
        path = _below(self.folder) + uri
        if self.remembered is not None and not os.path.lexists(path):
            other = _below(self.remembered) + uri
            return other if os.path.lexists(other) else path
        return path

    def folders(self, known: Iterable[str]) -> Iterator[str]:
        """The folders that the stored ones, of which '' is the warehouse's own, may be."""
        for folder in known:
            if self.folder is None or (folder and not is_relative(folder)):
                yield folder
                continue
            yield _below(self.folder) + folder
            if self.remembered is not None:
                yield _below(self.remembered) + folder

    def stored(self, uri: str) -> str:
        """What to store of a URL, or of an absolute path in which all links were followed."""
        if self.folder is None or not uri.startswith(self.prefix):
            return uri
        rest = uri[len(self.prefix) :]
        return rest if is_relative(rest) else uri

    def normal(self, uri: str) -> str:
        """What is stored of a file, however somebody else spells it."""
        path = uri.removeprefix("file://")
        if "://" in path or path.startswith("urn:"):
            return uri
        return self.stored(os.path.realpath(os.path.expanduser(self.full(path))))


def _below(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"


def stored_uris(con: duckdb.DuckDBPyConnection) -> StoredUris:
    """How the warehouse of a connection calls its files; any other database calls them as everybody does."""
    here, remembered = _folder(con), _remembered(con)
    return StoredUris() if remembered is None else StoredUris(here, remembered if remembered != here else None)


def full_uri(column: str) -> str:
    """SQL for what `StoredUris.full` says of a column, with `StoredUris.prefix` as `$prefix`."""
    return rf"if(regexp_matches({column}, '^(/|\.\.?/|~|urn:)|://'), {column}, $prefix || {column})"


def _folder(con: duckdb.DuckDBPyConnection) -> str | None:
    row = con.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()
    return None if row is None or row[0] is None else os.path.dirname(os.path.realpath(row[0]))


def _remembered(con: duckdb.DuckDBPyConnection) -> str | None:
    if not _has_table(con):
        return None
    row = con.execute("select folder from warehouse_location").fetchone()
    return None if row is None else str(row[0])


def _has_table(con: duckdb.DuckDBPyConnection) -> bool:
    found = con.execute(
        "select 1 from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'main' and table_name = 'warehouse_location'"
    ).fetchone()
    return found is not None


def is_settled(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the warehouse is where it was last opened for writing."""
    here = _folder(con)
    return here is None or not _has_table(con) or _remembered(con) == here


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Have the warehouse's files called as they are from the folder in which it is now, within a transaction.

    What lies below it becomes relative, in a warehouse made before there were relative URIs too. A file that is not
    here but still where the warehouse was becomes absolute: the warehouse was copied or moved without it.
    """
    if is_settled(con):
        return
    here, before = StoredUris(_folder(con)), StoredUris(_remembered(con))
    known = dict(_known(con))
    called = {uri: _called(uri, here, before, state) for uri, state in known.items()}
    places = [NewPlace(uri, new) for uri, new in called.items() if new != uri and new not in known]
    rename_everywhere(con, places)
    con.execute("delete from warehouse_location")
    con.execute("insert into warehouse_location values (?, now())", [here.folder])


_State = tuple[int, str] | None
"""Size and version of a file when it was loaded, None if it never was."""


def _known(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, _State]]:
    """Every URI that a table of `raw` has, as it is stored."""
    rows = con.execute(
        f"select found.uri, files.size_bytes, files.version from ({raw_uris(con)}) as found "
        "left join raw.files on found.uri = files.uri order by found.uri"
    ).fetchall()
    for uri, size, version in rows:
        yield uri, None if size is None else (size, version)


def _called(uri: str, here: StoredUris, before: StoredUris, state: _State) -> str:
    if not is_relative(uri):
        return here.stored(uri)
    is_left = before.folder is not None and not os.path.lexists(here.full(uri)) and _is_there(before.full(uri), state)
    return before.full(uri) if is_left else uri


def _is_there(path: str, state: _State) -> bool:
    """Whether there is a file, as it was when it was loaded: another under its name must not pass for it."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return state in (None, (found.st_size, str(found.st_mtime_ns)))


# raw.superseded_inspections keeps what held before. raw.files has its own rule, for ids are made from its first_uri.
_HOLDERS = """
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
_FOLLOW = """
update raw.files
set
    uri = new_places.new,
    first_uri = nullif(coalesce(files.first_uri, files.uri), new_places.new),
    version = coalesce(new_places.version, files.version)
from new_places
where files.uri = new_places.old
"""
_KEEP_AS_IT_WAS = """
insert into raw.superseded_inspections by name
select inspections.*, now() as superseded_at, $command as superseded_by
from raw.inspections
semi join new_places on inspections.uri = new_places.old
"""


def raw_uris(con: duckdb.DuckDBPyConnection) -> str:
    """SQL for the URIs that `raw` has, each once."""
    holders = [(table, name) for schema, table, name in _holders(con) if schema == "raw"]
    parts = [f"select {name} as uri from raw.{table} where {name} is not null" for table, name in holders]
    return " union ".join([*parts, "select uri from raw.files"])


def _holders(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    return con.execute(_HOLDERS).fetchall()


def rename_everywhere(
    con: duckdb.DuckDBPyConnection, places: Iterable[NewPlace], command: str | None = None
) -> dict[str, int]:
    """Give files new URIs in every table that names them, within a transaction; rows changed by table.

    No row of raw.files may have a new one already. Ids stay, for they are made from the first URI. With a command,
    inspections are kept as they were in raw.superseded_inspections.
    """
    import pyarrow as pa

    rows = [place._asdict() for place in places]
    if not rows:
        return {}
    names = pa.schema([(name, pa.string()) for name in NewPlace._fields])
    con.register("new_places", pa.Table.from_pylist(rows, schema=names))
    try:
        if command is not None:
            con.execute(_KEEP_AS_IT_WAS, {"command": command})
        counts: dict[str, int] = {}
        for schema, table, column in _holders(con):
            done = con.execute(
                f'update "{schema}"."{table}" as held set {column} = new_places.new from new_places '
                f"where held.{column} = new_places.old"
            ).fetchone()
            counts[f"{schema}.{table}"] = counts.get(f"{schema}.{table}", 0) + (int(done[0]) if done else 0)
        done = con.execute(_FOLLOW).fetchone()
        return {table: count for table, count in (counts | {"raw.files": int(done[0]) if done else 0}).items() if count}
    finally:
        con.unregister("new_places")
