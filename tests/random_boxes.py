"""Boxes drawn at random, some of them found, and what pycocotools makes of them."""

import contextlib
import io

import numpy as np
import pytest

from models_py.metrics import Boxes

LABELS = ["hole", "scratch", "dent"]


def random_boxes(seed: int, images: int, most: int, grid: int) -> tuple[list[Boxes], list[Boxes]]:
    """Draw boxes on a grid, so that overlaps and scores tie, and predictions near some of them."""
    draw = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        count, extra = draw.integers(0, 8), draw.integers(0, most)
        corner, size = draw.integers(0, grid, (count, 2)), draw.integers(1, grid, (count, 2))
        xyxy = np.hstack([corner, corner + size]).astype(float)
        labels = draw.choice(LABELS[:2], count).astype(object)
        near = draw.integers(0, max(count, 1), extra if count else 0)
        said = xyxy[near] + draw.integers(-1, 2, (len(near), 4))
        said[:, 2:] = np.maximum(said[:, 2:], said[:, :2] + 1)
        truths.append(Boxes(xyxy, labels))
        said_labels = np.where(draw.random(len(near)) < 0.8, labels[near], "dent")
        predictions.append(Boxes(said, said_labels.astype(object), np.round(draw.random(len(near)), 1)))
    return truths, predictions


def by_pycocotools(truths: list[Boxes], predictions: list[Boxes], overlaps: np.ndarray) -> np.ndarray:
    """Average precision by overlap and label of LABELS; -1 where there is no truth."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    rows = [[], []]
    for kept, sets in zip(rows, (truths, predictions), strict=True):
        for image, each in enumerate(sets):
            scores = [0.0] * len(each.labels) if each.scores is None else each.scores.tolist()
            for (x, y, right, low), label, score in zip(each.xyxy.tolist(), each.labels, scores, strict=True):
                width, height = right - x, low - y
                kept.append(
                    {"id": len(kept) + 1, "image_id": image, "category_id": LABELS.index(label), "iscrowd": 0}
                    | {"bbox": [x, y, width, height], "area": width * height, "score": score}
                )
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco.COCO()
        api.dataset = {"images": [{"id": i} for i in range(len(truths))], "annotations": rows[0]}
        api.dataset |= {"info": {}, "categories": [{"id": i} for i in range(len(LABELS))]}
        api.createIndex()
        judge = cocoeval.COCOeval(api, api.loadRes(rows[1]), "bbox")
        judge.params.iouThrs, judge.params.maxDets = overlaps, [100]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, :, 0, 0].mean(axis=1)
