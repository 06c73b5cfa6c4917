"""A table of images in the user's own columns: CSV or Parquet, one row for each annotation."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, get_args

from models_py.errors import LayoutError
from models_py.layouts._registry import Layout, register
from models_py.layouts._samples import Box, Kind, Label, Reject, Sample, canonical
from models_py.layouts._tree import Tree, folder

_IMAGE_COLUMNS = ("template_uri", "unit_id", "line_id", "station_id", "product_type", "captured_at")
_LABEL_COLUMNS = ("kind", "label", "x1", "y1", "x2", "y2", "mask_uri", "split", "annotator", "annotated_at")
COLUMNS = ("uri", *_IMAGE_COLUMNS, *_LABEL_COLUMNS)
_NAMES = frozenset({"manifest.csv", "manifest.parquet"})

Record = dict[str, Any]


@register
class Manifest(Layout):
    """Columns uri (needed), unit_id, line_id, captured_at, label, x1 to y2, mask_uri and so on; others are kept."""

    name = "manifest"
    title = "manifest"
    example = "manifest.csv: uri,label,x1,y1,x2,y2,line_id,captured_at"
    is_closed: ClassVar[bool] = False

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        path = _manifest_of(tree)
        return f"the table {path}" if path else None

    def samples(self) -> Iterator[Sample | Reject]:
        path = _manifest_of(self.tree)
        if path is None:
            raise LayoutError(f"{self.tree.root}: must be a CSV or Parquet file, or hold a manifest.csv or .parquet.")
        yield from self._grouped(path, self._read(path))

    def _read(self, path: str) -> list[Record]:
        """Read all rows under our names; the user's other columns under `attributes`."""
        import duckdb

        names = self._column_names(path)
        ours = {theirs: name for name, theirs in names.items()}
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            try:
                relation = con.execute(f"from {_reader(path)}", [_local_name(self.tree, path)])
            except duckdb.Error as error:
                raise LayoutError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
            columns = [description[0] for description in relation.description or ()]
            _check_columns(path, columns, names)
            keys = [ours.get(column, column) for column in columns]
            return [dict(zip(keys, row, strict=True)) for row in relation.fetchall()]

    def _column_names(self, path: str) -> dict[str, str]:
        for name in self.columns:
            if name not in COLUMNS:
                raise LayoutError(f"--column: must name one of {', '.join(COLUMNS)}, but got {name!r} for {path}.")
        return {name: self.columns.get(name, name) for name in COLUMNS}

    def _grouped(self, path: str, records: Sequence[Record]) -> Iterator[Sample | Reject]:
        base = folder(path)
        groups: dict[str, list[tuple[int, Record]]] = {}
        for number, record in enumerate(records, 1):
            if record.get("uri") in (None, ""):
                yield Reject(path, f"row {number}: uri is empty")
            else:
                groups.setdefault(str(record["uri"]), []).append((number, record))
        for uri, rows in groups.items():
            problems, sample = _sample(path, base, uri, rows)
            yield from problems
            yield sample


def _manifest_of(tree: Tree) -> str | None:
    tables = tree.having(".csv", ".parquet")
    if len(tree.files) == 1 and tables:
        return tables[0]
    named = [path for path in tables if path.rsplit("/", 1)[-1] in _NAMES]
    return named[0] if len(named) == 1 else None


def _reader(path: str) -> str:
    return "read_parquet($1)" if path.lower().endswith(".parquet") else "read_csv($1, header = true, sample_size = -1)"


def _local_name(tree: Tree, path: str) -> str:
    """Where DuckDB can read the table: itself if it is local, else a copy."""
    if "://" not in tree.root:
        return tree.uri(path)
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=path.rsplit("/", 1)[-1], delete=False) as file:
        file.write(tree.read(path))
        return file.name


def _check_columns(path: str, columns: Sequence[str], names: dict[str, str]) -> None:
    for name, theirs in names.items():
        if theirs not in columns and (name == "uri" or theirs != name):
            raise LayoutError(
                f"{path}: needs a column {theirs!r} for {name}, but has {', '.join(columns)}. "
                f"Say which one it is with --column {name}=YOURS."
            )


def _sample(path: str, base: str, uri: str, rows: Sequence[tuple[int, Record]]) -> tuple[list[Reject], Sample]:
    first = rows[0][1]
    problems = [
        Reject(path, f"row {number}: {name} of {uri!r} is {record[name]!r}, but {first[name]!r} in an earlier row")
        for number, record in rows[1:]
        for name in _IMAGE_COLUMNS
        if record.get(name) != first.get(name)
    ]
    labels: list[Label] = []
    for number, record in rows:
        try:
            if (label := _label(record, base)) is not None:
                labels.append(label)
        except ValueError as error:
            problems.append(Reject(path, f"row {number}: {error}"))
    try:
        captured_at = _moment(first.get("captured_at"))
    except ValueError as error:
        problems.append(Reject(path, f"row {rows[0][0]}: captured_at {error}"))
        captured_at = None
    template = first.get("template_uri")
    return problems, Sample(
        image=_place(base, uri),
        sources=(path, *dict.fromkeys(label.mask for label in labels if label.mask)),
        template=_place(base, str(template)) if template else None,
        labels=tuple(labels),
        captured_at=captured_at,
        attributes={key: value for key, value in first.items() if key not in COLUMNS and value is not None},
        unit_id=_text(first.get("unit_id")),
        line_id=_text(first.get("line_id")),
        station_id=_text(first.get("station_id")),
        product_type=_text(first.get("product_type")),
    )


def _label(record: Record, base: str) -> Label | None:
    """Read the label of a row, None if it has none; the kind follows from what is filled in."""
    label, kind = _text(record.get("label")), _text(record.get("kind"))
    box, mask = _box(record), _text(record.get("mask_uri"))
    if label is None:
        if box or mask or kind:
            raise ValueError("has a box, mask or kind, but no label")
        return None
    inferred: Kind = "box" if box else "mask" if mask else "class"
    if kind not in (*get_args(Kind), None):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, but is {kind!r}")
    if kind not in (inferred, None):
        raise ValueError(f"kind is {kind!r}, but the columns that are filled in make it a {inferred}")
    return Label(
        kind=inferred,
        label=canonical(label),
        box=box,
        mask=_place(base, mask) if mask else None,
        split=_text(record.get("split")),
        annotator=_text(record.get("annotator")),
        annotated_at=_moment(record.get("annotated_at")),
    )


def _box(record: Record) -> Box | None:
    values = [record.get(side) for side in ("x1", "y1", "x2", "y2")]
    if all(value is None for value in values):
        return None
    try:
        x1, y1, x2, y2 = (float(value) for value in values)  # type: ignore[arg-type]  # None raises, as it should
    except (TypeError, ValueError):
        raise ValueError(f"x1, y1, x2, y2 must be four numbers, but are {values}") from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError(f"x1, y1, x2, y2 must be finite, but are {values}")
    return x1, y1, x2, y2


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _moment(value: Any) -> datetime | None:
    """A timestamp; without a zone it is UTC, and text is read as ISO 8601."""
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
    if "://" in path or path.startswith("/"):
        return path
    return posixpath.normpath(f"{base}/{path}" if base else path)
