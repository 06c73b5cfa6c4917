"""How far a command is: lines of a log, a bar on a terminal, copies for readers not too often."""

import io
import re

import pytest
from conftest import duckspect
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from udfs.cli.progress import BarDisplay, LogDisplay, duration
from udfs.cli.published_copy import SparePublisher
from udfs.image_counter import ImageCounter, read_count


class Clock:
    """Time that passes when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines(log, capsys):
    log.write()
    return capsys.readouterr().err


def test_a_line_says_what_is_done_how_fast_and_how_long_it_takes(clock, capsys):
    log = LogDisplay(clock=clock)
    assert lines(log, capsys) == ""
    log.update("Hashing", 0, 956)
    clock.now += 10
    log.update("Hashing", 400, 956)
    assert lines(log, capsys) == "Hashing: 400 of 956 images, 40/s, 14 s left\n"
    log.update("Registering")
    clock.now += 65
    assert lines(log, capsys) == "Registering: 1 min 5 s so far\n"
    log.update("Scoring", 0)
    clock.now += 100
    log.update("Scoring", 150)
    assert lines(log, capsys) == "Scoring: 150 images, 1.5/s\n"


def test_a_stage_that_goes_on_keeps_its_rate_and_one_that_begins_again_does_not(clock, capsys):
    log = LogDisplay(clock=clock)
    log.update("Training", 1000, 2000, "steps", "epoch 5/10")  # resumed: these were not done now
    clock.now += 50
    log.update("Validating", 8, 8)
    clock.now += 50
    log.update("Training", 1100, 2000, "steps", "epoch 6/10")
    assert lines(log, capsys) == "Training, epoch 6/10: 1,100 of 2,000 steps, 1/s, 15 min 0 s left\n"
    clock.now += 50
    log.update("Validating", 0, 8)
    clock.now += 2
    log.update("Validating", 4, 8)
    assert lines(log, capsys) == "Validating: 4 of 8 images, 2/s, 2 s left\n"


def test_a_log_is_silent_once_the_result_comes(clock, capsys):
    log = LogDisplay(clock=clock)
    log.update("Scoring", 5)
    log.close()
    assert lines(log, capsys) == ""


def test_a_terminal_shows_the_same_facts_and_the_sentences_above(clock):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[facts]}"),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        shown = BarDisplay(bar, clock)
        shown.update("Hashing", 0, 956)
        clock.now += 10
        shown.update("Hashing", 400, 956)
        bar.refresh()
        shown.update("Hashing", 500, 956, words="word " * 40)
        bar.refresh()
        shown.say("epoch 1: [good]")
        shown.update("Registering")
        bar.refresh()
    assert "400 of 956 images, 40/s, 14 s left" in text.getvalue()
    assert "epoch 1: [good]" in text.getvalue()
    assert "Registering" in text.getvalue()
    assert "…" not in text.getvalue(), "words get the room that is left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.9, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_commands_write_lines_to_a_log_as_often_as_they_are_told(tmp_path):
    warehouse = tmp_path / "w.duckdb"
    often = {"DUCKSPECT_PROGRESS_SECONDS": "0.05"}
    result = duckspect("demo", "--units", "200", "--no-train", "-w", str(warehouse), env=often)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^Drawing: \d+ of 200 units", result.stderr, re.MULTILINE)
    assert "Drawing" not in result.stdout
    wrong = duckspect("demo", "--units", "200", "-w", str(warehouse), env={"DUCKSPECT_PROGRESS_SECONDS": "often"})
    assert (wrong.returncode, "seconds between two lines, such as 10, but is 'often'" in wrong.stderr) == (1, True)


def test_copies_are_left_after_changes_but_not_too_often(clock):
    left = []
    copies = SparePublisher(60, lambda: left.append(clock.now), clock)
    copies.look()
    copies.changed()
    copies.look()
    clock.now += 30
    copies.changed()
    copies.look()
    assert left == [100]
    clock.now += 30
    copies.look()
    copies.look()
    assert left == [100, 160]
    copies.changed()
    copies.finish()
    copies.finish()
    assert left == [100, 160, 160]


def test_a_count_is_read_by_another_process(tmp_path):
    file = tmp_path / "count"
    assert read_count(file) == 0
    ImageCounter(str(file)).add(7)
    assert read_count(file) == 7
