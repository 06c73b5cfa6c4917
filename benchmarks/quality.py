"""Measure the models' quality on real images: reference tasks, each trained and evaluated on published splits.

Every fifth unit, by the hash of its name, is the test set, which nothing is chosen on; validation rows are held out of
the rest by `duckspect` itself. The data sets are read from the folders of DUCKSPECT_REAL_DATA:
deeppcb, neu-det, magnetic-tile and lgp, in their publishers' layouts. What is not there is left out, and said.

    python benchmarks/quality.py                    # every task, from starter weights and from none
    python benchmarks/quality.py neu-classify --starts starter --minutes 10 --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from models_py.datasets.prepared_images import PreparedImages
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.metrics import auroc
from models_py.metrics.evaluation import evaluate_model
from models_py.model.preprocess import Preprocess
from models_py.progress import SilentReport
from models_py.registry import load
from models_py.training.train import train
from udfs import connect

TEST = "case when md5_number({key}) % 5 = 0 then 'test' end as split"
LABELLED = "from raw.current_annotations join raw.inspections using (uri) where uri like '%/{folder}/%'"


def _rows(columns: str, folder: str, where: str) -> str:
    return f"select uri as image, {columns}, {TEST.format(key='unit_id')} {LABELLED.format(folder=folder)} and {where}"


@dataclass(frozen=True, slots=True)
class Case:
    """One task on one data set, with what it is measured by and what is aimed at."""

    name: str
    folder: str
    task: str
    architecture: str
    query: str
    aims: dict[str, float | None]
    options: dict[str, Any] = field(default_factory=dict)
    starts: tuple[str, ...] = ("starter", "none")


BOX = "label, x1, y1, x2, y2"
FIRST_NAME = "uri in (select min(uri) from raw.files where role = 'image' group by sha256)"
"""NEU-DET has a few images twice, with other boxes the second time: the first counts."""
_FIFTH = "md5_number(templates.template_image_id) % 5"
TEMPLATES = f"""
select templates.uri as image, 'good' as label,
    case {_FIFTH} when 0 then 'test' when 1 then 'val' else 'train' end as split
from raw.templates
where templates.uri like '%/deeppcb/%'
union
select annotations.uri as image, 'defect' as label, if({_FIFTH} = 0, 'test', 'val') as split
from raw.current_annotations as annotations
join raw.templates using (image_id)
where annotations.uri like '%/deeppcb/%' and annotations.label <> 'good' and {_FIFTH} in (0, 1)
"""
# The defective boards of three fifths are left out: their templates are what is learned from.
TILES = f"""
select uri as image, label, mask_uri as mask,
    case when label <> 'good' or md5_number(unit_id) % 5 = 0 then 'test' end as split
{LABELLED.format(folder="magnetic-tile")} and kind = 'mask'
"""

CASES = (
    Case(
        "deeppcb-detect",
        "deeppcb",
        "detect",
        "yolo11n",
        _rows(BOX, "deeppcb", "kind = 'box'"),
        {"map33": 0.986, "f1_33": 0.982, "map50": 0.96},
        {"epochs": 40, "batch": 8, "image_size": 640, "zoom": 0.1, "mosaic": 0.0, "escape_cost": 1.0},
    ),
    Case(
        "neu-detect",
        "neu-det",
        "detect",
        "yolo11n",
        _rows(BOX, "neu-det", f"kind = 'box' and {FIRST_NAME}"),
        {"map50": 0.75},
        {"epochs": 60, "batch": 16, "image_size": 320, "plain_epochs": 6},
    ),
    Case(
        "neu-classify",
        "neu-det",
        "classify",
        "mobilenet_v3_small",
        "select distinct uri as image, regexp_extract(uri, '([a-z_-]+)_[0-9]+[.]jpg$', 1) as label, "
        f"{TEST.format(key='unit_id')} {LABELLED.format(folder='neu-det')} and kind = 'box'",
        {"accuracy": 0.98},
        {"epochs": 40, "batch": 32, "learning_rate": 3e-3},
    ),
    Case(
        "tile-segment",
        "magnetic-tile",
        "segment",
        "unet_mobilenet_v2",
        _rows("label, mask_uri as mask", "magnetic-tile", "kind = 'mask'"),
        {"mean_iou": 0.70, "defect_iou": None},
        {"epochs": 50, "batch": 8, "learning_rate": 2e-3},
    ),
    Case(
        "lgp-segment",
        "lgp",
        "segment",
        "unet_mobilenet_v2",
        _rows("label, mask_uri as mask", "lgp", "kind = 'mask'"),
        {"mean_iou": None, "defect_dice": None},
        {"epochs": 80, "batch": 4, "image_size": 320, "clahe": 3.0},
    ),
    Case(
        "tile-anomaly",
        "magnetic-tile",
        "anomaly",
        "patchcore",
        TILES,
        {"image_auroc": 0.95, "pixel_auroc": None, "recall_at_1pct_false_rejects": None},
    ),
    Case(
        "tile-anomaly-cutpaste",
        "magnetic-tile",
        "anomaly",
        "dfm_cutpaste",
        TILES,
        {"image_auroc": 0.95, "pixel_auroc": None},
        {"epochs": 15, "batch": 16},
    ),
    Case(
        "tile-anomaly-simsiam",
        "magnetic-tile",
        "anomaly",
        "dfm_simsiam",
        TILES,
        {"image_auroc": 0.95, "pixel_auroc": None},
        {"epochs": 15, "batch": 32},
    ),
    Case(
        "deeppcb-anomaly",
        "deeppcb",
        "anomaly",
        "patchcore",
        TEMPLATES,
        {"image_auroc": None},
        {"image_size": 320},
    ),
)


class Printed(SilentReport):
    """A report on standard error, one line an epoch."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def epoch(self, epoch: int, metrics: Mapping[str, float | None]) -> None:
        shown = {
            name: value and round(value, 4) for name, value in metrics.items() if name.startswith(("val", "train/l"))
        }
        self.note(f"  epoch {epoch} after {time.monotonic() - self._started:.0f} s: {shown}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def raw_pixel_auroc(train_rows: Any, test_rows: Any) -> float | None:
    """What a PCA of 32 x 32 raw pixels cannot rebuild, as an anomaly score: the baseline to be far above."""

    def pixels(rows: Any) -> Any:
        return np.stack(
            [
                sample.image.mean(2).ravel()
                for sample in PreparedImages(rows, (), Preprocess(32)).stream(range(len(rows)))
            ]
        )

    pca = PCA(n_components=0.99, svd_solver="full").fit(pixels(train_rows))
    tested = pixels(test_rows)
    errors = np.linalg.norm(tested - pca.inverse_transform(pca.transform(tested)), axis=1)
    return auroc(errors, [row.is_defective for row in test_rows])


def run(con: Any, case: Case, start: str, minutes: float, device: str) -> dict[str, Any]:
    """Train one case and judge it on its test rows."""
    print(f"{case.name} from {start}", file=sys.stderr, flush=True)
    options = {**case.options, "weights": start, "hours": minutes / 60, "device": device}
    started = time.monotonic()
    version = train(
        con,
        name=f"{case.name}-{start}",
        task=case.task,
        query=case.query,
        architecture=case.architecture,
        options=options,
        report=Printed(),
    )
    seconds = time.monotonic() - started
    test = version.rows("test")
    metrics = evaluate_model(load(con, version), test, device=device).metrics
    found = {"case": case.name, "from": start, "minutes": round(seconds / 60, 1), "test images": len(test)}
    found |= {name: None if metrics[name] is None else round(metrics[name], 4) for name in case.aims}
    if case.task == "anomaly":
        good = [row for row in version.rows("train") if not row.is_defective]
        found["raw-pixel PCA"] = round(raw_pixel_auroc(good, test) or 0.0, 4)
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(case.name for case in CASES))
    parser.add_argument("--starts", default="starter,none", help="where to start from, comma-separated")
    parser.add_argument("--minutes", type=float, default=60, help="most minutes of training a case and start")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    root = os.environ.get("DUCKSPECT_REAL_DATA")
    if not root:
        print("DUCKSPECT_REAL_DATA is not set, so there are no real images to measure on; nothing was run.")
        return
    with tempfile.TemporaryDirectory() as place, connect(Path(place) / "quality.duckdb") as con:
        found = []
        read: set[str] = set()
        for case in CASES:
            folder = Path(root) / case.folder
            if given.cases and case.name not in given.cases:
                continue
            if not folder.is_dir():
                print(f"{case.name}: left out, for there is no {folder.name} in DUCKSPECT_REAL_DATA.")
                continue
            if case.folder not in read:
                ingest(con, open_tree(str(folder), Path(place)), Path(place), IngestOptions(source=case.folder))
                read.add(case.folder)
            found += [
                run(con, case, start, given.minutes, given.device)
                for start in given.starts.split(",")
                if start in case.starts
            ]
    print("\n| task | from | minutes | test images | reached | aim |\n|---|---|---|---|---|---|")
    for row in found:
        case = next(case for case in CASES if case.name == row["case"])
        reached = ", ".join(f"{name} {row[name]}" for name in (*case.aims, "raw-pixel PCA") if name in row)
        aim = ", ".join(f"{name} {value}" for name, value in case.aims.items() if value is not None)
        print(f"| {case.name} | {row['from']} | {row['minutes']} | {row['test images']} | {reached} | {aim} |")


if __name__ == "__main__":
    main()
