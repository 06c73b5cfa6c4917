"""A file at a new place keeps its inspections, labels and links: every table follows it, in one transaction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models_py.errors import DuckspectError
from models_py.layouts import RemoteStore, Tree, normal_url
from models_py.warehouse import transaction

if TYPE_CHECKING:
    import duckdb

_NAMED = 3
"""How many files or folders an error names at most."""


class NewPlace(NamedTuple):
    """A file under its old and its new URI; `version` if it was read there, and has the bytes it had."""

    old: str
    new: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """How many files of one folder, or a file, are found at another place."""

    old: str
    new: str
    files: int


_COLUMNS = (
    ("images", "uri"),
    ("inspections", "uri"),
    ("annotations", "uri"),
    ("annotations", "mask_uri"),
    ("templates", "uri"),
    ("rejected_files", "uri"),
)
"""Where `raw` names files, beside raw.files."""

_KEEP_AS_IT_WAS = """
insert into raw.superseded_inspections by name
select inspections.*, now() as superseded_at, $command as superseded_by
from raw.inspections
semi join new_places on inspections.uri = new_places.old
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


def rename(con: duckdb.DuckDBPyConnection, places: Iterable[NewPlace], command: str) -> None:
    """Give files new URIs wherever `raw` names them. No row of raw.files may have a new one already."""
    import pyarrow as pa

    rows = [place._asdict() for place in places]
    names = pa.schema([(name, pa.string()) for name in NewPlace._fields])
    con.register("new_places", pa.Table.from_pylist(rows, schema=names))
    try:
        with transaction(con):
            con.execute(_KEEP_AS_IT_WAS, {"command": command})
            for table, column in _COLUMNS:
                con.execute(
                    f"update raw.{table} set {column} = new_places.new from new_places "
                    f"where {table}.{column} = new_places.old"
                )
            con.execute(_FOLLOW)
    finally:
        con.unregister("new_places")


_BELOW = """
select
    found.uri,
    any_value(files.size_bytes) filter (where files.role in ('image', 'template', 'label')) as size_bytes
from ({named}) as found (uri)
left join raw.files on found.uri = files.uri
where found.uri = $old or starts_with(found.uri, $old || '/')
group by found.uri
order by found.uri
""".format(named=" union ".join(f"select {column} from raw.{table}" for table, column in (*_COLUMNS, ("files", "uri"))))


def move(con: duckdb.DuckDBPyConnection, old: str, new: str) -> Move:
    """Say that what was loaded from `old` (a folder, file or URL) is at `new` now; refuses unless it is all there."""
    target = _place(new)
    source, known = _loaded(con, old)
    if target == source or target.startswith(f"{source}/"):
        raise DuckspectError(
            f"--moved: {target} is {'the same place as' if target == source else 'inside'} {source}, so nobody could "
            f"tell what has moved. Name the folders that changed their place."
        )
    places = {uri: NewPlace(uri, target + uri[len(source) :]) for uri in known}
    _check_there(source, target, {places[uri].new: size for uri, size in known.items() if size is not None})
    _check_free(con, places)
    rename(con, places.values(), f"ingest --moved {source} {target}")
    return Move(source, target, sum(size is not None for size in known.values()))


def _place(path: str) -> str:
    if "://" in path and not path.startswith("file://"):
        return normal_url(path).rstrip("/")
    return os.path.realpath(Path(path.removeprefix("file://")).expanduser())


def _loaded(con: duckdb.DuckDBPyConnection, old: str) -> tuple[str, dict[str, int | None]]:
    """What is known below a place, as it is or as it was spelled before links were followed; sizes of what was used."""
    given = str(Path(old.removeprefix("file://")).expanduser())
    spellings = (
        [_place(old)] if "://" in old else [_place(old), os.path.abspath(given), os.path.join(os.getcwd(), given)]
    )
    for place in dict.fromkeys(spellings):
        if rows := con.execute(_BELOW, {"old": place}).fetchall():
            return place, dict(rows)
    raise DuckspectError(
        f"--moved: nothing was loaded from {spellings[0]}. Files were loaded from "
        f"{', '.join(_roots(con)) or 'nowhere yet'}."
    )


def _roots(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The few folders that hold all known files: their own, or the next ones above until there are few."""
    rows = con.execute("select distinct parse_dirpath(uri, 'forward_slash') from raw.files").fetchall()
    folders = {folder for (folder,) in rows}
    while len(folders) > _NAMED:
        deepest = max(folder.count("/") for folder in folders)
        folders = {folder.rpartition("/")[0] if folder.count("/") == deepest else folder for folder in folders}
    return sorted(folder for folder in folders if not any(folder.startswith(f"{other}/") for other in folders))


def _check_there(source: str, target: str, sizes: dict[str, int]) -> None:
    """Refuse unless every file that was used is at its new place, with its size."""
    if "://" in target:
        tree = Tree(RemoteStore(target))
        there = {tree.uri(path): stat.size for path, stat in tree.files.items()}
    else:
        there = {uri: os.path.getsize(uri) for uri in sizes if os.path.isfile(uri)}
    missing = [uri for uri in sizes if uri not in there]
    other = [uri for uri, size in sizes.items() if uri in there and there[uri] != size]
    if missing or other:
        what = "do not exist" if missing else "are of another size"
        raise DuckspectError(
            f"--moved: of the {len(sizes):,} files that were loaded from {source}, {len(missing or other):,} {what} "
            f"at {target}: {', '.join((missing or other)[:_NAMED])}. Nothing was changed. Name the place where all of "
            f"them are; or load it without --moved: files of the same name and bytes are recognised one by one."
        )


def _check_free(con: duckdb.DuckDBPyConnection, places: dict[str, NewPlace]) -> None:
    known: Sequence[str] = [
        uri
        for (uri,) in con.execute(
            "select uri from raw.files where uri in (select unnest(?::varchar[])) order by uri",
            [[place.new for place in places.values()]],
        ).fetchall()
        if uri not in places
    ]
    if known:
        raise DuckspectError(
            f"--moved: {len(known):,} of the files were loaded from their new place too, so they are inspections of "
            f"their own: {', '.join(known[:_NAMED])}. Nothing was changed."
        )
