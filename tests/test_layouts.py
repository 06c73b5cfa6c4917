"""Every reader on a small tree of its own: recognised as itself, read exactly, and what is wrong said by name."""

import io
import json
import os
import re
from collections import Counter
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_board
from PIL import Image

from models_py.errors import LayoutError
from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.layouts import Label, Reject, layout_named, layouts, recognise
from udfs import connect


def write(root: Path, name: str, content: str | bytes | None = None) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        content = picture(crc32(name.encode()))
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "png")
    return buffer.getvalue()


EMPTY, FULL = png(np.zeros((48, 64), np.uint8)), png(np.full((48, 64), 255, np.uint8))


def make_deeppcb(root):
    write_board(root, "00041000", 1, "5 5 20 20 1\n", template=2)


def make_mvtec(root):
    write(root, "bottle/train/good/000.png")
    write(root, "bottle/test/good/000.png")
    write(root, "bottle/test/crack/000.png")
    write(root, "bottle/ground_truth/crack/000_mask.png", FULL)


def make_visa(root):
    write(root, "candle/Data/Images/Normal/0.JPG")
    write(root, "candle/Data/Images/Anomaly/1.JPG")
    write(root, "candle/Data/Masks/Anomaly/1.png", FULL)
    normal, anomaly = "candle/Data/Images/Normal/0.JPG", "candle/Data/Images/Anomaly/1.JPG"
    mask = "candle/Data/Masks/Anomaly/1.png"
    write(root, "candle/image_anno.csv", f'image,label,mask\n{normal},normal,\n{anomaly},"a,b",{mask}\n')
    split = f"object,split,label,image,mask\ncandle,train,normal,{normal},\ncandle,test,anomaly,{anomaly},{mask}\n"
    write(root, "split_csv/1cls.csv", split)


def make_lgp(root):
    for seed, kind, mask in ((4, "NG", FULL), (5, "OK", EMPTY)):
        write(root, f"Images/{kind}/0_{kind}_Image.bmp", picture(seed, format="bmp"))
        write(root, f"Images/{kind}_MSK/0_{kind}_Mask.bmp", mask)


def make_magnetic_tile(root):
    for name, mask in (("Crack", FULL), ("Free", EMPTY)):
        write(root, f"MT_{name}/Imgs/exp1.jpg")
        write(root, f"MT_{name}/Imgs/exp1.png", mask)


VOC = """<annotation><filename>x</filename><size><width>{w}</width><height>{h}</height></size>{objects}</annotation>"""
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def make_voc(root):
    write(root, "IMAGES/a.jpg")
    write(root, "IMAGES/b.jpg")
    write(root, "IMAGES/c.jpg")
    write(root, "ANNOTATIONS/a.xml", VOC.format(w=32, h=24, objects=OBJECT.format("crazing", 1, 2, 30, 24)))
    write(root, "ANNOTATIONS/b.xml", VOC.format(w=64, h=48, objects=""))
    write(root, "ImageSets/Main/train.txt", "a\n")


def make_coco(root):
    write(root, "train/a.jpg")
    write(root, "train/b.jpg")
    document = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.jpg", "width": 64, "height": 48},
        ],
        "categories": [{"id": 7, "name": "dent"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [2, 3, 10, 20], "segmentation": [[2, 3, 12, 3, 12, 23]]}
        ],
    }
    write(root, "annotations/instances_train.json", json.dumps(document))


def make_yolo(root):
    write(root, "data.yaml", "names: [dent, scratch]\ntrain: images/train\nval: images/val\n")
    write(root, "images/train/a.jpg")
    write(root, "labels/train/a.txt", "1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.5 0.1 0.5 0.9\n")
    write(root, "images/val/b.jpg")
    write(root, "labels/val/b.txt", "")
    write(root, "images/val/c.jpg")


def make_folders(root):
    write(root, "train/scratch/1.png", picture(1, format="png"))
    write(root, "test/OK/2.png", picture(2, format="png"))


def make_manifest(root):
    write(root, "pictures/a.jpg")
    write(root, "pictures/b.jpg")
    write(
        root,
        "manifest.csv",
        "uri,label,x1,y1,x2,y2,line_id,captured_at,lot\n"
        "pictures/a.jpg,dent,1,2,3,4,L1,2026-10-01 06:00:00,77\n"
        "pictures/a.jpg,dent,5,6,7,8,L1,2026-10-01 06:00:00,77\n"
        "pictures/b.jpg,ok,,,,,L2,2026-10-01T08:00:00+02:00,78\n",
    )


def make_images(root):
    write(root, "monday/a.jpg")
    write(root, "tuesday/deep/b.jpg")


MAKERS = {name.removeprefix("make_"): maker for name, maker in globals().items() if name.startswith("make_")}
NAMES = [layout.name for layout in layouts()]

EXPECTED = {
    "deeppcb": [("00041000_test", "box", "open", (5, 5, 20, 20), None)],
    "mvtec": [
        ("000", "class", "crack", None, "test"),
        ("000", "class", "good", None, "test"),
        ("000", "class", "good", None, "train"),
        ("000", "mask", "crack", None, "test"),
    ],
    "visa": [
        ("0", "class", "good", None, "train"),
        ("1", "class", "a", None, "test"),
        ("1", "class", "b", None, "test"),
        ("1", "mask", "a", None, "test"),
    ],
    "lgp": [
        ("0_NG_Image", "class", "defect", None, None),
        ("0_NG_Image", "mask", "defect", None, None),
        ("0_OK_Image", "class", "good", None, None),
        ("0_OK_Image", "mask", "good", None, None),
    ],
    "magnetic_tile": [
        ("exp1", "class", "crack", None, None),
        ("exp1", "class", "good", None, None),
        ("exp1", "mask", "crack", None, None),
        ("exp1", "mask", "good", None, None),
    ],
    "voc": [("a", "box", "crazing", (2, 4, 60, 48), "train"), ("b", "class", "good", None, None)],
    "coco": [
        ("a", "polygon", "dent", (2, 3, 12, 23), "train"),
        ("b", "class", "good", None, "train"),
    ],
    "yolo": [
        ("a", "box", "scratch", (24, 12, 40, 36), "train"),
        ("a", "polygon", "dent", (6.4, 4.8, 32, 43.2), "train"),
        ("b", "class", "good", None, "val"),
    ],
    "folders": [("1", "class", "scratch", None, "train"), ("2", "class", "good", None, "test")],
    "manifest": [
        ("a", "box", "dent", (1, 2, 3, 4), None),
        ("a", "box", "dent", (5, 6, 7, 8), None),
        ("b", "class", "good", None, None),
    ],
    "images": [],
}


def read(con, root):
    """Ingest a tree; return its labels as comparable tuples."""
    report = ingest(con, open_tree(str(root), root.parent / "files"), root.parent / "files")
    found = con.execute(
        "select uri, kind, label, x1, y1, x2, y2, split from raw.current_annotations "
        "where image_id in (select image_id from raw.inspections)"
    ).fetchall()
    rows = [
        (Path(uri).stem, kind, label, None if x1 is None else tuple(round(v, 6) for v in (x1, y1, x2, y2)), split)
        for uri, kind, label, x1, y1, x2, y2, split in found
    ]
    return report, sorted(rows, key=str)


def rejects(name, root):
    layout = layout_named(name)(open_tree(str(root), root))
    found = list(layout.samples())
    labels = [label for sample in found if not isinstance(sample, Reject) for label in layout.labels(sample)]
    return [item.reason for item in (*found, *labels) if isinstance(item, Reject)]


def test_every_reader_is_tested_here():
    assert sorted(MAKERS) == sorted(EXPECTED) == sorted(NAMES)


@pytest.mark.parametrize("nested", ["", "archive-main/data/"], ids=["at the root", "nested"])
@pytest.mark.parametrize("name", NAMES)
def test_a_tree_is_recognised_as_what_it_is_and_read_exactly(con, tmp_path, name, nested):
    root = tmp_path / "set"
    MAKERS[name](root / nested)
    report, labels = read(con, root)
    assert report.layout == name
    assert re.search(r"\w", report.evidence)
    assert labels == sorted(EXPECTED[name], key=str)
    assert con.execute("select count(*) from raw.rejected_files").fetchone() == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_read_again_is_unchanged(con, tmp_path, name):
    MAKERS[name](tmp_path / "set")
    read(con, tmp_path / "set")
    report, _ = read(con, tmp_path / "set")
    assert (report.unchanged, report.bytes_read, report.added.annotations) == (report.samples, 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_says_what_it_reads_and_shows_an_example(name):
    layout = layout_named(name)
    assert layout.__doc__.endswith(".")
    assert layout.example
    assert layout.title


def test_an_unknown_layout_lists_the_known_ones():
    with pytest.raises(LayoutError, match=r"must be one of manifest, deeppcb, .*but got 'nonsense'"):
        layout_named("nonsense")


def test_a_folder_without_images_is_a_sentence(tmp_path):
    write(tmp_path, "notes.md", "nothing here")
    with pytest.raises(LayoutError, match="holds 1 files, but none that duckspect can read"):
        recognise(open_tree(str(tmp_path), tmp_path))


VISA_LIST = "image,label,mask\ncandle/Data/Images/Anomaly/1.JPG,a,candle/Data/Masks/Anomaly/1.png\n"
WRONG = {
    "a mask without its image": ("mvtec", "bottle/ground_truth/crack/9_mask.png", FULL, "no test image for this mask"),
    "a defect without its mask": ("mvtec", "bottle/test/crack/7.png", None, "no mask ground_truth/crack/7_mask.png"),
    "an lgp mask alone": ("lgp", "Images/NG_MSK/9_NG_Mask.bmp", FULL, "no image for this mask"),
    "a tile without mask": ("magnetic_tile", "MT_Crack/Imgs/exp9.jpg", None, "no mask of the same name"),
    "an xml without image": ("voc", "ANNOTATIONS/z.xml", VOC.format(w=1, h=1, objects=""), "no image named z"),
    "a broken xml": ("voc", "ANNOTATIONS/c.xml", "<annotation><object>", "not XML"),
    "an xml with entities": ("voc", "ANNOTATIONS/c.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "DOCTYPE"),
    "a word for a number": (
        "voc",
        "ANNOTATIONS/c.xml",
        VOC.format(w=64, h=48, objects=OBJECT.format("crazing", "one", 2, 3, 4)),
        "object 1: needs a name and four numbers in bndbox, but has name='crazing' xmin='one'",
    ),
    "an unknown yolo class": (
        "yolo",
        "labels/val/c.txt",
        "5 .5 .5 .1 .1",
        "unknown class 5; data.yaml knows 0 dent, 1 scratch",
    ),
    "a short yolo row": ("yolo", "labels/val/c.txt", "1 .5 .5", "must have 4 numbers or the points of a polygon"),
    "a yolo word": ("yolo", "labels/val/c.txt", "dent .5 .5 .1 .1", "must be a class number and fractions"),
    "a yolo file alone": ("yolo", "labels/val/z.txt", "", "no image in the twin folder images"),
    "a visa image that is not there": (
        "visa",
        "candle/image_anno.csv",
        f"{VISA_LIST}candle/no.JPG,normal,\n",
        "line 3: there is no image 'candle/no.JPG'",
    ),
    "a visa image twice": (
        "visa",
        "candle/image_anno.csv",
        f"{VISA_LIST}candle/Data/Images/Anomaly/1.JPG,b,\n",
        "line 3: image 'candle/Data/Images/Anomaly/1.JPG' is listed twice",
    ),
    "a visa list without columns": (
        "visa",
        "candle/image_anno.csv",
        "a,b\n1,2\n",
        "needs the columns image, label, but",
    ),
    "a visa list that is no csv": ("visa", "candle/image_anno.csv", f"{VISA_LIST}{'x' * 200_000},a,\n", "not CSV"),
    "a visa split without columns": ("visa", "split_csv/1cls.csv", "split\ntrain\n", "needs the columns image, split"),
    "a visa mask that no line names": (
        "visa",
        "candle/Data/Masks/Anomaly/9.png",
        FULL,
        "no usable line of candle/image",
    ),
    "a mask by another name": ("mvtec", "bottle/ground_truth/crack/9.png", FULL, "a mask must be named ground_truth/"),
    "another xml": ("voc", "ANNOTATIONS/c.xml", "<note/>", "must be an <annotation>, but is a <note>"),
    "a size in words": (
        "voc",
        "ANNOTATIONS/c.xml",
        VOC.format(w="wide", h=1, objects=""),
        "size: 'wide' is not a number",
    ),
    "not a number in voc": (
        "voc",
        "ANNOTATIONS/c.xml",
        VOC.format(w=64, h=48, objects=OBJECT.format("crazing", "nan", 2, 3, 4)),
        "object 1: needs a name and four numbers in bndbox, but has name='crazing' xmin='nan'",
    ),
    "a picture of classes": ("voc", "SegmentationClass/a.png", FULL, "a picture of many classes at once"),
    "not a number in yolo": ("yolo", "labels/val/c.txt", "1 nan .5 .1 .1", "must be a class number and fractions"),
}


@pytest.mark.parametrize(("name", "file", "content", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_rejected_by_name(tmp_path, name, file, content, reason):
    MAKERS[name](tmp_path / "set")
    write(tmp_path / "set", file, content)
    found = rejects(name, tmp_path / "set")
    assert len(found) == 1
    assert reason in found[0]


def coco_run(size, counts):
    shape = {"size": size, "counts": counts}
    return {"annotations": [{"id": 5, "image_id": 1, "category_id": 7, "iscrowd": 1, "segmentation": shape}]}


def coco_polygon(*rings):
    return {"annotations": [{"id": 5, "image_id": 1, "category_id": 7, "segmentation": list(rings)}]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"annotations": [{"id": 5, "image_id": 1, "category_id": 9, "bbox": [1, 1, 2, 2]}]},
            "unknown category 9; known: 7 dent",
        ),
        ({"annotations": [{"id": 5, "image_id": 88, "category_id": 7, "bbox": [1, 1, 2, 2]}]}, "no image with id 88"),
        (
            {"annotations": [{"id": 5, "image_id": 1, "category_id": 7}]},
            "annotation 5: bbox or segmentation cannot be read",
        ),
        ({"annotations": [], "images": [{"id": 1, "file_name": "gone.jpg"}]}, "there is no file 'gone.jpg'"),
        (
            {"annotations": [], "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]},
            "image 1: its id or file",
        ),
        (
            {"annotations": [{"id": 5, "image_id": 1, "category_id": 7, "bbox": [float("nan"), 1, 2, 2]}]},
            "nan is not a",
        ),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": 7, "iscrowd": 1}]}, "a crowd needs a segmentation"),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": [7]}]}, "unknown category [7]"),
        ({"annotations": ["what"]}, "annotation 1 of the list needs an image_id: 'what'"),
        ({"annotations": "none"}, "annotations must be a list, but is 'none'"),
        (
            {"annotations": [{"id": 5, "image_id": n, "category_id": 7, "bbox": [1, 1, 2, 2]} for n in (1, 2)]},
            "annotation 5: its id is listed twice",
        ),
        (
            {**coco_run([48, 64], [3072]), "images": [{"id": 1, "file_name": "a.jpg"}]},
            "the image has no width and height",
        ),
        (coco_polygon([1, 1, 5, 1]), "a polygon needs at least 3 points of 2 numbers, but has 4 numbers"),
        (coco_polygon([1, 1, 5, 1, 5, 5, 1]), "but has 7 numbers"),
        (coco_polygon([1, 1, 5, 1, 5, "x"]), "'x' is not a number"),
        ({"annotations": [], "images": [{"file_name": "a.jpg"}]}, "image 1 of the list needs id and file_name"),
        ({"annotations": [], "categories": [{"id": 7}]}, "category 1 of the list needs id and name"),
        (
            {"annotations": [], "categories": [{"id": 7, "name": "dent"}, {"id": 7, "name": "hole"}]},
            "category 7: its id is listed twice",
        ),
        (coco_run([200_000, 200_000], [4 * 10**10]), "run lengths are for [200000, 200000]"),
        (coco_run([48, 64], [5000, -5000, 3072]), "run lengths cover"),
    ],
    ids=[
        *("category", "image", "bbox", "file", "twice", "nan", "crowd", "list", "text", "section", "annotation twice"),
        *("no size", "two points", "odd", "word", "no id", "no name", "category twice", "bomb", "negative"),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_rejected_by_name(tmp_path, change, reason):
    make_coco(tmp_path / "set")
    file = tmp_path / "set/annotations/instances_train.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    found = rejects("coco", tmp_path / "set")
    assert len(found) == 1
    assert reason in found[0]


def test_a_broken_coco_file_is_a_sentence(tmp_path):
    make_coco(tmp_path / "set")
    write(tmp_path / "set", "annotations/instances_train.json", '{"images": [')
    with pytest.raises(LayoutError, match=r"instances_train.json is not JSON"):
        list(layout_named("coco")(open_tree(str(tmp_path / "set"), tmp_path)).samples())


def coco_mask(tmp_path, segmentation, crowd=0):
    make_coco(tmp_path / "set")
    file = tmp_path / "set/annotations/instances_train.json"
    item = {
        "id": 1,
        "image_id": 1,
        "category_id": 7,
        "bbox": [0, 0, 9, 9],
        "iscrowd": crowd,
        "segmentation": segmentation,
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), "annotations": [item]}))
    layout = layout_named("coco")(open_tree(str(tmp_path / "set"), tmp_path))
    (labels,) = ([*layout.labels(s)] for s in layout.samples() if s.image.endswith("a.jpg"))
    return labels


def test_run_lengths_become_the_same_mask_plain_and_compressed(tmp_path):
    mask = np.zeros((48, 64), bool)
    mask[5:20, 10:30] = True
    columns = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(columns)) + 1
    counts = [int(n) for n in np.diff([0, *edges, columns.size])]
    (label,) = coco_mask(tmp_path, {"size": [48, 64], "counts": counts}, crowd=1)
    assert label.kind == "mask"
    with Image.open(io.BytesIO(label.mask_png)) as image:
        assert (np.asarray(image) > 0).tolist() == mask.tolist()
    (label,) = coco_mask(tmp_path, {"size": [48, 64], "counts": compressed(counts)}, crowd=1)
    with Image.open(io.BytesIO(label.mask_png)) as image:
        assert (np.asarray(image) > 0).tolist() == mask.tolist()


def compressed(counts):
    """Encode run lengths as COCO does, from its description: differences to the run before last, 5 bits a character."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


def test_the_polygons_of_an_annotation_are_one_label_as_given(tmp_path):
    rings = [[10, 10, 30, 10, 30, 20, 10, 20], [40, 5, 50.5, 5, 45, 9]]
    (label,) = coco_mask(tmp_path, rings)
    assert (label.kind, label.polygon, label.box, label.mask_png) == ("polygon", tuple(map(tuple, rings)), None, None)


def polygons(con):
    return con.execute("select kind, polygon, x1, y1, x2, y2 from raw.current_annotations order by all").fetchall()


def test_a_polygon_is_stored_in_pixels_of_the_image_with_its_bounds(con, tmp_path):
    make_yolo(tmp_path / "set")
    write(tmp_path / "set", "labels/val/b.txt", "0 0.25 0.5 0.75 0.5 0.5 1.0\n")
    (tmp_path / "set/labels/train/a.txt").unlink()
    read(con, tmp_path / "set")
    assert polygons(con) == [("polygon", [[16, 24, 48, 24, 32, 48]], 16, 24, 48, 48)]
    assert con.execute("select count(*) from raw.rejected_files").fetchone() == (0,)


def test_a_point_beside_the_image_is_kept_one_far_out_and_an_empty_polygon_are_rejected(con, tmp_path):
    make_yolo(tmp_path / "set")
    (tmp_path / "set/labels/train/a.txt").unlink()
    rows = ["0 0.5 0.5 1.0078125 0.5 0.75 0.75", "1 0.5 0.5 1.5 0.5 0.75 0.75", "1 0.1 0.1 0.2 0.1 0.3 0.1"]
    write(tmp_path / "set", "labels/val/b.txt", "\n".join(rows))
    read(con, tmp_path / "set")
    assert polygons(con) == [("polygon", [[32, 24, 64.5, 24, 48, 36]], 32, 24, 64, 36)]
    found = [row[0] for row in con.execute("select reason from raw.rejected_files order by reason").fetchall()]
    assert "the point (96, 24) is out of bounds of the image, 64 x 48 pixels" in found[1]
    assert "it is empty, its bounds are (6.4, 4.8, 19.2, 4.8)" in found[0]


def test_the_box_of_a_row_with_keypoints_is_read_and_no_polygon(tmp_path):
    make_yolo(tmp_path)
    write(tmp_path, "data.yaml", "names: [dent, scratch]\nkpt_shape: [2, 2]\n")
    write(tmp_path, "labels/val/b.txt", "1 0.5 0.5 0.25 0.5 0.1 0.1 0.9 0.9")
    layout = layout_named("yolo")(open_tree(str(tmp_path), tmp_path))
    (label,) = (label for sample in layout.samples() if "b.jpg" in sample.image for label in layout.labels(sample))
    assert (label.kind, label.box) == ("box", (0.375, 0.25, 0.625, 0.75))


def test_masks_drawn_from_run_lengths_are_kept_beside_the_warehouse(con, tmp_path):
    make_coco(tmp_path / "set")
    file = tmp_path / "set/annotations/instances_train.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **coco_run([48, 64], [72, 3000])}))
    read(con, tmp_path / "set")
    (uri,) = con.execute("select mask_uri from raw.annotations where kind = 'mask'").fetchone()
    with Image.open(uri) as image:
        assert image.size == (64, 48)


def test_a_mask_of_another_size_is_rejected_by_name(con, tmp_path):
    make_lgp(tmp_path / "set")
    write(tmp_path / "set", "Images/NG_MSK/0_NG_Mask.bmp", png(np.zeros((8, 8), np.uint8)))
    read(con, tmp_path / "set")
    (reason,) = con.execute("select reason from raw.rejected_files").fetchone()
    assert "its mask is 8 x 8 pixels, but the image is 64 x 48" in reason


@pytest.mark.parametrize(
    ("mask", "reason"),
    [(EMPTY, "its mask is empty"), (FULL[:60] + b"\0" + FULL[61:], "damaged")],
    ids=["empty", "damaged"],
)
def test_a_mask_that_shows_no_defect_is_rejected_by_name_and_the_class_is_kept(con, tmp_path, mask, reason):
    make_mvtec(tmp_path / "set")
    write(tmp_path / "set", "bottle/ground_truth/crack/000_mask.png", mask)
    _, labels = read(con, tmp_path / "set")
    assert [label[1:3] for label in labels if label[2] == "crack"] == [("class", "crack")]
    (rejected,) = con.execute("select uri, reason from raw.rejected_files").fetchall()
    assert rejected[0].endswith("crack/000_mask.png")
    assert reason in rejected[1]


def test_the_manifests_own_columns_are_kept_and_times_are_utc(con, tmp_path):
    make_manifest(tmp_path / "set")
    read(con, tmp_path / "set")
    rows = con.execute(
        "select line_id, strftime(captured_at, '%H:%M'), attributes from raw.inspections order by 1"
    ).fetchall()
    assert rows == [("L1", "06:00", '{"lot": 77}'), ("L2", "06:00", '{"lot": 78}')]


def test_a_manifest_with_other_names_is_read_through_column(con, tmp_path):
    write(tmp_path, "data/x.jpg")
    table = pa.table({"image_path": ["data/x.jpg"], "defect": ["dent"], "batch": [3]})
    pq.write_table(table, tmp_path / "table.parquet")
    tree = open_tree(str(tmp_path / "table.parquet"), tmp_path)
    with pytest.raises(
        LayoutError, match=r"needs a column 'uri' for uri, but has image_path, defect, batch. .*--column uri=YOURS"
    ):
        ingest(con, tree, tmp_path)
    with pytest.raises(LayoutError, match=r"--column: must name one of uri, .*but got 'url'"):
        ingest(con, tree, tmp_path, IngestOptions(columns={"url": "image_path"}))
    report = ingest(con, tree, tmp_path, IngestOptions(columns={"uri": "image_path", "label": "defect"}))
    assert (report.added.images, report.added.annotations) == (1, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",dent,,,,,L1,", "row 1: uri is empty"),
        ("a.jpg,,1,2,3,4,L1,", "row 1: has a box, polygon, mask or kind, but no label"),
        ("a.jpg,dent,1,2,3,,L1,", "row 1: x1, y1, x2, y2 must be four numbers, but are"),
        ("a.jpg,dent,1,2,nan,4,L1,", "row 1: x1, y1, x2, y2 must be finite"),
        ("a.jpg,dent,,,,,L1,yesterday", "row 1: captured_at must be a time such as"),
        ("gone.jpg,dent,,,,,L1,", "missing: there is no such file"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_rejected_by_name(con, tmp_path, row, reason):
    write(tmp_path, "set/a.jpg")
    write(tmp_path, "set/manifest.csv", f"uri,label,x1,y1,x2,y2,line_id,captured_at\n{row}\n")
    read(con, tmp_path / "set")
    found = [text for (text,) in con.execute("select reason from raw.rejected_files").fetchall()]
    assert len(found) == 1
    assert reason in found[0]


def test_rows_of_one_image_that_disagree_are_rejected_by_name(con, tmp_path):
    write(tmp_path, "set/a.jpg")
    write(tmp_path, "set/manifest.csv", "uri,label,line_id\na.jpg,dent,L1\na.jpg,dent,L2\n")
    read(con, tmp_path / "set")
    (reason,) = con.execute("select reason from raw.rejected_files").fetchone()
    assert reason == "row 2: line_id of 'a.jpg' is 'L2', but 'L1' in an earlier row"


def test_a_longer_manifest_adds_only_its_new_rows(con, tmp_path):
    make_manifest(tmp_path / "set")
    read(con, tmp_path / "set")
    write(tmp_path / "set", "pictures/c.jpg", picture(99))
    with (tmp_path / "set/manifest.csv").open("a") as file:
        file.write("pictures/c.jpg,dent,1,1,2,2,L1,2026-10-02 06:00:00,79\n")
    report, _ = read(con, tmp_path / "set")
    assert (report.added.images, report.added.inspections, report.added.annotations) == (1, 1, 1)


def test_one_golden_board_may_serve_many_units(con, tmp_path):
    for name in ("a", "b", "golden"):
        write(tmp_path, f"set/{name}.jpg", picture(ord(name[0])))
    write(tmp_path, "set/manifest.csv", "uri,template_uri,label\na.jpg,golden.jpg,dent\nb.jpg,golden.jpg,ok\n")
    read(con, tmp_path / "set")
    assert con.execute("select count(*), count(distinct template_image_id) from raw.templates").fetchone() == (2, 1)
    assert con.execute("select count(*) from raw.inspections").fetchone() == (2,)


def test_a_single_image_can_be_ingested(con, tmp_path):
    file = write(tmp_path, "one.jpg")
    report = ingest(con, open_tree(str(file), tmp_path), tmp_path)
    assert (report.layout, report.added.images) == ("images", 1)


def labels_of(name, root):
    """Every image with its labels as (kind, label, split)."""
    layout = layout_named(name)(open_tree(str(root), root))
    samples = [item for item in layout.samples() if not isinstance(item, Reject)]
    return {
        sample.image: [(x.kind, x.label, x.split) for x in layout.labels(sample) if isinstance(x, Label)]
        for sample in samples
    }


def recognised(root):
    return recognise(open_tree(str(root), root))[0].name


def test_one_mvtec_category_may_be_asked_for_by_itself(con, tmp_path):
    make_mvtec(tmp_path)
    report, labels = read(con, tmp_path / "bottle")
    assert report.layout == "mvtec"
    assert labels == sorted(EXPECTED["mvtec"], key=str)
    assert con.execute("select distinct product_type from raw.inspections").fetchall() == [("bottle",)]


def test_an_annotation_belongs_to_the_image_of_its_name_in_its_own_folder(tmp_path):
    for split in ("train", "valid"):
        write(tmp_path, f"{split}/a.jpg")
        write(tmp_path, f"{split}/a.xml", VOC.format(w=64, h=48, objects=OBJECT.format(split, 1, 2, 3, 4)))
    assert recognised(tmp_path) == "voc"
    assert labels_of("voc", tmp_path) == {
        "train/a.jpg": [("box", "train", "train")],
        "valid/a.jpg": [("box", "valid", "val")],
    }


def test_two_images_that_an_annotation_may_mean_are_named(tmp_path):
    make_voc(tmp_path)
    write(tmp_path, "OTHER/a.jpg")
    assert rejects("voc", tmp_path) == ["several images are named a: IMAGES/a.jpg, OTHER/a.jpg"]


def test_an_annotation_finds_its_image_by_the_filename_inside_without_suffix(tmp_path):
    write(tmp_path, "IMAGES/crazing_1.jpg")
    write(tmp_path, "ANNOTATIONS/one.xml", VOC.replace("x</f", "crazing_1</f").format(w=64, h=48, objects=""))
    assert recognised(tmp_path) == "voc"
    assert labels_of("voc", tmp_path) == {"IMAGES/crazing_1.jpg": [("class", "good", None)]}


def test_the_list_trainval_speaks_only_where_no_other_does(tmp_path):
    make_voc(tmp_path)
    write(tmp_path, "ImageSets/Main/val.txt", "a\n")
    write(tmp_path, "ImageSets/Main/train.txt", "")
    write(tmp_path, "ImageSets/Main/trainval.txt", "a\nb\n")
    splits = {image: labels[0][2] for image, labels in labels_of("voc", tmp_path).items() if labels}
    assert splits == {"IMAGES/a.jpg": "val", "IMAGES/b.jpg": "train"}


def small_coco(root, file, image, name="dent"):
    document = {
        "images": [{"id": 1, "file_name": image, "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": name}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    }
    write(root, file, json.dumps(document))


def test_images_of_one_name_are_told_apart_by_the_split_of_their_coco_file(tmp_path):
    for split in ("train2017", "val2017"):
        write(tmp_path, f"images/{split}/a.jpg")
        small_coco(tmp_path, f"annotations/instances_{split}.json", "a.jpg")
    assert labels_of("coco", tmp_path) == {
        "images/train2017/a.jpg": [("box", "dent", "train")],
        "images/val2017/a.jpg": [("box", "dent", "val")],
    }


def test_a_coco_file_in_the_folder_of_a_split_has_that_split(tmp_path):
    write(tmp_path, "valid/a.jpg")
    small_coco(tmp_path, "valid/_annotations.coco.json", "..\\valid\\a.jpg")
    assert labels_of("coco", tmp_path) == {"valid/a.jpg": [("box", "dent", "val")]}


def test_a_second_coco_file_of_the_same_images_is_rejected_by_name(tmp_path):
    make_coco(tmp_path)
    small_coco(tmp_path, "annotations/person_keypoints_train.json", "a.jpg", name="person")
    reason = "1 images are labelled in annotations/instances_train.json already, the first is train/a.jpg"
    assert rejects("coco", tmp_path) == [reason]
    assert labels_of("coco", tmp_path)["train/a.jpg"] == [("polygon", "dent", "train")]


def test_a_broken_json_beside_a_coco_file_leaves_it_alone(tmp_path):
    make_coco(tmp_path)
    write(tmp_path, "config.json", "{ // broken")
    assert ["not JSON" in reason for reason in rejects("coco", tmp_path)] == [True]
    assert len(labels_of("coco", tmp_path)["train/a.jpg"]) == 1


@pytest.mark.parametrize(
    "item",
    [{"category_id": 7, "iscrowd": 1}, {"category_id": 9, "bbox": [1, 1, 2, 2]}, {"category_id": 7, "bbox": [1]}],
    ids=["crowd", "category", "bbox"],
)
def test_an_image_whose_only_annotation_is_unusable_is_not_called_good(tmp_path, item):
    make_coco(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "annotations": [{"id": 1, "image_id": 1, **item}]}))
    assert labels_of("coco", tmp_path) == {"train/a.jpg": [], "train/b.jpg": [("class", "good", "train")]}


def test_splits_of_a_data_yaml_are_folders_and_lists(tmp_path):
    for name in ("images/lineA/a", "images/lineB/b", "images/rest/c"):
        write(tmp_path, f"{name}.jpg")
        write(tmp_path, f"{name.replace('images', 'labels')}.txt", "0 .5 .5 .1 .1")
    write(tmp_path, "labels/classes.txt", "dent")
    write(tmp_path, "held.txt", "./images/rest/c.jpg\n")
    config = "names: {0: dent}\npath: ../set\ntrain: [images/lineA]\nval: ../images/lineB\ntest: held.txt\n"
    write(tmp_path, "data.yaml", config)
    splits = {image: labels[0][2] for image, labels in labels_of("yolo", tmp_path).items()}
    assert splits == {"images/lineA/a.jpg": "train", "images/lineB/b.jpg": "val", "images/rest/c.jpg": "test"}
    assert rejects("yolo", tmp_path) == []


def test_the_nearest_data_yaml_names_the_classes(tmp_path):
    for name in ("dent", "scratch"):
        write(tmp_path, f"{name}/data.yaml", f"names: [{name}]")
        write(tmp_path, f"{name}/images/a.jpg")
        write(tmp_path, f"{name}/labels/a.txt", "0 .5 .5 .1 .1")
    assert [labels[0][1] for labels in labels_of("yolo", tmp_path).values()] == ["dent", "scratch"]


@pytest.mark.parametrize("names", [("2026-10-01", "2026-10-02"), ("20261001", "20261002 late"), ("images", "masks")])
def test_days_and_parts_of_a_data_set_are_no_classes(tmp_path, names):
    for name in names:
        write(tmp_path, f"{name}/a.jpg")
    assert recognised(tmp_path) == "images"


def manifest(root, text, columns=None, name="manifest.csv"):
    """Read a manifest without looking for its images; samples, and the reasons of the rejects."""
    write(root, name, text)
    found = list(layout_named("manifest")(open_tree(str(root / name), root), columns).samples())
    return [item for item in found if not isinstance(item, Reject)], [x.reason for x in found if isinstance(x, Reject)]


def test_names_of_units_and_labels_stay_as_they_are_written(tmp_path):
    (sample,), _ = manifest(tmp_path, "uri,unit_id,line_id,label\na.jpg,007,1.10,true\n")
    assert (sample.unit_id, sample.line_id, sample.labels[0].label) == ("007", "1.10", "true")


@pytest.mark.parametrize("header", ["uri,path,lot", "path,uri,lot"])
def test_a_users_column_of_our_name_is_kept_beside_the_one_that_stands_for_it(tmp_path, header):
    text = "\n".join([header, "x,a.jpg,1" if header.startswith("uri") else "a.jpg,x,1"])
    (sample,), _ = manifest(tmp_path, text, {"uri": "path", "unit_id": "path"})
    assert (sample.image, sample.unit_id, sample.attributes) == ("a.jpg", "a.jpg", {"uri": "x", "lot": 1})


def test_a_line_that_is_no_row_is_rejected_and_its_neighbours_are_read(tmp_path):
    samples, reasons = manifest(tmp_path, "uri,label\na.jpg,dent\nb.jpg,d,e,f\n,dent\nc.jpg,ok\n")
    assert [sample.image for sample in samples] == ["a.jpg", "c.jpg"]
    assert reasons == [
        "line 3: not a row of the table: Expected Number of Columns: 2 Found: 3: 'b.jpg,d,e,f'",
        "row 3: uri is empty",
    ]


def test_a_row_with_a_box_and_a_mask_has_both(tmp_path):
    text = "uri,kind,label,x1,y1,x2,y2,mask_uri\na.jpg,,dent,1,2,3,4,m.png\nb.jpg,mask,dent,1,2,3,4,m.png\n"
    (a, b), _ = manifest(tmp_path, text)
    assert [(label.kind, label.box, label.mask) for label in a.labels] == [
        ("box", (1, 2, 3, 4), None),
        ("mask", (1, 2, 3, 4), "m.png"),
    ]
    assert [label.kind for label in b.labels] == ["mask"]


def test_one_image_spelled_twice_is_one_sample_and_blanks_do_not_disagree(tmp_path):
    (sample,), reasons = manifest(tmp_path, "uri,label,line_id\na.jpg,dent,\n./b/../a.jpg,hole,L1\n")
    assert (sample.image, sample.line_id, len(sample.labels), reasons) == ("a.jpg", "L1", 2, [])


def test_attributes_that_disagree_are_rejected_by_name(tmp_path):
    _, reasons = manifest(tmp_path, "uri,lot\na.jpg,1\na.jpg,2\n")
    assert reasons == ["row 2: lot of 'a.jpg' is 2, but 1 in an earlier row"]


def test_a_manifest_may_have_brackets_in_its_name(tmp_path):
    (sample,), _ = manifest(tmp_path, "uri\na.jpg\n", name="lot[1]*.csv")
    assert sample.image == "a.jpg"


REAL = os.environ.get("DUCKSPECT_REAL_DATA")


def count_deeppcb(root):
    kinds = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
    lines = [
        line.split() for file in root.rglob("*_not/*.txt") for line in file.read_text().splitlines() if line.strip()
    ]
    goods = len(list(root.rglob("*_temp.jpg")))
    return len(list(root.rglob("*.jpg"))), Counter(("box", kinds[int(f[4]) - 1]) for f in lines) + Counter(
        {("class", "good"): goods}
    )


def count_voc(root):
    texts = [file.read_text() for file in root.rglob("*.xml")]
    boxes = Counter(("box", name) for name in re.findall(r"<name>(.*?)</name>", "".join(texts)))
    return len(list(root.rglob("*.jpg"))), boxes + Counter(
        {("class", "good"): sum("<object>" not in text for text in texts)}
    )


def count_magnetic_tile(root):
    """Two masks of uneven tiles are empty."""
    counts = Counter()
    for file in root.rglob("*.jpg"):
        label = file.parts[-3].removeprefix("MT_").lower().replace("free", "good")
        with Image.open(file.with_suffix(".png")) as mask:
            is_usable = label == "good" or mask.getextrema() != (0, 0)
        counts.update([("class", label), *[("mask", label)] * is_usable])
    return len(list(root.rglob("*.jpg"))), counts


def count_lgp(root):
    ng, ok = (len(list(root.rglob(f"*_{kind}_Image.bmp"))) for kind in ("NG", "OK"))
    return ng + ok, Counter(
        {(kind, label): n for kind in ("class", "mask") for label, n in (("defect", ng), ("good", ok))}
    )


REAL_SETS = {"deeppcb": count_deeppcb, "neu-det": count_voc, "magnetic-tile": count_magnetic_tile, "lgp": count_lgp}


@pytest.mark.parametrize("name", list(REAL_SETS))
def test_the_real_sets_read_completely(con, tmp_path, name):
    """Compare with an independent count: of the sets in DUCKSPECT_REAL_DATA, else of drawn trees in their layouts."""
    root = Path(REAL or tmp_path / "drawn") / name
    if not REAL:
        MAKERS[{"neu-det": "voc"}.get(name, name.replace("-", "_"))](root)
    images, labels = REAL_SETS[name](root)
    report = ingest(con, open_tree(str(root), tmp_path), tmp_path)
    files = con.execute("select count(*) from raw.files where role in ('image', 'template')").fetchone()
    assert files == (images,)
    assert Counter(dict(_pairs(con))) == labels
    assert report.added.rejected_files == 2 * (name == "magnetic-tile" and bool(REAL))


def _pairs(con):
    rows = con.execute("select kind, label, count(*) from raw.current_annotations group by all").fetchall()
    return [((kind, label), count) for kind, label, count in rows]


def test_labels_are_light_and_immutable():
    with pytest.raises(AttributeError):
        Label("class", "good").label = "bad"


def test_a_manifest_has_polygons_as_the_warehouse_writes_them(con, tmp_path):
    write(tmp_path, "set/a.jpg")
    write(
        tmp_path,
        "set/manifest.csv",
        'uri,kind,label,x1,y1,x2,y2,polygon\na.jpg,,dent,,,,,"[[1, 1, 9, 1, 9, 9], [3, 2, 5, 2, 5, 4]]"\n'
        'a.jpg,polygon,bar,2,2,8,8,"[2, 2, 8, 2, 8, 8]"\n',
    )
    read(con, tmp_path / "set")
    shown = "select kind, label, x1, y1, x2, y2, polygon from raw.current_annotations order by label"
    wanted = [
        ("polygon", "bar", 2, 2, 8, 8, [[2, 2, 8, 2, 8, 8]]),
        ("polygon", "dent", 1, 1, 9, 9, [[1, 1, 9, 1, 9, 9], [3, 2, 5, 2, 5, 4]]),
    ]
    assert con.execute(shown).fetchall() == wanted
    for suffix in ("csv", "parquet"):
        file = tmp_path / f"{suffix}/manifest.{suffix}"
        file.parent.mkdir()
        columns = "uri, kind, label, x1, y1, x2, y2, polygon, mask_uri, split, annotator, annotated_at"
        con.execute(f"copy (select {columns} from raw.current_annotations) to '{file}'")
        with connect(tmp_path / f"{suffix}.duckdb") as other:
            ingest(other, open_tree(str(file), tmp_path), tmp_path)
            assert other.execute(shown).fetchall() == wanted
            assert other.execute("from raw.rejected_files").fetchall() == []


@pytest.mark.parametrize(
    "polygon", ["[[1, 2]]", "[1, 2, 3]", "nonsense", "[[1, 2, 3, 4, 5]]", '[[1, 2, 3, 4, 5, "x"]]']
)
def test_what_is_no_polygon_in_a_manifest_is_rejected_by_name(con, tmp_path, polygon):
    write(tmp_path, "set/a.jpg")
    quoted = polygon.replace('"', '""')
    write(tmp_path, "set/manifest.csv", f'uri,label,polygon\na.jpg,dent,"{quoted}"\n')
    read(con, tmp_path / "set")
    (reason,) = con.execute("select reason from raw.rejected_files").fetchone()
    assert reason.startswith("row 1: polygon must be rings of at least 3 points")


def test_a_label_given_at_an_impossible_time_is_loaded_without_it(con, tmp_path):
    write(tmp_path, "set/a.jpg")
    write(tmp_path, "set/manifest.csv", "uri,label,annotated_at\na.jpg,dent,2262-01-01\n")
    read(con, tmp_path / "set")
    (reason,) = con.execute("select reason from raw.rejected_files").fetchone()
    assert "annotated_at must be from 1990-01-01 to a day after now, but is 2262-01-01" in reason
    (label,) = con.execute("select label, annotated_at <= now() from raw.current_annotations").fetchall()
    assert label == ("dent", True)


def test_a_product_that_is_said_goes_before_the_folders_name(con, boards, tmp_path):
    ingest(con, open_tree(str(boards), tmp_path), tmp_path, IngestOptions(product_type="PCB-X"))
    assert con.execute("select distinct product_type from raw.inspections").fetchall() == [("PCB-X",)]
