"""What a newcomer types after `ingest`: every query trains what it can, says what it left out, or says what to type."""

import numpy as np
import pytest
from drawn import SIDE, part
from PIL import Image
from test_layouts import MAKERS, png, write

from models_py.datasets import freeze
from models_py.datasets.prepared_images import class_mask
from models_py.errors import DuckspectError
from models_py.ingest import ingest, open_tree
from models_py.model.architectures import TASKS
from models_py.progress import SilentReport
from models_py.training.train import train
from udfs import connect

LABELS = "raw.current_annotations"
QUERIES = {
    "everything": f"from {LABELS}",
    "a join": f"select * from {LABELS} join raw.inspections using (uri)",
    "a left join": f"select i.uri, a.* exclude (uri) from raw.inspections i left join {LABELS} a using (image_id)",
    "names of the table": f"select uri, label, x1, y1, x2, y2, mask_uri, polygon, split from {LABELS}",
    "our names": f"select uri as image, label, x1, y1, x2, y2, mask_uri as mask, polygon from {LABELS}",
    "an id": f"select image_id, label, kind, x1, y1, x2, y2, mask_uri from {LABELS}",
    "labels alone": f"select uri as image, label from {LABELS}",
    "one kind": f"select uri as image, label, x1, y1, x2, y2, mask_uri as mask from {LABELS} where kind <> 'class'",
    "capitals": f"select uri as IMAGE, upper(label) as Label, x1, y1, x2, y2, mask_uri as mask, polygon from {LABELS}",
    "inspections": "from raw.inspections",
}

LEARNED = {
    "deeppcb": {
        "classify": [("good",), ("open",)],
        "detect": [(), ("open",)],
        "segment": "1 box row, 1 class row. Use --task detect",
        "anomaly": [(), ("open",)],
    },
    "mvtec": {
        "classify": [("crack",), ("good",), ("good",)],
        "detect": "1 mask row, 3 class rows. Use --task segment",
        "segment": [(), (), ("crack",)],
        "anomaly": [(), (), ("crack",)],
    },
    "visa": {
        "classify": "Anomaly/1.JPG (a / b)",
        "detect": "1 mask row, 3 class rows. Use --task segment",
        "segment": [(), ("a",)],
        "anomaly": [(), ("a",)],
    },
    "lgp": {
        "classify": [("defect",), ("good",)],
        "detect": "2 mask rows, 2 class rows. Use --task segment",
        "segment": [(), ("defect",)],
        "anomaly": [(), ("defect",)],
    },
    "magnetic_tile": {
        "classify": [("crack",), ("good",)],
        "detect": "2 mask rows, 2 class rows. Use --task segment",
        "segment": [(), ("crack",)],
        "anomaly": [(), ("crack",)],
    },
    "voc": {
        "classify": [("crazing",), ("good",)],
        "detect": [(), ("crazing",)],
        "segment": "1 box row, 1 class row. Use --task detect",
        "anomaly": [(), ("crazing",)],
    },
    "coco": {
        "classify": [("dent",), ("good",)],
        "detect": [(), ("dent",)],
        "segment": [(), ("dent",)],
        "anomaly": [(), ("dent",)],
    },
    "yolo": {
        "classify": "train/a.jpg (dent / scratch)",
        "detect": [(), ("dent", "scratch")],
        "segment": [(), ("dent",)],
        "anomaly": [(), ("dent",)],
    },
    "folders": {
        "classify": [("good",), ("scratch",)],
        "detect": "2 class rows. Use --task classify or --task anomaly",
        "segment": "2 class rows. Use --task classify or --task anomaly",
        "anomaly": [(), ("scratch",)],
    },
    "manifest": {
        "classify": [("dent",), ("good",)],
        "detect": [(), ("dent", "dent")],
        "segment": "2 box rows, 1 class row. Use --task detect",
        "anomaly": [(), ("dent", "dent")],
    },
    "images": dict.fromkeys(TASKS, "it has no rows"),
}
REMEDIES = ("Example: select", "Use --task", "Add ", "Check it:", "Leave the wrong ones out", "Write: ")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A warehouse for each layout, made when it is first asked for."""
    made = {}

    def warehouse(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp(layout)
            MAKERS[layout](folder / layout)
            with connect(folder / "w.duckdb") as con:
                ingest(con, open_tree(str(folder / layout), folder), folder)
            made[layout] = folder / "w.duckdb"
        return made[layout]

    return warehouse


def outcome(con, query, task):
    """The labels of each image that is learned from, or why nothing is."""
    try:
        return sorted(item.labels for item in freeze(con, query, task).rows)
    except DuckspectError as error:
        return str(error)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("layout", LEARNED)
def test_every_obvious_query_trains_or_says_what_to_type(loaded, layout, task):
    with connect(loaded(layout)) as con:
        found = {name: outcome(con, query, task) for name, query in QUERIES.items()}
    expected = LEARNED[layout][task]
    if isinstance(expected, str):
        assert expected in found["everything"]
    else:
        assert found["everything"] == found["our names"] == expected
        assert [tuple(map(str.lower, labels)) for labels in sorted(found["capitals"])] == expected
    for name, result in found.items():
        if isinstance(result, str):
            assert result.startswith("query: "), name
            assert any(remedy in result for remedy in REMEDIES), (name, result)


def test_every_layout_is_asked():
    assert sorted(LEARNED) == sorted(MAKERS)


def test_the_labels_that_dbt_builds_train_every_task(built_plant):
    with connect(built_plant, read_only=True) as con:
        frozen = {task: freeze(con, "from labels", task, duplicates="drop").rows for task in TASKS}
        images, boxes, masks, defective = con.execute(
            "select count(distinct image_id), count(x1), count(mask_uri) filter (where label <> 'good'), "
            "count(distinct image_id) filter (where label <> 'good') from labels where is_gold"
        ).fetchone()
    assert sum(len(item.boxes) for item in frozen["detect"]) == boxes
    assert sum(len(item.masks) for item in frozen["segment"]) == masks
    assert len(frozen["anomaly"]) == images
    assert sum(item.is_defective for item in frozen["anomaly"]) == defective
    assert 0 < len(frozen["classify"]) < images


@pytest.fixture
def con(tmp_path):
    """Four images: a.png to d.png, with masks of the same names."""
    with connect(tmp_path / "w.duckdb") as opened:
        for seed, name in enumerate("abcd"):
            pixels, mask, _ = part(seed, "spot")
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        opened.execute(f"set variable folder = '{tmp_path}/'")
        yield opened


SPELLED = (
    "The label 'OK' counts as a defect: the label of defect-free images is good. If it means so, write: "
    "if(label = 'OK', 'good', label) as label"
)
MIXED = {
    "a mask beside its class": (
        "segment",
        [
            "('a', 'spot', 'class', null, null)",
            "('a', 'spot', 'mask', 'a_mask.png', null)",
            "('b', 'good', 'class', null, null)",
        ],
        [(), ("spot",)],
        ["1 class row left out: segmentation learns from masks and polygons."],
    ),
    "a defect without a mask": (
        "segment",
        ["('a', 'spot', 'class', null, null)", "('b', 'spot', 'mask', 'b_mask.png', null)"],
        [("spot",)],
        ["1 image left out, labelled as defective but without mask or polygon: {folder}a.png."],
    ),
    "a box beside a mask": (
        "segment",
        ["('a', 'bar', 'box', null, 1)", "('a', 'spot', 'mask', 'a_mask.png', null)"],
        [("spot",)],
        ["1 box row left out: segmentation learns from masks and polygons."],
    ),
    "good images with nothing": (
        "detect",
        ["('a', null, null, null, null)", "('b', 'OK', null, null, null)", "('c', 'spot', 'box', null, 1)"],
        [(), (), ("spot",)],
        ["1 image without a label taken as good."],
    ),
    "a class beside boxes": (
        "detect",
        ["('a', 'dirty', 'class', null, null)", "('a', 'spot', 'box', null, 1)", "('b', 'dirty', 'class', null, null)"],
        [("spot",)],
        [
            "1 class row left out: detection learns from boxes and polygons.",
            "1 image left out, labelled as defective but without box or polygon: {folder}b.png.",
        ],
    ),
    "the same box twice": (
        "detect",
        ["('a', 'spot', 'box', null, 1)", "('a', 'spot', 'box', null, 1)"],
        [("spot", "spot")],
        ["1 row more than once: the same image, label and place. Check joins."],
    ),
    "boxes beside a class": (
        "classify",
        ["('a', 'dirty', 'class', null, null)", "('a', 'spot', 'box', null, 1)", "('b', 'spot', 'box', null, 1)"],
        [("dirty",), ("spot",)],
        ["1 box row left out: classification learns from class rows where an image has them."],
    ),
    "no class": (
        "classify",
        ["('a', null, null, null, null)", "('b', 'spot', 'class', null, null)"],
        [("spot",)],
        ["1 image without a label left out."],
    ),
    "another word for good": (
        "classify",
        ["('a', 'OK', 'class', null, null)", "('b', 'spot', 'class', null, null)"],
        [("OK",), ("spot",)],
        [SPELLED],
    ),
    "masks for some": (
        "anomaly",
        [
            "('a', 'spot', 'class', null, null)",
            "('a', 'spot', 'mask', 'a_mask.png', null)",
            "('b', 'bar', 'class', null, null)",
            "('c', 'Good', 'class', null, null)",
        ],
        [(), ("bar",), ("spot",)],
        [],
    ),
}


@pytest.mark.parametrize(("task", "rows", "learned", "notes"), MIXED.values(), ids=MIXED.keys())
def test_rows_of_other_kinds_are_set_aside_and_said(con, tmp_path, task, rows, learned, notes):
    query = f"""
        select getvariable('folder') || image || '.png' as image, label, kind, x1, x1 as y1, x1 + 9 as x2, x1 + 9 as y2,
            getvariable('folder') || mask as mask
        from (values {", ".join(rows)}) as t(image, label, kind, mask, x1)
    """
    frozen = freeze(con, query, task)
    assert sorted(item.labels for item in frozen.rows) == learned
    assert list(frozen.notes) == [note.format(folder=f"{tmp_path}/") for note in notes]


def test_labels_that_a_review_replaced_are_left_out(con):
    query = """
        select getvariable('folder') || image || '.png' as image, label, label = 'good' as is_gold
        from (values ('a', 'spot'), ('a', 'good')) as t(image, label)
    """
    frozen = freeze(con, query, "classify")
    assert [item.labels for item in frozen.rows] == [("good",)]
    assert frozen.notes == ("1 row left out: later reviews took their place (is_gold is false).",)


class Notes(SilentReport):
    """Remembers what training said."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


QUICK = {"epochs": 1, "batch": 4, "image_size": 32, "weights": "none", "precision": "fp32"}


def draw_tiles(root, count=12):
    """Magnetic tiles: a class and a mask for each."""
    for number in range(count):
        defect = "spot" if number % 2 else None
        pixels, mask, _ = part(number, defect)
        name = f"MT_{'Spot' if defect else 'Free'}/Imgs/exp{number}"
        write(root, f"{name}.png", png(mask))
        (root / f"{name}.jpg").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"{name}.jpg", quality=95)


@pytest.mark.parametrize("task", ["segment", "anomaly"])
def test_classes_and_masks_of_the_same_images_train(tmp_path, task):
    draw_tiles(tmp_path / "tiles")
    notes = Notes()
    with connect(tmp_path / "w.duckdb") as con:
        ingest(con, open_tree(str(tmp_path / "tiles"), tmp_path), tmp_path)
        query = "select uri as image, label, mask_uri as mask from raw.current_annotations"
        version = train(con, name="tile", task=task, query=query, options=QUICK, report=notes)
    assert version.metrics["pixel_auroc" if task == "anomaly" else "mean_iou"] is not None
    if task == "segment":
        assert notes.said[0] == "6 class rows left out: segmentation learns from masks and polygons."


def test_segmentation_trains_on_polygons(tmp_path):
    write(tmp_path, "set/data.yaml", "task: segment\nnames: [spot]\n")
    boxes = {}
    for number in range(8):
        pixels, _, box = part(number, "spot" if number % 2 else None)
        file = write(tmp_path, f"set/images/{number}.png", png(pixels))
        x1, y1, x2, y2 = (value / SIDE for value in box or (0, 0, 0, 0))
        write(tmp_path, f"set/labels/{number}.txt", f"0 {x1} {y1} {x2} {y1} {x2} {y2} {x1} {y2}" if box else "")
        boxes[str(file.relative_to(tmp_path))] = box
    with connect(tmp_path / "w.duckdb") as con:
        ingest(con, open_tree(str(tmp_path / "set"), tmp_path), tmp_path)
        version = train(con, name="spots", task="segment", query="from raw.current_annotations", options=QUICK)
        rows = version.rows("train")
    assert version.metrics["mean_iou"] is not None
    assert any(item.is_defective for item in rows)
    for item in rows:
        expected = np.zeros((SIDE, SIDE), np.uint8)
        if box := boxes[item.image]:
            expected[box[1] : box[3], box[0] : box[2]] = 1
        assert np.array_equal(class_mask(item, ["spot"], (SIDE, SIDE)), expected)
