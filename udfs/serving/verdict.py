"""A stored prediction as what a client gets: its regions, those that count, and the verdict of the one rule."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence

from models_py.model.verdict import ANOMALY, Thresholds, Verdict, decide
from udfs.functions.types import RegionRow
from udfs.runtime import StoredPrediction
from udfs.verdicts.records import VerdictRecord


def regions_of(prediction: StoredPrediction) -> list[RegionRow]:
    """The regions as `predict` gives them: classes come without boxes."""
    masks = prediction.masks or (None,) * len(prediction.labels)
    return [
        region_row(label, numbers, mask)
        for label, numbers, mask in zip(prediction.labels, prediction.numbers.tolist(), masks, strict=True)
    ]


def region_row(label: str, numbers: Sequence[float], mask: bytes | None) -> RegionRow:
    """A region from its confidence, x1, y1, x2, y2 and area; of these NaN is none."""
    x1, y1, x2, y2, area = (None if math.isnan(number) else number for number in numbers[1:])
    return {
        "label": label,
        "confidence": numbers[0],
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "area": area,
        "mask": mask,
    }


def verdict_of(record: VerdictRecord, thresholds: Thresholds) -> Verdict:
    """What the rule says of a recorded prediction at operating points."""
    regions = [(region["label"], region["confidence"]) for region in record.regions or ()]
    return decide(record.task, record.score or 0.0, regions, thresholds)


def defects_of(record: VerdictRecord, verdict: Verdict) -> list[RegionRow]:
    """The regions that count; an anomaly has no place."""
    regions = record.regions or []
    if record.task == "anomaly" and verdict.is_defective:
        return [region_row(ANOMALY, [record.confidence or 0.0, *(math.nan,) * 5], None)]
    return [regions[place] for place in verdict.defects]


def as_json(regions: Sequence[RegionRow]) -> list[Mapping[str, object]]:
    """Masks are PNG files, and in JSON their base64."""
    return [{**region, "mask": region["mask"] and base64.b64encode(region["mask"]).decode()} for region in regions]
