"""The demo plant: the same bytes from the same seed, defects where the labels say, and the story in the data."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from models_py.errors import DuckspectError
from models_py.plant import boards, build, plates, steel, story, tiles

_PICTURES = ("boards", "steel", "plates", "tiles")


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return build(tmp_path_factory.mktemp("plant"), units=200, seed=3)


@pytest.fixture(scope="module")
def rows(plant):
    return pq.read_table(plant.manifest).to_pylist()


@pytest.fixture(scope="module")
def planned():
    """Two thousand units, decided but not drawn."""
    return [story.plan(1, i, 2000, story.START, story.unit_rng(1, i)) for i in range(2000)]


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(plant, tmp_path):
    again = build(tmp_path / "again", units=200, seed=3, workers=2)
    assert digests(again.folder) == digests(plant.folder)


def test_another_seed_gives_other_boards(plant, tmp_path):
    other = build(tmp_path / "other", units=50, seed=4)
    mine, theirs = ({d for name, d in digests(p.folder).items() if name.startswith(_PICTURES)} for p in (plant, other))
    assert mine
    assert not mine & theirs


def test_a_complete_plant_is_not_drawn_again(plant):
    assert build(plant.folder, units=200, seed=3).drawn == 0


def test_a_damaged_plant_is_mended_with_the_same_bytes(tmp_path):
    plant = build(tmp_path / "p", units=130, seed=5)
    before = digests(plant.folder)
    for name in list(before)[:: len(before) // 6]:
        if not name.startswith("."):
            (plant.folder / name).unlink()
    assert build(plant.folder, units=130, seed=5).drawn > 0
    assert digests(plant.folder) == before


@pytest.mark.parametrize(("units", "seed"), [(51, 5), (50, 6)])
def test_a_folder_with_another_plant_is_refused_naming_both(tmp_path, units, seed):
    build(tmp_path / "p", units=50, seed=5)
    with pytest.raises(
        DuckspectError, match=r'holds another plant, .*"seed": 5.* was asked for. Choose another folder'
    ):
        build(tmp_path / "p", units=units, seed=seed)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DuckspectError, match="is not empty and holds no plant"):
        build(tmp_path, units=50)


@pytest.mark.parametrize("units", [49, 100_001])
def test_the_number_of_units_is_bounded(tmp_path, units):
    with pytest.raises(DuckspectError, match="units: must be 50 to 100,000"):
        build(tmp_path / "p", units=units)


def test_the_smallest_plant_has_every_family():
    units = [story.plan(7, i, 50, story.START, story.unit_rng(7, i)) for i in range(50)]
    assert {unit.family for unit in units} == {"boards", "steel", "plates", "tiles"}


def test_boxes_lie_in_their_images_and_masks_fit_them(plant, rows):
    boxes = masks = 0
    for row in rows:
        with Image.open(plant.folder / row["uri"]) as image:
            width, height = image.size
        if row["kind"] == "box":
            assert 0 <= row["x1"] < row["x2"] <= width
            assert 0 <= row["y1"] < row["y2"] <= height
            boxes += 1
        if row["kind"] == "mask":
            with Image.open(plant.folder / row["mask_uri"]) as image:
                mask = np.asarray(image)
            assert mask.shape == (height, width)
            assert set(np.unique(mask)) <= {0, 255}
            assert mask.any() == (row["label"] != "good")
            masks += 1
    assert boxes > 50
    assert masks > 20


def test_every_unit_is_in_the_manifest_and_the_unlabelled_have_one_empty_row(rows):
    by_unit = {}
    for row in rows:
        by_unit.setdefault(row["unit_id"], []).append(row)
    assert len(by_unit) == 200
    empty = [found for found in by_unit.values() if found[0]["kind"] is None]
    assert all(len(found) == 1 for found in empty)
    assert 0.1 < len(empty) / 200 < 0.4


@pytest.mark.parametrize("label", list(boards.DEFECTS))
def test_a_board_differs_from_its_golden_board_where_its_boxes_say_and_hardly_elsewhere(label):
    drawn = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        board = boards.design(rng)
        test = boards.damaged(board, [label], rng)
        changed = (test.picture != np.asarray(board.copper)).astype(np.uint8) * 255
        solid = np.asarray(Image.fromarray(changed).filter(ImageFilter.MinFilter(3))) > 0  # without ragged edges
        for defect in test.defects:
            x1, y1, x2, y2 = defect.box
            inside = solid[y1:y2, x1:x2].sum()
            assert inside > 0, f"seed {seed}"
            assert solid.sum() - inside <= 4, f"seed {seed}"
            drawn += 1
    assert drawn >= 8


@pytest.mark.parametrize(
    ("label", "sign"), [("open", -1), ("mousebite", -1), ("pin-hole", -1), ("short", 1), ("spur", 1), ("copper", 1)]
)
def test_each_board_defect_takes_or_adds_copper_as_its_name_says(label, sign):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        board = boards.design(rng)
        test = boards.damaged(board, [label], rng)
        for x1, y1, x2, y2 in (defect.box for defect in test.defects):
            before = (np.asarray(board.copper)[y1:y2, x1:x2] == boards.COPPER).sum()
            after = (test.picture[y1:y2, x1:x2] == boards.COPPER).sum()
            assert sign * (int(after) - int(before)) > 0


@pytest.mark.parametrize("label", list(steel.DEFECTS))
def test_steel_defects_change_what_is_inside_their_boxes(label):
    for seed in range(6):
        clean = steel.draw(None, np.random.default_rng(seed)).picture.astype(float)
        drawing = steel.draw(label, np.random.default_rng(seed))
        assert drawing.defects
        assert {defect.label for defect in drawing.defects} == {label}
        change = np.abs(drawing.picture - clean)
        union = np.zeros_like(change, bool)
        for x1, y1, x2, y2 in (defect.box for defect in drawing.defects):
            union[y1:y2, x1:x2] = True
        assert change[union].mean() > 4 * (change[~union].mean() + 0.1)


@pytest.mark.parametrize("label", [*plates.DEFECTS, *tiles.DEFECTS])
def test_masks_cover_what_changed(label):
    def drawing(labels, seed):
        rng = np.random.default_rng(seed)
        return plates.draw(labels, rng) if label in plates.DEFECTS else tiles.draw(labels[0] if labels else None, rng)

    for seed in range(6):
        mask = drawing([label], seed).masks[label] > 0
        change = np.abs(drawing([label], seed).picture - drawing([], seed).picture.astype(float))
        assert 0 < mask.mean() < 0.75
        assert change[mask].mean() > 4 * (change[~mask].mean() + 0.1)


def test_shorts_rise_on_one_line_after_its_day(planned):
    def rate(line, late):
        units = [u for u in planned if u.line_id == line and ((u.captured_at - story.START).days >= 18) == late]
        return sum("short" in unit.labels for unit in units) / len(units)

    assert rate("AUSTIN_L2", True) > 2 * rate("AUSTIN_L2", False)
    assert rate("AUSTIN_L1", True) < 2 * rate("AUSTIN_L1", False)


def test_one_camera_loses_focus(planned):
    seen = {(unit.camera_id, unit.blur > 0) for unit in planned}
    assert {camera for camera, blurred in seen if blurred} == {"CAM-O2"}

    def sharpness(blur):
        from models_py.plant.build import _defocused

        picture = _defocused(tiles.draw(None, np.random.default_rng(1)).picture, blur).astype(float)
        return np.diff(picture, axis=1).var()

    assert sharpness(0.0) > 2 * sharpness(1.2) > 4 * sharpness(2.4)


def test_one_product_has_two_classes_swapped_in_its_labels():
    assert story.MISTAKE.written("PCB-C7", "spur") == "mousebite"
    assert story.MISTAKE.written("PCB-C7", "mousebite") == "spur"
    assert story.MISTAKE.written("PCB-C7", "open") == "open"
    assert story.MISTAKE.written("PCB-A1", "spur") == "spur"


def test_all_shifts_work_and_weekends_are_quiet(planned):
    days = [unit.captured_at.weekday() for unit in planned]
    assert {unit.captured_at.hour for unit in planned} == set(range(24))
    assert sum(day >= 5 for day in days) / len(days) < 0.2
    assert all(story.START <= unit.captured_at < story.START.replace(month=11) for unit in planned)
