"""What an answer means at today's operating points: the rule of `int_predictions__judged`, for one image."""

from __future__ import annotations

import base64
import math
from typing import Any

from udfs.runtime import StoredPrediction
from udfs.verdicts.records import VerdictRecord

_GOOD = "good"
_SIDES = ("confidence", "x1", "y1", "x2", "y2", "area")


def regions_of(answer: StoredPrediction) -> list[dict[str, Any]]:
    """The regions as `predict` gives them: classes come without boxes."""
    masks = answer.masks or (None,) * len(answer.labels)
    return [
        {
            "label": label,
            **{name: None if math.isnan(value) else value for name, value in zip(_SIDES, row, strict=True)},
            "mask": mask,
        }
        for label, row, mask in zip(answer.labels, answer.numbers.tolist(), masks, strict=True)
    ]


def defects_of(entry: VerdictRecord, points: dict[str, float]) -> list[dict[str, Any]]:
    """The regions that count at operating points."""
    everywhere, regions, task = points.get("*"), entry.regions or [], entry.task
    if task in ("detect", "segment"):
        lowest = {region["label"]: points.get(region["label"], everywhere) for region in regions}
        return [region for region in regions if region["confidence"] >= (lowest[region["label"]] or 0.0)]
    is_over = everywhere is not None and entry.score is not None and entry.score >= everywhere
    if task == "classify":
        is_bad = entry.label != _GOOD if everywhere is None else is_over
        return [region for region in regions if region["label"] != _GOOD][:1] if is_bad else []
    if not is_over:
        return []
    nowhere = dict.fromkeys(("x1", "y1", "x2", "y2", "area", "mask"))
    return [{"label": "anomaly", "confidence": entry.confidence, **nowhere}]


def as_json(regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Masks are PNG files, and in JSON their base64."""
    return [{**region, "mask": region["mask"] and base64.b64encode(region["mask"]).decode()} for region in regions]
