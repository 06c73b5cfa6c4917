"""What differs between a board and its golden board, without any model."""

import cv2
import numpy as np
import pytest
from test_alignment import TRANSFORMS, board, seen

from models_py.images.comparison import compare
from udfs import connect

DEFECTS = ((60, 80, 12), (200, 150, 20), (250, 260, 8))


def defective(pixels):
    """The board with three places painted over."""
    image = pixels.copy()
    for x, y, side in DEFECTS:
        image[y : y + side, x : x + side] = 255 - image[y + side // 2, x + side // 2]
    return image


@pytest.mark.parametrize("unevenly", [False, True], ids=["even light", "uneven light"])
@pytest.mark.parametrize("name", ["as it is", "shifted", "turned", "scaled"])
def test_each_defect_is_a_region_and_nothing_else_is(name, unevenly):
    matrix = TRANSFORMS[name]
    image = seen(defective(board()), matrix, unevenly=unevenly)
    found = compare(image, board())
    corners = np.array([[(x + side / 2, y + side / 2) for x, y, side in DEFECTS]])
    for x, y in cv2.perspectiveTransform(corners, matrix)[0]:
        assert any(
            region.x1 - 3 <= x <= region.x2 + 3 and region.y1 - 3 <= y <= region.y2 + 3 for region in found.regions
        )
    assert len(found.regions) <= 5
    assert 0.98 < found.similarity < 1


@pytest.mark.parametrize("unevenly", [False, True], ids=["even light", "uneven light"])
@pytest.mark.parametrize("name", ["as it is", "shifted", "turned"])
def test_a_good_board_is_like_its_golden_board(name, unevenly):
    found = compare(seen(board(), TRANSFORMS[name], unevenly=unevenly), board())
    assert found.similarity > 0.999


def test_another_board_is_not_alike():
    assert compare(board(3), board()).similarity < 0.95


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    for name, pixels in (("good", seen(board(), np.eye(3))), ("bad", defective(board())), ("golden", board())):
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    (folder / "broken.png").write_text("no image")
    with pytest.MonkeyPatch.context() as patch, connect(folder / "w.duckdb") as opened:
        patch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(folder))
        opened.execute("create table boards (n integer, image varchar, reference varchar)")
        for number, name in enumerate(("good", "bad", "broken", "nowhere")):
            values = [number, str(folder / f"{name}.png"), str(folder / "golden.png")]
            opened.execute("insert into boards values (?, ?, ?)", values)
        yield opened


def test_sql_compares_rows_and_spares_the_neighbours_of_bad_images(con):
    rows = con.execute("select compare(image, reference) from boards order by n").fetchall()
    good, bad, broken, missing = (row[0] for row in rows)
    assert good["similarity"] > 0.999
    assert len(bad["regions"]) == 3
    assert bad["error"] is None
    assert bad["regions"][0]["area"] >= 350
    for found, words in ((broken, "not an image"), (missing, "nowhere.png")):
        assert {key for key, value in found.items() if value is not None} == {"error"}
        assert words in found["error"]


def test_sql_takes_bytes_and_an_alignment_and_keeps_what_it_found(con):
    by_path = "select compare(image, reference, alignment := 'none').similarity from boards where n = 1"
    by_bytes = """
    select compare(a.content, b.content, alignment := 'none').similarity
    from read_blob(getvariable('image')) as a, read_blob(getvariable('reference')) as b
    """
    for name in ("image", "reference"):
        con.execute(f"set variable {name} = (select {name} from boards where n = 1)")
    assert con.execute(by_path).fetchone() == con.execute(by_bytes).fetchone() == con.execute(by_path).fetchone()
    with pytest.raises(Exception, match="alignment: must be one of none, shift, homography, but is 'turn'"):
        con.execute(by_path.replace("none", "turn"))


def test_without_a_reference_it_says_so(con):
    (found,) = con.execute("select compare(image) from boards where n = 1").fetchone()
    assert found["similarity"] is None
    assert found["error"].startswith("there is no reference image: name one with reference := ...")
    assert con.execute("select compare(null, reference) from boards limit 1").fetchone() == (None,)
