"""What the files of a query contain: their hashes, known from ingestion or read, and which of several labels counts."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from models_py.datasets.gather import NAMED, ImageRow, counted, named
from models_py.errors import DuckspectError, ImageError
from models_py.images import probe
from models_py.images.decode import open_bytes
from models_py.warehouse.location import stored_uris

if TYPE_CHECKING:
    import duckdb

Progress = Callable[[int, int], None]


def has_raw(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a connection is one to a warehouse."""
    found = con.execute("select 1 from duckdb_tables() where schema_name = 'raw' and table_name = 'images'").fetchone()
    return found is not None


def find_hashes(con: duckdb.DuckDBPyConnection, uris: Sequence[str], progress: Progress | None) -> dict[str, str]:
    """The hash of every file; what is missing or broken is named before training starts.

    A file that ingestion read, and whose size and time are those of then, is not opened.
    """
    hashes = _known(con, uris)
    rest = [uri for uri in uris if uri not in hashes]
    broken = []
    with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) * 4)) as pool:
        for number, (uri, result) in enumerate(zip(rest, pool.map(_hash, rest), strict=True), 1):
            if isinstance(result, ImageError):
                broken.append(f"{uri}: {result}" if uri not in str(result) else str(result))
            else:
                hashes[uri] = result
            if progress:
                progress(number, len(rest))
    if broken:
        more = f"\n  and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise DuckspectError(
            f"{len(broken)} of {len(uris)} images cannot be used. Mend them or leave them out of the query:\n  "
            + "\n  ".join(broken[:NAMED])
            + more
        )
    return hashes


def _known(con: duckdb.DuckDBPyConnection, uris: Sequence[str]) -> dict[str, str]:
    if not has_raw(con):
        return {}
    places = dict(zip(map(stored_uris(con).stored, uris), uris, strict=True))
    rows = con.execute(
        "select uri, size_bytes, version, sha256 from raw.files "
        "where sha256 is not null and uri in (select unnest(?::varchar[]))",
        [list(places)],
    ).fetchall()
    return {places[uri]: sha256 for uri, size, version, sha256 in rows if _is_unchanged(places[uri], size, version)}


def _is_unchanged(uri: str, size: int, version: str) -> bool:
    if "://" in uri:
        return False
    try:
        stat = os.stat(uri)
    except (OSError, ValueError):
        return False
    return (stat.st_size, str(stat.st_mtime_ns)) == (size, version)


def _hash(uri: str) -> str | ImageError:
    try:
        data = open_bytes(uri)
        probe(data)
    except ImageError as error:
        return error
    return hashlib.sha256(data).hexdigest()


class Content(NamedTuple):
    """What is said of the bytes of one file."""

    item: ImageRow
    sha256: str
    mask_sha256: tuple[str, ...]

    @property
    def said(self) -> tuple[Any, ...]:
        return self.item.labels, self.item.boxes, self.mask_sha256, self.item.polygons


def choose(
    con: duckdb.DuckDBPyConnection, contents: Iterable[Content], duplicates: str
) -> tuple[list[Content], list[str]]:
    """Leave one entry for each distinct content; `duplicates` says which counts where labels contradict each other."""
    by_hash: dict[str, list[Content]] = {}
    for content in contents:
        by_hash.setdefault(content.sha256, []).append(content)
    disputed = {sha256: found for sha256, found in by_hash.items() if any(c.said != found[0].said for c in found)}
    if not disputed:
        return [_merged(found) for found in by_hash.values()], []
    if duplicates == "refuse":
        raise DuckspectError(_dispute(list(disputed.values())))
    files = named([found[0].item.image for found in disputed.values()])
    if duplicates == "drop":
        agreed = [_merged(found) for sha256, found in by_hash.items() if sha256 not in disputed]
        return agreed, [f"{counted(len(disputed), 'image')} left out, whose labels contradict each other: {files}."]
    times = _times(con, [content.item for found in disputed.values() for content in found])
    for sha256, found in disputed.items():
        by_hash[sha256] = [_newest(found, times)]
    note = f"{counted(len(disputed), 'image')} with contradicting labels, of which the newest count: {files}."
    return [_merged(found) for found in by_hash.values()], [note]


def _merged(found: Sequence[Content]) -> Content:
    """The first of equal contents, with the one split that any of them has."""
    splits = {content.item.split: content.item.image for content in found if content.item.split}
    if len(splits) > 1:
        (split, image), (other_split, other) = list(splits.items())[:2]
        raise DuckspectError(
            f"{other} ({other_split}) has the bytes of {image} ({split}), but another split. Choose one."
        )
    first = found[0]
    first.item.split = next(iter(splits), "")
    return first


_REMEDY = (
    "Leave the wrong ones out of the query, or train with -o duplicates=newest (the labels given last count) or "
    "-o duplicates=drop (such images are left out)."
)


def _dispute(disputed: Sequence[Sequence[Content]]) -> str:
    lines = [f"  {_described(found)}" for found in disputed[:NAMED]]
    more = [f"  and {len(disputed) - NAMED:,} more"] if len(disputed) > NAMED else []
    head = f"query: {counted(len(disputed), 'image')} with labels that contradict each other:"
    remedy = [_REMEDY]
    if any(len({content.item.image for content in found}) < len(found) for found in disputed):
        remedy.append("Classification learns one class an image: for several, use --task detect or --task segment.")
    return "\n".join([head, *lines, *more, *remedy])


def _described(found: Sequence[Content]) -> str:
    """The files of one content, with what is said under each name."""
    said: dict[str, list[str]] = {}
    for content in found:
        said.setdefault(content.item.image, []).append(_words(content.item))
    words = [f"{image} ({' / '.join(dict.fromkeys(labels))})" for image, labels in said.items()]
    is_place = len({text for labels in said.values() for text in labels}) == 1
    return " has the bytes of ".join(words) + (", but other places" if is_place else "")


def _words(item: ImageRow) -> str:
    counts = Counter(item.labels)
    return ", ".join(f"{count} {label}" if count > 1 else label for label, count in counts.items()) or "good"


def _times(con: duckdb.DuckDBPyConnection, items: Sequence[ImageRow]) -> dict[str, Any]:
    """When the labels of a file were given, for files whose rows do not say so."""
    if not has_raw(con):
        return {}
    places = stored_uris(con)
    uris = [places.stored(item.image) for item in items if item.annotated_at is None]
    found = con.execute(
        "select uri, max(annotated_at) from raw.current_annotations where uri in (select unnest(?::varchar[])) "
        "group by uri",
        [uris],
    ).fetchall()
    return {places.full(uri): annotated_at for uri, annotated_at in found}


def _newest(found: Sequence[Content], times: Mapping[str, Any]) -> Content:
    """The content whose labels were given last; of two names at one moment, the last in the alphabet."""
    dated = [(item.annotated_at if item.annotated_at is not None else times.get(item.image)) for item, *_ in found]
    if None not in dated:
        keys = [(when, content.item.image) for when, content in zip(dated, found, strict=True)]
        newest = [content for key, content in zip(keys, found, strict=True) if key == max(keys)]
        if all(content.said == newest[0].said for content in newest):
            return newest[0]
    raise DuckspectError(
        f"duplicates: the query does not say when the labels of {found[0].item.image} were given. "
        "Add the column annotated_at, or choose -o duplicates=drop."
    )
