"""The SQL functions for Ibis, with types that an editor sees; the query still runs in DuckDB.

A function takes columns, deferred columns (`_.uri`) or values. docs/functions.md says what each means, and a test holds
the signatures to the catalogue.

>>> import ibis
>>> from udfs.functions.ibis_functions import detect
>>> images = ibis.table({"uri": "string"}, name="images")
>>> print(images.mutate(found=detect(images.uri, "pcb")).schema()["found"].value_type.names)
('label', 'confidence', 'x1', 'y1', 'x2', 'y2')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias, TypeVar, cast

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from ibis.backends.sql.datatypes import DuckDBType
from ibis.common.deferred import Deferred, deferrable

from udfs.functions.catalogue import Argument, Function, find_function

Image: TypeAlias = "ir.StringValue | ir.BinaryValue | Deferred | str | bytes"
Text: TypeAlias = "ir.StringValue | Deferred | str"
Call = TypeVar("Call", bound=Callable[..., ir.Value])
Number: TypeAlias = "ir.NumericValue | Deferred | float"

_OPEN = ("image", "regions", "region", "reference")
"""Arguments of several types, such as a path or bytes, for which Ibis has no type: they are what they are given."""


def _deferred(function: Call) -> Call:
    """Take deferred columns, too; the signature stays what it is."""
    return cast("Call", deferrable(function))


@_deferred
def predict(image: Image, model: Text, reference: Image | None = None) -> ir.StructValue:
    """What a model of any task says of an image, whatever the threshold of its regions."""
    return _call("predict", image=image, model=model, reference=reference)


@_deferred
def classify(image: Image, model: Text, reference: Image | None = None) -> ir.StructValue:
    """The class of an image, and how likely each class is."""
    return _call("classify", image=image, model=model, reference=reference)


@_deferred
def detect(image: Image, model: Text, threshold: Number | None = None, reference: Image | None = None) -> ir.ArrayValue:
    """The defects of an image as boxes in its pixels; an empty list is a clean image."""
    return _call("detect", image=image, model=model, threshold=threshold, reference=reference)


@_deferred
def segment(
    image: Image, model: Text, threshold: Number | None = None, reference: Image | None = None
) -> ir.ArrayValue:
    """The defects of an image as boxes with area and mask (PNG of the box); an empty list is a clean image."""
    return _call("segment", image=image, model=model, threshold=threshold, reference=reference)


@_deferred
def anomaly(
    image: Image, model: Text, threshold: Number | None = None, reference: Image | None = None
) -> ir.StructValue:
    """How far an image is from the good ones a model learned, and whether that is too far."""
    return _call("anomaly", image=image, model=model, threshold=threshold, reference=reference)


@_deferred
def embed(image: Image, model: Text, reference: Image | None = None) -> ir.ArrayValue:
    """A vector of length 1 that describes an image: alike images have a high list_cosine_similarity."""
    return _call("embed", image=image, model=model, reference=reference)


@_deferred
def anomaly_map(image: Image, model: Text, reference: Image | None = None) -> ir.BinaryValue:
    """The image with the places that a model finds unusual in warm colours, as PNG."""
    return _call("anomaly_map", image=image, model=model, reference=reference)


@_deferred
def compare(image: Image, reference: Image | None = None, alignment: Text | None = None) -> ir.StructValue:
    """What differs between an image and its reference image (golden board), without any model."""
    return _call("compare", image=image, reference=reference, alignment=alignment)


@_deferred
def image_info(image: Image) -> ir.StructValue:
    """Size, format, hash, mean brightness (0 to 255) and sharpness (variance of the Laplacian) of an image."""
    return _call("image_info", image=image)


@_deferred
def image_error(image: Image) -> ir.StringValue:
    """Why an image cannot be used; NULL if it can."""
    return _call("image_error", image=image)


@_deferred
def draw(image: Image, regions: ir.ArrayValue | Deferred) -> ir.BinaryValue:
    """The image with boxes, masks and labels drawn on it, as PNG."""
    return _call("draw", image=image, regions=regions)


@_deferred
def crop(image: Image, region: ir.StructValue | Deferred, margin: Number = 0.0) -> ir.BinaryValue:
    """The part of an image inside a box, as PNG."""
    return _call("crop", image=image, region=region, margin=margin)


def _call(name: str, **values: object) -> ir.Value:
    function = find_function(name)
    assert function is not None  # noqa: S101 - the names above are those of the catalogue
    given = {name: _value(value) for name, value in values.items() if value is not None}
    kinds = tuple(
        given[item.name].type() if item.name in given else dt.string
        for item in function.arguments
        if item.name in _OPEN
    )
    return _declared(function, kinds)(**given)


def _value(value: object) -> ir.Value:
    return value if isinstance(value, ibis.Expr) else ibis.literal(value)


@cache
def _declared(function: Function, given: tuple[dt.DataType, ...]) -> Callable[..., ir.Value]:
    """Declare a function for what its open arguments are given."""
    kinds = iter(given)
    hints = {item.name: next(kinds) if item.name in _OPEN else _type(item.type) for item in function.arguments}

    def stub(*arguments: object) -> object:
        raise NotImplementedError

    stub.__name__ = stub.__qualname__ = function.name
    stub.__signature__ = _signature(function, hints)  # type: ignore[attr-defined]
    stub.__annotations__ = {**hints, "return": _type(function.returns)}
    # With its schema: sqlglot would write a bare predict() as BigQuery's statement of that name.
    declared: Callable[..., ir.Value] = ibis.udf.scalar.builtin(stub, database="main")
    return declared


def _signature(function: Function, hints: Mapping[str, dt.DataType]) -> inspect.Signature:
    return inspect.Signature([_parameter(item, hints[item.name]) for item in function.arguments])


def _parameter(item: Argument, hint: dt.DataType) -> inspect.Parameter:
    default = inspect.Parameter.empty if item.default is None else sql_literal(item.default)
    return inspect.Parameter(item.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=hint)


def sql_literal(sql: str) -> float | None:
    """The value of an argument's default."""
    return None if sql == "null" else float(sql)


def _type(sql: str) -> dt.DataType:
    return DuckDBType.from_string(sql)
