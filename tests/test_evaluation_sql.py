"""The evaluation that dbt does in SQL, over stored predictions, against pycocotools, scikit-learn and our metrics."""

from collections import Counter
from dataclasses import astuple

import duckdb
import numpy as np
import pytest
from conftest import duckspect
from random_boxes import LABELS, by_pycocotools, random_boxes
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from models_py.datasets import DatasetRow
from models_py.metrics import MistakeCosts, MistakeLimits, check_limits, detection_report
from models_py.model.preprocess import Preprocess
from models_py.model.trained_model import ModelSpec, Prediction
from models_py.task import primary_of
from models_py.tasks.classify import task as classify
from udfs import connect
from udfs.functions.types import REGION

IMAGES, THRESHOLD = 40, 0.4
OVERLAPS = np.array([0.33, *np.linspace(0.5, 0.95, 10)])
CLASSES = ("good", "hole", "scratch")
PREDICTIONS = f"""
create table main.predictions (
    prediction_id varchar, image_id varchar, model varchar, version integer, artifact_sha256 varchar,
    task varchar, label varchar, error varchar, confidence double, score double, brightness double, sharpness double,
    regions {REGION}[], scored_at timestamptz
)
"""


def image_id(kind, number):
    return f"{kind}-{number:05d}"


def register(con, name, task, labels):
    con.execute(
        "insert into ml.model_versions values (?, 1, ?, 'drawn', 'nowhere', 'abc', ?, '{}', '{}', '{}', null, null, "
        "null, now(), 'test', '1', '{}', ?)",
        [name, task, labels, primary_of(task)],
    )
    con.execute("insert into ml.thresholds values (?, 1, '*', ?, now(), 'test')", [name, THRESHOLD])


def register_segmenters(con):
    """A champion and a challenger that were validated on the same images, and two that were not."""
    for name, frozen in (("same", ("a", "a")), ("other", ("a", "b"))):
        for version, (alias, image) in enumerate(zip(("champion", "challenger"), frozen, strict=True), 1):
            con.execute(
                "insert into ml.model_versions by name select ? as name, ? as version, 'segment' as task, 'drawn' as "
                "architecture, 'nowhere' as artifact_uri, 'abc' as artifact_sha256, ['hole'] as labels, '{}' as "
                "preprocess, '{}' as params, ?::json as metrics, 'hash' as snapshot_sha256, now() as created_at, "
                "'test' as created_by, '1' as code_version, '{}' as libraries, 'mean_iou' as gate_metric",
                [name, version, f'{{"mean_iou": {0.75 - version / 4}, "image_auroc": 1.0}}'],
            )
            con.execute(
                "insert into ml.alias_history values (?, ?, ?, now(), null, 'test', 'test')", [name, alias, version]
            )
            frozen_image = image_id("kind", 0 if image == "a" else 1)
            con.execute(
                "insert into ml.version_images (name, version, image_id, split) values (?, ?, ?, 'val')",
                [name, version, frozen_image],
            )
            for number in (0, 1):
                con.execute(
                    "insert into main.predictions values (md5(concat_ws('|', $image, $name || '@' || $version)), "
                    "$image, $name, $version, 'abc', 'segment', 'good', null, 0.5, 0.5, null, null, "
                    f"[]::{REGION}[], now())",
                    {"image": image_id("kind", number), "name": name, "version": version},
                )


def add_image(con, image, labels, boxes=()):
    con.execute("insert into raw.images values (?, ?, 'drawn', 'png', 100, 100, 3, 1, now())", [image, f"/{image}.png"])
    con.execute(
        "insert into raw.files (uri, size_bytes, version, role, sha256, layout, label_set_id, seen_at) "
        "values (?, 1, '1', 'image', ?, 'drawn', ?, now())",
        [f"/{image}.png", image, f"set {image}"],
    )
    for number, label in enumerate(labels):
        box = list(boxes[number]) if len(boxes) else [None] * 4
        kind = "box" if len(boxes) else "class"
        con.execute(
            "insert into raw.annotations by name select ? as annotation_id, ? as image_id, ? as uri, ? as kind, "
            "? as label, ? as x1, ? as y1, ? as x2, ? as y2, now() as annotated_at, ? as label_set_id",
            [f"{image} {number:04d}", image, f"/{image}.png", kind, label, *box, f"set {image}"],
        )


def add_prediction(con, name, task, image, score, regions):
    con.execute(
        "insert into main.predictions values (?, ?, ?, 1, 'abc', ?, 'unused', null, ?, ?, null, null, "
        f"?::{REGION}[], now())",
        [f"{name} {image}", image, name, task, score, score, regions],
    )


def region(label, confidence, box=(None,) * 4):
    corners = (None if side is None else float(side) for side in box)
    sides = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
    return {"label": label, "confidence": float(confidence), **sides, "area": None, "mask": None}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A warehouse whose predictions were never made by a model, built by dbt; and the truth about them."""
    warehouse = tmp_path_factory.mktemp("judged") / "w.duckdb"
    draw = np.random.default_rng(3)
    truths, predictions = random_boxes(5, IMAGES, 14, 12)
    scores = np.round(draw.random(IMAGES), 1)
    is_defective = draw.random(IMAGES) < 0.5
    true = draw.integers(0, 3, IMAGES)
    chances = draw.dirichlet([1.0, 1.0, 1.0], IMAGES)
    with connect(warehouse) as con:
        con.execute(PREDICTIONS)
        for name, task, labels in (
            ("boxes", "detect", LABELS),
            ("odd", "anomaly", []),
            ("kind", "classify", list(CLASSES)),
        ):
            register(con, name, task, labels)
        for number, (truth, said) in enumerate(zip(truths, predictions, strict=True)):
            image = image_id("boxes", number)
            add_image(con, image, truth.labels.tolist() or ["good"], truth.xyxy)
            found = [region(*row) for row in zip(said.labels, said.scores, said.xyxy.tolist(), strict=True)]
            add_prediction(con, "boxes", "detect", image, float(max(said.scores, default=0.0)), found)
            image = image_id("odd", number)
            add_image(con, image, ["hole" if is_defective[number] else "good"])
            add_prediction(con, "odd", "anomaly", image, float(scores[number]), [])
            image = image_id("kind", number)
            add_image(con, image, [CLASSES[true[number]]])
            order = np.argsort(-chances[number])
            ranked = [region(CLASSES[place], chances[number][place]) for place in order]
            add_prediction(con, "kind", "classify", image, float(1 - chances[number][0]), ranked)
        register_segmenters(con)
    result = duckspect("build", "-w", str(warehouse), "--no-publish", "--vars", "{gate_severity: warn}")
    assert result.returncode == 0, result.stderr
    with duckdb.connect(warehouse, read_only=True) as con:
        yield (
            con,
            {
                "truths": truths,
                "predictions": predictions,
                "scores": scores,
                "is_defective": is_defective,
                "true": true,
                "chances": chances,
            },
        )


def metrics(con, name):
    rows = con.execute("select metric, value from eval_metrics where model = ? and subset = 'unseen'", [name])
    return dict(rows.fetchall())


def test_average_precision_of_every_class_and_overlap_is_that_of_pycocotools(judged):
    con, truth = judged
    expected = by_pycocotools(truth["truths"], truth["predictions"], OVERLAPS)
    rows = con.execute(
        "select iou_threshold, label, average_precision from eval_detection where model = 'boxes'"
    ).fetchall()
    assert len(rows) == len(OVERLAPS) * len(LABELS)
    for iou, label, value in rows:
        row = int(np.argmin(np.abs(OVERLAPS - iou)))
        known = expected[row][LABELS.index(label)]
        assert (-1 if value is None else value) == pytest.approx(known, abs=1e-9), (iou, label)


def test_mean_precision_and_the_operating_point_are_those_of_evaluate(judged):
    con, truth = judged
    found = metrics(con, "boxes")
    report = detection_report(truth["truths"], truth["predictions"], LABELS, THRESHOLD)
    names = ("map33", "map50", "map50_95", "precision50", "recall50", "f1_50", "precision33", "recall33", "f1_33")
    assert {name: found[name] for name in names} == pytest.approx({name: report[name] for name in names}, abs=1e-9)


def test_auroc_with_ties_is_that_of_scikit_learn(judged):
    con, truth = judged
    expected = roc_auc_score(truth["is_defective"], truth["scores"])
    assert metrics(con, "odd")["image_auroc"] == pytest.approx(expected, abs=1e-9)


def test_accuracy_and_f1_are_those_of_scikit_learn(judged):
    con, truth = judged
    said = truth["chances"].argmax(1)
    found = metrics(con, "kind")
    assert found["accuracy"] == pytest.approx(accuracy_score(truth["true"], said), abs=1e-9)
    assert found["macro_f1"] == pytest.approx(f1_score(truth["true"], said, average="macro"), abs=1e-9)


def test_escape_and_overkill_are_counted_at_every_threshold(judged):
    con, truth = judged
    rows = con.execute(
        "select threshold, escape_count, overkill_count, cost from kpi_what_if where model = 'odd' order by 1"
    ).fetchall()
    assert [row[0] for row in rows] == sorted(set(truth["scores"].tolist()))
    for threshold, escapes, overkills, cost in rows:
        rejected = truth["scores"] >= threshold
        assert escapes == (truth["is_defective"] & ~rejected).sum()
        assert overkills == (~truth["is_defective"] & rejected).sum()
        assert cost == 10 * escapes + overkills
    rates = metrics(con, "odd")
    passed = truth["scores"] < THRESHOLD
    defective = truth["is_defective"]
    assert rates["escape_rate"] == pytest.approx((defective & passed).sum() / defective.sum())
    assert rates["overkill_rate"] == pytest.approx((~defective & ~passed).sum() / (~defective).sum())


def test_segmenters_are_compared_by_the_metric_of_promotion_where_both_had_the_same_images(judged):
    con, _ = judged
    rows = con.execute(
        "select model, version, subset, metric, value from eval_metrics where is_primary and task = 'segment' "
        "order by all"
    ).fetchall()
    measured = [(name, version, "mean_iou", 0.75 - version / 4) for name in ("other", "same") for version in (1, 2)]
    assert [row[:2] + row[3:] for row in rows if row[2] == "validation"] == measured
    assert [row[:2] + row[3:] for row in rows if row[2] == "gate"] == measured[2:]


@pytest.mark.parametrize("name", ["odd", "kind"])
def test_limits_and_the_alternative_are_those_of_training(judged, name):
    con, truth = judged
    scores, defective = {
        "odd": (truth["scores"], truth["is_defective"]),
        "kind": (1 - truth["chances"][:, 0], truth["true"] > 0),
    }[name]
    breach = check_limits(scores, defective, THRESHOLD, MistakeCosts(), MistakeLimits())
    row = con.execute(
        "select threshold, escape_count, overkill_count, alternative_threshold, alternative_escape_count, "
        "alternative_overkill_count, are_limits_possible, defective_count, good_count, is_within_limits "
        f"from eval_operating_points where model = '{name}' and subset = 'unseen'"
    ).fetchone()
    assert row[:3] == astuple(breach.point)
    assert row[3:6] == pytest.approx(astuple(breach.alternative))
    assert row[6:] == (breach.are_both_possible, breach.defective, breach.good, False)


def test_the_confusion_counts_every_image_once_and_boxes_where_they_are_known(judged):
    con, truth = judged
    counts = con.execute(
        "select model, sum(image_count), sum(box_count) filter (where true_label <> 'good') from kpi_confusion "
        "where subset = 'unseen' and model in ('boxes', 'kind', 'odd') group by 1 order by 1"
    )
    boxes = sum(len(known.labels) for known in truth["truths"])
    assert counts.fetchall() == [("boxes", None, boxes), ("kind", IMAGES, None), ("odd", IMAGES, None)]


def overlap(one, other):
    width, height = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def paired(known, found):
    """Pairs of a true and a predicted class, a box at a time."""
    free = list(range(len(known.labels)))
    for place in np.argsort(-np.array(found.scores), kind="stable"):
        if found.scores[place] < THRESHOLD:
            continue
        near = [(overlap(found.xyxy[place], known.xyxy[number]), -number) for number in free]
        best, number = max(near, default=(0.0, 0))
        if best >= 0.5:
            free.remove(-number)
        yield (known.labels[-number] if best >= 0.5 else "good", found.labels[place])
    yield from ((known.labels[number], "good") for number in free)


def test_boxes_are_paired_whatever_their_classes(judged):
    con, truth = judged
    expected = Counter(
        pair
        for known, found in zip(truth["truths"], truth["predictions"], strict=True)
        for pair in paired(known, found)
    )
    rows = con.execute("select true_label, predicted_label, box_count from kpi_confusion where model = 'boxes'")
    cells = {(true, said): count for true, said, count in rows.fetchall()}
    assert cells == expected
    assert any(true != said and "good" not in (true, said) for true, said in cells)


def test_both_accuracies_of_a_classifier_are_those_of_evaluate(judged):
    con, truth = judged
    spec = ModelSpec("classify", "mobilenet_v3_small", CLASSES, Preprocess(32), {}, {"*": THRESHOLD})
    seen = [
        (
            DatasetRow("", f"kind {number}", "val", "", (CLASSES[true],)),
            Prediction("", 0.0, float(1 - row[0]), probabilities=dict(zip(CLASSES, row.tolist(), strict=True))),
        )
        for number, (true, row) in enumerate(zip(truth["true"], truth["chances"], strict=True))
    ]
    report, _ = classify.measure(iter(seen), classify.rebuild_empty(spec))
    found = metrics(con, "kind")
    names = ("accuracy", "verdict_accuracy", "macro_f1", "escape_rate", "overkill_rate")
    assert {name: found[name] for name in names} == pytest.approx({name: report[name] for name in names}, abs=1e-9)
    assert found["accuracy"] != pytest.approx(found["verdict_accuracy"])
    right = con.execute(
        "select sum(image_count) from kpi_confusion where model = 'kind' and true_label = predicted_label"
    )
    assert right.fetchone()[0] / IMAGES == pytest.approx(found["verdict_accuracy"])
