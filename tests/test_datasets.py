"""Rows are checked by name, frozen by content, and split without leaks."""

import random
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from conftest import picture
from drawn import draw_parts, fill_table

from models_py.datasets import DatasetRow, FrozenDataset, freeze, read_parquet, write_parquet
from models_py.datasets.split import assign
from models_py.errors import DuckspectError
from models_py.images.decode import open_bytes
from models_py.ingest import IngestOptions, ingest, open_tree
from udfs import connect

CLASSES = "select image, label from parts"
HASH_BEFORE_POLYGONS = "30ab565420473fa8f3af84a374d09655dfdfc37b3f411cca801e7e94b253b22c"


@pytest.fixture
def con(tmp_path):
    with connect(tmp_path / "w.duckdb") as opened:
        fill_table(opened, draw_parts(tmp_path / "parts", count=30))
        yield opened


def examples(groups, labels=("good", "spot"), split=""):
    """One example per group name, its label by turns."""
    return [
        DatasetRow(f"{i}.png", f"{i:064d}", split, group, (labels[i % len(labels)],)) for i, group in enumerate(groups)
    ]


@pytest.mark.parametrize(
    ("task", "query", "words"),
    [
        ("classify", "select 1 as image", "must have the column label for classify, but has image"),
        ("detect", CLASSES, "must have the columns x1, y1, x2, y2 for detect"),
        ("classify", "select image, label from parts where false", "it has no rows"),
        ("classify", "selekt", "query: Parser Error"),
        ("classify", "drop table parts", "must be one select, but is DROP. Nothing was run"),
        ("classify", f"{CLASSES}; delete from parts", "must be one select, but is SELECT and DELETE"),
        ("classify", "", "must be one select, but is nothing"),
        ("classify", "select null as image, 'a' as label", "row 1 has no image"),
        ("classify", "select image, null as label from parts", "no row has a label: 30 unlabelled rows"),
        (
            "classify",
            "from (select image, label from parts limit 1) union all (select image, 'b' from parts limit 1)",
            r"(?s)1 image with labels that contradict each other.*\(b / good\).*Classification learns one class",
        ),
        (
            "detect",
            "select image, 'spot' as label, 9 as x1, 1 as y1, 2 as x2, 5 as y2 from parts",
            "x1 < x2 and y1 < y2 must hold",
        ),
        (
            "detect",
            "select image, null as label, 1 as x1, 1 as y1, 2 as x2, 5 as y2 from parts",
            "has a box without a label",
        ),
        (
            "detect",
            "select image, 'spot' as label, null as x1, 1 as y1, 2 as x2, 5 as y2 from parts",
            "has only a part of a box",
        ),
        (
            "detect",
            "select image, null as label, 1 as x1, null as y1, 2 as x2, 5 as y2 from parts",
            "has only a part of a box",
        ),
        (
            "detect",
            "select image, 'spot' as label, 'left' as x1, 1 as y1, 2 as x2, 5 as y2 from parts",
            "but no numbers",
        ),
        (
            "segment",
            "select image, 'spot' as label, null as mask from parts",
            "segmentation learns from masks and polygons, but no row has one: 30 class rows. Use --task classify",
        ),
        ("segment", "select image, 'spot' as label, '[1, 2, 3]' as polygon from parts", "each ring needs 3 points"),
        (
            "segment",
            "select image, 'spot' as label, 'round' as polygon from parts",
            "the polygon 'round', but no rings",
        ),
        (
            "classify",
            "select image, if(image like '%1.png', upper(label), label) as label from parts",
            r"the labels 'BAR' \(\d\) and 'bar' \(\d\) differ in case",
        ),
        (
            "classify",
            "select image, label, 'sometimes' as split from parts",
            "has the split 'sometimes', but it must be one of",
        ),
        (
            "classify",
            "select image, label, unnest(['train', 'test']) as split from parts",
            "is in the splits test and train",
        ),
    ],
)
def test_bad_rows_are_named(con, task, query, words):
    with pytest.raises(DuckspectError, match=words):
        freeze(con, query, task)


def test_unusable_images_are_counted_and_the_first_five_named(con, tmp_path):
    for number in range(8):
        (tmp_path / f"parts/part{number:03d}.png").write_bytes(b"" if number % 2 else picture(1)[:-50])
    (tmp_path / "parts/part008.png").unlink()
    with pytest.raises(DuckspectError) as caught:
        freeze(con, CLASSES, "classify")
    text = str(caught.value)
    assert text.startswith("9 of 30 images cannot be used.")
    assert text.count("\n  /") == 5
    assert text.endswith("and 4 more")


def test_an_image_id_is_looked_up(con, tmp_path):
    con.execute(
        "insert into raw.images select sha256(content), filename, 'x', 'png', 64, 64, 1, size, now() from read_blob(?)",
        [str(tmp_path / "parts/part00?.png")],
    )
    frozen = freeze(con, "select image_id as image, 'a' as label from raw.images", "classify")
    assert {item.image for item in frozen.rows} == {str(tmp_path / f"parts/part00{i}.png") for i in range(10)}


def test_the_hash_is_of_contents_and_labels_not_of_order_or_place(con, tmp_path):
    first = freeze(con, CLASSES, "classify")
    assert freeze(con, f"{CLASSES} order by random()", "classify").sha256 == first.sha256
    shutil.move(tmp_path / "parts", tmp_path / "moved")
    moved = f"select replace(image, '/parts/', '/moved/') as image, label from ({CLASSES})"
    assert freeze(con, moved, "classify").sha256 == first.sha256
    relabelled = f"select image, if(image like '%001.png', 'bar', label) as label from ({moved})"
    assert freeze(con, relabelled, "classify").sha256 != first.sha256
    assert freeze(con, moved, "classify", split="test").sha256 != first.sha256
    assert freeze(con, moved, "classify", seed=1).sha256 != first.sha256


def test_the_same_bytes_are_one_image_and_contradicting_labels_are_refused(con, tmp_path):
    shutil.copy(tmp_path / "parts/part001.png", tmp_path / "copy.png")
    query = f"{CLASSES} union all select '{tmp_path / 'copy.png'}', '%s'"
    assert len(freeze(con, query % "spot", "classify").rows) == 30
    with pytest.raises(DuckspectError, match=r"part001.png \(spot\) has the bytes of .*copy.png \(bar\)"):
        freeze(con, query % "bar", "classify")


def contradicting(con, folder):
    """A query in which three images have other labels under a second name, given later for all but the second."""
    for number in (1, 4, 7):
        shutil.copy(folder / f"parts/part00{number}.png", folder / f"copy{number}.png")
    copies = f"select '{folder}/copy' || n || '.png', 'bar', n from (values (1), (4), (7)) as t(n)"
    return f"select image, label, if(image like '%004.png', 5, 0) as annotated_at from parts union all {copies}"


def test_all_contradictions_are_listed_before_anything_is_learned(con, tmp_path):
    with pytest.raises(DuckspectError, match="3 images with labels that contradict each other") as caught:
        freeze(con, contradicting(con, tmp_path), "classify")
    assert all(f"copy{number}.png (bar)" in str(caught.value) for number in (1, 4, 7))
    assert "-o duplicates=newest" in str(caught.value)


def test_the_newest_of_contradicting_labels_may_count_or_none(con, tmp_path):
    query = contradicting(con, tmp_path)
    newest = freeze(con, query, "classify", duplicates="newest")
    labels = {item.image[-7:-4]: item.label for item in newest.rows}
    assert (labels["py1"], labels["004"], labels["py7"]) == ("bar", "spot", "bar")
    assert len(newest.rows) == 30
    assert newest.notes[0].startswith("3 images with contradicting labels, of which the newest count: ")
    dropped = freeze(con, query, "classify", duplicates="drop")
    assert len(dropped.rows) == 27
    assert dropped.notes[0].startswith("3 images left out, whose labels contradict each other: ")
    twice = f"{CLASSES.replace('label', 'label, 1 as annotated_at')} union all select image, 'bar', 2 from parts"
    assert freeze(con, twice, "classify", duplicates="newest", split="test").classes == ("bar",)
    undated = f"select image, label from ({query})"
    with pytest.raises(
        DuckspectError, match=r"does not say when the labels of .* were given. Add the column annotated_at"
    ):
        freeze(con, undated, "classify", duplicates="newest")


def test_files_that_ingestion_knows_are_not_opened_unless_they_changed(con, tmp_path, monkeypatch):
    ingest(con, open_tree(str(tmp_path / "parts"), tmp_path), tmp_path, IngestOptions(layout="images"))
    read = []
    monkeypatch.setattr("models_py.datasets.contents.open_bytes", lambda uri: read.append(uri) or open_bytes(uri))
    before = freeze(con, CLASSES, "classify")
    assert read == []
    (tmp_path / "parts/part003.png").write_bytes(picture(5, format="png"))
    after = freeze(con, CLASSES, "classify")
    assert [uri[-11:] for uri in read] == ["part003.png"]
    assert after.sha256 != before.sha256
    (tmp_path / "parts/part004.png").unlink()
    with pytest.raises(DuckspectError, match=r"part004.png: there is no such file"):
        freeze(con, CLASSES, "classify")


@pytest.mark.parametrize("first", ["part001", "copy"])
def test_the_same_bytes_in_two_splits_are_refused_whichever_comes_first(con, tmp_path, first):
    shutil.copy(tmp_path / "parts/part001.png", tmp_path / "copy.png")
    copied = f"{CLASSES} union all select '{tmp_path / 'copy.png'}', 'spot'"
    query = f"select *, %s as split from ({copied}) order by image like '%%{first}%%' desc"
    with pytest.raises(DuckspectError, match="but another split"):
        freeze(con, query % "if(image like '%copy.png', 'test', 'train')", "classify")
    frozen = freeze(con, query % "if(image like '%copy.png', 'test', null)", "classify")
    assert len(frozen.part("test")) == 1


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_order_of_the_boxes_of_an_image_does_not_matter(con, order):
    query = "select image, 'spot' as label, x as x1, 1 as y1, x + 2 as x2, 5 as y2 from parts, (values (1), (9)) b(x)"
    frozen = freeze(con, f"{query} order by x {order}", "detect")
    assert all(item.boxes == ((1, 1, 3, 5), (9, 1, 11, 5)) for item in frozen.rows)
    assert frozen.sha256 == freeze(con, query, "detect").sha256


def test_labels_and_units_may_be_numbers_and_zero_is_one(con):
    twice = "(from parts union all from parts)"
    frozen = freeze(con, f"select image, (label = 'spot')::int as label from {twice}", "classify")
    assert frozen.classes == ("0", "1")
    together = freeze(con, "select image, label, 0 as unit from parts where label = 'spot'", "classify")
    assert len({item.group for item in together.rows}) == 1


def test_given_splits_are_kept_and_validation_comes_out_of_the_training_rows(con):
    query = f"select *, if(image like '%00_.png', 'test', 'training') as split from ({CLASSES})"
    frozen = freeze(con, query, "classify")
    assert {item.image[-7:-5] for item in frozen.part("test")} == {"00"}
    assert len(frozen.part("test")) == 10
    assert frozen.part("val")
    given = freeze(
        con, f"select *, if(image like '%00_.png', 'validation', 'train') as split from ({CLASSES})", "classify"
    )
    assert len(given.part("val")) == 10
    assert len(given.part("train")) == 20


def test_every_class_is_on_both_sides_in_about_the_share_asked_for(con):
    frozen = freeze(con, CLASSES, "classify", validation=0.3)
    assert frozen.counts("val") == {"good": 3, "spot": 3, "bar": 3}
    assert frozen.counts("train") == {"good": 7, "spot": 7, "bar": 7}


def test_defects_are_not_learned_from_by_anomaly_detection(con):
    frozen = freeze(con, CLASSES, "anomaly")
    assert frozen.counts("train") == {"good": 8}
    assert frozen.counts("val") == {"good": 2, "spot": 10, "bar": 10}


def test_units_and_templates_never_lie_on_two_sides(con, tmp_path):
    con.execute(
        "insert into raw.inspections (inspection_id, unit_id, image_id, uri, ingested_at) "
        "select filename, 'unit ' || (regexp_extract(filename, '(\\d+)[.]png', 1)::int // 4), sha256(content), "
        "filename, now() from read_blob(?)",
        [str(tmp_path / "parts/part???.png")],
    )
    hashes = dict(con.execute("select uri, image_id from raw.inspections").fetchall())
    one, other = (hashes[str(tmp_path / f"parts/part{number}.png")] for number in ("000", "029"))
    con.execute("insert into raw.templates values (?, 'golden', '/golden.png', now())", [one])
    con.execute("insert into raw.templates values (?, 'golden', '/golden.png', now())", [other])
    frozen = freeze(con, CLASSES, "classify")
    sides = {}
    for item in frozen.rows:
        sides.setdefault(item.group, set()).add(item.split)
    assert len(sides) == 7  # eight units of up to four images, two of them joined by their template
    assert all(len(splits) == 1 for splits in sides.values())
    with pytest.raises(DuckspectError, match="are of one unit or template, but in two splits"):
        freeze(con, f"select *, if(image like '%000.png', 'test', 'train') as split from ({CLASSES})", "classify")


def test_no_group_is_ever_split_and_every_class_that_can_be_is_on_both_sides():
    for seed in range(60):
        rng = random.Random(seed)
        names = [f"g{rng.randrange(rng.choice([3, 10, 40]))}" for _ in range(rng.randrange(6, 80))]
        rows = [replace(item, labels=(rng.choice(["good", "spot", "bar"]),)) for item in examples(names)]
        split = assign(rows, 0.25, seed)
        sides = {}
        for item in split:
            sides.setdefault(item.group, set()).add(item.split)
        assert all(len(found) == 1 for found in sides.values()), seed
        assert {item.split for item in split} <= {"train", "val"}
        assert any(item.split == "train" for item in split), seed
        assert any(item.split == "val" for item in split) or len(set(names)) == 1, seed


def test_of_large_units_one_is_held_out_and_one_is_learned_from():
    split = assign(examples(["one"] * 10 + ["other"] * 10, labels=("spot",)), 0.2, 0)
    assert sorted(item.split for item in split) == ["train"] * 10 + ["val"] * 10


def test_every_class_keeps_a_group_to_learn_from_though_images_show_several():
    for seed in range(300):
        rng = random.Random(seed)
        names = [f"g{rng.randrange(6)}" for _ in range(rng.randrange(4, 30))]
        shown = [tuple(rng.sample(["bar", "scratch", "spot"], rng.randint(1, 2))) for _ in names]
        rows = [replace(item, labels=labels) for item, labels in zip(examples(names), shown, strict=True)]
        learned = {label for item in assign(rows, 0.2, seed) if item.split == "train" for label in item.labels}
        assert learned == {label for item in rows for label in item.labels}, seed


def test_new_images_hardly_move_old_ones():
    before = {item.group: item.split for item in assign(examples([f"g{i}" for i in range(200)]), 0.2, 0)}
    after = {item.group: item.split for item in assign(examples([f"g{i}" for i in range(220)]), 0.2, 0)}
    moved = sum(before[group] != after[group] for group in before)
    assert moved <= 20
    assert sum(split == "val" for split in before.values()) == 40


def test_rows_survive_parquet_and_damage_is_said(con, tmp_path):
    frozen = freeze(con, "select image, label, x1, y1, x2, y2 from parts", "detect")
    write_parquet(frozen, tmp_path / "rows.parquet")
    again = read_parquet(tmp_path / "rows.parquet")
    assert (again, again.sha256) == (frozen, frozen.sha256)
    assert frozen.classes == ("bar", "spot")
    outlined = freeze(con, f"select image, label, mask, {OUTLINE} as polygon from parts", "segment")
    write_parquet(outlined, tmp_path / "outlined.parquet")
    assert read_parquet(tmp_path / "outlined.parquet") == outlined
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-100])
    with pytest.raises(DuckspectError, match="cannot be read"):
        read_parquet(tmp_path / "rows.parquet")


def test_a_sample_is_spread_over_the_classes():
    items = tuple(examples([f"g{i}" for i in range(20)], split="val"))
    found = FrozenDataset("classify", "", items).sample("val", 4)
    assert len(found) == 4
    assert {item.label for item in found} == {"good", "spot"}


def test_another_mask_is_another_snapshot_and_a_missing_one_is_named(con, tmp_path):
    query = "select image, label, mask from parts where label <> 'good'"
    before = freeze(con, query, "segment")
    mask = tmp_path / "parts/part001_mask.png"
    shutil.copy(tmp_path / "parts/part002_mask.png", mask)
    assert freeze(con, query, "segment").sha256 != before.sha256
    mask.unlink()
    with pytest.raises(DuckspectError, match=r"1 of 40 images cannot be used(.|\n)*part001_mask.png: there is no such"):
        freeze(con, query, "segment")


OUTLINE = "if(label = 'bar', [[1.0, 1, 9, 1, 9, 9]], null)"


def test_a_polygon_stands_in_for_a_mask_and_is_part_of_the_hash(con):
    query = "select image, label, if(label = 'spot', mask, null) as mask, %s as polygon from parts"
    frozen = freeze(con, query % OUTLINE, "segment")
    assert {(item.label, len(item.masks), item.polygons) for item in frozen.rows} == {
        ("good", 0, ()),
        ("spot", 1, ()),
        ("bar", 0, (((1, 1, 9, 1, 9, 9),),)),
    }
    assert freeze(con, query % OUTLINE.replace("9, 9]", "9, 8]"), "segment").sha256 != frozen.sha256


def test_masks_come_before_polygons_whatever_the_order_of_the_rows(con):
    query = """
        select image, 'bar' as label, null as mask, '[1, 1, 5, 1, 5, 5]' as polygon from parts
        union all select image, 'spot', mask, null from parts
    """
    frozen = freeze(con, query, "segment")
    assert {item.labels for item in frozen.rows} == {("spot", "bar")}
    assert frozen.sha256 == freeze(con, f"from ({query}) order by label desc", "segment").sha256


def test_rows_without_polygons_have_the_hash_that_they_always_had():
    rows = (
        DatasetRow("a.png", "a" * 64, "train", "g", ("bar", "spot"), ((1, 2, 3, 4.5), (0, 0, 9, 9))),
        DatasetRow("b.png", "b" * 64, "val", "h", ("spot",), (), ("m.png",), ("c" * 64,)),
    )
    assert FrozenDataset("detect", "select", rows).sha256 == HASH_BEFORE_POLYGONS


def test_rows_that_were_kept_before_masks_had_hashes_and_before_polygons_are_read(tmp_path):
    dataset = FrozenDataset("detect", "select", tuple(examples(["a", "b"])))
    write_parquet(dataset, tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    pq.write_table(table.drop_columns(["mask_sha256", "polygons"]), tmp_path / "rows.parquet")
    assert read_parquet(tmp_path / "rows.parquet") == dataset


def test_a_share_is_kept_for_testing_before_anything_is_held_out_for_validation():
    rows = examples([f"unit {number // 2}" for number in range(200)])
    kept = {row.image: row.split for row in assign(rows, 0.2, 0, test=0.2)}
    splits = {name: {image for image, split in kept.items() if split == name} for name in ("train", "val", "test")}
    assert [len(splits[name]) for name in ("test", "val", "train")] == [40, 32, 128]
    assert {row.group for row in rows if row.image in splits["test"]}.isdisjoint(
        row.group for row in rows if row.image not in splits["test"]
    )
    without = {row.image: row.split for row in assign(rows, 0.2, 0)}
    assert "test" not in without.values()


def test_a_rare_class_is_not_taken_away_from_training_for_testing():
    rows = examples([str(number) for number in range(20)], labels=("good",))
    rows += [
        DatasetRow(f"rare{number}.png", f"{900 + number:064d}", "", f"rare {number}", ("rare",)) for number in (0, 1)
    ]
    kept = {row.image: row.split for row in assign(rows, 0.2, 0, test=0.2)}
    assert sorted(kept[f"rare{number}.png"] for number in (0, 1)) == ["train", "val"]


def test_a_given_test_split_is_enough():
    rows = [replace(row, split="test" if row.group == "0" else "") for row in examples([str(n) for n in range(20)])]
    kept = [row.split for row in assign(rows, 0.2, 0, test=0.5)]
    assert kept.count("test") == 1


def test_anomaly_detection_tests_on_defects_too_and_never_learns_from_one():
    kept = assign(examples([str(number) for number in range(100)]), 0.2, 0, test=0.2, train_on_good=True)
    tested = [row for row in kept if row.split == "test"]
    assert {row.label for row in tested} == {"good", "spot"}
    assert {row.label for row in kept if row.split == "train"} == {"good"}
