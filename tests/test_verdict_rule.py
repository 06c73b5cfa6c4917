"""What counts as a defect is one rule: dbt, SQL, the server and the Vision Lab say the same of an image."""

import asyncio
import shutil
from pathlib import Path

import pytest
from jinja2 import Environment

from dashboard.views import vision_lab
from models_py.model.verdict import DEFAULT_THRESHOLDS, Verdict, decide, why_undecided
from models_py.registry import find, thresholds
from udfs import connect
from udfs.runtime import Runtime
from udfs.serving.current_models import CurrentModels
from udfs.serving.inspection_service import InspectionRequest, InspectionService
from udfs.serving.server_metrics import ServerMetrics
from udfs.session.session import Session
from udfs.verdicts.journal import VerdictJournal

DBT = Path(__file__).parents[1] / "dbt_project"
TASKS = {"kind": "classify", "box": "detect", "area": "segment", "odd": "anomaly"}
CALLS = {
    "kind": "classify(uri, 'kind').label <> 'good'",
    "box": "len(detect(uri, 'box')) > 0",
    "area": "len(segment(uri, 'area')) > 0",
    "odd": "anomaly(uri, 'odd').is_anomalous",
}
POINTS = {"none": {}, "all classes": {"*"}, "one class": {"*", "spot"}}


@pytest.fixture(scope="module")
def con(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rule")
    shutil.copy(built, folder / "w.duckdb")
    shutil.copytree(built.parent / "w_files", folder / "w_files")
    with connect(folder / "w.duckdb") as con:
        yield con


def dbt_sql(text: str) -> str:
    """SQL of the dbt project with its own macros, and with tables of this test where it refers to models."""
    environment = Environment()  # noqa: S701 - it renders SQL
    environment.globals |= {"ref": lambda name: f"drawn_{name}", "config": lambda **_: ""}
    return environment.from_string((DBT / "macros/defects.sql").read_text() + text).render()


def by_dbt(con, name, points):
    """What `int_predictions__judged` makes of the predictions, by image."""
    con.execute(
        f"create or replace temp table drawn_predictions as select uri as prediction_id, now() as scored_at, p.* "
        f"from (select uri, predict(uri, '{name}') as p from raw.images)"
    )
    con.execute(
        "create or replace temp table drawn_int_thresholds__current (model varchar, version int, label varchar, "
        "threshold double)"
    )
    for label, value in points.items():
        con.execute("insert into drawn_int_thresholds__current values (?, 1, ?, ?)", [name, label, value])
    con.execute(
        dbt_sql(
            "create or replace temp table drawn_dim_model_versions as select versions.name as model, versions.version, "
            "true as is_champion, false as is_challenger, null::double as review_from, null::double as review_to, "
            "coalesce((select threshold from drawn_int_thresholds__current where label = '*'), "
            "{{ default_threshold('versions.task') }}) as threshold from ml.model_versions as versions"
        )
    )
    sql = dbt_sql((DBT / "models/core/intermediate/int_predictions__judged.sql").read_text())
    rows = con.execute(f"select prediction_id, is_flagged, predicted_label, is_borderline from ({sql})").fetchall()
    return {uri: (flagged, label) for uri, flagged, label, _ in rows}, {uri for uri, _, _, borders in rows if borders}


def by_server(con, folder, name, uris):
    """What a client of the server gets, by image."""

    async def ask():
        session = Session.of(con)
        folders = [str(Path(uri).parent) for uri in uris]
        runtime = Runtime(session.cursor, lambda: folders, session.uris, is_writable=False)
        models = CurrentModels(runtime, con)  # each server has a runtime of its own, which remembers what it resolved
        journal = VerdictJournal(session.cursor, folder / "journal")
        try:
            service = InspectionService(runtime, models, journal, None, ServerMetrics(), session.uris)
            requests = [InspectionRequest(name, f"{name} {uri}", "test", uri=uri) for uri in uris]
            found = await asyncio.gather(*(service.inspect(request) for request in requests))
        finally:
            await asyncio.to_thread(journal.close)
            models.close()
        return {uri: verdict.described() for uri, verdict in zip(uris, found, strict=True)}

    return asyncio.run(ask())


def set_points(con, name, labels):
    """Operating points in the middle of the scores that the model gives, for the labels."""
    score = "p.score" if name in ("kind", "odd") else "coalesce(list_max([r.confidence for r in p.regions]), 0)"
    middle = con.execute(
        f"select median({score}) from (select predict(uri, '{name}') as p from raw.images)"
    ).fetchone()[0]
    con.execute("delete from ml.thresholds where name = ?", [name])
    values = {label: middle if label == "*" else middle / 2 for label in labels}
    for label, value in values.items():
        con.execute("insert into ml.thresholds values (?, 1, ?, ?, now(), 'test')", [name, label, value])
    return values


@pytest.mark.parametrize("points", list(POINTS))
@pytest.mark.parametrize("name", list(TASKS))
def test_dbt_sql_server_and_lab_call_the_same_images_defective(con, tmp_path, name, points):
    values = set_points(con, name, POINTS[points])
    by_sql = dict(con.execute(f"select uri, {CALLS[name]} from raw.images").fetchall())
    verdicts, borderline = by_dbt(con, name, values)
    served = by_server(con, tmp_path, name, list(by_sql))
    answers = dict(con.execute(f"select uri, predict(uri, '{name}') from raw.images").fetchall())
    held = thresholds(con, find(con, name))
    assert held == values
    for uri, is_defective in by_sql.items():
        lab = vision_lab.verdict_of(answers[uri], held)
        expected = is_defective, answers[uri]["label"]
        assert verdicts[uri] == expected
        assert (lab.is_defective, lab.label) == expected
        assert (served[uri]["is_defective"], served[uri]["label"]) == expected
        assert bool(served[uri]["defects"]) == bool(is_defective)
    if points == "none" and name == "odd":
        assert set(by_sql.values()) == {None}
        assert borderline == set(by_sql)  # so a person decides
        assert {verdict["reason"] for verdict in served.values()} == {why_undecided("odd@1")}
    else:
        assert set(by_sql.values()) <= {True, False}
        assert {verdict["reason"] for verdict in served.values()} == {None}
    if points == "all classes":
        assert set(by_sql.values()) == {True, False}


@pytest.mark.parametrize("task", ["classify", "detect", "segment", "anomaly"])
def test_the_default_threshold_of_dbt_is_that_of_python(con, task):
    sql = dbt_sql(f"select {{{{ default_threshold('task') }}}} from (select '{task}' as task)")
    found = con.execute(sql).fetchone()[0]
    assert found == DEFAULT_THRESHOLDS.get(task)


SPOT, CRACK, GOOD = ("spot", 0.6), ("crack", 0.6), ("good", 0.7)


@pytest.mark.parametrize(
    ("task", "score", "regions", "points", "expected"),
    [
        ("detect", 0.6, [SPOT], {}, Verdict(True, "spot", 0.6, (0,))),
        ("detect", 0.6, [SPOT, CRACK], {"*": 0.6}, Verdict(True, "spot", 0.6, (0, 1))),
        ("detect", 0.6, [SPOT, CRACK], {"spot": 0.7}, Verdict(True, "crack", 0.6, (1,))),
        ("detect", 0.2, [("spot", 0.2)], {}, Verdict(False, "good", 0.8)),
        ("segment", 0.2, [("spot", 0.2)], {}, Verdict(True, "spot", 0.2, (0,))),
        ("segment", 0.0, [], {}, Verdict(False, "good", 1.0)),
        ("classify", 0.3, [GOOD, ("spot", 0.3)], {}, Verdict(False, "good", 0.7)),
        ("classify", 0.3, [GOOD, ("spot", 0.3)], {"*": 0.3}, Verdict(True, "spot", 0.3, (1,))),
        ("classify", 0.3, [GOOD, ("spot", 0.3)], {"*": 0.31}, Verdict(False, "good", 0.7)),
        ("classify", 0.6, [SPOT, ("crack", 0.4)], {}, Verdict(True, "spot", 0.6, (0,))),
        ("classify", 0.6, [SPOT, ("crack", 0.4)], {"*": 0.7}, Verdict(False, "good", 0.4)),
        ("anomaly", 4.0, [], {"*": 4.0}, Verdict(True, "anomaly", 0.5)),
        ("anomaly", 2.0, [], {"*": 4.0}, Verdict(False, "good", 0.75)),
        ("anomaly", 2.0, [], {}, Verdict()),
        ("anomaly", 2.0, [], {"anomaly": 1.0}, Verdict()),
    ],
)
def test_the_rule_at_its_limits(task, score, regions, points, expected):
    assert decide(task, score, regions, points) == expected
