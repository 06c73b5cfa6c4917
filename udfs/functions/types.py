"""The SQL types that the functions take and give, each written once, and the structs as Python gets them."""

from __future__ import annotations

from typing import TypedDict

BOX = "label varchar, confidence double, x1 double, y1 double, x2 double, y2 double"
DETECTION = f"struct({BOX})"
REGION = f"struct({BOX}, area double, mask blob)"
PREDICTION = (
    "struct(model varchar, version integer, task varchar, label varchar, confidence double, score double, "
    f"regions {REGION}[], error varchar)"
)
CLASSIFICATION = "struct(label varchar, confidence double, probabilities map(varchar, double))"
ANOMALY = "struct(score double, threshold double, is_anomalous boolean)"
INFO = (
    "struct(width integer, height integer, channels integer, format varchar, sha256 varchar, "
    "brightness double, sharpness double)"
)
EMBEDDING = "float[]"
COMPARISON = (
    "struct(similarity double, shift struct(x double, y double), "
    "regions struct(x1 double, y1 double, x2 double, y2 double, area double, contrast double)[], error varchar)"
)

IMAGE = "union(uri varchar, bytes blob)"
QUERY = "struct(connection ubigint, transaction ubigint)"
"""What tells a query from others: `udfs.functions.macros`."""

RAW_PREDICTION = f"struct(answer {PREDICTION}, thresholds map(varchar, double), fault varchar)"
RAW_EMBEDDING = f"struct(answer {EMBEDDING}, fault varchar)"
RAW_COMPARISON = f"struct(answer {COMPARISON}, fault varchar)"
RAW_PICTURE = "struct(answer blob, fault varchar)"
RAW_INFO = f"struct(info {INFO}, error varchar)"


class RegionRow(TypedDict):
    """A row of REGION; a class of a classifier has no box."""

    label: str
    confidence: float
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    area: float | None
    mask: bytes | None


class PredictionRow(TypedDict):
    """A row of PREDICTION."""

    model: str
    version: int
    task: str
    label: str | None
    confidence: float | None
    score: float | None
    regions: list[RegionRow] | None
    error: str | None


class ShiftRow(TypedDict):
    """How far the middle of a reference was moved, in pixels."""

    x: float
    y: float


class DifferingRegionRow(TypedDict):
    """A place where an image and its reference differ."""

    x1: float
    y1: float
    x2: float
    y2: float
    area: float
    contrast: float


class ComparisonRow(TypedDict):
    """A row of COMPARISON."""

    similarity: float
    shift: ShiftRow
    regions: list[DifferingRegionRow]


class ImageInfo(TypedDict):
    """A row of INFO."""

    width: int
    height: int
    channels: int
    format: str
    sha256: str
    brightness: float
    sharpness: float
