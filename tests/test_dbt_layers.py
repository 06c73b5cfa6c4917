"""The folders of the dbt project are its layers, and a model's name says where it belongs."""

import re
from pathlib import Path

import pytest
import yaml

from udfs.functions.catalogue import FUNCTIONS

PROJECT = Path(__file__).parents[1] / "dbt_project"
MODELS = PROJECT / "models"
READS = {
    "staging": {"staging"},
    "core": {"staging", "core"},
    "evaluation": {"staging", "core", "evaluation"},
    "quality": {"staging", "core", "quality"},
    "kpi": {"evaluation", "quality", "kpi"},
}
STEP = r"int_[a-z]+(_[a-z]+)*__[a-z]+"
NAMES = {
    "staging": r"stg_(raw|ml)__\w+",
    "core": r"dim_\w+|inspection_metadata|labels|predictions|retrained_models",
    "evaluation": r"eval_\w+",
    "quality": r"fct_\w+|agg_\w+_daily|defect_log",
    "kpi": r"kpi_\w+",
}
FILES = {file.stem: file for file in MODELS.rglob("*") if file.suffix in (".sql", ".py")}
LAYER = {name: file.relative_to(MODELS).parts[0] for name, file in FILES.items()}


def referred(text):
    """The models that a file of dbt refers to; seeds are of no layer."""
    return set(re.findall(r"""\bref\(['"](\w+)['"]\)""", text)) & set(LAYER)


@pytest.mark.parametrize("name", FILES)
def test_a_model_reads_no_later_layer(name):
    later = {read for read in referred(FILES[name].read_text()) if LAYER[read] not in READS[LAYER[name]]}
    assert not later, f"{name} is of {LAYER[name]} and reads {later}"


def test_the_macros_and_the_tests_of_columns_bring_in_no_later_layer():
    assert not any(referred(file.read_text()) for file in (PROJECT / "macros").glob("*.sql"))
    described = yaml.safe_load((MODELS / "_models.yml").read_text())["models"]
    assert {model["name"] for model in described} == set(LAYER)
    for model in described:
        assert {LAYER[read] for read in referred(str(model))} <= READS[LAYER[model["name"]]], model["name"]


@pytest.mark.parametrize("name", FILES)
def test_a_model_is_named_by_the_rule(name):
    folders = FILES[name].relative_to(MODELS).parts[:-1]
    if len(folders) == 1:
        assert re.fullmatch(NAMES[folders[0]], name)
    else:
        assert folders == (LAYER[name], "intermediate")
        assert re.fullmatch(STEP, name)


def test_only_predictions_calls_the_sql_functions():
    called = re.compile(rf"\b({'|'.join(function.name for function in FUNCTIONS)})\s*\(", re.IGNORECASE)
    comment = re.compile(r"--[^\n]*|\{#.*?#\}", re.DOTALL)
    sources = [*FILES.values(), *(PROJECT / "macros").glob("*.sql"), *(PROJECT / "tests").rglob("*.sql")]
    assert [file.stem for file in sources if called.search(comment.sub("", file.read_text()))] == ["predictions"]
