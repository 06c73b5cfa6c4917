"""The Python functions under the SQL ones: rows in, Arrow out. A user's mistake is returned as `fault`, never raised.

DuckDB would put a traceback behind a raised error; the macros raise the bare sentence with error().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pyarrow as pa

from models_py.errors import DuckspectError
from udfs.functions import types
from udfs.functions.arrow import (
    arrow_type,
    comparisons,
    embeddings,
    faultless_pictures,
    faulty,
    infos,
    pictures,
    predictions,
    regions_of,
    sources,
)

if TYPE_CHECKING:
    import duckdb

    from udfs.functions.call_counts import CallCounts
    from udfs.runtime import LoadedModel, OutputKind, PredictionRequest, PredictionResult, Runtime

A = TypeVar("A")
Column: TypeAlias = pa.ChunkedArray
ScoredRow: TypeAlias = "tuple[LoadedModel | None, PredictionResult[A]]"


@dataclass(frozen=True, slots=True)
class RawFunction:
    """A function as DuckDB knows it: its argument types before the query's identity, and what it returns."""

    name: str
    arguments: tuple[str, ...]
    returns: str
    call: Callable[..., pa.Array]


def register(
    con: duckdb.DuckDBPyConnection, runtime: Callable[[], Runtime], counts: CallCounts
) -> tuple[RawFunction, ...]:
    """Make the functions known to the whole database that `con` is connected to; the caller must keep what is returned.

    DuckDB keeps them alive only until `con` is closed, but goes on calling them for the database's other connections.
    """
    from duckdb.func import FunctionNullHandling, PythonUDFType

    functions = _Functions(runtime, counts).all()
    for raw in functions:
        con.create_function(
            raw.name,
            raw.call,
            [con.type(text) for text in (*raw.arguments, types.QUERY)],
            con.type(raw.returns),
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
    return functions


class _Functions:
    """The functions over a runtime, which is made at the first call."""

    def __init__(self, runtime: Callable[[], Runtime], counts: CallCounts) -> None:
        self._runtime = runtime
        self._counts = counts

    def all(self) -> tuple[RawFunction, ...]:
        image, boxes = types.IMAGE, f"{types.REGION}[]"
        side = ("double",) * 4
        return (
            RawFunction("duckspect_predict", (image, "varchar", "varchar", image), types.RAW_PREDICTION, self.predict),
            RawFunction("duckspect_embed", (image, "varchar", image), types.RAW_EMBEDDING, self.embed),
            RawFunction("duckspect_anomaly_map", (image, "varchar", image), types.RAW_PICTURE, self.anomaly_map),
            RawFunction("duckspect_compare", (image, image, "varchar"), types.RAW_COMPARISON, self.compare),
            RawFunction("duckspect_image", (image,), types.RAW_INFO, self.image),
            RawFunction("duckspect_draw", (image, boxes), "blob", self.draw),
            RawFunction("duckspect_crop", (image, *side), "blob", self.crop),
        )

    def predict(self, images: Column, models: Column, tasks: Column, beside: Column, queries: Column) -> pa.Array:
        from udfs.runtime import PREDICT

        def answer() -> pa.Array:
            request, rows = _request(images, queries, beside), models.to_pylist()
            return predictions(self._scored(request, rows, tasks.to_pylist(), PREDICT))

        return _or_fault(answer, types.RAW_PREDICTION, len(images))

    def embed(self, images: Column, models: Column, beside: Column, queries: Column) -> pa.Array:
        from udfs.runtime import EMBED

        def answer() -> pa.Array:
            request, rows = _request(images, queries, beside), models.to_pylist()
            return embeddings(outcome for _, outcome in self._scored(request, rows, [None] * len(rows), EMBED))

        return _or_fault(answer, types.RAW_EMBEDDING, len(images))

    def anomaly_map(self, images: Column, models: Column, beside: Column, queries: Column) -> pa.Array:
        from udfs.functions.pictures import heat
        from udfs.runtime import MAP

        def answer() -> pa.Array:
            request, rows = _request(images, queries, beside), models.to_pylist()
            maps = [outcome.answer for _, outcome in self._scored(request, rows, ["anomaly"] * len(rows), MAP)]
            made = self._runtime().make(request, [None if found is None else heat(found) for found in maps])
            return faultless_pictures(made)

        return _or_fault(answer, types.RAW_PICTURE, len(images))

    def compare(self, images: Column, beside: Column, alignments: Column, queries: Column) -> pa.Array:
        from udfs.functions.comparing import comparing
        from udfs.runtime import PredictionRequest, PredictionResult

        def answer() -> pa.Array:
            request, methods = _request(images, queries, beside), alignments.to_pylist()
            found: list[PredictionResult[types.ComparisonRow]] = [PredictionResult()] * len(methods)
            for method in dict.fromkeys(methods):
                rows = [row for row, name in enumerate(methods) if name == method]
                group = PredictionRequest([request.sources[row] for row in rows], request.query)
                look = comparing(method or "homography")
                for row, outcome in zip(rows, self._runtime().compare(group, method or "", look), strict=True):
                    found[row] = outcome
            return comparisons(found)

        return _or_fault(answer, types.RAW_COMPARISON, len(images))

    def image(self, images: Column, queries: Column) -> pa.Array:
        from udfs.functions.pictures import inspect

        return infos(self._runtime().look(_request(images, queries), "image", inspect))

    def draw(self, images: Column, regions: Column, queries: Column) -> pa.Array:
        from udfs.functions.pictures import drawing

        makers = [None if found is None else drawing(found) for found in regions_of(regions)]
        return pictures(self._runtime().make(_request(images, queries), makers))

    def crop(self, images: Column, x1: Column, y1: Column, x2: Column, y2: Column, queries: Column) -> pa.Array:
        from udfs.functions.pictures import cropping

        boxes = zip(*(column.to_pylist() for column in (x1, y1, x2, y2)), strict=True)
        makers = [None if None in box else cropping(box) for box in boxes]
        return pictures(self._runtime().make(_request(images, queries), makers))

    def _scored(
        self,
        request: PredictionRequest,
        references: Sequence[str | None],
        tasks: Sequence[str | None],
        kind: OutputKind[A],
    ) -> list[ScoredRow[A]]:
        """The model that answered each row, and its outcome; rows are put together by model."""
        from udfs.runtime import PredictionRequest, PredictionResult

        runtime = self._runtime()
        count = self._counts.of(request.query.connection)
        found: list[ScoredRow[A]] = [(None, PredictionResult())] * len(references)
        for (reference, task), rows in _grouped(request, references, tasks):
            group = PredictionRequest([request.sources[row] for row in rows], request.query)
            if count is not None:
                count.add(*runtime.known(group, reference, task, kind))
                continue
            model = runtime.serve(reference, request.query, task)
            outcomes = runtime.score(group, model, kind)
            for row, outcome in zip(rows, outcomes, strict=True):
                found[row] = (model, outcome)
        return found


def _grouped(
    request: PredictionRequest, references: Sequence[str | None], tasks: Sequence[str | None]
) -> Iterator[tuple[tuple[str | None, str | None], list[int]]]:
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for row, source in enumerate(request.sources):
        if source is not None:
            groups.setdefault((references[row], tasks[row]), []).append(row)
    yield from groups.items()


def _request(images: Column, queries: Column, beside: Column | None = None) -> PredictionRequest:
    from udfs.runtime import PredictionRequest, Query

    found = sources(images)
    if beside is not None:
        pairs = zip(found, sources(beside), strict=True)
        found = [image and (image if other is None else replace(image, reference=other)) for image, other in pairs]
    return PredictionRequest(found, Query(**queries[0].as_py()))


def _or_fault(answer: Callable[[], pa.Array], returns: str, rows: int) -> pa.Array:
    try:
        return answer()
    except DuckspectError as error:
        return faulty(arrow_type(returns), rows, str(error))
