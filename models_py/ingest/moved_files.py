"""Recognise files that were moved or renamed together with their folder, when a load meets them at their new place.

A file with an unknown URI is taken to be a known file that moved if all of this holds:

- name, size and bytes are the same,
- the old file does not exist any more,
- the folder explains it: the path below the loaded root is the same, or the old folder is gone as well.

Bytes alone are not enough: a stopped camera writes the same picture under many names. Names alone are not enough
either: names such as 0001.bmp are in many folders. A known file whose old URI still leads to this very file, through a
link or another spelling, is that file, without any comparison.

The cheap comparisons come first: names and sizes in SQL, then folders, and the bytes, which have to be read, last. Then
label files of the same folders follow their images. All URIs in this module are absolute; they are converted to stored
URIs just before the tables are updated.
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
    """Give known files that moved to one of these `paths` (by URI) their new URI; return the folders that moved."""
    uris = tree.uris
    fresh = {uris.full(uri): path for uri, path in paths.items() if uri not in known}
    if not fresh or "://" in tree.root or con.execute("select 1 from raw.files limit 1").fetchone() is None:
        return []
    moved = _same_files(tree, _candidates(con, tree, fresh))
    if not moved:
        return []
    folders = dict.fromkeys(map(_renamed_part, moved))
    moved += _label_files(con, tree, fresh.keys() - {place.new for place in moved}, folders)
    counts = Counter(map(_renamed_part, moved))
    places = [place._replace(old=uris.stored(place.old), new=uris.stored(place.new)) for place in moved]
    with transaction(con):
        rename_everywhere(con, places, f"{command}: moved")
    return [FolderMove(old, new, files) for (old, new), files in counts.most_common()]


def _candidates(
    con: duckdb.DuckDBPyConnection, tree: Tree, fresh: Mapping[str, str]
) -> dict[str, list[_MoveCandidate]]:
    """Known files of the same name and size, in folders that may have become those of the new files; by new URI."""
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
    candidates: dict[str, list[_MoveCandidate]] = defaultdict(list)
    for *columns_of_file, old_folder, new_folder, tree_folder in rows:
        if (old_folder, new_folder, tree_folder) in chosen:
            candidate = _MoveCandidate(*columns_of_file)
            candidates[candidate.new].append(candidate)
    return candidates


_Folders = tuple[str, str, str]


def _related(folders: Iterable[_Folders]) -> set[_Folders]:
    """Of the old folders that may have become a new one, those that share the longest end of their paths with it."""
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
    """How many parts two paths have in common, counted from the end."""
    ends = zip(reversed(old.split("/")), reversed(new.split("/")), strict=False)
    return next((count for count, (one, other) in enumerate(ends) if one != other), 0)


def _same_files(tree: Tree, candidates: Mapping[str, list[_MoveCandidate]]) -> list[NewPlace]:
    """The candidates that are the same file, or are gone and had the same bytes; each old file at most once."""
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
    except OSError:  # the load that follows rejects the file with the reason
        return None


def _renamed_part(place: NewPlace) -> tuple[str, str]:
    """The folder (or file) that was renamed, old and new: both URIs without the end that they have in common."""
    shared = _shared(place.old, place.new)
    return _up(place.old, shared), _up(place.new, shared)


def _up(uri: str, parts: int) -> str:
    return uri if not parts else "/".join(uri.split("/")[:-parts]) or "/"


def _label_files(
    con: duckdb.DuckDBPyConnection, tree: Tree, fresh: Iterable[str], folders: Iterable[tuple[str, str]]
) -> list[NewPlace]:
    """Label files and all other known files that moved along with the images of these folders."""
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
    by_new: dict[str, NewPlace] = {}
    for old in (tree.uris.full(uri) for (uri,) in known):
        if not os.path.exists(old) or os.path.realpath(old) == places[old]:
            by_new.setdefault(places[old], NewPlace(old, places[old]))
    return list(by_new.values())
