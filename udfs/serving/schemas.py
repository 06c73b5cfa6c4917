"""What clients send and get, as the OpenAPI document describes it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from models_py.times import TimeLimits

_MOST = 200


class InspectionContext(BaseModel):
    """What the image shows. With a unit, line, station or product the verdict is an inspection of the plant."""

    model_config = ConfigDict(extra="forbid")

    unit_id: str | None = Field(None, max_length=_MOST, description="The inspected part", examples=["B-1042"])
    line_id: str | None = Field(None, max_length=_MOST, description="Production line", examples=["AUSTIN_L1"])
    station_id: str | None = Field(None, max_length=_MOST, description="Inspection station on the line")
    product_type: str | None = Field(None, max_length=_MOST, description="Product or part number")
    captured_at: datetime | None = Field(None, description="When the picture was taken; now if left out")
    reference_uri: str | None = Field(
        None,
        max_length=4096,
        description="Path or URL of the reference image (golden board), for models that were trained with references; "
        "if left out the one that raw.templates links to the image, else the golden board of the product",
    )

    @field_validator("captured_at")
    @classmethod
    def _is_plausible(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and (refusal := TimeLimits().refusal(moment)):
            raise PydanticCustomError("implausible_time", "{refusal}", {"refusal": refusal})
        return moment


class QueryParameters(InspectionContext):
    """The query string."""

    picture: bool = Field(False, description="Draw the defects, too")


class PredictRequest(InspectionContext):
    """An image as base64 or as the URI of a file that the server may open."""

    image: str | None = Field(None, description="The image file in base64")
    reference: str | None = Field(None, description="The file of the reference image in base64")
    uri: str | None = Field(
        None,
        max_length=4096,
        description="Path, below the warehouse's folder if relative, or URL of the image, as the server sees it",
    )


class RegionBody(BaseModel):
    """A region of the image, or with a classifier a class; pixels, and the mask as PNG in base64."""

    label: str
    confidence: float
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    area: float | None
    mask: str | None


class PredictResponse(BaseModel):
    """The fields of SQL's `predict`, and what counts at the operating thresholds that now hold."""

    request_id: str
    inspection_id: str | None
    image_id: str
    model: str
    version: int
    task: str
    label: str | None
    confidence: float | None
    score: float | None
    regions: list[RegionBody]
    error: None
    is_defective: bool | None = Field(description="Null where the model has no operating point and nothing is decided")
    reason: str | None = Field(None, description="Why is_defective is null")
    defects: list[RegionBody]
    thresholds: dict[str, float]
    width: int
    height: int
    latency_ms: float
    picture: str | None = Field(None, description="With ?picture=true: the image with its defects drawn, PNG in base64")


class ErrorBody(BaseModel):
    """What was wrong, in a sentence."""

    error: str
    request_id: str


class ModelInfo(BaseModel):
    """A registered version."""

    name: str
    version: int
    task: str
    architecture: str
    labels: list[str]
    aliases: list[str]
    metrics: dict[str, float | None]
    created_at: datetime


class HealthBody(BaseModel):
    """Whether the server answers, and with what."""

    ready: bool
    models: dict[str, str] = Field(description="Each reference that was asked for, and the version that answers it")
    broken: list[str] = Field(description="References whose new version cannot be loaded; the one before answers")
    threads: dict[str, str] = Field(description="The server's threads, and what is wrong with each; ok if nothing is")
