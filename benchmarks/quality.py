"""Measure the models' quality on real images: reference tasks, trained and evaluated over several seeds.

A seed chooses the test set as well: every fifth unit, by the hash of its name, another fifth for each of five seeds.
Nothing is chosen on it; validation rows are held out of the rest by `duckspect` itself. The table has the mean and the
standard deviation over the seeds. The data sets are read from the folders of DUCKSPECT_REAL_DATA: deeppcb, neu-det,
magnetic-tile and lgp, in their publishers' layouts. What is not there is left out, and said.

    python benchmarks/quality.py                    # every task, three seeds, at most 20 minutes a training
    python benchmarks/quality.py neu-classify tile-anomaly --seeds 0 --minutes 5 --weights package
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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

TEST = "case when md5_number({key}) % 5 = $fold then 'test' end as split"
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


BOX = "label, x1, y1, x2, y2"
FIRST_NAME = "uri in (select min(uri) from raw.files where role = 'image' group by sha256)"
"""NEU-DET has a few images twice, with other boxes the second time: the first counts."""
_FIFTH = "md5_number(templates.template_image_id) % 5"
TEMPLATES = f"""
select templates.uri as image, 'good' as label,
    case {_FIFTH} when $fold then 'test' when ($fold + 1) % 5 then 'val' else 'train' end as split
from raw.templates
where templates.uri like '%/deeppcb/%'
union
select annotations.uri as image, 'defect' as label, if({_FIFTH} = $fold, 'test', 'val') as split
from raw.current_annotations as annotations
join raw.templates using (image_id)
where annotations.uri like '%/deeppcb/%' and annotations.label <> 'good' and {_FIFTH} in ($fold, ($fold + 1) % 5)
"""
# The defective boards of three fifths are left out: their templates are what is learned from.
TILES = f"""
select uri as image, label, mask_uri as mask,
    case when label <> 'good' or md5_number(unit_id) % 5 = $fold then 'test' end as split
{LABELLED.format(folder="magnetic-tile")} and kind = 'mask'
"""

STEEL = (
    "select distinct uri as image, regexp_extract(uri, '([a-z_-]+)_[0-9]+[.]jpg$', 1) as label, "
    f"{TEST.format(key='unit_id')} {LABELLED.format(folder='neu-det')} and kind = 'box'"
)
TEN_A_CLASS = f"""
from ({STEEL})
qualify split = 'test' or row_number() over (partition by label, split order by md5(image || $seed)) <= 13
"""
# Of 13 images of a class three are held out for validation.
PAIRS = f"""
select annotations.uri as image, annotations.label, x1, y1, x2, y2, templates.uri as reference,
    case when {_FIFTH} = $fold then 'test' end as split
from raw.current_annotations as annotations
join raw.templates on templates.image_id = annotations.image_id
where annotations.uri like '%/deeppcb/%' and annotations.kind = 'box'
"""

CASES = (
    Case(
        "deeppcb-difference",
        "deeppcb",
        "detect",
        "difference",
        PAIRS,
        {"map33": 0.985, "map50": 0.97},
        {"reference": "homography", "epochs": 30},
    ),
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
    Case("neu-classify", "neu-det", "classify", "linear", STEEL, {"accuracy": 0.997}),
    Case("neu-classify-ten-a-class", "neu-det", "classify", "linear", TEN_A_CLASS, {"accuracy": 0.97}),
    Case(
        "neu-classify-fine-tuned",
        "neu-det",
        "classify",
        "mobilenet_v3_small",
        STEEL,
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


def run(con: Any, case: Case, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train one case with one seed and judge it on its test rows."""
    print(f"{case.name}, seed {seed}", file=sys.stderr, flush=True)
    options = {**case.options, "weights": given.weights, "hours": given.minutes / 60, "device": given.device}
    query = case.query.replace("$fold", str(seed % _FOLDS)).replace("$seed", str(seed))
    started = time.monotonic()
    version = train(
        con,
        name=f"{case.name}-{seed}",
        task=case.task,
        query=query,
        architecture=case.architecture,
        options={**options, "seed": seed},
        report=Printed(),
    )
    seconds = time.monotonic() - started
    test = version.rows("test")
    metrics = evaluate_model(load(con, version), test, device=given.device).metrics
    found = {"case": case.name, "seed": seed, "from": version.parent, "minutes": seconds / 60, "images": len(test)}
    found |= {name: metrics[name] for name in case.aims}
    if case.task == "anomaly":
        good = [row for row in version.rows("train") if not row.is_defective]
        found[_BASELINE] = raw_pixel_auroc(good, test)
    print(json.dumps(found), flush=True)
    return found


_FOLDS = 5
_BASELINE = "raw-pixel PCA"


def spread(values: Sequence[float | None]) -> str:
    """Mean and standard deviation; `nothing` where no seed gave a number."""
    known = [value for value in values if value is not None]
    if not known:
        return "nothing"
    return f"{np.mean(known):.3f} ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else f"{known[0]:.3f}"


def table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each task, over its seeds."""
    yield "| task | from | seeds | minutes | test images | reached | aim |\n|---|---|---|---|---|---|---|"
    for case in CASES:
        rows = [row for row in found if row["case"] == case.name]
        if not rows:
            continue
        names = [name for name in (*case.aims, _BASELINE) if name in rows[0]]
        reached = ", ".join(f"{name} {spread([row[name] for row in rows])}" for name in names)
        aim = ", ".join(f"{name} {value}" for name, value in case.aims.items() if value is not None)
        minutes = np.mean([row["minutes"] for row in rows])
        images = round(np.mean([row["images"] for row in rows]))
        yield f"| {case.name} | {rows[0]['from']} | {len(rows)} | {minutes:.1f} | {images} | {reached} | {aim} |"


def chosen_cases(names: Sequence[str]) -> list[Case]:
    """The cases of these names, or all."""
    known = [case.name for case in CASES]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"case: there is no {unknown[0]!r}. Choose among {', '.join(known)}.")
    return [case for case in CASES if case.name in (names or known)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(case.name for case in CASES))
    parser.add_argument("--seeds", default="0,1,2", help="seeds, comma-separated")
    parser.add_argument("--weights", default="auto", help="where to start from")
    parser.add_argument("--minutes", type=float, default=20, help="most minutes of a training")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    cases = chosen_cases(given.cases)
    root = os.environ.get("DUCKSPECT_REAL_DATA")
    if not root:
        print("DUCKSPECT_REAL_DATA is not set, so there are no real images to measure on; nothing was run.")
        return
    with tempfile.TemporaryDirectory() as place, connect(Path(place) / "quality.duckdb") as con:
        found: list[dict[str, Any]] = []
        read: set[str] = set()
        for case in cases:
            folder = Path(root) / case.folder
            if not folder.is_dir():
                print(f"{case.name}: left out, for there is no {folder.name} in DUCKSPECT_REAL_DATA.")
                continue
            if case.folder not in read:
                ingest(con, open_tree(str(folder), Path(place)), Path(place), IngestOptions(source=case.folder))
                read.add(case.folder)
            found += [run(con, case, int(seed), given) for seed in given.seeds.split(",")]
    print("\n" + "\n".join(table(found)))


if __name__ == "__main__":
    main()
