"""Every metric against numbers worked by hand, and against scikit-learn and pycocotools on random data."""

import numpy as np
import pytest
import sklearn.metrics
from random_boxes import LABELS, by_pycocotools, random_boxes

from models_py.metrics import (
    Boxes,
    MistakeCosts,
    MistakeLimits,
    MistakeRates,
    OperatingPoint,
    SegmentationCounts,
    accuracy,
    auroc,
    average_precision,
    average_precisions,
    check_limits,
    choose,
    choose_boxes,
    classification_report,
    confusion,
    detection_report,
    f1_max,
    macro_f1,
    match,
    operating_rates,
    quantile,
    recall_at_false_rejects,
    segmentation_report,
)
from models_py.registry import check_threshold

SCORES = [0.1, 0.4, 0.35, 0.8]
FLAGS = [False, False, True, True]


def boxes(*rows: tuple, scored: bool = True) -> Boxes:
    """Boxes from rows of left, top, right, bottom, label and, if scored, score."""
    return Boxes(
        np.array([row[:4] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[4] for row in rows], dtype=object),
        np.array([row[5] for row in rows], dtype=float) if scored else None,
    )


def truth(*rows: tuple) -> Boxes:
    return boxes(*rows, scored=False)


def random_ranking(seed: int, distinct: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    flags = draw.random(500) < 0.3
    return np.round(draw.random(500) * distinct + flags) / distinct, flags


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    assert auroc(SCORES, FLAGS) == 3 / 4


def test_auroc_counts_a_tie_as_half():
    assert auroc([0.5, 0.5, 0.2], [True, False, False]) == 1.5 / 2
    assert auroc([1, 1, 1], [True, False, False]) == 0.5


def test_average_precision_weighs_precision_by_the_recall_gained():
    assert average_precision(SCORES, FLAGS) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_f1_max_comes_with_the_lowest_threshold_that_reaches_it():
    assert f1_max(SCORES, FLAGS) == (pytest.approx(4 / 5), 0.35)  # three rejected, two rightly
    assert f1_max([3, 2, 2, 2, 2, 1], [True, False, False, True, False, False]) == (pytest.approx(2 / 3), 3)


def test_recall_at_false_rejects_stays_within_the_rate():
    scores, flags = [*range(100), 98.5, 99.5, 50], [False] * 100 + [True] * 3
    assert recall_at_false_rejects(scores, flags) == 2 / 3
    assert recall_at_false_rejects(scores, flags, rate=0.0) == 1 / 3
    assert recall_at_false_rejects(scores, flags, rate=0.5) == 1.0
    assert recall_at_false_rejects([1, 1], [True, False]) == 0.0


@pytest.mark.parametrize("scores", [[], [0.5, 0.7]], ids=["empty", "only negatives"])
def test_ranking_without_a_positive_is_none_not_zero(scores):
    flags = [False] * len(scores)
    for metric in (auroc, average_precision, f1_max, recall_at_false_rejects):
        assert metric(scores, flags) is None


def test_ranking_without_a_negative_is_none_where_it_needs_one():
    assert auroc([0.5, 0.7], [True, True]) is None
    assert recall_at_false_rejects([0.5, 0.7], [True, True]) is None
    assert average_precision([0.5, 0.7], [True, True]) == 1.0
    assert f1_max([0.5, 0.7], [True, True]) == (1.0, 0.5)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        auroc([0.5, float("nan")], [True, False])
    with pytest.raises(ValueError, match="equally many, but got 1 and 2"):
        auroc([0.5], [True, False])


@pytest.mark.parametrize("distinct", [3, 20, 10**9], ids=["heavy ties", "ties", "no ties"])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_agrees_with_scikit_learn(seed, distinct):
    scores, flags = random_ranking(seed, distinct)
    assert auroc(scores, flags) == pytest.approx(sklearn.metrics.roc_auc_score(flags, scores), abs=1e-12)
    expected = sklearn.metrics.average_precision_score(flags, scores)
    assert average_precision(scores, flags) == pytest.approx(expected, abs=1e-12)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(flags, scores)
    f1, threshold = f1_max(scores, flags)
    assert f1 == pytest.approx(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)), abs=1e-9)
    assert f1 == pytest.approx(sklearn.metrics.f1_score(flags, scores >= threshold), abs=1e-12)
    for rate in (0.0, 0.01, 0.1):
        false_rate, true_rate, _ = sklearn.metrics.roc_curve(flags, scores, drop_intermediate=False)
        assert recall_at_false_rejects(scores, flags, rate) == pytest.approx(true_rate[false_rate <= rate].max())


def test_maps_of_pixels_are_ranked_like_lists():
    scores, flags = random_ranking(1, 100)
    as_map = auroc(scores.reshape(20, 25).astype(np.float32), flags.reshape(20, 25).astype(np.uint8))
    assert as_map == pytest.approx(auroc(scores, flags), abs=1e-6)


TRUE = ["good", "good", "good", "scratch", "scratch", "hole"]
SAID = ["good", "good", "scratch", "scratch", "hole", "hole"]
CLASSES = ["good", "scratch", "hole"]


def test_confusion_has_the_truth_in_rows():
    assert confusion(TRUE, SAID, CLASSES).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_accuracy_and_macro_f1_match_the_sums_by_hand():
    assert accuracy(TRUE, SAID) == 4 / 6
    assert macro_f1(TRUE, SAID) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)


def test_a_class_that_is_only_predicted_counts_in_macro_f1():
    assert macro_f1(["good", "good"], ["good", "hole"]) == pytest.approx((2 / 3 + 0) / 2)


def test_classification_report_matches_the_sums_by_hand():
    probabilities = [[0.6, 0.2, 0.2], [0.5, 0.5, 0], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2], [0.4, 0.1, 0.5], [0, 0, 1]]
    report = classification_report(TRUE, SAID, probabilities, CLASSES)
    assert report == {
        "accuracy": pytest.approx(4 / 6),
        "macro_f1": pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3),
        "auroc": pytest.approx((8 / 9 + 5 / 8 + 5 / 5) / 3),
        "f1/good": pytest.approx(4 / 5),
        "f1/scratch": 0.5,
        "f1/hole": pytest.approx(2 / 3),
    }


def test_classification_report_is_none_without_evidence():
    assert set(classification_report([], [], np.empty((0, 3)), CLASSES).values()) == {None}
    report = classification_report(["good"], ["good"], [[1, 0, 0]], CLASSES)
    assert (report["accuracy"], report["macro_f1"], report["auroc"], report["f1/hole"]) == (1.0, 1.0, None, None)


def test_a_label_that_is_not_listed_is_refused_rather_than_dropped():
    with pytest.raises(ValueError, match="predicted: must be among good, but got hole"):
        confusion(["good"], ["hole"], ["good"])
    with pytest.raises(ValueError, match=r"must be 1 rows .* of 3 columns"):
        classification_report(["good"], ["good"], [[1, 0]], CLASSES)
    with pytest.raises(ValueError, match="one label per image"):
        accuracy(["good"], [])


@pytest.mark.parametrize("seed", range(5))
def test_classification_agrees_with_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    true = draw.choice(CLASSES, 200, p=[0.7, 0.2, 0.1])
    probabilities = draw.dirichlet([1, 1, 1], 200)
    said = np.array(CLASSES)[probabilities.argmax(axis=1)]
    report = classification_report(true, said, probabilities, CLASSES)
    alphabetical = sorted(CLASSES)
    columns = probabilities[:, [CLASSES.index(label) for label in alphabetical]]
    assert confusion(true, said, CLASSES).tolist() == (
        sklearn.metrics.confusion_matrix(true, said, labels=CLASSES).tolist()
    )
    assert report["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, said))
    assert report["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(true, said, average="macro"))
    expected = sklearn.metrics.roc_auc_score(true, columns, multi_class="ovr", labels=alphabetical)
    assert report["auroc"] == pytest.approx(expected)


def test_the_surest_prediction_takes_the_truth_it_overlaps_most():
    true = truth((0, 0, 10, 10, "hole"), (0, 0, 10, 8, "hole"))
    said = boxes((0, 0, 10, 9, "hole", 0.5), (0, 0, 10, 8, "hole", 0.9), (50, 50, 60, 60, "hole", 0.8))
    assert match(true, said, 0.5).tolist() == [0, 1, -1]


def test_a_prediction_of_another_label_or_too_far_off_finds_nothing():
    true = truth((0, 0, 10, 10, "hole"))
    assert match(true, boxes((0, 0, 10, 10, "scratch", 0.9)), 0.5).tolist() == [-1]
    assert match(true, boxes((0, 0, 10, 5, "hole", 0.9)), 0.5).tolist() == [0]  # exactly a half
    assert match(true, boxes((0, 0, 10, 5, "hole", 0.9)), 0.51).tolist() == [-1]
    assert match(true, boxes((0, 0, 10, 10, "hole", 0.9), (0, 0, 10, 10, "hole", 0.8)), 0.5).tolist() == [0, -1]


def test_match_without_truth_or_predictions_finds_nothing():
    assert match(truth(), boxes((0, 0, 1, 1, "hole", 0.9)), 0.5).tolist() == [-1]
    assert match(truth((0, 0, 1, 1, "hole")), boxes(), 0.5).tolist() == []
    assert match(truth((0, 0, 0, 0, "hole")), boxes((0, 0, 0, 0, "hole", 0.9)), 0.5).tolist() == [-1]


def test_average_precision_of_boxes_is_interpolated_at_101_recalls():
    true = [truth((0, 0, 10, 10, "hole"), (20, 0, 30, 10, "hole"))]
    said = [
        boxes((0, 0, 10, 10, "hole", 0.9), (50, 0, 60, 10, "hole", 0.8), (20, 0, 30, 10, "hole", 0.7)),
    ]
    # Recall 0.00 to 0.50 at precision 1 (51 points), 0.51 to 1.00 at precision 2/3 (50 points).
    expected = pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precisions(true, said, 0.5, ["hole", "dent"]) == {"hole": expected, "dent": None}


def two_images() -> tuple[list[Boxes], list[Boxes]]:
    """One hole met exactly, one met by 0.4, and a scratch that is missed while another is seen in vain."""
    true = [truth((0, 0, 10, 10, "hole"), (0, 20, 10, 30, "hole")), truth((0, 0, 10, 10, "scratch"))]
    said = [
        boxes((0, 0, 10, 10, "hole", 0.9), (0, 20, 10, 24, "hole", 0.6)),
        boxes((40, 0, 50, 10, "scratch", 0.3)),
    ]
    return true, said


def test_detection_report_matches_the_sums_by_hand():
    report = detection_report(*two_images(), ["hole", "scratch", "dent"], threshold=0.5)
    assert report == {
        "map33": pytest.approx((1.0 + 0.0) / 2),
        "map50": pytest.approx((51 / 101 + 0.0) / 2),
        "map50_95": pytest.approx((51 / 101 + 0.0) / 2),
        "ap50/hole": pytest.approx(51 / 101),
        "ap50/scratch": 0.0,
        "ap50/dent": None,
        "precision50": 1 / 2,
        "recall50": 1 / 3,
        "f1_50": 2 / 5,
        "precision33": 1.0,
        "recall33": 2 / 3,
        "f1_33": 4 / 5,
    }


def test_a_threshold_by_label_holds_for_that_label_alone():
    report = detection_report(*two_images(), ["hole", "scratch"], threshold={"hole": 0.9, "scratch": 0.3})
    assert (report["precision33"], report["recall33"]) == (1 / 2, 1 / 3)  # a score at the threshold counts
    with pytest.raises(ValueError, match="scratch is missing"):
        detection_report(*two_images(), ["hole", "scratch"], threshold={"hole": 0.9})


@pytest.mark.parametrize("has_images", [True, False], ids=["empty images", "no image"])
def test_detection_without_truth_or_predictions_is_none(has_images):
    nothing = [truth()] * has_images
    assert set(detection_report(nothing, nothing, ["hole"], threshold=0.5).values()) == {None}


def test_truth_without_predictions_is_zero_but_has_no_precision():
    report = detection_report([truth((0, 0, 1, 1, "hole"))], [truth()], ["hole"], threshold=0.5)
    assert (report["map50"], report["precision50"], report["recall50"], report["f1_50"]) == (0.0, None, 0.0, 0.0)


def test_boxes_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"lengths are \[1, 2\]"):
        Boxes(np.zeros((1, 4)), np.array(["hole", "hole"]))
    with pytest.raises(ValueError, match="one per image, but got 1 and 0"):
        detection_report([truth()], [], ["hole"])
    with pytest.raises(ValueError, match="predictions: must have scores"):
        match(truth(), truth((0, 0, 1, 1, "hole")), 0.5)


@pytest.mark.parametrize(
    ("images", "most", "grid"),
    [(30, 12, 12), (30, 12, 200), (3, 600, 30)],
    ids=["ties", "few ties", "more than 100 predictions per image and class"],
)
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_of_boxes_agrees_with_pycocotools(seed, images, most, grid):
    truths, predictions = random_boxes(seed, images, most, grid)
    overlaps = np.array([0.1, 0.33, *np.linspace(0.5, 0.95, 10), 1.0])
    expected = by_pycocotools(truths, predictions, overlaps)
    for row, iou in enumerate(overlaps):
        ours = average_precisions(truths, predictions, iou, LABELS)
        assert [-1 if ours[label] is None else ours[label] for label in LABELS] == pytest.approx(
            expected[row].tolist(), abs=1e-9
        )
    report = detection_report(truths, predictions, LABELS)
    assert report["map50_95"] == pytest.approx(expected[2:12, :2].mean(), abs=1e-9)
    assert report["map33"] == pytest.approx(expected[1, :2].mean(), abs=1e-9)


def counted(classes: int, *maps: tuple) -> SegmentationCounts:
    counts = SegmentationCounts(classes)
    for true, said in maps:
        counts.add(true, said)
    return counts


def test_segmentation_report_matches_the_sums_by_hand():
    counts = counted(3, ([[0, 0, 0, 1]], [[0, 0, 1, 1]]), ([[1, 1], [2, 2]], [[1, 2], [2, 0]]))
    assert counts.matrix.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert segmentation_report(counts, ["hole", "scratch", "dent"]) == {
        "pixel_accuracy": 5 / 8,
        "iou/hole": 2 / 4,
        "iou/scratch": 1 / 3,
        "iou/dent": None,
        "dice/hole": 4 / 6,
        "dice/scratch": 2 / 4,
        "dice/dent": None,
        "mean_iou": pytest.approx((2 / 4 + 1 / 3) / 2),
        "mean_iou_with_background": pytest.approx((2 / 4 + 2 / 4 + 1 / 3) / 3),
        "mean_dice": pytest.approx((4 / 6 + 2 / 4) / 2),
        "defect_iou": 4 / 6,
        "defect_dice": 8 / 10,
    }


def test_segmentation_without_pixels_is_none_and_of_good_images_has_only_background():
    assert set(segmentation_report(counted(1), ["hole"]).values()) == {None}
    assert set(segmentation_report(counted(1, (np.empty((0, 4), np.uint8),) * 2), ["hole"]).values()) == {None}
    report = segmentation_report(counted(1, (np.zeros((4, 4), np.uint8),) * 2), ["hole"])
    known = {name for name, value in report.items() if value is not None}
    assert known == {"pixel_accuracy", "mean_iou_with_background"}


def test_maps_that_cannot_be_counted_are_refused():
    with pytest.raises(ValueError, match=r"truth: must hold classes 0 to 1, but holds 0 to 255"):
        counted(1, ([0, 255], [0, 1]))
    with pytest.raises(ValueError, match="predicted: must hold classes 0 to 1, but holds -1 to 0"):
        counted(1, ([0, 1], [0, -1]))
    with pytest.raises(ValueError, match="must have one shape"):
        counted(1, ([0, 1], [[0, 1]]))
    with pytest.raises(ValueError, match="whole numbers, but its type is float64"):
        counted(1, ([0, 1], [0.0, 0.5]))
    with pytest.raises(ValueError, match="must name 1 classes without background, but got 2"):
        segmentation_report(counted(1), ["background", "hole"])


@pytest.mark.parametrize("seed", range(3))
def test_segmentation_agrees_with_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    maps = [tuple(draw.integers(0, 4, (2, 16, 16), dtype=np.uint8)) for _ in range(3)]
    report = segmentation_report(counted(3, *maps), LABELS)
    true, said = (np.concatenate([pair[side].ravel() for pair in maps]) for side in (0, 1))
    ious = sklearn.metrics.jaccard_score(true, said, average=None)
    dices = sklearn.metrics.f1_score(true, said, average=None)
    assert [report[f"iou/{label}"] for label in LABELS] == pytest.approx(ious[1:].tolist())
    assert [report[f"dice/{label}"] for label in LABELS] == pytest.approx(dices[1:].tolist())
    assert report["mean_iou_with_background"] == pytest.approx(ious.mean())
    assert report["defect_dice"] == pytest.approx(sklearn.metrics.f1_score(true > 0, said > 0))


def test_the_cheapest_threshold_lies_in_the_middle_of_its_gap():
    assert choose([0.1, 0.2, 0.6, 0.9], [False, False, True, True], MistakeCosts()) == OperatingPoint(
        threshold=pytest.approx(0.4),
        escapes=0,
        overkills=0,
        cost=0.0,
        reason="lowest cost on 4 validation images: 0 escapes x 10 + 0 overkills x 1",
    )


KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.15, 0.6, 0.7, 0.8, 0.9]
DEFECTIVE = [False] * 5 + [True] * 5


def test_a_threshold_that_rejects_too_many_good_ones_has_the_cheapest_other_one_as_alternative():
    chosen = choose(KNOWN, DEFECTIVE, MistakeCosts())
    assert (chosen.threshold, chosen.escapes, chosen.overkills) == (pytest.approx(0.125), 0, 4)
    breach = check_limits(KNOWN, DEFECTIVE, chosen.threshold, MistakeCosts(), MistakeLimits())
    assert breach.point == MistakeRates(chosen.threshold, 0, 4)
    assert breach.alternative == MistakeRates(pytest.approx(0.55), 1, 0)
    assert breach.sentence("part@1") == (
        "part@1 rejects 4 of 5 good validation images and passes 0 of 5 defective ones at its threshold 0.125; the "
        "limits are 20% of the good and 20% of the defective. At 0.55 it rejects 0 of 5 good validation images and "
        'passes 1 of 5 defective ones. To choose that: `duckspect models threshold part@1 0.55 --reason "..."`'
    )


def test_a_threshold_with_as_many_mistakes_as_allowed_needs_no_warning():
    assert check_limits(KNOWN, DEFECTIVE, 0.5, MistakeCosts(), MistakeLimits()) is None
    assert check_limits(KNOWN, DEFECTIVE, 0.4, MistakeCosts(), MistakeLimits()).point == MistakeRates(0.4, 1, 2)
    assert check_limits(KNOWN, DEFECTIVE, 0.7, MistakeCosts(), MistakeLimits()).alternative == MistakeRates(
        pytest.approx(0.55), 1, 0
    )
    assert check_limits([0.2, 0.3], [True, True], 0.1, MistakeCosts(), MistakeLimits()) is None
    assert check_limits([], [], 0.1, MistakeCosts(), MistakeLimits()) is None


def test_where_no_threshold_keeps_both_limits_the_sentence_says_so():
    strict = MistakeLimits(escape=0.1)
    breach = check_limits(KNOWN, DEFECTIVE, 0.125, MistakeCosts(), strict)
    assert breach.alternative == MistakeRates(pytest.approx(0.55), 1, 0)
    assert "No threshold keeps both limits" in breach.sentence("part@1")
    escapes_alone = check_limits(KNOWN, DEFECTIVE, 0.85, MistakeCosts(), strict)
    assert escapes_alone.alternative is None
    assert escapes_alone.sentence("part@1").endswith("does not tell good from defective well enough.")
    equal = check_limits([0.5, 0.5], [True, False], 0.5, MistakeCosts(), MistakeLimits())
    assert equal.alternative is None, "rejecting nothing is no alternative"


def test_the_threshold_moves_with_what_mistakes_cost():
    scores, flags = [0.1, 0.2, 0.3, 0.5, 0.9], [False, True, False, False, True]
    dear_escapes = choose(scores, flags, MistakeCosts())
    assert (dear_escapes.threshold, dear_escapes.cost) == (pytest.approx(0.15), 2.0)
    assert dear_escapes.reason.endswith("5 validation images: 0 escapes x 10 + 2 overkills x 1")
    dear_overkills = choose(scores, flags, MistakeCosts(escape=1.5, overkill=4))
    assert (dear_overkills.threshold, dear_overkills.cost) == (pytest.approx(0.7), 1.5)
    assert dear_overkills.reason.endswith("5 validation images: 1 escape x 1.5 + 0 overkills x 4")


def test_of_equal_costs_the_widest_gap_wins():
    # Rejecting from 0.15 makes one overkill, rejecting from 0.6 one escape: equal when both cost 1.
    point = choose([0.1, 0.2, 0.3, 0.9], [False, True, False, True], MistakeCosts(1, 1))
    assert (point.threshold, point.escapes, point.overkills) == (pytest.approx(0.6), 1, 0)


def test_equal_scores_are_never_parted():
    point = choose([0.5, 0.5, 0.7], [False, True, True], MistakeCosts())
    assert (point.threshold, point.escapes, point.overkills) == (pytest.approx(0.4), 0, 1)


def test_rejecting_all_or_nothing_lies_beyond_the_outermost_score():
    everything = choose([0.2, 0.6], [True, True], MistakeCosts())
    assert (everything.threshold, everything.escapes) == (pytest.approx(0.0), 0)
    assert "2 validation images (none of them good)" in everything.reason
    nothing = choose([0.2, 0.6], [False, False], MistakeCosts())
    assert (nothing.threshold, nothing.overkills) == (pytest.approx(0.8), 0)
    assert "(none of them defective)" in nothing.reason
    assert choose([0.5], [True], MistakeCosts()).threshold == 0.5
    assert choose([0.5], [False], MistakeCosts()).threshold == pytest.approx(0.5)
    assert np.float32(0.5) < choose([0.5], [False], MistakeCosts()).threshold


def test_a_threshold_beyond_the_outermost_score_stays_among_the_possible_ones():
    everything = choose([0.1, 0.9], [True, True], MistakeCosts(), possible=(0, 1))
    assert everything.threshold == 0.0
    nothing = choose([0.1, 0.9], [False, False], MistakeCosts(), possible=(0, 1))
    assert (nothing.threshold, nothing.overkills) == (1.0, 0)
    saturated = choose([0.5, 1.0], [False, False], MistakeCosts(), possible=(0, 1))
    assert saturated.threshold == 1 + 2**-23, "1 would reject the score of 1"
    check_threshold("classify", (), "*", saturated.threshold)
    found = [truth((0, 0, 1, 1, "hole"))], [boxes((5, 5, 6, 6, "hole", 0.9), (8, 8, 9, 9, "hole", 0.3))]
    assert choose_boxes(*found, MistakeCosts(), possible=(0, 1)).threshold == 1.0


def test_a_threshold_cannot_be_chosen_without_usable_scores():
    with pytest.raises(ValueError, match="at least one validation image"):
        choose([], [], MistakeCosts())
    with pytest.raises(ValueError, match="must be finite"):
        choose([0.5, np.inf], [False, True], MistakeCosts())
    with pytest.raises(ValueError, match="must be 0 or more, but got escape -1"):
        MistakeCosts(escape=-1)


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_cheaper_than_the_chosen_one(seed):
    scores, flags = random_ranking(seed, 50)
    point = choose(scores, flags, MistakeCosts(7, 3))
    costs = [
        7 * np.sum(flags & (scores < t)) + 3 * np.sum(~flags & (scores >= t)) for t in (*np.unique(scores), np.inf)
    ]
    assert point.cost == min(costs)
    assert point.escapes == np.sum(flags & (scores < point.threshold))
    assert point.overkills == np.sum(~flags & (scores >= point.threshold))


def test_a_quantile_of_good_scores_passes_that_share():
    assert quantile(np.arange(101), 0.975) == OperatingPoint(
        threshold=97.5,
        escapes=0,
        overkills=3,
        cost=3.0,
        reason="quantile 0.975 of 101 defect-free validation images: 3 overkills, escapes unknown",
    )


def test_a_good_image_at_the_quantile_itself_passes():
    assert quantile([0.1, 0.2, 0.3], 1.0).overkills == 0
    same = quantile([0.5] * 10, 0.99)
    assert (same.overkills, same.threshold) == (0, pytest.approx(0.5))
    assert not (np.full(3, 0.1, np.float32) >= quantile(np.full(10, 0.1, np.float32), 0.99).threshold).any()


@pytest.mark.parametrize(("scores", "q"), [([], 0.9), ([0.5], 1.5)], ids=["empty", "beyond 1"])
def test_a_quantile_of_nothing_or_beyond_1_is_refused(scores, q):
    with pytest.raises(ValueError, match="needs a score or more and q from 0 to 1"):
        quantile(scores, q)


def test_boxes_in_vain_are_overkills_and_missed_ones_escapes():
    true = [truth((0, 0, 10, 10, "hole"), (0, 20, 10, 30, "hole")), truth()]
    said = [
        boxes((0, 0, 10, 10, "hole", 0.8), (50, 0, 60, 10, "hole", 0.2)),
        boxes((0, 0, 10, 10, "hole", 0.4)),
    ]
    assert choose_boxes(true, said, MistakeCosts()) == OperatingPoint(
        threshold=pytest.approx(0.6),
        escapes=1,
        overkills=0,
        cost=10.0,
        reason="lowest cost on 2 validation images with 2 defects: 1 escape x 10 + 0 overkills x 1",
    )


def test_a_threshold_for_boxes_is_the_middle_where_nothing_was_predicted():
    point = choose_boxes([truth((0, 0, 1, 1, "hole"))], [truth()], MistakeCosts())
    assert (point.threshold, point.escapes, point.overkills, point.cost) == (0.5, 1, 0, 10.0)
    assert choose_boxes([], [], MistakeCosts()).cost == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_for_boxes_is_cheaper_when_matching_anew_at_each(seed):
    truths, predictions = random_boxes(seed, 10, 12, 20)
    point = choose_boxes(truths, predictions, MistakeCosts(3, 2), iou=0.4)

    def mistakes(threshold: float) -> tuple[int, int]:
        escapes = overkills = 0
        for true, said in zip(truths, predictions, strict=True):
            kept = said.scores >= threshold
            hits = match(true, Boxes(said.xyxy[kept], said.labels[kept], said.scores[kept]), 0.4) >= 0
            escapes += len(true.labels) - hits.sum()
            overkills += (~hits).sum()
        return escapes, overkills

    assert mistakes(point.threshold) == (point.escapes, point.overkills)
    every = [mistakes(threshold) for threshold in (*np.linspace(0, 1, 11), 2)]
    assert point.cost == min(3 * escapes + 2 * overkills for escapes, overkills in every)


def test_operating_rates_are_shares_of_each_side_and_none_without_evidence():
    scores, defective = [0.1, 0.4, 0.5, 0.9], [True, False, False, True]
    assert operating_rates(scores, defective, 0.5) == {"escape_rate": 0.5, "overkill_rate": 0.5}
    assert operating_rates(scores, defective, 0.4) == {"escape_rate": 0.5, "overkill_rate": 1.0}
    assert operating_rates([0.2], [True], 0.5) == {"escape_rate": 1.0, "overkill_rate": None}
