"""Files that were moved or renamed with their folder, recognised when they are met at their new place.

A file that is new under its URI is an old one if its bytes and its name are, the old one is gone, and the folder
explains it: either the path below the loaded root is the same, or the old folder is gone as well. A known file whose
URI leads to the very same file, through a link or another spelling, is that file. Folders are compared first, for names
such as 0001.bmp are in many; bytes last, for they have to be read. All URIs here are full, until the tables follow.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from models_py.ingest.known_files import KnownFile
from models_py.ingest.relocate import FolderMove
from models_py.layouts import Tree, real_path
from models_py.warehouse.database import transaction
from models_py.warehouse.location import NewPlace, full_uri, rename_everywhere

if TYPE_CHECKING:
    import duckdb


class _MoveCandidate(NamedTuple):
    """A known file that may be at a new place: its URI and hash, the new URI and its path in the tree."""

    old: str
    sha256: str
    new: str
    path: str


_CANDIDATES = f"""
create or replace temp table moved_candidates as
select
    {full_uri("files.uri")} as old,
    files.sha256,
    fresh.uri as new,
    fresh.path,
    parse_dirpath(old, 'forward_slash') as old_folder,
    parse_dirpath(fresh.uri, 'forward_slash') as new_folder,
    parse_dirpath(fresh.path, 'forward_slash') as tree_folder
from fresh
inner join raw.files
    on fresh.size_bytes = files.size_bytes and fresh.name = parse_filename(files.uri, false, 'forward_slash')
where files.role in ('image', 'template')
"""


def follow_moved(
    con: duckdb.DuckDBPyConnection, tree: Tree, paths: Mapping[str, str], known: Mapping[str, KnownFile], command: str
) -> list[FolderMove]:
    """Give known files that are met at a new place (`paths` by URI) their new URI; returns what has moved where."""
    uris = tree.uris
    fresh = {uris.full(uri): path for uri, path in paths.items() if uri not in known}
    if not fresh or "://" in tree.root or con.execute("select 1 from raw.files limit 1").fetchone() is None:
        return []
    found = _same_files(tree, _candidates(con, tree, fresh))
    if not found:
        return []
    folders = dict.fromkeys(map(_parted, found))
    found += _others(con, tree, fresh.keys() - {place.new for place in found}, folders)
    counts = Counter(map(_parted, found))
    places = [place._replace(old=uris.stored(place.old), new=uris.stored(place.new)) for place in found]
    with transaction(con):
        rename_everywhere(con, places, f"{command}: moved")
    return [FolderMove(old, new, files) for (old, new), files in counts.most_common()]


def _candidates(
    con: duckdb.DuckDBPyConnection, tree: Tree, fresh: Mapping[str, str]
) -> dict[str, list[_MoveCandidate]]:
    """Known files of the same name and size, in folders that may be those of the new files; by new URI."""
    import pyarrow as pa

    named = [
        {"uri": uri, "path": path, "name": name, "size_bytes": stat.size}
        for uri, path in fresh.items()
        if (stat := tree.stat(path)) is not None
        for name in {os.path.basename(uri), os.path.basename(path)}
    ]
    columns = pa.schema(
        [("uri", pa.string()), ("path", pa.string()), ("name", pa.string()), ("size_bytes", pa.int64())]
    )
    con.register("fresh", pa.Table.from_pylist(named, schema=columns))
    try:
        con.execute(_CANDIDATES, {"prefix": tree.uris.prefix})
    finally:
        con.unregister("fresh")
    folders = con.execute("select distinct old_folder, new_folder, tree_folder from moved_candidates").fetchall()
    chosen = _related(folders)
    rows = con.execute("select * from moved_candidates order by all").fetchall() if chosen else []
    con.execute("drop table moved_candidates")
    found: dict[str, list[_MoveCandidate]] = defaultdict(list)
    for *names, old_folder, new_folder, tree_folder in rows:
        if (old_folder, new_folder, tree_folder) in chosen:
            found[names[2]].append(_MoveCandidate(*names))
    return found


_Folders = tuple[str, str, str]


def _related(folders: Iterable[_Folders]) -> set[_Folders]:
    """Of the old folders that a new one may have been, those with the longest path in common from the end."""
    by_new: dict[tuple[str, str], list[_Folders]] = defaultdict(list)
    for item in folders:
        old, new, below = item
        if "://" in old:
            continue
        if not below or old.endswith(f"/{below}") or not os.path.isdir(old) or os.path.realpath(old) == new:
            by_new[new, below].append(item)
    chosen: set[_Folders] = set()
    for (new, _), items in by_new.items():
        shared = {item: _shared(item[0], new) for item in items}
        most = max(shared.values())
        chosen.update(item for item in items if shared[item] == most or os.path.realpath(item[0]) == new)
    return chosen


def _shared(old: str, new: str) -> int:
    """How many parts two paths have in common, from the end."""
    ends = zip(reversed(old.split("/")), reversed(new.split("/")), strict=False)
    return next((count for count, (one, other) in enumerate(ends) if one != other), 0)


def _same_files(tree: Tree, candidates: Mapping[str, list[_MoveCandidate]]) -> list[NewPlace]:
    """Of the candidates, those that are the same file or are gone and had the same bytes; each once."""
    gone = {item.old for items in candidates.values() for item in items if not os.path.exists(item.old)}
    moved = {new: items[0].path for new, items in candidates.items() if any(item.old in gone for item in items)}
    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(moved, pool.map(lambda path: _hash(tree, path), moved.values()), strict=True))
    found: dict[str, NewPlace] = {}
    folders: dict[str, str] = {}
    for new, items in candidates.items():
        for item in items:
            if item.old in found:
                continue
            if item.old in gone and hashes[new] == item.sha256:
                stat = tree.stat(item.path)
                found[item.old] = NewPlace(item.old, new, stat and stat.version)
                break
            if item.old not in gone and real_path(item.old, folders) == new:
                found[item.old] = NewPlace(item.old, new)
                break
    return list(found.values())


def _hash(tree: Tree, path: str) -> str | None:
    try:
        return hashlib.sha256(tree.read(path)).hexdigest()
    except OSError:  # the load that follows will say why
        return None


def _parted(place: NewPlace) -> tuple[str, str]:
    """The folders, or else the files, that were renamed: both URIs without the end that they have in common."""
    shared = _shared(place.old, place.new)
    return _up(place.old, shared), _up(place.new, shared)


def _up(uri: str, parts: int) -> str:
    return uri if not parts else "/".join(uri.split("/")[:-parts]) or "/"


def _others(
    con: duckdb.DuckDBPyConnection, tree: Tree, fresh: Iterable[str], folders: Iterable[tuple[str, str]]
) -> list[NewPlace]:
    """Label files and whatever else moved along with the images of these folders."""
    came_from: dict[str, list[str]] = defaultdict(list)
    for old, new in folders:
        came_from[new].append(old)
    places: dict[str, str] = {}
    for uri in fresh:
        parts = uri.split("/")
        for end in range(len(parts) - 1, 0, -1):
            for old in came_from.get("/".join(parts[:end]), ()):
                places.setdefault("/".join([old, *parts[end:]]), uri)
    known = con.execute(
        "select uri from raw.files where uri in (select unnest(?::varchar[])) and role not in ('image', 'template') "
        "order by uri",
        [list(map(tree.uris.stored, places))],
    ).fetchall()
    found: dict[str, NewPlace] = {}
    for old in (tree.uris.full(uri) for (uri,) in known):
        if not os.path.exists(old) or os.path.realpath(old) == places[old]:
            found.setdefault(places[old], NewPlace(old, places[old]))
    return list(found.values())
