"""Tests get the markers of what they use, through fixtures and helpers, and the others stay in `make check`."""

import re
from pathlib import Path

import pytest
from conftest import duckspect, picture
from costs import CALLS, COMMANDS, FIXTURES, needs
from server import serving

from udfs.cli.reference import commands


def draws(boards):
    return picture(1)


def asks_a_model(built):
    return built


def builds():
    return duckspect("build", "-w", "w.duckdb")


def builds_through_a_helper():
    return [builds() for _ in range(2)]


def only_looks(warehouse):
    return duckspect("info", "-w", str(warehouse))


def serves(plant_copy):
    with serving(plant_copy) as server:
        return server


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (draws, set()),
        (only_looks, set()),
        (asks_a_model, {"training"}),
        (builds, {"dbt"}),
        (builds_through_a_helper, {"dbt"}),
        (serves, {"dbt", "server"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_test_gets_the_markers_of_what_it_uses(request, function, wanted):
    item = pytest.Function.from_parent(request.node.parent, name=function.__name__, callobj=function)
    assert needs(item) >= wanted
    assert bool(needs(item)) == bool(wanted)


def test_what_takes_long_is_still_called_so():
    root = Path(__file__).parents[1]
    files = [file for name in ("models_py", "udfs", "tests") for file in (root / name).rglob("*.py")]
    defined = {name for file in files for name in re.findall(r"^\s*(?:def|class) (\w+)", file.read_text(), re.M)}
    assert defined >= CALLS.keys() | FIXTURES.keys()
    assert {name for name, _ in commands()} >= COMMANDS.keys()
