"""Metrics: ranking, classification, detection, segmentation, and the choice of the threshold."""

from models_py.metrics.classification import accuracy, classification_report, confusion, macro_f1
from models_py.metrics.detection import Boxes, average_precisions, detection_report, match
from models_py.metrics.operating import (
    LimitBreach,
    MistakeCosts,
    MistakeLimits,
    MistakeRates,
    OperatingPoint,
    check_limits,
    choose,
    choose_boxes,
    operating_rates,
    quantile,
)
from models_py.metrics.ranking import auroc, average_precision, f1_max, recall_at_false_rejects
from models_py.metrics.segmentation import SegmentationCounts, segmentation_report

__all__ = [
    "Boxes",
    "LimitBreach",
    "MistakeCosts",
    "MistakeLimits",
    "MistakeRates",
    "OperatingPoint",
    "SegmentationCounts",
    "accuracy",
    "auroc",
    "average_precision",
    "average_precisions",
    "check_limits",
    "choose",
    "choose_boxes",
    "classification_report",
    "confusion",
    "detection_report",
    "f1_max",
    "macro_f1",
    "match",
    "operating_rates",
    "quantile",
    "recall_at_false_rejects",
    "segmentation_report",
]
