"""Hash the files of a query, and decide which labels count where files of the same bytes have different ones."""

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
    """Whether a connection has the tables of a warehouse; training also works on a plain DuckDB database."""
    row = con.execute("select 1 from duckdb_tables() where schema_name = 'raw' and table_name = 'images'").fetchone()
    return row is not None


def find_hashes(con: duckdb.DuckDBPyConnection, uris: Sequence[str], progress: Progress | None) -> dict[str, str]:
    """The hash of every file; an error names the files that are missing or broken, before training starts.

    A file that ingestion has read, and that has the same size and time since, is not read again.
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
    """The hash of one file and the labels that the query gives it."""

    item: ImageRow
    sha256: str
    mask_sha256: tuple[str, ...]

    @property
    def annotation(self) -> tuple[Any, ...]:
        """The labels with their places; two contents with the same bytes must agree in it."""
        return self.item.labels, self.item.boxes, self.mask_sha256, self.item.polygons


def choose(
    con: duckdb.DuckDBPyConnection, contents: Iterable[Content], duplicates: str
) -> tuple[list[Content], list[str]]:
    """Reduce to one entry per hash; `duplicates` says which one counts where labels contradict each other."""
    by_hash: dict[str, list[Content]] = {}
    for content in contents:
        by_hash.setdefault(content.sha256, []).append(content)
    contradicting = {
        sha256: copies
        for sha256, copies in by_hash.items()
        if any(copy.annotation != copies[0].annotation for copy in copies)
    }
    if not contradicting:
        return [_merged(copies) for copies in by_hash.values()], []
    if duplicates == "refuse":
        raise DuckspectError(_refusal(list(contradicting.values())))
    files = named([copies[0].item.image for copies in contradicting.values()])
    count = counted(len(contradicting), "image")
    if duplicates == "drop":
        kept = [_merged(copies) for sha256, copies in by_hash.items() if sha256 not in contradicting]
        return kept, [f"{count} left out, whose labels contradict each other: {files}."]
    times = _times(con, [content.item for copies in contradicting.values() for content in copies])
    for sha256, copies in contradicting.items():
        by_hash[sha256] = [_newest(copies, times)]
    note = f"{count} with contradicting labels, of which the newest count: {files}."
    return [_merged(copies) for copies in by_hash.values()], [note]


def _merged(copies: Sequence[Content]) -> Content:
    """The first of several copies, with the split that any of them has."""
    splits = {content.item.split: content.item.image for content in copies if content.item.split}
    if len(splits) > 1:
        (split, image), (other_split, other) = list(splits.items())[:2]
        raise DuckspectError(
            f"{other} ({other_split}) has the bytes of {image} ({split}), but another split. Choose one."
        )
    first = copies[0]
    first.item.split = next(iter(splits), "")
    return first


_REMEDY = (
    "Leave the wrong ones out of the query, or train with -o duplicates=newest (the labels given last count) or "
    "-o duplicates=drop (such images are left out)."
)


def _refusal(contradicting: Sequence[Sequence[Content]]) -> str:
    lines = [f"  {_described(copies)}" for copies in contradicting[:NAMED]]
    more = [f"  and {len(contradicting) - NAMED:,} more"] if len(contradicting) > NAMED else []
    head = f"query: {counted(len(contradicting), 'image')} with labels that contradict each other:"
    remedy = [_REMEDY]
    if any(len({content.item.image for content in copies}) < len(copies) for copies in contradicting):
        remedy.append("Classification learns one class an image: for several, use --task detect or --task segment.")
    return "\n".join([head, *lines, *more, *remedy])


def _described(copies: Sequence[Content]) -> str:
    """The names of files with the same bytes, each with its labels."""
    labels_of: dict[str, list[str]] = {}
    for content in copies:
        labels_of.setdefault(content.item.image, []).append(_label_counts(content.item))
    words = [f"{image} ({' / '.join(dict.fromkeys(labels))})" for image, labels in labels_of.items()]
    is_place = len({text for labels in labels_of.values() for text in labels}) == 1
    return " has the bytes of ".join(words) + (", but other places" if is_place else "")


def _label_counts(item: ImageRow) -> str:
    counts = Counter(item.labels)
    return ", ".join(f"{count} {label}" if count > 1 else label for label, count in counts.items()) or "good"


def _times(con: duckdb.DuckDBPyConnection, items: Sequence[ImageRow]) -> dict[str, Any]:
    """When the labels of a file were given, from the warehouse, for rows without `annotated_at`."""
    if not has_raw(con):
        return {}
    places = stored_uris(con)
    uris = [places.stored(item.image) for item in items if item.annotated_at is None]
    rows = con.execute(
        "select uri, max(annotated_at) from raw.current_annotations where uri in (select unnest(?::varchar[])) "
        "group by uri",
        [uris],
    ).fetchall()
    return {places.full(uri): annotated_at for uri, annotated_at in rows}


def _newest(copies: Sequence[Content], times: Mapping[str, Any]) -> Content:
    """The copy whose labels were given last; of two at the same time, the one whose name is last in the alphabet."""
    dated = [(item.annotated_at if item.annotated_at is not None else times.get(item.image)) for item, *_ in copies]
    if None not in dated:
        keys = [(when, content.item.image) for when, content in zip(dated, copies, strict=True)]
        newest = [content for key, content in zip(keys, copies, strict=True) if key == max(keys)]
        if all(content.annotation == newest[0].annotation for content in newest):
            return newest[0]
    raise DuckspectError(
        f"duplicates: the query does not say when the labels of {copies[0].item.image} were given. "
        "Add the column annotated_at, or choose -o duplicates=drop."
    )
