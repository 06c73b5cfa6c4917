"""Run a query and read its columns by their known names; an error names what is missing or malformed.

A query may say `uri` where we say `image`, or `select *`. So each of our columns has the names under which the
warehouse has it, and all other columns are not fetched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from models_py.errors import DuckspectError
from models_py.images.regions import Box, Polygon, bounds

if TYPE_CHECKING:
    import duckdb

_SIDES = ("x1", "y1", "x2", "y2")
_NAMES = {
    "image": ("image", "uri", "image_id"),
    "reference": ("reference", "reference_uri"),
    "label": ("label",),
    "kind": ("kind",),
    "mask": ("mask", "mask_uri"),
    "polygon": ("polygon",),
    **{side: (side,) for side in _SIDES},
    "split": ("split",),
    "unit": ("unit", "unit_id"),
    "is_gold": ("is_gold",),
    "annotated_at": ("annotated_at",),
}
"""Our columns, and the names that each may have in a query; the first name that it has is taken."""

EXAMPLES = {
    "classify": "select uri as image, label from raw.current_annotations where kind = 'class'",
    "detect": "select uri as image, label, x1, y1, x2, y2 from raw.current_annotations",
    "segment": "select uri as image, label, mask_uri as mask, polygon from raw.current_annotations",
    "anomaly": "select uri as image, label, mask_uri as mask, polygon from raw.current_annotations",
}
KINDS = ("class", "box", "polygon", "mask")
SPLITS = ("train", "val", "test")
_SPELLED = {"validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test"}


class QueryRow(NamedTuple):
    """One row of a query: an image and one of its labels; `kind` is class, box, polygon or mask."""

    number: int
    image: str
    label: str | None
    kind: str
    box: Box | None
    mask: str | None
    polygon: Polygon | None
    split: str | None
    unit: str | None
    is_gold: bool
    annotated_at: Any
    reference: str | None = None


class QueryRows(NamedTuple):
    """The rows, and whether the query has a column for their labels."""

    rows: list[QueryRow]
    has_labels: bool


def run(con: duckdb.DuckDBPyConnection, query: str, task: str) -> QueryRows:
    """Run the query and read the columns that the task needs."""
    import duckdb

    try:
        _check_select(con, query)
        table = con.sql(query)
        columns = _columns(table.columns if table is not None else [], task)
        taken = ", ".join(f'"{theirs.replace(chr(34), chr(34) * 2)}" as "{ours}"' for ours, theirs in columns.items())
        records: list[dict[str, Any]] = table.project(taken).to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise DuckspectError(f"query: {error}") from error
    if not records:
        raise DuckspectError(f"query: it has no rows, so there is nothing to learn from. Check it: {query.strip()}")
    return QueryRows([_row(number, record, task) for number, record in enumerate(records, 1)], "label" in columns)


def _check_select(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse anything but one SELECT, since a training query must not change the warehouse."""
    import duckdb

    kinds = [statement.type for statement in con.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        words = " and ".join(str(kind).rpartition(".")[2] for kind in kinds) or "nothing"
        raise DuckspectError(f"query: must be one select, but is {words}. Nothing was run.")


def _columns(given: Sequence[str], task: str) -> dict[str, str]:
    """Those of our columns that the query has, each with the query's name for it."""
    theirs = {name.lower(): name for name in given}
    found = {
        ours: next(theirs[name] for name in names if name in theirs)
        for ours, names in _NAMES.items()
        if not theirs.keys().isdisjoint(names)
    }
    has_box, has_polygon = set(_SIDES) <= found.keys(), "polygon" in found
    needed = {
        "classify": ("image", "label"),
        "detect": ("image", "label", *(() if has_polygon else _SIDES)),
        "segment": ("image", "label", *(() if has_polygon else ("mask",))),
        "anomaly": ("image",),
    }[task]
    if missing := [column for column in needed if column not in found]:
        raise DuckspectError(
            f"query: must have the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} for {task}, "
            f"but has {', '.join(given) or 'none'}. Example: {EXAMPLES[task]}"
        )
    unused = {"polygon"} if task == "detect" and has_box else set()  # detection needs only its bounds, the box
    return {ours: name for ours, name in found.items() if ours not in unused}


def _row(number: int, record: dict[str, Any], task: str) -> QueryRow:
    image = record["image"]
    if not isinstance(image, str) or not image:
        raise DuckspectError(f"query: row {number} has no image, but {image!r}. Add: where image is not null")
    where = f"query: row {number} ({image})"
    polygon = _polygon(record.get("polygon"), where)
    box = _box(record, where) if task == "detect" else None
    mask = _text(record.get("mask"))
    has_box = box is not None or record.get("x1") is not None
    filled = "polygon" if polygon else "mask" if mask else "box" if has_box else None
    return QueryRow(
        number=number,
        image=image,
        label=_text(record.get("label")),
        kind=filled or (kind if (kind := record.get("kind")) in KINDS else "class"),
        box=box or (bounds(polygon) if polygon else None),
        mask=mask,
        polygon=polygon,
        split=_split(_text(record.get("split")), where),
        unit=_text(record.get("unit")),
        is_gold=record.get("is_gold") is not False,
        annotated_at=record.get("annotated_at"),
        reference=_text(record.get("reference")),
    )


def _text(value: Any) -> str | None:
    """A label or unit as text; None only for NULL and the empty string, since 0 can be a label."""
    return None if value is None or value == "" else str(value)


def _box(record: dict[str, Any], where: str) -> Box | None:
    sides = [record.get(side) for side in _SIDES]
    if sides == [None] * 4:
        return None
    if None in sides:
        raise DuckspectError(f"{where} has only a part of a box: {sides}.")
    try:
        x1, y1, x2, y2 = map(float, sides)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DuckspectError(f"{where} has the box {sides}, but no numbers.") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
        raise DuckspectError(f"{where} has the box {sides}, but x1 < x2 and y1 < y2 must hold.")
    return x1, y1, x2, y2


def _polygon(value: Any, where: str) -> Polygon | None:
    """Rings of numbers as in the warehouse, or a single ring, or either of them as JSON."""
    if value is None or value == "":
        return None
    try:
        found = json.loads(value) if isinstance(value, str) else value
        rings = found if isinstance(found[0], list | tuple) else [found]
        polygon = tuple(tuple(map(float, ring)) for ring in rings)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise DuckspectError(f"{where} has the polygon {value!r:.80}, but no rings of x1, y1, x2, y2, ...") from error
    if any(len(ring) < 6 or len(ring) % 2 or not all(map(math.isfinite, ring)) for ring in polygon):
        raise DuckspectError(
            f"{where} has the polygon {value!r:.80}, but each ring needs 3 points of 2 finite numbers."
        )
    return polygon


def _split(split: str | None, where: str) -> str | None:
    name = split and _SPELLED.get(split.lower(), split.lower())
    if name is not None and name not in SPLITS:
        raise DuckspectError(f"{where} has the split {split!r}, but it must be one of {', '.join(SPLITS)}.")
    return name
