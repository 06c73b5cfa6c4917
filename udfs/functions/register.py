"""The Python functions under the SQL ones: rows in, Arrow out. A user's mistake is returned as `fault`, never raised.

DuckDB would put a traceback behind a raised error; the macros raise the bare sentence with error().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from models_py.errors import DuckspectError
from udfs.functions import types
from udfs.functions.arrow import (
    arrow_type,
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
    from udfs.runtime import PredictionRequest, Runtime

Column: TypeAlias = pa.ChunkedArray
_IDENTITY = ("ubigint", "ubigint")


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
            [con.type(text) for text in (*raw.arguments, *_IDENTITY)],
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
            RawFunction("duckspect_predict", (image, "varchar", "varchar"), types.RAW_PREDICTION, self.predict),
            RawFunction("duckspect_embed", (image, "varchar"), types.RAW_EMBEDDING, self.embed),
            RawFunction("duckspect_anomaly_map", (image, "varchar"), types.RAW_PICTURE, self.anomaly_map),
            RawFunction("duckspect_image", (image,), types.RAW_INFO, self.image),
            RawFunction("duckspect_draw", (image, boxes), "blob", self.draw),
            RawFunction("duckspect_crop", (image, *side), "blob", self.crop),
        )

    def predict(
        self, images: Column, models: Column, tasks: Column, transactions: Column, connections: Column
    ) -> pa.Array:
        from udfs.runtime import PREDICT

        def answer() -> pa.Array:
            asked, rows = _asked(images, transactions, connections), models.to_pylist()
            return predictions(self._scored(asked, rows, tasks.to_pylist(), PREDICT))

        return _answered(answer, types.RAW_PREDICTION, len(images))

    def embed(self, images: Column, models: Column, transactions: Column, connections: Column) -> pa.Array:
        from udfs.runtime import EMBED

        def answer() -> pa.Array:
            asked, rows = _asked(images, transactions, connections), models.to_pylist()
            return embeddings(outcome for _, outcome in self._scored(asked, rows, [None] * len(rows), EMBED))

        return _answered(answer, types.RAW_EMBEDDING, len(images))

    def anomaly_map(self, images: Column, models: Column, transactions: Column, connections: Column) -> pa.Array:
        from udfs.functions.pictures import heat
        from udfs.runtime import MAP

        def answer() -> pa.Array:
            asked, rows = _asked(images, transactions, connections), models.to_pylist()
            maps = [outcome.answer for _, outcome in self._scored(asked, rows, ["anomaly"] * len(rows), MAP)]
            made = self._runtime().make(asked, [None if found is None else heat(found) for found in maps])
            return faultless_pictures(made)

        return _answered(answer, types.RAW_PICTURE, len(images))

    def image(self, images: Column, transactions: Column, connections: Column) -> pa.Array:
        from udfs.functions.pictures import inspect

        return infos(self._runtime().look(_asked(images, transactions, connections), "image", inspect))

    def draw(self, images: Column, regions: Column, transactions: Column, connections: Column) -> pa.Array:
        from udfs.functions.pictures import drawing

        makers = [None if found is None else drawing(found) for found in regions_of(regions)]
        return pictures(self._runtime().make(_asked(images, transactions, connections), makers))

    def crop(
        self, images: Column, x1: Column, y1: Column, x2: Column, y2: Column, transactions: Column, connections: Column
    ) -> pa.Array:
        from udfs.functions.pictures import cropping

        boxes = zip(*(column.to_pylist() for column in (x1, y1, x2, y2)), strict=True)
        makers = [None if None in box else cropping(box) for box in boxes]
        return pictures(self._runtime().make(_asked(images, transactions, connections), makers))

    def _scored(
        self, asked: PredictionRequest, references: Sequence[str | None], tasks: Sequence[str | None], kind: Any
    ) -> list[tuple[Any, Any]]:
        """The model that answered each row, and its outcome; rows are put together by model."""
        from udfs.runtime import PredictionRequest, PredictionResult

        runtime = self._runtime()
        count = self._counts.of(asked.query.connection)
        found: list[tuple[Any, Any]] = [(None, PredictionResult())] * len(references)
        for (reference, task), rows in _grouped(asked, references, tasks):
            group = PredictionRequest([asked.sources[row] for row in rows], asked.query)
            if count is not None:
                count.add(*runtime.known(group, reference, task, kind))
                continue
            served = runtime.serve(reference, asked.query, task)
            outcomes = runtime.score(group, served, kind)
            for row, outcome in zip(rows, outcomes, strict=True):
                found[row] = (served, outcome)
        return found


def _grouped(
    asked: PredictionRequest, references: Sequence[str | None], tasks: Sequence[str | None]
) -> Iterator[tuple[tuple[str | None, str | None], list[int]]]:
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for row, source in enumerate(asked.sources):
        if source is not None:
            groups.setdefault((references[row], tasks[row]), []).append(row)
    yield from groups.items()


def _asked(images: Column, transactions: Column, connections: Column) -> PredictionRequest:
    from udfs.runtime import PredictionRequest, Query

    return PredictionRequest(sources(images), Query(connections[0].as_py(), transactions[0].as_py()))


def _answered(answer: Callable[[], pa.Array], returns: str, rows: int) -> pa.Array:
    try:
        return answer()
    except DuckspectError as error:
        return faulty(arrow_type(returns), rows, str(error))
