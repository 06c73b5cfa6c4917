"""The dashboard in a real browser: pages without errors, numbers of the views, a review by clicking, an upload."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from conftest import duckspect, picture
from PIL import Image
from server import free_port, serving
from streamlit.testing.v1 import AppTest
from waiting import PATIENCE, wait_for

from models_py.errors import DuckspectError
from models_py.registry import find, limit_warning, set_operating_point
from models_py.warehouse.database import files_folder, sql_folder
from models_py.warehouse.location import stored_uris
from udfs import connect
from udfs.builds.build import publish
from udfs.cli.dashboard import dashboard as run_dashboard
from udfs.review import Review, ReviewError, known_labels, record
from udfs.serving.kept_images import KeptImages

WAIT_MS = PATIENCE * 1000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = ("", "vision-lab", "review-desk", "models", "about")
browsed = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install chromium to test the dashboard")


def is_healthy(port):
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=PATIENCE).close()
        return True


@contextlib.contextmanager
def dashboard(warehouse):
    port = free_port()
    command = [sys.executable, "-m", "udfs.cli", "dashboard", "-w", str(warehouse), "--http", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        command, env=os.environ, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(lambda: is_healthy(port) or process.poll() is not None)
            assert process.poll() is None
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def warehouse(built_plant, tmp_path_factory):
    """A copy of the built plant, published for its readers."""
    from trained import copy_warehouse

    copied = copy_warehouse(built_plant, tmp_path_factory.mktemp("dashboard"))
    assert duckspect("publish", "-w", str(copied)).returncode == 0
    return copied


@pytest.fixture(scope="module")
def site(warehouse):
    with dashboard(warehouse) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        found = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser, url):
    """A page once it has settled."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    page.wait_for_selector("h1", timeout=WAIT_MS)
    settled(page)
    return page


def settled(page):
    """Wait until the page's script has ended and three looks in a row see the same."""
    looks = []

    def is_still():
        page.wait_for_timeout(100)
        running = page.locator("[data-testid=stApp][data-test-script-state=running]").count()
        looks.append((running, page.inner_text("body")))
        return not running and len(looks) > 2 and looks[-1] == looks[-2] == looks[-3]

    wait_for(is_still)


def errors(page):
    return page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all_inner_texts()


def colourful(image):
    """Whether something is drawn on a grey image."""
    return np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=2).max() > 100


def metric(page, title):
    found = page.locator("[data-testid=stMetric]").filter(has_text=title).first
    return found.locator("[data-testid=stMetricValue]").inner_text()


@browsed
@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_itself_without_an_error(browser, site, path):
    page = opened(browser, f"{site}/{path}")
    assert errors(page) == []
    assert page.locator("h1").inner_text()
    page.close()


@browsed
def test_the_numbers_are_those_of_the_views(browser, site, warehouse):
    with connect(warehouse, read_only=True) as con:
        first, last, wanted = con.execute(
            "select first_date, last_date, {'Yield': yield_share, 'First-pass yield': first_pass_yield, "
            "'Defect rate': defect_rate, 'False-positive rate': false_positive_rate, 'Escape rate': escape_rate} "
            "from kpi_summary"
        ).fetchone()
        line, units = con.execute(
            "select line_id, sum(unit_count) from kpi_daily_quality group by line_id order by line_id limit 1"
        ).fetchone()
    page = opened(browser, f"{site}/?from={first}&to={last}")
    for title, value in wanted.items():
        assert metric(page, title) == ("no evidence" if value is None else f"{100 * value:.1f} %")
    page.close()
    page = opened(browser, f"{site}/?from={first}&to={last}&line={line}")
    assert f"{units} units inspected" in page.locator("[data-testid=stCaptionContainer]").first.inner_text()
    page.close()


@browsed
def test_what_has_no_evidence_does_not_show_zero(browser, site, warehouse):
    with connect(warehouse, read_only=True) as con:
        found = con.execute(
            "select line_id from kpi_daily_quality group by line_id having sum(scored_count) = 0 limit 1"
        ).fetchone()
    assert found is not None
    page = opened(browser, f"{site}/?line={found[0]}")
    assert metric(page, "Defect rate") == "no evidence"
    assert "No defect was found" in page.inner_text("body")
    page.close()


@browsed
def test_an_upload_is_judged_and_drawn(browser, site, warehouse):
    with connect(warehouse, read_only=True) as con:
        uri, found = con.execute(
            "select uri, count(*) from kpi_recent_detections where model = 'pcb' and x1 is not null group by uri "
            "order by count(*) desc limit 1"
        ).fetchone()
        uri = stored_uris(con).full(uri)
    page = opened(browser, f"{site}/vision-lab?version=pcb%402")
    page.locator("input[type=file]").set_input_files(uri)
    page.get_by_text(f"{found} regions").first.wait_for(timeout=WAIT_MS)
    settled(page)
    assert errors(page) == []
    source = page.locator("[data-testid=stImage] img").first.get_attribute("src")
    picture = page.request.get(site + source if source.startswith("/") else source).body()
    assert colourful(Image.open(io.BytesIO(picture)))
    assert not colourful(Image.open(uri))
    page.close()


@browsed
def test_a_version_that_rejects_what_is_good_is_said_before_it_is_promoted(browser, site, warehouse):
    with connect(warehouse) as con:
        set_operating_point(con, "pcb@1", 0.0, "rejects everything")
        warning = limit_warning(con, find(con, "pcb@1"))
    publish(warehouse)
    page = opened(browser, f"{site}/models?name=pcb")
    page.get_by_role("tab", name="History and promotion").click()
    settled(page)
    assert errors(page) == []
    assert warning.split(":")[0] in page.inner_text("body")
    page.close()


@browsed
def test_a_review_by_keyboard_is_on_record_and_the_next_one_comes(browser, site, warehouse):
    with connect(warehouse, read_only=True) as con:
        queue = con.execute("select inspection_id, unit_id from kpi_review_queue order by queue_rank").fetchall()
    page = opened(browser, f"{site}/review-desk?reviewer=ana")
    other = opened(browser, f"{site}/review-desk?reviewer=ben")
    assert queue[0][1] in page.inner_text("body")
    assert queue[1][1] in other.inner_text("body")
    page.locator("h1").click()
    page.keyboard.press("x")
    page.locator("[data-testid=stToast]").get_by_text(re.compile("rejected")).wait_for(timeout=WAIT_MS)
    page.get_by_text(queue[2][1]).first.wait_for(timeout=WAIT_MS)
    assert errors(page) == []
    with connect(warehouse) as con:
        rows = con.execute("select inspection_id, verdict, label, reviewer, model from raw.reviews").fetchall()
    assert rows == [(queue[0][0], "rejected", "good", "ana", rows[0][4])]
    page.close()
    other.close()


@browsed
def test_a_missed_defect_is_drawn_where_the_mouse_was(browser, site, warehouse):
    page = opened(browser, f"{site}/review-desk?reviewer=finn")
    unit = page.inner_text("body").partition("Unit ")[2].split()[0]
    with connect(warehouse, read_only=True) as con:
        width, height = con.execute(
            "select width_px, height_px from inspection_metadata where unit_id = $1", [unit]
        ).fetchone()
    page.get_by_text("Draw a missed defect").click()
    canvas = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    canvas.wait_for(timeout=WAIT_MS)
    settled(page)
    place = canvas.bounding_box()
    x, y = place["x"] + 0.25 * place["width"], place["y"] + 0.5 * place["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 0.25 * place["width"], y + 0.2 * place["height"], steps=5)
    page.mouse.up()
    page.get_by_text(re.compile("Box: ")).wait_for(timeout=WAIT_MS)
    page.get_by_role("combobox", name="Class").click()
    with connect(warehouse, read_only=True) as con:
        inspection = con.execute("select inspection_id from inspection_metadata where unit_id = $1", [unit]).fetchone()[
            0
        ]
        known = [label for label in known_labels(con, inspection) if label != "good"]
    page.keyboard.type(known[0])
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name=re.compile("Missed")).click()
    page.locator("[data-testid=stToast]").get_by_text(re.compile("missed")).wait_for(timeout=WAIT_MS)
    with connect(warehouse) as con:
        box = con.execute("select x1, y1, x2, y2, label from raw.reviews where reviewer = 'finn'").fetchone()
    assert box[4] == known[0]
    shares = [box[0] / width, box[1] / height, box[2] / width, box[3] / height]
    # The canvas has a margin around the image, whose size differs from browser to browser.
    assert shares == pytest.approx([0.25, 0.5, 0.5, 0.7], abs=0.05)
    page.close()


@browsed
def test_the_desk_works_while_the_warehouse_is_served(browser, site, warehouse):
    with serving(warehouse) as server:
        page = opened(browser, f"{site}/review-desk?reviewer=cleo")
        page.get_by_role("button", name=re.compile("Confirm")).click()
        page.locator("[data-testid=stToast]").get_by_text(re.compile("confirmed")).wait_for(timeout=WAIT_MS)
        assert errors(page) == []
        con = server.attach()
        found = con.execute("from wh.query($$select verdict from raw.reviews where reviewer = 'cleo'$$)").fetchall()
        assert found == [("confirmed",)]
        page.close()


@browsed
def test_a_missing_build_is_said_with_the_remedy(browser, tmp_path):
    with connect(tmp_path / "w.duckdb"):
        pass
    with dashboard(tmp_path / "w.duckdb") as url:
        page = opened_error(browser, url)
        assert "duckspect build" in page
    with pytest.raises(DuckspectError, match="HOST:PORT"):
        run_dashboard("nowhere", tmp_path / "w.duckdb")


def opened_error(browser, url):
    page = browser.new_page()
    page.goto(url)
    page.locator("[data-testid=stAlertContentError]").wait_for(timeout=WAIT_MS)
    text = page.inner_text("body")
    page.close()
    return text


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, used by DuckDB
def test_a_new_copy_is_seen_while_the_last_one_is_open(warehouse, monkeypatch):
    from dashboard.published_copy import find_source

    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", str(warehouse))
    before = find_source()
    reviews = before.rows("about")["reviews"].iloc[0]
    inspection = before.rows("queue", line=[], product=[], model=[])["inspection_id"].iloc[0]
    record(warehouse, Review(inspection, "confirmed", None, "gina"))
    publish(warehouse)
    after = find_source()
    with connect(warehouse, read_only=True) as con:
        everybody = con.execute("select count(*) from raw.reviews").fetchone()[0]
    assert after.rows("about")["reviews"].iloc[0] == everybody > reviews
    with before.cursor() as con:
        assert con.execute("select count(*) from raw.reviews").fetchone() == (reviews,)
    assert not list(warehouse.parent.glob("*.read-*"))


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("choice", ["AUSTIN_L1", "it's", "$line", "') or true --"])
def test_what_a_visitor_chooses_is_bound_to_every_query(warehouse, monkeypatch, choice):
    from dashboard.published_copy import find_source

    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", str(warehouse))
    source = find_source()
    values = {
        "since": date(2020, 1, 1),
        "until": date(2099, 1, 1),
        "line": [choice],
        "product": [],
        "shift": [],
        "model": [],
    }
    one = {"model": choice, "inspection_id": choice, "image_id": choice}
    for file in (sql_folder() / "dashboard").glob("*.sql"):
        rows = source.rows(file.stem, **(values if "list_contains" in file.read_text() else one))
        if "line_id" in rows and "$line" in file.read_text():
            assert set(rows["line_id"].dropna()) <= {choice}, file.stem
    days = source.rows("quality_by_day", **values)
    assert days.empty == (choice != "AUSTIN_L1")
    assert len(source.rows("quality_by_day", **values | {"line": []})) > len(days)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_an_image_that_the_server_kept_is_shown(warehouse, monkeypatch):
    from dashboard.pictures import drawn
    from dashboard.published_copy import find_source

    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", str(warehouse))
    kept = KeptImages(files_folder(warehouse) / "served").keep(picture(7), "ab" * 32, "jpeg").result()
    assert drawn(find_source(), kept, []).startswith(b"\x89PNG")
    assert drawn(find_source(), "/etc/passwd", []) is None


def test_one_day_alone_is_drawn_as_bars():
    import pandas as pd

    from dashboard import charts

    days = pd.DataFrame({"production_date": pd.to_datetime(["2026-03-01", "2026-03-02"]), "label": "a"})
    days["defect_count"] = 1
    assert charts.trend(days).to_dict()["mark"]["type"] == "area"
    assert charts.trend(days[:1]).to_dict()["mark"]["type"] == "bar"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "maybe"}, "confirmed, rejected, relabelled, missed"),
        ({"verdict": "relabelled"}, "needs its class"),
        ({"reviewer": " "}, "your name"),
        ({"box": (5.0, 1.0, 2.0, 3.0)}, "x1 < x2"),
        ({"inspection_id": "nothing"}, "there is no 'nothing'"),
        ({"verdict": "rejected", "label": "short"}, "rejected says that there is no defect, but the label is 'short'"),
        ({"verdict": "missed", "label": "good"}, "a missed defect is not good"),
    ],
)
def test_a_review_that_makes_no_sense_is_refused(warehouse, change, words):
    given = {"inspection_id": "nothing", "verdict": "confirmed", "label": None, "reviewer": "ana"} | change
    with pytest.raises(ReviewError, match=re.escape(words)):
        record(warehouse, Review(**given))


def inspection_of(con, product):
    return con.execute(
        "select min(inspection_id) from raw.inspections where product_type like $1", [product]
    ).fetchone()[0]


def test_a_review_names_a_class_of_its_product(warehouse):
    with connect(warehouse) as con:
        board, tile = inspection_of(con, "PCB-%"), inspection_of(con, "TILE-%")
        of_boards, of_tiles = known_labels(con, board), known_labels(con, tile)
        width, height = con.execute(
            "select width, height from raw.images join raw.inspections using (image_id) where inspection_id = $1",
            [board],
        ).fetchone()
        con.execute("begin")
        con.execute("drop table reference.scoring_assignments cascade")
        unassigned = set(known_labels(con, board, "tile"))
        con.execute("rollback")
    assert {"good", "short", "spur"} < set(of_boards)
    assert {"anomaly", "good", "short"} < unassigned <= {*of_boards, "anomaly"}, "by the annotations and the version"
    assert {"anomaly", "good"} < set(of_tiles)
    assert "anomaly" not in of_boards
    assert "short" not in of_tiles
    wrong = Review(board, "relabelled", "shrot", "jon")
    with pytest.raises(
        ReviewError, match=r"must be one of .*short, .* but is 'shrot'. Did you mean 'short'\? .*--new-l"
    ):
        record(warehouse, wrong)
    for box in ((1.0, 1.0, width + 1.0, 5.0), (1.0, 1.0, 5.0, height + 0.5)):
        with pytest.raises(ReviewError, match=f"inside the image of {width} x {height} pixels"):
            record(warehouse, Review(board, "missed", "short", "jon", box=box))
    with connect(warehouse) as con:
        assert con.execute("select count(*) from raw.reviews where reviewer = 'jon'").fetchone() == (0,)
    record(warehouse, replace(wrong, label="scorched", reviewer="gus", is_new_label=True))
    with connect(warehouse) as con:
        assert set(known_labels(con, board)) - set(of_boards) == {"scorched"}
        con.execute("delete from raw.reviews where reviewer = 'gus'")


def review_desk():
    from dashboard.filters import choose
    from dashboard.published_copy import find_source
    from dashboard.views import review_desk

    source = find_source()
    review_desk.show(source, choose(source, review_desk.FILTERS))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, used by DuckDB
def test_the_desk_offers_the_classes_of_the_product_and_takes_a_new_one_when_told(warehouse, monkeypatch):
    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", str(warehouse))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # Streamlit puts the page in its place
    page = AppTest.from_function(review_desk, default_timeout=PATIENCE).run()
    page.text_input(key="reviewer").set_value("hal").run()
    assert not page.exception
    offered = page.selectbox(key="label")
    assert "good" not in offered.options
    assert len(offered.options) >= 1
    page.toggle(key="new").set_value(True).run()
    assert not page.exception
    assert page.selectbox(key="label").proto.accept_new_options


def test_a_review_from_the_command_line_says_who_else_was_at_it(warehouse):
    with connect(warehouse, read_only=True) as con:
        inspection = con.execute("select inspection_id from kpi_review_queue order by queue_rank desc").fetchone()[0]
    for reviewer in ("dora", "emil"):
        given = ["review", inspection, "--verdict", "relabelled", "--label", "spur", "--reviewer", reviewer]
        found = duckspect(*given, "--model", "pcb@1", "--box", "1,2,30,40", "-w", str(warehouse))
        assert found.returncode == 0, found.stderr
    assert "dora" in found.stdout
    given = ["review", inspection, "--verdict", "relabelled", "--label", "spurr", "--model", "pcb@1"]
    refused = duckspect(*given, "--reviewer", "emil", "-w", str(warehouse))
    assert refused.returncode == 1
    assert "Did you mean 'spur'?" in refused.stderr
    taken = duckspect(*given, "--reviewer", "ida", "--new-label", "-w", str(warehouse))
    assert taken.returncode == 0, taken.stderr
    with connect(warehouse, read_only=True) as con:
        rows = con.execute(
            "select label, x2, version from raw.reviews where inspection_id = $1 order by reviewed_at", [inspection]
        ).fetchall()
    assert rows == [("spur", 30.0, 1), ("spur", 30.0, 1), ("spurr", None, 1)]
