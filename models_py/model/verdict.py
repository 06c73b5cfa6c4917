"""What counts as a defect: the one rule, for what a model found in an image and the operating points that hold.

`Model.interpret` labels by it, and the server and the Vision Lab ask it. Where SQL cannot call Python, the same is said
by `dbt_project/macros/defects.sql`, over stored predictions, and by `sql/macros`, for a query's own threshold. A test
holds all of them equal, for every task, with and without operating points.

- A detector or segmenter finds an image defective by its regions at or above the point of their class, else of all.
- A classifier by its score, how likely a defect is, at or above the point; without one by its likeliest class.
- An anomaly detector by its score at or above the point. Scores are distances that mean nothing by themselves: without
  a point nothing is decided, for an image that nobody judged is not good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GOOD, ANOMALY = "good", "anomaly"
EVERY_CLASS = "*"
DEFAULT_THRESHOLDS = {"detect": 0.25, "segment": 0.0}
"""What holds for a version without an operating point; of the other tasks nothing can be said without one."""

Thresholds = Mapping[str, float]
"""Operating points by class, `*` for all those without one of their own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds of an image; all but `defects` are None where the model cannot decide."""

    is_defective: bool | None = None
    label: str | None = None
    confidence: float | None = None
    defects: tuple[int, ...] = ()
    """Which of the regions count, in their order."""


def with_default(task: str, thresholds: Thresholds) -> dict[str, float]:
    """Operating points, with the task's own for all classes where none was chosen."""
    default = DEFAULT_THRESHOLDS.get(task)
    return ({} if default is None else {EVERY_CLASS: default}) | dict(thresholds)


def decide(task: str, score: float, regions: Sequence[tuple[str, float]], thresholds: Thresholds) -> Verdict:
    """The verdict by an image's score and regions, each a class and a confidence; of classes the likeliest first."""
    points = with_default(task, thresholds)
    if task in ("detect", "segment"):
        counted = [
            place
            for place, (label, confidence) in enumerate(regions)
            if confidence >= points.get(label, points[EVERY_CLASS])
        ]
        return _found(score, regions, counted)
    everywhere = points.get(EVERY_CLASS)
    if task == "classify":
        is_defective = regions[0][0] != GOOD if everywhere is None else score >= everywhere
        defects = [place for place, (label, _) in enumerate(regions) if label != GOOD]
        return _found(score, regions, defects[:1] if is_defective else [])
    if everywhere is None:
        return Verdict()
    is_defective = score >= everywhere
    return Verdict(is_defective, ANOMALY if is_defective else GOOD, _sureness(score, everywhere))


def _found(score: float, regions: Sequence[tuple[str, float]], defects: Sequence[int]) -> Verdict:
    """An image is called by the surest of its defects, of equally sure ones by the last in the alphabet."""
    if not defects:
        return Verdict(is_defective=False, label=GOOD, confidence=1 - score)
    confidence, label = max((regions[place][1], regions[place][0]) for place in defects)
    return Verdict(is_defective=True, label=label, confidence=confidence, defects=tuple(defects))


def _sureness(score: float, threshold: float) -> float:
    """How sure the verdict is, from 0.5 at the threshold to 1 far from it."""
    if threshold <= 0:
        return 0.5
    ratio = max(score, 1e-9) / threshold
    return 1 - 0.5 * min(ratio, 1 / ratio)


def why_undecided(reference: str) -> str:
    """What to say where nothing was decided."""
    return (
        f"{reference} has no operating point, and its scores are distances that say nothing without one. "
        f'Choose one: `duckspect models threshold {reference} SCORE --reason "..."`.'
    )
