"""`duckspect relocate`: tell the warehouse that files which it has loaded are at another place now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models_py.errors import DuckspectError
from models_py.layouts import FileStat, LocalStore, RemoteStore, Tree, normal_url
from models_py.warehouse.database import transaction
from models_py.warehouse.location import NewPlace, StoredUris, full_uri, raw_uris, rename_everywhere, stored_uris

if TYPE_CHECKING:
    import duckdb

_NAMED = 3
"""How many files or folders an error names at most."""

Progress = Callable[[int, int], None]
"""Called with files compared so far, and all."""


@dataclass(frozen=True, slots=True)
class FolderMove:
    """A folder (or file) that moved, and how many known files moved with it."""

    old: str
    new: str
    files: int


@dataclass(frozen=True, slots=True)
class Relocation(FolderMove):
    """A move that the user stated: rows updated by table, and how many of the files are missing at the new place."""

    rows: Mapping[str, int]
    missing: int = 0


class _Known(NamedTuple):
    """A file in the warehouse: URI, and size and hash from when it was loaded (None if it was not read then)."""

    uri: str
    size: int | None
    sha256: str | None


def _no_progress(done: int, total: int) -> None:
    """The default for `progress`: do nothing."""


def relocate(
    con: duckdb.DuckDBPyConnection, old: str, new: str, *, force: bool = False, progress: Progress = _no_progress
) -> Relocation:
    """Update the warehouse for files that were loaded from `old` (a folder, file or URL) and are at `new` now.

    Refuses unless every file that was read is there with the same bytes; `force` skips this check.
    """
    uris = stored_uris(con)
    target = _place(new)
    source, known = _loaded(con, uris, old)
    if target == source or target.startswith(f"{source}/"):
        raise DuckspectError(
            f"relocate: {target} is {'the same place as' if target == source else 'inside'} {source}, so nobody could "
            f"tell what has moved. Name the folders that changed their place."
        )
    there = {item.uri: target + uris.full(item.uri)[len(source) :] for item in known}
    used = [item for item in known if item.size is not None]
    stats = _find(target, [there[item.uri] for item in used])
    missing = [there[item.uri] for item in used if there[item.uri] not in stats]
    same = _compare(used, there, stats, progress)
    if not force:
        changed = [there[item.uri] for item in used if item not in same and there[item.uri] in stats]
        _check_there(source, target, len(used), missing, changed)
    versions = {item.uri: stats[there[item.uri]].version for item in same if item.sha256}
    places = [NewPlace(item.uri, uris.stored(there[item.uri]), versions.get(item.uri)) for item in known]
    _check_free(con, places)
    with transaction(con):
        rows = rename_everywhere(con, places, f"relocate {source} {target}")
    return Relocation(source, target, len(used), rows, len(missing))


def _place(path: str) -> str:
    if "://" in path and not path.startswith("file://"):
        return normal_url(path).rstrip("/")
    return os.path.realpath(Path(path.removeprefix("file://")).expanduser())


def _loaded(con: duckdb.DuckDBPyConnection, uris: StoredUris, old: str) -> tuple[str, list[_Known]]:
    """The place from which files were loaded, and these files; `old` may be spelled with or without links resolved."""
    given = str(Path(old.removeprefix("file://")).expanduser())
    spellings = (
        [_place(old)] if "://" in old else [_place(old), os.path.abspath(given), os.path.join(os.getcwd(), given)]
    )
    below = f"""
        select
            found.uri,
            any_value(files.size_bytes) filter (where files.role in ('image', 'template', 'label')),
            any_value(files.sha256)
        from ({raw_uris(con)}) as found
        left join raw.files on found.uri = files.uri
        where {full_uri("found.uri")} = $old or starts_with({full_uri("found.uri")}, $old || '/')
        group by found.uri
        order by found.uri
    """
    for place in dict.fromkeys(spellings):
        if rows := con.execute(below, {"old": place, "prefix": uris.prefix}).fetchall():
            return place, [_Known(*row) for row in rows]
    raise DuckspectError(
        f"relocate: nothing was loaded from {spellings[0]}. Files were loaded from "
        f"{', '.join(_roots(con, uris)) or 'nowhere yet'}."
    )


def _roots(con: duckdb.DuckDBPyConnection, uris: StoredUris) -> list[str]:
    """At most three folders that contain all known files, for an error message."""
    rows = con.execute("select distinct parse_dirpath(uri, 'forward_slash') from raw.files").fetchall()
    folders = {uris.full(folder) if folder else uris.prefix.rstrip("/") for (folder,) in rows}
    while len(folders) > _NAMED:
        deepest = max(folder.count("/") for folder in folders)
        folders = {folder.rpartition("/")[0] if folder.count("/") == deepest else folder for folder in folders}
    return sorted(folder for folder in folders if not any(folder.startswith(f"{other}/") for other in folders))


def _find(target: str, files: Sequence[str]) -> dict[str, FileStat]:
    """Size and version of those of these files that exist."""
    if "://" in target:
        tree = Tree(RemoteStore(target))
        return {tree.uri(path): stat for path, stat in tree.files.items()}
    store, stats = LocalStore("/"), dict[str, FileStat]()
    for file in files:
        try:
            stat = store.stat(file)
        except OSError:
            continue
        if stat.size >= 0:
            stats[file] = stat
    return stats


def _compare(
    known: Sequence[_Known], there: Mapping[str, str], stats: Mapping[str, FileStat], progress: Progress
) -> set[_Known]:
    """The files with the same size, and the same bytes where a hash was stored."""
    alike = [item for item in known if (stat := stats.get(there[item.uri])) and stat.size == item.size]
    same: set[_Known] = set()
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda item: item.sha256 and _hash(there[item.uri]), alike)
        for number, (item, sha256) in enumerate(zip(alike, hashes, strict=True), 1):
            if sha256 == item.sha256:
                same.add(item)
            progress(number, len(alike))
    return same


def _hash(place: str) -> str | None:
    from models_py.images.decode import open_bytes

    try:
        return hashlib.sha256(open_bytes(place)).hexdigest()
    except DuckspectError:  # a file that cannot be read counts as changed
        return None


def _check_there(source: str, target: str, count: int, missing: Sequence[str], changed: Sequence[str]) -> None:
    """Refuse unless every file that was used is at its new place, with its bytes."""
    if missing or changed:
        what = "do not exist" if missing else "have other bytes"
        raise DuckspectError(
            f"relocate: of the {count:,} files that were loaded from {source}, {len(missing or changed):,} {what} "
            f"at {target}: {', '.join((missing or changed)[:_NAMED])}. Nothing was changed. Name the place where all "
            f"of them are, or say --force; or load it by `duckspect ingest`: files of the same name and bytes are "
            f"recognised one by one."
        )


def _check_free(con: duckdb.DuckDBPyConnection, places: Sequence[NewPlace]) -> None:
    moving = {place.old for place in places}
    rows = con.execute(
        "select uri from raw.files where uri in (select unnest(?::varchar[])) order by uri",
        [[place.new for place in places]],
    ).fetchall()
    if known := [uri for (uri,) in rows if uri not in moving]:
        raise DuckspectError(
            f"relocate: {len(known):,} of the files were loaded from their new place too, so they are inspections of "
            f"their own: {', '.join(known[:_NAMED])}. Nothing was changed."
        )
