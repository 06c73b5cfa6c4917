"""The dashboard in a real browser: script in labels, paths and SQL in URL filters, and reviewers at the same images."""

from __future__ import annotations

import random
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faults import checks, ground
from faults.processes import Command, run
from faults.rows import Row
from faults.server import free_port
from udfs import connect

_PAGES = ("", "vision-lab", "review-desk", "models", "about")
_SCRIPTS = (
    "<script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "<svg/onload=window.ran=1>",
    "[a](javascript:window.ran=1)",
    "$\\href{javascript:window.ran=1}{a}$",
    "</style><script>window.ran=1</script>",
    "{{constructor.constructor('window.ran=1')()}}",
    "datum.x;window.ran=1",
)
_FILTERS = (
    "line",
    "product",
    "model",
    "shift",
    "from",
    "to",
    "name",
    "version",
    "reviewer",
    "inspection",
    "image",
    "uri",
)
_VALUES = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "'; drop table raw.reviews; --",
    "'] or read_text('/etc/passwd') = ['",
    "strip@1/../../../etc",
    "\x00",
    "x" * 5000,
    "<script>window.ran=1</script>",
    "9999-99-99",
    "\u202egnp",
)
_SHOWN = "root:x:0:0"
_BEGINS = 300.0


def fill(folder: Path, rounds: int | None, only: list[str]) -> Iterator[Row]:  # noqa: ARG001
    """Open pages so often with odd filters, and have two reviewers at the same images."""
    home = ground.make(folder)
    place = ground.copy(home, folder / "desk")
    yield _reviewed(place, rounds or 25)
    yield _browsed(place, rounds or 100)


def _reviewed(place: Path, rounds: int) -> Row:
    row = Row("two reviewers at the same image at once")
    before = checks.kept(place)
    with connect(place / ground.WAREHOUSE) as con:
        found = con.execute("select inspection_id from raw.inspections order by all limit ?", [rounds]).fetchall()
    done: list[tuple[str, str]] = []
    for (inspection,) in found:
        both = [threading.Thread(target=_review, args=(row, place, inspection, name, done)) for name in ("ana", "ben")]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    with connect(place / ground.WAREHOUSE) as con:
        stored = con.execute("select inspection_id, reviewer from raw.reviews").fetchall()
    for missing in set(done) - set(stored):
        row.fault("lost", f"the review of {missing}")
    row.expect(len(stored) == len(set(stored)), "wrong", "a review is on record twice")
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    return row


def _review(row: Row, place: Path, inspection: str, reviewer: str, done: list[tuple[str, str]]) -> None:
    given = ("review", inspection, "--verdict", "confirmed", "--reviewer", reviewer, "-w", ground.WAREHOUSE)
    status, output, crash = run(given, place)
    until = time.monotonic() + _BEGINS
    while (
        status and "in use" in output and time.monotonic() < until
    ):  # DuckDB has one writer; who is told so comes again
        status, output, crash = run(given, place)
    row.count("reviews")
    if crash:
        row.fault("crashed", crash)
    if status == 0:
        done.append((inspection, reviewer))
    else:
        row.fault("crashed", f"{status}: {output[-300:]}")


def _browsed(place: Path, rounds: int) -> Row:
    row = Row("script in labels, paths and SQL in the dashboard's filters")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("desk: needs a Chromium to open the dashboard in. Install one.")
    _add_scripts(place)
    before = checks.kept(place)
    status, output, _ = run(("build", "-w", ground.WAREHOUSE), place)
    if status != 0:
        print(f"  build: {output[-500:]}")
    run(("publish", "-w", ground.WAREHOUSE), place)
    from playwright.sync_api import sync_playwright

    port = free_port()
    command = Command(("dashboard", "-w", ground.WAREHOUSE, "--http", f"127.0.0.1:{port}"), place)
    try:
        _await(port, command)
        with sync_playwright() as player:
            browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for url in _urls(f"http://127.0.0.1:{port}", rounds):
                _open(browser, url, row)
            browser.close()
        row.expect(command.is_alive(), "crashed", f"the dashboard ended: {command.output()[-300:]}")
    finally:
        command.kill()
    for kind, words in checks.problems(place, before):
        row.fault(kind, words)
    return row


def _add_scripts(place: Path) -> None:
    """Give labels, lines, products and reviewers names that are scripts."""
    with connect(place / ground.WAREHOUSE) as con:
        for number, script in enumerate(_SCRIPTS):
            con.execute(
                "update raw.annotations set label = ? where annotation_id in (select annotation_id "
                "from raw.annotations where label <> 'good' order by hash(annotation_id) limit 5 offset ?)",
                [script, 5 * number],
            )
            for column in ("line_id", "station_id", "product_type", "unit_id"):
                con.execute(
                    f"update raw.inspections set {column} = ? where inspection_id in "
                    "(select inspection_id from raw.inspections order by hash(inspection_id) limit 3 offset ?)",
                    [script, 3 * number],
                )


def _urls(site: str, rounds: int) -> Iterator[str]:
    drawn = random.Random(11)
    for page in _PAGES:
        yield f"{site}/{page}"
    for _ in range(max(0, rounds - len(_PAGES))):
        filters = "&".join(f"{drawn.choice(_FILTERS)}={quote(drawn.choice(_VALUES))}" for _ in range(3))
        yield f"{site}/{drawn.choice(_PAGES)}?{filters}"


def _open(browser: Any, url: str, row: Row) -> None:
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("h1, [data-testid=stAlertContentError], [data-testid=stException]", timeout=120_000)
    page.wait_for_function(
        "!document.querySelector('[data-testid=stApp][data-test-script-state=running]')", timeout=120_000
    )
    text = page.inner_text("body")
    row.count("pages")
    row.count("of them with such a label or filter in their text", any(script in text for script in _SCRIPTS))
    row.expect(page.evaluate("window.ran") is None, "wrong", f"{url[:200]}: a script ran")
    row.expect(_SHOWN not in text, "wrong", f"{url[:200]}: shows a file")
    broken = page.locator("[data-testid=stException]").all_inner_texts()
    row.expect(not broken, "crashed", f"{url[:200]}: {str(broken)[:300]}")
    page.close()


def _await(port: int, command: Command) -> None:
    until = time.monotonic() + _BEGINS
    while time.monotonic() < until and command.is_alive():
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=10).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"the dashboard does not answer: {command.output()}")
