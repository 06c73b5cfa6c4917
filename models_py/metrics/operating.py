"""The operating point: the threshold from which a score rejects, chosen by what mistakes cost.

An escape is a defect that is passed, an overkill a good part that is rejected. A score at the threshold rejects.

To choose, all distinct scores are sorted: between two of them every threshold makes the same mistakes, so n scores give
n + 1 steps, whose escapes and overkills are cumulative sums. The cheapest step wins; of equally cheap ones the one with
the widest gap, and the threshold is put in the middle of that gap.

The cheapest threshold can still be useless: where an escape costs ten overkills and a model hardly recognises defects,
rejecting everything is cheapest. So `check_limits` warns about a point that makes more mistakes than its limits allow,
and offers the cheapest threshold within them. dbt's eval_operating_points does the same in SQL, from stored
predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models_py.metrics.detection import Boxes, by_image, match
from models_py.metrics.evidence import BoolArray, FloatArray, IntArray, checked_pair, checked_scores, ratio

Range = tuple[float, float]
_ANY: Range = (-np.inf, np.inf)


@dataclass(frozen=True, slots=True)
class MistakeCosts:
    """What one mistake of each kind costs, in any unit."""

    escape: float = 10.0
    overkill: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.escape < np.inf and 0 <= self.overkill < np.inf):
            raise ValueError(f"costs: must be 0 or more, but got escape {self.escape} and overkill {self.overkill}.")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, the mistakes it makes on the validation images, and why it was chosen."""

    threshold: float
    escapes: int
    overkills: int
    cost: float
    reason: str


@dataclass(frozen=True, slots=True)
class MistakeLimits:
    """The shares of escapes among the defective and of overkills among the good that need no warning."""

    escape: float = 0.2
    overkill: float = 0.2


@dataclass(frozen=True, slots=True)
class MistakeRates:
    """The mistakes that a threshold makes on known images."""

    threshold: float
    escapes: int
    overkills: int


@dataclass(frozen=True, slots=True)
class LimitBreach:
    """An operating point beyond its limits, and the cheapest threshold within them, if there is one.

    Where no threshold keeps both limits, the alternative to too many overkills is the cheapest with few enough of them.
    """

    point: MistakeRates
    alternative: MistakeRates | None
    are_both_possible: bool
    defective: int
    good: int
    limits: MistakeLimits

    def sentence(self, reference: str) -> str:
        """The warning that training, promotion and the build print, with the command that sets the alternative."""
        warning = (
            f"{reference} {self._mistakes(self.point)} at its threshold {self.point.threshold:.6g}; "
            f"the limits are {self.limits.overkill:.0%} of the good and {self.limits.escape:.0%} of the defective."
        )
        if not self.are_both_possible:
            warning += " No threshold keeps both limits: the model does not tell good from defective well enough."
        if self.alternative is None:
            return warning
        threshold = f"{self.alternative.threshold:.8g}"
        return (
            f"{warning} At {threshold} it {self._mistakes(self.alternative)}. To choose that: "
            f'`duckspect models threshold {reference} {threshold} --reason "..."`'
        )

    def _mistakes(self, made: MistakeRates) -> str:
        good = f"rejects {made.overkills:,} of {_counted(self.good, 'good validation image')}"
        defective = f"passes {made.escapes:,} of {_counted(self.defective, 'defective one')}"
        return " and ".join([good] * (self.good > 0) + [defective] * (self.defective > 0))


def check_limits(
    scores: ArrayLike, is_defective: ArrayLike, threshold: float, costs: MistakeCosts, limits: MistakeLimits
) -> LimitBreach | None:
    """Return how a threshold breaks its limits on known images, with the cheapest one within them; None if it does not.

    A threshold that rejects nothing is no alternative.
    """
    flat, marks = checked_pair(scores, is_defective)
    defective, good = int(marks.sum()), int((~marks).sum())
    point = MistakeRates(threshold, int((marks & (flat < threshold)).sum()), int((~marks & (flat >= threshold)).sum()))
    has_few_overkills = _is_within(point.overkills, good, limits.overkill)
    if has_few_overkills and _is_within(point.escapes, defective, limits.escape):
        return None
    values, escapes, overkills = _steps(flat, marks)
    is_allowed = _is_within(overkills, good, limits.overkill) & (np.arange(len(escapes)) < len(values))
    keeps_both = is_allowed & _is_within(escapes, defective, limits.escape)
    if has_few_overkills or keeps_both.any():
        is_allowed = keeps_both
    alternative = None
    if is_allowed.any():
        step = _cheapest(values, escapes, overkills, costs, is_allowed)
        alternative = MistakeRates(_threshold(values, step, _ANY), int(escapes[step]), int(overkills[step]))
    return LimitBreach(point, alternative, bool(keeps_both.any()), defective, good, limits)


def choose(scores: ArrayLike, is_defective: ArrayLike, costs: MistakeCosts, possible: Range = _ANY) -> OperatingPoint:
    """Return the cheapest threshold, in the middle of the widest gap between scores that is cheapest.

    Where only rejecting everything or nothing is cheapest, the threshold lies half a gap beyond the outermost score,
    but among the `possible` scores if it can.
    """
    flat, marks = checked_pair(scores, is_defective)
    if not len(flat):
        raise ValueError("scores: must hold at least one validation image, but is empty. Put images into that split.")
    threshold, escapes, overkills = _chosen(flat, marks, costs, possible)
    where = _counted(len(flat), "validation image")
    if marks.all() or not marks.any():
        where += " (none of them good)" if marks.all() else " (none of them defective)"
    return _point(threshold, escapes, overkills, costs, where)


def choose_boxes(
    truths: Sequence[Boxes],
    predictions: Sequence[Boxes],
    costs: MistakeCosts,
    iou: float = 0.5,
    possible: Range = _ANY,
) -> OperatingPoint:
    """Return the cheapest threshold for boxes: a truth without a match is an escape, a prediction without an overkill.

    Matching goes from the highest score down, so a threshold only removes its last steps: one matching serves all.
    Where nothing was predicted every threshold is equal, and it is 0.5.
    """
    hits = [match(truth, predicted, iou) >= 0 for truth, predicted in by_image(truths, predictions)]
    is_hit = np.concatenate([np.empty(0, np.bool_), *hits])
    scores = np.concatenate([np.empty(0), *(each.scores for each in predictions if each.scores is not None)])
    defects = sum(len(truth.labels) for truth in truths)
    never_found = defects - int(is_hit.sum())
    threshold, escapes, overkills = (
        _chosen(checked_scores(scores), is_hit, costs, possible) if len(scores) else (0.5, 0, 0)
    )
    where = f"{_counted(len(truths), 'validation image')} with {_counted(defects, 'defect')}"
    return _point(threshold, escapes + never_found, overkills, costs, where)


def quantile(normal_scores: ArrayLike, q: float) -> OperatingPoint:
    """Return the threshold that passes the share `q` (0 to 1) of good images, where no defective ones are known.

    A score equal to the quantile passes. The cost is that of the overkills alone.
    """
    flat = _finite(checked_scores(normal_scores))
    if not len(flat) or not 0 <= q <= 1:
        raise ValueError(f"quantile: needs a score or more and q from 0 to 1, but got {len(flat)} scores and q {q}.")
    threshold = float(np.quantile(flat, q))
    if (flat == threshold).any():
        threshold = _just_above(threshold)
    overkills = int(np.count_nonzero(flat >= threshold))
    reason = (
        f"quantile {q:g} of {_counted(len(flat), 'defect-free validation image')}: "
        f"{_counted(overkills, 'overkill')}, escapes unknown"
    )
    return OperatingPoint(threshold, 0, overkills, MistakeCosts().overkill * overkills, reason)


def _chosen(
    scores: FloatArray, is_defective: BoolArray, costs: MistakeCosts, possible: Range
) -> tuple[float, int, int]:
    """Return threshold, escapes and overkills of the cheapest step of all."""
    values, escapes, overkills = _steps(scores, is_defective)
    step = _cheapest(values, escapes, overkills, costs, np.ones(len(escapes), np.bool_))
    return _threshold(values, step, possible), int(escapes[step]), int(overkills[step])


def _steps(scores: FloatArray, is_defective: BoolArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return the scores that occur, and escapes and overkills by step: step k rejects all but the k lowest scores."""
    values, place = np.unique(_finite(scores), return_inverse=True)
    defective = np.bincount(place, weights=is_defective, minlength=len(values)).astype(np.int64)
    good = np.bincount(place, weights=~is_defective, minlength=len(values)).astype(np.int64)
    escapes = np.concatenate([[0], np.cumsum(defective)])
    return values, escapes, good.sum() - np.concatenate([[0], np.cumsum(good)])


def _cheapest(
    values: FloatArray, escapes: IntArray, overkills: IntArray, costs: MistakeCosts, is_allowed: BoolArray
) -> int:
    """Return the cheapest step of those allowed, of equals the one in the widest gap between scores."""
    cost = np.where(is_allowed, costs.escape * escapes + costs.overkill * overkills, np.inf)
    is_best = np.isclose(cost, cost.min(), rtol=1e-12, atol=0.0)
    gaps = np.where(is_best[1:-1], np.diff(values), -1.0)
    # Steps at the ends (reject everything or nothing) have no gap around them, so they are taken only if no other is.
    return 1 + int(gaps.argmax()) if is_best[1:-1].any() else int(is_best.argmax())


def _is_within(count: IntArray | int, of: int, limit: float) -> Any:
    """Whether a share is at most the limit, for one count or an array; true where there is nothing to count."""
    return np.divide(count, max(of, 1)) <= limit


def _threshold(values: FloatArray, step: int, possible: Range) -> float:
    """Return a number above the lowest `step` of the values, and up to the next one."""
    half = np.diff(values) / 2
    lowest, highest = possible
    if step == 0:
        return float(max(values[0] - (half[0] if len(half) else 0.0), lowest))
    if step == len(values):
        beyond = min(values[-1] + (half[-1] if len(half) else 0.0), highest)
        return float(max(beyond, _just_above(values[-1])))
    middle = values[step - 1] + half[step - 1]
    return float(middle if middle > values[step - 1] else values[step])


def _just_above(value: float) -> float:
    """Return the next single-precision number, which is above the value in single and in double precision."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _finite(scores: FloatArray) -> FloatArray:
    if not np.isfinite(scores).all():
        raise ValueError("scores: must be finite to set a threshold between them, but some are infinite. Drop them.")
    return scores.astype(np.float64)


def _point(threshold: float, escapes: int, overkills: int, costs: MistakeCosts, where: str) -> OperatingPoint:
    cost = float(costs.escape * escapes + costs.overkill * overkills)
    mistakes = (
        f"{_counted(escapes, 'escape')} x {costs.escape:g} + {_counted(overkills, 'overkill')} x {costs.overkill:g}"
    )
    return OperatingPoint(threshold, escapes, overkills, cost, f"lowest cost on {where}: {mistakes}")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def operating_rates(scores: ArrayLike, is_defective: ArrayLike, threshold: float) -> dict[str, float | None]:
    """Share of the defective below the threshold, and of the good at or above it; None without any of them."""
    values, flags = checked_pair(scores, is_defective)
    escapes, overkills = int((flags & (values < threshold)).sum()), int((~flags & (values >= threshold)).sum())
    return {"escape_rate": ratio(escapes, int(flags.sum())), "overkill_rate": ratio(overkills, int((~flags).sum()))}
