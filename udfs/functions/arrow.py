"""Between Arrow columns and what the runtime works with; answers are put together column by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from udfs.functions import types

if TYPE_CHECKING:
    from models_py.model.trained_model import Array
    from udfs.runtime import ImageSource, LoadedModel, PredictionResult, StoredPrediction


@cache
def arrow_type(sql: str) -> pa.DataType:
    """The Arrow type of a SQL type, as DuckDB itself translates it."""
    with duckdb.connect() as con:
        return con.execute(f"select null::{sql} as value").to_arrow_table().schema.field("value").type


def sources(images: pa.ChunkedArray) -> list[ImageSource | None]:
    """The images of a column of unions; bytes are not copied."""
    from udfs.runtime import ImageSource

    found: list[ImageSource | None] = []
    for chunk in images.chunks:
        codes = chunk.type_codes.to_pylist()
        uris, blobs = chunk.field(0).to_pylist(), chunk.field(1)
        for row, code in enumerate(codes):
            if code == 0:
                found.append(None if uris[row] is None else ImageSource(uris[row], None))
            else:
                data = blobs[row]
                found.append(ImageSource(None, memoryview(data.as_buffer())) if data.is_valid else None)
    return found


def faulty(kind: pa.StructType, rows: int, fault: str) -> pa.Array:
    """A column that says only what is wrong with the query."""
    columns = [pa.nulls(rows, field.type) for field in kind]
    columns[kind.get_field_index("fault")] = pa.array([fault] * rows, pa.string())
    return pa.StructArray.from_arrays(columns, fields=list(kind))


def predictions(rows: Sequence[tuple[LoadedModel | None, PredictionResult[StoredPrediction]]]) -> pa.Array:
    """Verdicts with the thresholds of their models."""
    kind = arrow_type(types.RAW_PREDICTION)
    answers = [outcome.answer for _, outcome in rows]
    is_null = np.array([loaded is None for loaded, _ in rows], bool)
    versions = [None if loaded is None else loaded.version for loaded, _ in rows]
    columns = [
        pa.array([item and item.name for item in versions], pa.string()),
        pa.array([item and item.version for item in versions], pa.int32()),
        pa.array([item and item.task for item in versions], pa.string()),
        pa.array([item and item.label for item in answers], pa.string()),
        pa.array([None if item is None else item.confidence for item in answers], pa.float64()),
        pa.array([None if item is None else item.score for item in answers], pa.float64()),
        _regions(answers, kind.field("answer").type.field("regions").type),
        pa.array([outcome.error for _, outcome in rows], pa.string()),
    ]
    answer = pa.StructArray.from_arrays(columns, fields=list(kind.field("answer").type), mask=pa.array(is_null))
    thresholds = pa.array(
        [None if loaded is None else list(loaded.thresholds.items()) for loaded, _ in rows],
        kind.field("thresholds").type,
    )
    return pa.StructArray.from_arrays([answer, thresholds, pa.nulls(len(rows), pa.string())], fields=list(kind))


def _regions(answers: Sequence[StoredPrediction | None], kind: pa.ListType) -> pa.Array:
    """The regions of all answers in one list column; classes come without boxes."""
    counts = np.array([0 if item is None else len(item.labels) for item in answers], np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    numbers = [item.numbers for item in answers if item is not None and len(item.numbers)]
    table = np.concatenate(numbers) if numbers else np.zeros((0, 6))
    labels = [label for item in answers if item is not None for label in item.labels]
    masks = [mask for item in answers if item is not None for mask in (item.masks or (None,) * len(item.labels))]
    sides = [pa.array(table[:, column], pa.float64(), mask=np.isnan(table[:, column])) for column in range(6)]
    columns = [pa.array(labels, pa.string()), *sides, pa.array(masks, pa.binary())]
    values = pa.StructArray.from_arrays(columns, fields=list(kind.value_type))
    nulls = pa.array([item is None for item in answers], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=nulls)


def embeddings(outcomes: Iterable[PredictionResult[Array]]) -> pa.Array:
    """Vectors."""
    kind = arrow_type(types.RAW_EMBEDDING)
    values = pa.array([outcome.answer for outcome in outcomes], kind.field("answer").type)
    return pa.StructArray.from_arrays([values, pa.nulls(len(values), pa.string())], fields=list(kind))


def pictures(outcomes: Sequence[PredictionResult[bytes]]) -> pa.Array:
    """Image files."""
    return pa.array([outcome.answer for outcome in outcomes], pa.binary())


def faultless_pictures(outcomes: Sequence[PredictionResult[bytes]]) -> pa.Array:
    """Image files of a function that can be at fault."""
    kind = arrow_type(types.RAW_PICTURE)
    return pa.StructArray.from_arrays([pictures(outcomes), pa.nulls(len(outcomes), pa.string())], fields=list(kind))


def comparisons(outcomes: Sequence[PredictionResult[types.ComparisonRow]]) -> pa.Array:
    """What differs, and why that is not known."""
    kind = arrow_type(types.RAW_COMPARISON)
    rows = [
        None if outcome.answer is None and outcome.error is None else {**(outcome.answer or {}), "error": outcome.error}
        for outcome in outcomes
    ]
    values = pa.array(rows, kind.field("answer").type)
    return pa.StructArray.from_arrays([values, pa.nulls(len(rows), pa.string())], fields=list(kind))


def infos(outcomes: Sequence[PredictionResult[types.ImageInfo]]) -> pa.Array:
    """Facts of images, and why there are none."""
    kind = arrow_type(types.RAW_INFO)
    info = pa.array([outcome.answer for outcome in outcomes], kind.field("info").type)
    return pa.StructArray.from_arrays(
        [info, pa.array([outcome.error for outcome in outcomes], pa.string())], fields=list(kind)
    )


def regions_of(column: pa.ChunkedArray) -> list[list[types.RegionRow] | None]:
    """Regions as dictionaries, as few as a picture has."""
    return [None if row is None else [region for region in row if region] for row in column.to_pylist()]
