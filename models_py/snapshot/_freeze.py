"""From a query to frozen rows: columns checked, images read once, rows gathered by image, units found, split made."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from models_py.errors import DuckspectError, ImageError
from models_py.images import probe
from models_py.images.decode import open_bytes
from models_py.model import GOOD
from models_py.snapshot._rows import Box, Example, Snapshot
from models_py.snapshot._split import assign

if TYPE_CHECKING:
    import duckdb

COLUMNS = {
    "classify": ("image", "label"),
    "detect": ("image", "label", "x1", "y1", "x2", "y2"),
    "segment": ("image", "label", "mask"),
    "anomaly": ("image",),
}
EXAMPLES = {
    "classify": "select uri as image, label from raw.current_annotations where kind = 'class'",
    "detect": "select uri as image, label, x1, y1, x2, y2 from raw.current_annotations where kind in ('box', 'class')",
    "segment": "select uri as image, label, mask_uri as mask from raw.current_annotations where kind = 'mask'",
    "anomaly": "select uri as image, label from raw.current_annotations where kind = 'class'",
}
SPLITS = ("train", "val", "test")
_SPELLED = {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}
_NAMED = 5
"""How many files an error names."""

Progress = Callable[[int, int], None]


@dataclass
class _Gathered:
    """The rows of one image, put together."""

    labels: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    units: set[str] = field(default_factory=set)

    def sort(self) -> None:
        """Order labels, each with its box or mask, so that the order of the rows does not matter."""
        places: list[Any] = self.boxes or self.masks
        if len(places) == len(self.labels):
            order = sorted(range(len(places)), key=lambda i: (self.labels[i], places[i]))
            places[:] = [places[i] for i in order]
        self.labels.sort()


def freeze(
    con: duckdb.DuckDBPyConnection,
    query: str,
    task: str,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    split: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Snapshot:
    """Run the query and freeze its rows.

    `split` puts every row into one split, as evaluation does. Otherwise the query's `split` column counts, and where
    it is missing or null, `test` of the units are set apart and `validation` of the rest are held out. Raises with
    the names of what cannot be used.
    """
    images = _gather(_rows(con, query, task), task)
    addresses = _addresses(con, images)
    masks = [mask for found in images.values() for mask in found.masks]
    hashes = _hashes(list(dict.fromkeys([*addresses.values(), *masks])), progress)
    groups = _groups(con, {image: hashes[uri] for image, uri in addresses.items()}, images)
    examples: dict[str, Example] = {}
    for image, found in images.items():
        example = Example(
            image=addresses[image],
            sha256=hashes[addresses[image]],
            split=split or next(iter(found.splits), ""),
            group=groups[image],
            labels=tuple(found.labels),
            boxes=tuple(found.boxes),
            masks=tuple(found.masks),
            mask_sha256=tuple(hashes[mask] for mask in found.masks),
        )
        known = examples.setdefault(example.sha256, example)
        if _marks(known) != _marks(example):
            raise DuckspectError(f"{example.image} has the bytes of {known.image}, but other labels. Keep one of them.")
        if known.split and example.split and known.split != example.split:
            raise DuckspectError(f"{example.image} has the bytes of {known.image}, but another split. Choose one.")
        examples[example.sha256] = replace(known, split=known.split or example.split)
    ordered = tuple(sorted(examples.values(), key=lambda item: item.sha256))
    return Snapshot(task, query, assign(ordered, validation, seed, test=test, train_on_good=task == "anomaly"))


def _marks(item: Example) -> tuple[Any, ...]:
    return item.labels, item.boxes, item.mask_sha256


def _rows(con: duckdb.DuckDBPyConnection, query: str, task: str) -> list[dict[str, Any]]:
    import duckdb

    try:
        _check_select(con, query)
        table = con.sql(query)
        columns = table.columns if table is not None else []
        missing = [column for column in COLUMNS[task] if column not in columns]
        if missing:
            raise DuckspectError(
                f"query: must have the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} for {task}, "
                f"but has {', '.join(columns) or 'none'}. Example: {EXAMPLES[task]}"
            )
        rows: list[dict[str, Any]] = table.to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise DuckspectError(f"query: {error}") from error
    if not rows:
        raise DuckspectError(f"query: it has no rows, so there is nothing to learn from. Check it: {query.strip()}")
    return rows


def _check_select(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse what would change the warehouse: the rows are asked for, nothing else."""
    import duckdb

    found = [statement.type for statement in con.extract_statements(query)]
    if found != [duckdb.StatementType.SELECT]:
        words = " and ".join(str(kind).rpartition(".")[2] for kind in found) or "nothing"
        raise DuckspectError(f"query: must be one select, but is {words}. Nothing was run.")


def _gather(rows: Iterable[dict[str, Any]], task: str) -> dict[str, _Gathered]:
    images: dict[str, _Gathered] = defaultdict(_Gathered)
    for number, row in enumerate(rows, 1):
        image = row["image"]
        if not isinstance(image, str) or not image:
            raise DuckspectError(f"query: row {number} has no image, but {image!r}. Add: where image is not null")
        found = images[image]
        _add(found, {**row, "label": _text(row.get("label"))}, task, number)
        if value := row.get("split"):
            found.splits.add(_spelled(str(value), number))
        if len(found.splits) > 1:
            raise DuckspectError(f"query: {image} is in the splits {' and '.join(sorted(found.splits))}. Choose one.")
        if unit := _text(row.get("unit")) or _text(row.get("unit_id")):
            found.units.add(unit)
    for found in images.values():
        found.sort()
    return dict(images)


def _text(value: Any) -> str | None:
    """A label or unit as text, for 0 is one too; None if there is none."""
    return None if value is None or value == "" else str(value)


def _add(found: _Gathered, row: dict[str, Any], task: str, number: int) -> None:
    label = row.get("label")
    if task == "classify":
        if not label:
            raise DuckspectError(f"query: row {number} ({row['image']}) has no label. Add: where label is not null")
        if found.labels and found.labels != [label]:
            raise DuckspectError(f"query: {row['image']} is both {found.labels[0]} and {label}. Choose one.")
        found.labels = [label]
    elif task == "detect":
        _add_box(found, row, number)
    elif label and label != GOOD:
        found.labels.append(label)
        if mask := row.get("mask"):
            found.masks.append(str(mask))
        elif task == "segment":
            raise DuckspectError(f"query: row {number} ({row['image']}) is {label}, but has no mask.")


def _add_box(found: _Gathered, row: dict[str, Any], number: int) -> None:
    sides = [row[side] for side in ("x1", "y1", "x2", "y2")]
    if None in sides:
        if row["label"] not in (None, GOOD):
            raise DuckspectError(f"query: row {number} ({row['image']}) is {row['label']}, but has no box.")
        if sides != [None] * 4:
            raise DuckspectError(f"query: row {number} ({row['image']}) has only a part of a box: {sides}.")
        return
    try:
        x1, y1, x2, y2 = map(float, sides)
    except (TypeError, ValueError) as error:
        raise DuckspectError(f"query: row {number} ({row['image']}) has the box {sides}, but no numbers.") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise DuckspectError(
            f"query: row {number} ({row['image']}) has the box {sides}, but x1 < x2 and y1 < y2 must hold."
        )
    if not row["label"]:
        raise DuckspectError(f"query: row {number} ({row['image']}) has a box without a label.")
    found.labels.append(row["label"])
    found.boxes.append((x1, y1, x2, y2))


def _spelled(split: str, number: int) -> str:
    name = _SPELLED.get(split.lower(), split.lower())
    if name not in SPLITS:
        raise DuckspectError(f"query: row {number} has the split {split!r}, but it must be one of {', '.join(SPLITS)}.")
    return name


def _addresses(con: duckdb.DuckDBPyConnection, images: Iterable[str]) -> dict[str, str]:
    """Where each image is: an image_id is looked up, anything else is a path or URI already."""
    ids = [image for image in images if len(image) == 64 and not os.path.exists(image)]
    known: dict[str, str] = {}
    if ids and has_raw(con):
        known = dict(
            con.execute(
                "select image_id, uri from raw.images where image_id in (select unnest(?::varchar[]))", [ids]
            ).fetchall()
        )
    return {image: known.get(image, image) for image in images}


def has_raw(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a connection is one to a warehouse."""
    found = con.execute("select 1 from duckdb_tables() where schema_name = 'raw' and table_name = 'images'").fetchone()
    return found is not None


def _hashes(uris: list[str], progress: Progress | None) -> dict[str, str]:
    """Read every image once; what is missing or broken is named before training starts."""
    report = progress or _silent
    hashes, broken = {}, []
    with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) * 4)) as pool:
        for number, (uri, result) in enumerate(zip(uris, pool.map(_hash, uris), strict=True), 1):
            if isinstance(result, ImageError):
                broken.append(f"{uri}: {result}" if uri not in str(result) else str(result))
            else:
                hashes[uri] = result
            report(number, len(uris))
    if broken:
        more = f"\n  and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise DuckspectError(
            f"{len(broken)} of {len(uris)} images cannot be used. Mend them or leave them out of the query:\n  "
            + "\n  ".join(broken[:_NAMED])
            + more
        )
    return hashes


def _silent(done: int, total: int) -> None:
    """Report to nobody."""


def _hash(uri: str) -> str | ImageError:
    try:
        data = open_bytes(uri)
        probe(data)
    except ImageError as error:
        return error
    return hashlib.sha256(data).hexdigest()


def _groups(con: duckdb.DuckDBPyConnection, hashes: dict[str, str], images: dict[str, _Gathered]) -> dict[str, str]:
    """What must stay together: images of one unit, of one template, or with the same bytes."""
    forest = _Forest()
    for image, found in images.items():
        forest.join(f"image {hashes[image]}", *(f"unit {unit}" for unit in found.units))
    if has_raw(con):
        ids = list(set(hashes.values()))
        units = con.execute(
            "select image_id, unit_id from raw.inspections where image_id in (select unnest(?::varchar[]))", [ids]
        ).fetchall()
        templates = con.execute(
            "select image_id, template_image_id from raw.templates where image_id in (select unnest(?::varchar[]))",
            [ids],
        ).fetchall()
        for image_id, unit in units:
            forest.join(f"image {image_id}", f"unit {unit}")
        for image_id, template in templates:
            forest.join(f"image {image_id}", f"image {template}")
    return {image: forest.root(f"image {hashes[image]}") for image in images}


class _Forest:
    """Disjoint sets; the name of a set is its smallest member, whatever the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, item: str) -> str:
        while (parent := self._parent.setdefault(item, item)) != item:
            self._parent[item] = self._parent[parent]
            item = parent
        return item

    def join(self, first: str, *others: str) -> None:
        for other in others:
            low, high = sorted((self.root(first), self.root(other)))
            self._parent[high] = low
