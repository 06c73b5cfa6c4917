"""A table of images in the user's own columns: CSV or Parquet, one row for each annotation."""

from __future__ import annotations

import itertools
import json
import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import Box, Kind, Label, Reject, Sample, canonical, finite
from models_py.layouts._tree import Tree, folder

if TYPE_CHECKING:
    import duckdb

    from models_py.images.regions import Polygon

_IMAGE_COLUMNS = ("template_uri", "unit_id", "line_id", "station_id", "product_type", "captured_at")
_LABEL_COLUMNS = ("kind", "label", "x1", "y1", "x2", "y2", "polygon", "mask_uri", "split", "annotator", "annotated_at")
COLUMNS = ("uri", *_IMAGE_COLUMNS, *_LABEL_COLUMNS)
_TEXT_COLUMNS = tuple(name for name in COLUMNS if not name.endswith("_at") and name not in {"x1", "y1", "x2", "y2"})
_KINDS: tuple[Kind, ...] = ("class", "box", "polygon", "mask")
_NAMES = frozenset({"manifest.csv", "manifest.parquet"})

_SHORTEST_RING = 6
Record = dict[str, Any]


class _ManifestRow(NamedTuple):
    """One row: its number, our columns under our names, and the user's other columns that are not empty."""

    number: int
    ours: Record
    own: Record


@register
class Manifest(Layout):
    """Columns uri (needed), unit_id, line_id, captured_at, label, x1 to y2, polygon, mask_uri, ...; others are kept."""

    name = "manifest"
    title = "manifest"
    example = "manifest.csv: uri,label,x1,y1,x2,y2,line_id,captured_at"
    is_closed: ClassVar[bool] = False
    states_units: ClassVar[bool] = True

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        path = _manifest_of(tree)
        return f"the table {path}" if path else None

    def samples(self) -> Iterator[Sample | Reject]:
        path = _manifest_of(self.tree)
        if path is None:
            raise LayoutError(f"{self.tree.root}: must be a CSV or Parquet file, or hold a manifest.csv or .parquet.")
        rejects, rows = self._read(path)
        yield from rejects
        yield from _grouped(self.tree, path, rows)

    def _read(self, path: str) -> tuple[list[Reject], list[_ManifestRow]]:
        """Read all rows, and rejects for the lines that could not be parsed."""
        import duckdb

        names = self._column_names(path)
        if self.tree.stat(path) is None:
            raise LayoutError(f"{path} cannot be read as a table: {self.tree.why_not(path)}.")
        try:
            with _local_name(self.tree, path) as local, duckdb.connect() as con:
                con.execute("set TimeZone = 'UTC'")
                reader = _reader(self.tree, path)
                columns = _columns(con.execute(f"select * from {reader}) limit 0", [local]))
                _check_columns(path, columns, names)
                texts = dict.fromkeys(names[name] for name in _TEXT_COLUMNS if names[name] in columns)
                rows = con.execute(f"select * from {reader}{_as_text(path, texts)})", [local]).fetchall()
                bad = _bad_lines(con) if _is_csv(path) else {}
        except duckdb.Error as error:
            raise LayoutError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
        places = {name: columns.index(theirs) for name, theirs in names.items() if theirs in columns}
        own = [(column, place) for place, column in enumerate(columns) if place not in places.values()]
        numbers = (number for number in itertools.count(1) if number + 1 not in bad)
        return [Reject(path, f"line {line}: {reason}") for line, reason in bad.items()], [
            _ManifestRow(
                number,
                {name: row[place] for name, place in places.items()},
                {column: row[place] for column, place in own if row[place] is not None},
            )
            for number, row in zip(numbers, rows, strict=False)
        ]

    def _column_names(self, path: str) -> dict[str, str]:
        for name in self.columns:
            if name not in COLUMNS:
                raise LayoutError(f"--column: must name one of {', '.join(COLUMNS)}, but got {name!r} for {path}.")
        return {name: self.columns.get(name, name) for name in COLUMNS}


def _grouped(tree: Tree, path: str, rows: Sequence[_ManifestRow]) -> Iterator[Sample | Reject]:
    """Gather the rows of each image, however each row spells the image's path."""
    base = folder(path)
    groups: dict[str, tuple[str, list[_ManifestRow]]] = {}
    for row in rows:
        if row.ours.get("uri") in (None, ""):
            yield Reject(path, f"row {row.number}: uri is empty")
        else:
            image = _place(base, str(row.ours["uri"]))
            groups.setdefault(tree.uri(image), (image, []))[1].append(row)
    for image, rows_of_image in groups.values():
        problems, sample = _sample(path, base, image, rows_of_image)
        yield from problems
        yield sample


def _manifest_of(tree: Tree) -> str | None:
    tables = tree.having(".csv", ".parquet")
    if len(tree.files) == 1 and tables:
        return tables[0]
    named = [path for path in tables if path.rsplit("/", 1)[-1] in _NAMES]
    return named[0] if len(named) == 1 else None


def _is_csv(path: str) -> bool:
    return path.lower().endswith(".csv")


def _reader(tree: Tree, path: str) -> str:
    """The call of DuckDB's reader, without its closing bracket.

    We take the separator from the header line: DuckDB's own detection looks at all rows, and a bad one misleads it.
    """
    if not _is_csv(path):
        return "read_parquet($1"
    header = re.sub(r'"[^"]*"', "", tree.text(path).lstrip().split("\n", 1)[0])
    separator = max(",;\t|", key=header.count)
    known = f", delim = '{separator}'" if separator in header else ""
    return f"read_csv($1, header = true, sample_size = -1, store_rejects = true{known}"


def _as_text(path: str, columns: Iterable[str]) -> str:
    """Have DuckDB read our text columns as text: a unit 007 must not become 7, a label true not True."""
    if not _is_csv(path) or not columns:
        return ""
    quoted = ("'" + column.replace("'", "''") + "': 'VARCHAR'" for column in columns)
    return f", types = {{{', '.join(quoted)}}}"


def _columns(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [description[0] for description in result.description or ()]


def _bad_lines(con: duckdb.DuckDBPyConnection) -> dict[int, str]:
    query = "select line, any_value(error_message), any_value(csv_line) from reject_errors group by line order by line"
    return {line: f"not a row of the table: {reason}: {text!r}" for line, reason, text in con.execute(query).fetchall()}


@contextmanager
def _local_name(tree: Tree, path: str) -> Iterator[str]:
    """A path that DuckDB can read: the file itself if it is local and its name has no *, ? or [, else a copy.

    DuckDB takes these characters for a pattern.
    """
    if "://" not in tree.root and not set("*?[") & set(tree.full_uri(path)):
        yield tree.full_uri(path)
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "manifest")
        copy.write_bytes(tree.read(path))
        yield str(copy)


def _check_columns(path: str, columns: Sequence[str], names: dict[str, str]) -> None:
    for name, theirs in names.items():
        if theirs not in columns and (name == "uri" or theirs != name):
            raise LayoutError(
                f"{path}: needs a column {theirs!r} for {name}, but has {', '.join(columns)}. "
                f"Say which one it is with --column {name}=YOURS."
            )


def _sample(path: str, base: str, image: str, rows: Sequence[_ManifestRow]) -> tuple[list[Reject], Sample]:
    facts, attributes, problems = _merge_rows(path, image, rows)
    labels: list[Label] = []
    for row in rows:
        try:
            labels.extend(_labels(row.ours, base))
        except ValueError as error:
            problems.append(Reject(path, f"row {row.number}: {error}"))
    captured_at, has_bad_time = None, False
    try:
        captured_at = _moment(facts.get("captured_at"))
    except ValueError as error:
        problems.append(Reject(path, f"row {rows[0].number}: captured_at {error}"))
        has_bad_time = True
    template = facts.get("template_uri")
    return problems, Sample(
        image=image,
        sources=(path, *dict.fromkeys(label.mask for label in labels if label.mask)),
        template=_place(base, str(template)) if template else None,
        labels=tuple(labels),
        captured_at=captured_at,
        has_bad_time=has_bad_time,
        attributes=attributes,
        unit_id=_text(facts.get("unit_id")),
        line_id=_text(facts.get("line_id")),
        station_id=_text(facts.get("station_id")),
        product_type=_text(facts.get("product_type")),
    )


def _merge_rows(path: str, image: str, rows: Sequence[_ManifestRow]) -> tuple[Record, Record, list[Reject]]:
    """The values for the image itself: our columns, the user's own, and rejects where a later row differs."""
    facts: Record = {}
    attributes: Record = {}
    problems: list[Reject] = []
    for row in rows:
        ours = {name: value for name in _IMAGE_COLUMNS if (value := row.ours.get(name)) not in (None, "")}
        for known, values in ((facts, ours), (attributes, row.own)):
            for name, value in values.items():
                if known.setdefault(name, value) != value:
                    reason = f"{name} of {image!r} is {value!r}, but {known[name]!r} in an earlier row"
                    problems.append(Reject(path, f"row {row.number}: {reason}"))
    return facts, attributes, problems


def _labels(record: Record, base: str) -> list[Label]:
    """Read the labels of a row: none, one, or a shape and a mask. The kind follows from the columns that are filled."""
    label, kind = _text(record.get("label")), _text(record.get("kind"))
    box, polygon, mask = _box(record), _polygon(record.get("polygon")), _text(record.get("mask_uri"))
    if label is None:
        if box or polygon or mask or kind:
            raise ValueError("has a box, polygon, mask or kind, but no label")
        return []
    if polygon:
        box = None  # it can only be the polygon's bounds, which are computed from the polygon
    shapes = (("box", box), ("polygon", polygon), ("mask", mask))
    filled: list[Kind] = [name for name, value in shapes if value] or ["class"]  # type: ignore[misc]
    if kind not in (*_KINDS, None):
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, but is {kind!r}")
    if kind is not None and kind != filled[-1]:  # with kind = 'mask', a box in the same row is the mask's bounds
        raise ValueError(f"kind is {kind!r}, but the columns that are filled in make it a {filled[-1]}")
    return [
        Label(
            kind=shape,
            label=canonical(label),
            box=box,
            polygon=polygon if shape == "polygon" else None,
            mask=_place(base, mask) if mask and shape == "mask" else None,
            split=_text(record.get("split")),
            annotator=_text(record.get("annotator")),
            annotated_at=_moment(record.get("annotated_at")),
        )
        for shape in (filled if kind is None else filled[-1:])
    ]


def _box(record: Record) -> Box | None:
    values = [record.get(side) for side in ("x1", "y1", "x2", "y2")]
    if all(value is None for value in values):
        return None
    try:
        x1, y1, x2, y2 = finite(values)
    except ValueError as error:
        what = "finite" if "finite" in str(error) else "four numbers"
        raise ValueError(f"x1, y1, x2, y2 must be {what}, but are {values}") from None
    return x1, y1, x2, y2


def _polygon(value: Any) -> Polygon | None:
    """Rings of x, y, x, y, ...: a list of lists or one ring, as a list or as JSON."""
    if value is None or value == "":
        return None
    wanted = "must be rings of at least 3 points, such as [[5, 5, 20, 5, 20, 20]]"
    try:
        rings = json.loads(value) if isinstance(value, str) else value
        if isinstance(rings, list) and rings and not isinstance(rings[0], list):
            rings = [rings]
        polygon = tuple(finite(ring) for ring in rings)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"polygon {wanted}, but is {str(value)[:80]!r}: {error}") from None
    if not polygon or any(len(ring) < _SHORTEST_RING or len(ring) % 2 for ring in polygon):
        raise ValueError(f"polygon {wanted}, but is {str(value)[:80]!r}")
    return polygon


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _moment(value: Any) -> datetime | None:
    """A timestamp; text is read as ISO 8601, and a time without a zone is taken as UTC."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise ValueError(f"must be a time such as 2026-10-01T06:30:00Z, but is {value!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _place(base: str, path: str) -> str:
    path = path.removeprefix("file://")
    if "://" in path or path.startswith("/"):
        return path
    return posixpath.normpath(f"{base}/{path}" if base else path)
