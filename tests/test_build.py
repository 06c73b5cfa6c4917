"""dbt builds the tables: only what is new is scored, nothing is lost, readers are never in the way."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import duckspect
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt_common.exceptions import DbtRuntimeError
from scipy.stats import binomtest
from trained import BOARDS, QUICK, copy_warehouse
from waiting import PATIENCE

from models_py.ingest import IngestOptions, ingest, open_tree
from models_py.plant import build
from models_py.registry import promote, rollback
from models_py.training.train import train
from udfs import connect
from udfs.builds.assignments import SHIPPED, doubts_about_assignments
from udfs.builds.build import did_last_build_fail, limit_warnings, published_path
from udfs.builds.dbt_plugin import Plugin, retrain
from udfs.cli.published_copy import leave_copy

ROOT = Path(__file__).parents[1]
TABLES = """
select schema_name || '.' || table_name from duckdb_tables()
where database_name = current_database() and schema_name in ('main', 'intermediate')
and table_name <> 'schema_migrations'
"""
KPIS = "select view_name from duckdb_views() where schema_name = 'main' and view_name like 'kpi_%' order by 1"


def run_build(warehouse, *arguments, works=True):
    result = duckspect("build", "-w", str(warehouse), *arguments)
    assert (result.returncode == 0) == works, result.stdout + result.stderr
    return result


def ask(warehouse, query):
    with duckdb.connect(warehouse, read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        return con.execute(query).fetchall()


def scored(warehouse):
    """Images that models were asked for so far."""
    return ask(warehouse, "select coalesce(sum(images), 0) from ml.inference_log")[0][0]


def compiled(warehouse, test):
    """The SQL of a test as dbt ran it last."""
    return next((warehouse.parent / "w_files/dbt/target/compiled").rglob(f"{test}.sql")).read_text()


def contents(warehouse):
    """A hash of each table, whatever the order of its rows; not of what counts the queries of other tests."""
    names = [name for (name,) in ask(warehouse, TABLES) if not name.endswith("agg_scoring_daily")]
    return {name: ask(warehouse, f"select count(*), sum(hash(t)) from {name} as t") for name in names}


def test_a_build_again_scores_nothing_and_a_full_refresh_makes_the_same_tables(plant_copy):
    before, asked = contents(plant_copy), scored(plant_copy)
    assert len(before) > 30
    result = run_build(plant_copy, "--full-refresh")
    assert "none failed" in result.stdout
    assert "AUSTIN_L1" in result.stdout
    assert scored(plant_copy) == asked
    assert contents(plant_copy) == before


READER = """
import sys, duckdb
for _ in sys.stdin:
    with duckdb.connect(sys.argv[1], read_only=True) as con:
        state = con.execute("select count(*), sum(image_count) from kpi_daily_quality").fetchall()[0]
        con.execute("select count(*) from defect_log").fetchall()
    print(*state, flush=True)
"""


class Reader:
    """A process that opens the published copy anew whenever it is asked, and answers with what it finds."""

    def __init__(self, published):
        command = [sys.executable, "-c", READER, str(published)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def stop(self):
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


def build_while(reader, warehouse, *arguments):
    """Build, and stop the build again and again for as long as a read takes; what was read after dbt had begun."""
    command = [sys.executable, "-m", "udfs.cli", "build", "-w", str(warehouse), *arguments]
    results = warehouse.parent / "w_files/dbt/target/run_results.json"  # gone from before dbt begins until it ends
    during = []
    with (warehouse.parent / "build.txt").open("w+") as output:
        with subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process:
            while process.poll() is None:
                os.killpg(process.pid, signal.SIGSTOP)
                try:
                    is_building, read = not results.exists(), reader.ask()
                finally:
                    os.killpg(process.pid, signal.SIGCONT)
                if is_building:
                    during.append(read)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        output.seek(0)
        assert process.returncode == 0, output.read()
    return during


@pytest.fixture(scope="module")
def day(built_plant, tmp_path_factory):
    """A day at the plant, then one build, while a reader in another process keeps asking the published copy.

    There are reviews of a region and of an image, a tile that cannot be read, a challenger, and fewer training rows.
    """
    folder = tmp_path_factory.mktemp("day")
    warehouse = copy_warehouse(built_plant, folder)
    facts = {"warehouse": warehouse}
    query = (
        "select defect_id, inspection_id, label, x1, y1, x2, y2 from defect_log "
        "where model = 'pcb' and is_false_positive is null order by confidence desc limit 2"
    )
    (rejected, confirmed) = ask(warehouse, query)
    tile = ask(warehouse, "select uri from inspection_metadata where product_type like 'TILE-%' limit 1")[0][0]
    facts |= {"rejected": rejected, "confirmed": confirmed, "tile": folder / "landing/tile.jpg"}
    facts["tile"].parent.mkdir()
    facts["tile"].write_bytes((built_plant.parent / tile).read_bytes() + b"other")
    landing = facts["tile"].parent
    with connect(warehouse) as con:
        ingest(con, open_tree(str(landing), landing), landing, IngestOptions(product_type="TILE-S", line_id="NEW_LINE"))
        facts["tile"].rename(folder / "away.jpg")
        con.execute(
            "insert into raw.reviews by name select ? as inspection_id, 'rejected' as verdict, 'kim' as reviewer, "
            "now() as reviewed_at, ? as x1, ? as y1, ? as x2, ? as y2",
            [rejected[1], *rejected[3:]],
        )
        con.execute(
            "insert into raw.reviews by name select ? as inspection_id, 'confirmed' as verdict, ? as label, "
            "'kim' as reviewer, now() as reviewed_at",
            [confirmed[1], confirmed[2]],
        )
        facts["challenger"] = train(con, name="pcb", task="detect", query=BOARDS, options=QUICK)
        con.execute("delete from raw.inspections where line_id = 'GARY_L1'")
        con.execute(
            "delete from raw.inspections where inspection_id = (select min(inspection_id) from raw.inspections "
            "join raw.current_annotations using (uri) where product_type like 'TILE-%' and label = 'good')"
        )
    run_publish = duckspect("publish", "-w", str(warehouse))
    assert run_publish.returncode == 0, run_publish.stderr
    published = published_path(warehouse)
    reader = Reader(published)
    facts["seen"] = [reader.ask()]
    variables = "{max_error_rate: 0.5, gate_severity: warn, retrain: [tile, never]}"
    facts["during"] = build_while(reader, warehouse, "--vars", variables)
    facts["seen"] += [*facts["during"], reader.ask()]
    facts["reader"] = reader.stop()
    return facts


def test_readers_of_the_published_copy_never_wait_and_never_fail_while_a_build_runs(day):
    assert day["during"], "reads were answered while the build stood still"
    states = [state for state, _ in itertools.groupby(day["seen"])]
    assert len(states) == 2, "it saw the old state, then the new one, and nothing between"
    assert all(states), "each read was answered"
    assert day["reader"] == 0


def test_reviews_change_labels_false_positives_and_the_queue(day):
    known = dict(ask(day["warehouse"], "select defect_id, is_false_positive from defect_log"))
    assert known[day["rejected"][0]] is True
    assert known[day["confirmed"][0]] is False
    assert ask(day["warehouse"], "select count(*) from labels where label_source = 'review'") == [(2,)]
    asked_for = f"select count(*) from kpi_review_queue where inspection_id = '{day['rejected'][1]}'"
    assert ask(day["warehouse"], asked_for) == [(0,)]


def test_a_line_nobody_described_has_the_default_time_zone(day):
    assert ask(day["warehouse"], "select time_zone from dim_lines where line_id = 'NEW_LINE'") == [("UTC",)]


def test_moments_are_shown_in_the_local_time_of_their_line_too(day):
    for view, local, moment in (
        ("kpi_recent_detections", "captured_local", "captured_at"),
        ("kpi_review_queue", "captured_local", "captured_at"),
        ("kpi_unreadable_images", "seen_local", "seen_at"),
    ):
        differing = f"where {local} is distinct from timezone(time_zone, {moment})"
        query = f"select count(*) from {view} left join dim_lines using (line_id) "
        assert ask(day["warehouse"], query)[0][0] > 0
        assert ask(day["warehouse"], query + differing) == [(0,)]
    offsets = "select count(distinct captured_local - timezone('UTC', captured_at)) from kpi_recent_detections"
    assert ask(day["warehouse"], offsets)[0][0] >= 2


def test_every_production_date_of_a_kpi_view_is_in_the_date_dimension(built_plant):
    dated = "select table_name from duckdb_columns() where column_name = 'production_date' and table_name like 'kpi_%'"
    names = [name for (name,) in ask(built_plant, dated)]
    assert len(names) >= 6
    for name in names:
        unknown = f"select count(*) from {name} anti join dim_dates using (production_date)"
        assert ask(built_plant, f"{unknown} where production_date is not null") == [(0,)]
    assert ask(built_plant, "select count(*) - 1 - (max(production_date) - min(production_date)) from dim_dates") == [
        (0,)
    ]


def test_an_unreadable_image_is_a_row(day):
    [(error, is_null)] = ask(day["warehouse"], "select error, score is null from predictions where error is not null")
    assert "there is no such file" in error
    assert is_null
    assert ask(day["warehouse"], "select count(*) from kpi_unreadable_images where found_by = 'scoring'") == [(1,)]
    assert ask(day["warehouse"], "select verdict from fct_inspections where unreadable_count > 0") == [("review",)]
    claim = compiled(day["warehouse"], "few_images_are_unreadable")
    assert ask(day["warehouse"], claim) == []
    assert len(ask(day["warehouse"], claim.replace("> 0.5 *", "> 0 *"))) == 1


PENDING = """
select requested.model, count(*) from intermediate.int_predictions__requested as requested
anti join predictions on requested.prediction_id = predictions.prediction_id and predictions.error is null
group by 1 order by 1
"""


def test_only_what_is_new_or_was_unreadable_is_scored_and_a_promotion_asks_for_exactly_its_own(day, tmp_path):
    shutil.copy2(day["tile"].parent.parent / "away.jpg", day["tile"])
    warehouse = copy_warehouse(day["warehouse"], tmp_path)
    build(tmp_path / "later", units=50, seed=99)
    new = tmp_path / "new"
    new.mkdir()
    for board in sorted((tmp_path / "later/boards").rglob("*_test.jpg"))[:10]:
        shutil.copy(board, new)
    with connect(warehouse) as con:
        ingest(con, open_tree(str(new), new), new, IngestOptions(product_type="PCB-A1", line_id="NEW_LINE"))
    # The tile model has a challenger since the day's build; the detector's was there before it.
    tiles = dict(ask(warehouse, PENDING))["tile"]
    asked = dict(ask(warehouse, "select model, sum(images) from ml.inference_log group by 1"))
    run_build(warehouse, "--no-publish", "-s", "predictions")
    now = dict(ask(warehouse, "select model, sum(images) from ml.inference_log group by 1"))
    assert {model: now[model] - asked[model] for model in now} == {"pcb": 10, "tile": tiles}
    assert ask(warehouse, PENDING) == []
    assert ask(warehouse, "select count(*) from predictions where error is not null") == [(0,)]

    boards = "select count(distinct image_id) from raw.inspections where product_type like 'PCB-%'"
    with connect(warehouse) as con:
        rollback(con, "pcb")
    assert ask(warehouse, PENDING) == [("pcb", ask(warehouse, boards)[0][0])]
    with connect(warehouse) as con:
        promote(con, "pcb@2", force="back again")
    assert ask(warehouse, PENDING) == []


def test_a_worse_challenger_fails_the_gate(day):
    gate = "a_challenger_is_not_worse_than_its_champion"
    sql = compiled(day["warehouse"], gate)
    primary = "from eval_metrics where subset = 'gate' and is_primary and model = 'pcb'"
    versions = ask(day["warehouse"], f"select version {primary} order by 1")
    assert versions == [(2,), (day["challenger"].version,)]
    with duckdb.connect(day["warehouse"]) as con:
        con.execute("begin")
        for challenger, champion, failures in ((0.1, 0.2, 1), (0.2, 0.2, 0), (0.3, 0.2, 0)):
            con.execute(
                "update eval_metrics set value = if(version = 2, ?, ?) where model = 'pcb'",
                [champion, challenger],
            )
            assert len(con.execute(f"select * from ({sql}) where model = 'pcb'").fetchall()) == failures
        con.execute("rollback")


def test_a_model_is_retrained_when_its_rows_changed_and_else_left_alone(day):
    rows = "select model, version, outcome from ml_builds.retrained_models order by 1"
    assert ask(day["warehouse"], rows) == [("never", None, "never trained here"), ("tile", 2, "trained")]
    aliases = "select alias, version from ml.model_aliases where name = 'tile' order by 1"
    assert ask(day["warehouse"], aliases) == [("challenger", 2), ("champion", 1)]
    with connect(day["warehouse"]) as con:
        assert retrain(con, ["tile"])["outcome"].to_pylist() == ["rows unchanged"]


def test_a_failed_build_leaves_the_published_copy_and_names_the_step(plant_copy):
    assert "w.published.duckdb" in duckspect("publish", "-w", str(plant_copy)).stdout
    before = published_path(plant_copy).stat().st_mtime_ns
    with connect(plant_copy) as con:
        con.execute(
            "insert into raw.reviews by name select inspection_id, 'shrug' as verdict, 'kim' as reviewer, "
            "now() as reviewed_at from raw.inspections limit 1"
        )
    failed = run_build(plant_copy, "-s", "stg_raw__reviews", works=False)
    assert "accepted_values_stg_raw__reviews_verdict" in failed.stderr
    assert "Readers keep the copy they have" in failed.stderr
    assert did_last_build_fail(plant_copy)
    leave_copy(plant_copy)
    assert published_path(plant_copy).stat().st_mtime_ns == before


def test_mistakes_are_counted_on_units_that_no_version_has_seen(built_plant):
    seen = """
        with seen as (
            select inspections.unit_id
            from raw.inspections
            join ml.version_images using (image_id)
            join ml.model_aliases using (name, version)
            where alias = 'champion' and split in ('train', 'val')
            and product_type like case name when 'pcb' then 'PCB-%' when 'tile' then 'TILE-%' end
        )
        select
            count(*) filter (where not is_truly_defective),
            count(*) filter (where is_truly_defective and verdict <> 'review'),
            count(*) filter (where is_truly_defective and verdict = 'pass'),
            count(*) filter (where is_flagged and not is_truly_defective)
        from fct_inspections
        where is_last_pass and is_flagged is not null and unit_id not in (from seen)
    """
    counted = ask(built_plant, seen)
    assert counted == ask(
        built_plant, "select good_count, defective_count, escape_count, false_alarm_count from kpi_summary"
    )
    good, defective, *_ = counted[0]
    labelled, unseen = ask(built_plant, "select labelled_count, unseen_count from kpi_summary")[0]
    assert 0 < good + defective <= unseen < labelled
    boards = ask(
        built_plant,
        "select sum(labelled_count), any_value(escape_rate), any_value(rate_evidence) from kpi_daily_quality "
        "where line_id = 'AUSTIN_L1' and labelled_count > 0",
    )
    assert boards[0][0] > 0
    assert boards[0][1] is None
    assert boards[0][2].startswith("none: training or the threshold saw all")


def test_the_interval_of_a_rate_is_the_one_that_statisticians_print(built_plant):
    pairs = [(part, whole) for whole in (1, 2, 10, 189) for part in {0, 1, whole // 2, whole}]
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as w")
        con.execute("use w")
        con.execute(f"attach '{built_plant}' as plant (read_only)")
        con.execute("create table agg_inspections_daily as from plant.agg_inspections_daily limit 0")
        con.execute("detach plant")
        con.executemany(
            "insert into agg_inspections_daily (day_id, escape_count, defective_count) values (?, ?, ?)",
            [[f"{part} of {whole}", part, whole] for part, whole in [*pairs, (0, 0)]],
        )
        query = f"select day_id, escape_rate_low, escape_rate_high from ({compiled(built_plant, 'kpi_daily_quality')})"
        limits = {name: (low, high) for name, low, high in con.execute(query).fetchall()}
    assert limits.pop("0 of 0") == (None, None)
    for part, whole in pairs:
        wanted = binomtest(part, whole).proportion_ci(method="wilson")
        assert limits[f"{part} of {whole}"] == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_an_empty_warehouse_builds(tmp_path):
    warehouse = tmp_path / "w.duckdb"
    connect(warehouse).close()
    run_build(warehouse, "--no-publish")
    assert ask(warehouse, "select unit_count, yield_share from kpi_summary") == [(0, None)]
    for (view,) in ask(warehouse, KPIS):
        ask(warehouse, f"select * from {view}")


def test_neither_an_empty_plant_nor_one_that_stands_still_is_a_stale_source(built_plant, tmp_path):
    warehouse = tmp_path / "w.duckdb"
    connect(warehouse).close()
    result = dbt(warehouse, "source", "freshness")
    assert (result.returncode, "PASS freshness of raw.inspections" in result.stdout) == (0, True), result.stdout
    manifest = json.loads((built_plant.parent / "w_files/dbt/target/manifest.json").read_text())
    freshness = manifest["sources"]["source.duckspect.raw.inspections"]["freshness"]
    assert freshness["warn_after"] == {"count": 24, "period": "hour"}
    assert not (freshness["error_after"] or {}).get("count")


def test_a_threshold_that_was_written_past_its_check_is_found(plant_copy):
    claim = compiled(plant_copy, "a_threshold_can_be_reached")
    assert ask(plant_copy, claim) == []
    with duckdb.connect(plant_copy) as con:
        con.execute("update intermediate.int_thresholds__current set threshold = 1.7")
        assert {row[0] for row in con.execute(claim).fetchall()} == {"pcb"}, "any number is one for the tile model"
        con.execute("update intermediate.int_thresholds__current set threshold = 0.5, label = 'shrot'")
        assert {row[0] for row in con.execute(claim).fetchall()} == {"pcb", "tile"}


def test_the_project_is_described_to_the_last_column(built_plant):
    manifest = json.loads((built_plant.parent / "w_files/dbt/target/manifest.json").read_text())
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert all(node["description"].startswith("One row") for node in models)
    types = {column["data_type"] for node in models for column in node["columns"].values()}
    known = {name: ask(built_plant, f"select typeof(null::{name})")[0][0] for name in types}
    described = {
        (node["schema"], node["name"]): {(name, known[column["data_type"]]) for name, column in node["columns"].items()}
        for node in models
    }
    actual = ask(
        built_plant,
        "select schema_name, table_name, list((column_name, data_type)) from duckdb_columns() "
        "where database_name = current_database() and schema_name in ('main', 'intermediate', 'staging') group by all",
    )
    for schema, table, columns in actual:
        if (schema, table) in described:
            assert described[schema, table] == set(columns), table
    comments = ask(
        built_plant,
        "select view_name from duckdb_views() where schema_name = 'main' and not internal and comment is null",
    )
    assert comments == []
    views = {name for schema, name in described if name.startswith("kpi_")}
    for exposure in manifest["exposures"].values():
        assert {unique.split(".")[-1] for unique in exposure["depends_on"]["nodes"]} == views
    callers = [node["name"] for node in models if "predict(" in node["raw_code"] or "image_info(" in node["raw_code"]]
    assert callers == ["predictions"]


def dbt(warehouse, *arguments):
    """Run dbt itself as its users do, from the repository's root."""
    place = warehouse.parent / "w_files/dbt"
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("dbt")), *arguments, "--project-dir", "dbt_project"),
            *("--profiles-dir", ".", "--target-path", str(place / "target"), "--log-path", str(place / "logs")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DUCKSPECT_WAREHOUSE": str(warehouse)},
    )


FORMER = {
    "kpi_disagreement": "table main.fct_disagreement",
    "kpi_model_quality": "table main.fct_model_days",
    "kpi_scoring": "table main.fct_scoring_days",
    "int_boxes__counted": "view intermediate.int_truth__counted",
    "int_boxes__labelled": "table intermediate.int_truth__boxes",
    "int_images__labelled": "table intermediate.int_images__truthed",
    "int_predictions__requested": "view intermediate.int_scoring__requested",
    "int_review_bands__chosen": "table intermediate.int_thresholds__review_bands",
}


def test_what_had_another_name_in_an_older_warehouse_goes(plant_copy):
    with duckdb.connect(plant_copy) as con:
        for relation in FORMER.values():
            con.execute(f"create {relation} as select 1 as a")
    run_build(plant_copy, *(word for name in FORMER for word in ("-s", name)))
    left = ask(plant_copy, "select table_schema || '.' || table_name from information_schema.tables")
    assert not {relation.split()[1] for relation in FORMER.values()} & {name for (name,) in left}


def test_dbt_writes_its_documents(plant_copy):
    result = dbt(plant_copy, "docs", "generate")
    assert result.returncode == 0, result.stdout
    assert "predictions" in (plant_copy.parent / "w_files/dbt/target/catalog.json").read_text()


def test_dbt_says_in_a_sentence_that_a_warehouse_cannot_be_opened(tmp_path):
    warehouse = tmp_path / "w.duckdb"
    warehouse.write_text("inspected by Ana" * 100)
    result = dbt(warehouse, "build")
    assert result.returncode == 2
    assert f"{warehouse} cannot be opened as a DuckDB file" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


@contextlib.contextmanager
def held(warehouse):
    """Another process has the warehouse open meanwhile."""
    program = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        yield
        holder.stdin.close()


def plugin_on(path):
    credentials = DuckDBCredentials(path=str(path), schema="main", database=path.stem)
    return Plugin("duckspect", {}, credentials), credentials


def test_the_plugin_names_what_is_wrong_with_a_warehouse(tmp_path):
    newer, in_use = tmp_path / "newer.duckdb", tmp_path / "in_use.duckdb"
    with connect(newer) as con:
        con.execute("insert into schema_migrations select 9999, 'later.sql', '', now(), 'a later duckspect'")
    with held(in_use):
        for file, words in (
            (tmp_path / "missing/w.duckdb", "There is no folder .*missing for the warehouse w.duckdb"),
            (tmp_path, "cannot be opened as a DuckDB file"),
            (newer, f"{newer} was written by a newer duckspect"),
            (in_use, "is in use by another process"),
        ):
            plugin, credentials = plugin_on(file)
            with pytest.raises(DbtRuntimeError, match=words):
                plugin.update_connection_config(credentials, {})
    plugin, credentials = plugin_on(tmp_path / "new.duckdb")
    plugin.update_connection_config(credentials, {})
    with duckdb.connect(tmp_path / "new.duckdb") as con:
        plugin.configure_connection(con)
        assert con.execute("select detect(null, 'pcb')").fetchall() == [(None,)]


def test_a_champion_without_a_product_is_named_with_the_remedy(plant_copy):
    with connect(plant_copy) as con:
        assert doubts_about_assignments(con) == []
        con.execute("update raw.inspections set product_type = replace(product_type, 'TILE-', 'MAGNET-')")
        con.execute("update inspection_metadata set product_type = replace(product_type, 'TILE-', 'MAGNET-')")
        (found,) = doubts_about_assignments(con)
        claim = con.execute(compiled(plant_copy, "a_champion_has_something_to_judge")).fetchall()
    assert found.startswith("tile judges nothing: the seed scoring_assignments gives it none of the products LGP-15, ")
    assert found.endswith("scoring_assignments.csv: tile,MAGNET-M; tile,MAGNET-S"), "what it learned from"
    assert claim == [("tile",)]


def test_a_champion_that_learned_elsewhere_is_offered_all_products(plant_copy):
    with connect(plant_copy) as con:
        con.execute("update raw.inspections set product_type = if(hash(uri) % 2 = 0, 'OLD', 'NEW')")
        con.execute("delete from ml.version_images")
        found = doubts_about_assignments(con)
    assert [sentence.rpartition(": ")[2] for sentence in found] == ["pcb,NEW; pcb,OLD", "tile,NEW; tile,OLD"]


def test_rows_of_the_seed_without_a_model_or_a_product_are_named(plant_copy):
    with connect(plant_copy) as con:
        con.execute(
            "insert into reference.scoring_assignments values ('tiel', 'TILE-%'), ('pcb', 'PCB-A9'), ('x', 'y')"
        )
        no_product, no_model = doubts_about_assignments(con)
    assert "'PCB-A9', for the model pcb, is like no product that was inspected. Did you mean 'PCB-A1'?" in no_product
    assert no_model.startswith("scoring_assignments: there is no model 'tiel' to judge TILE-%. Did you mean 'tile'?")
    assert "Registered: pcb, tile. Correct the row" in no_model


def test_the_rows_that_came_with_the_seed_are_no_mistakes_of_its_user():
    _, *rows = (ROOT / "dbt_project/seeds/scoring_assignments.csv").read_text().splitlines()
    assert {tuple(row.split(",")) for row in rows} == SHIPPED


def test_a_champion_beyond_its_limits_is_named_with_the_alternative(plant_copy):
    with connect(plant_copy) as con:
        con.execute(
            "update eval_operating_points set is_within_limits = model <> 'tile' or subset <> 'validation', "
            "threshold = 2.5, overkill_count = 19, good_count = 20, escape_count = 0, defective_count = 8, "
            "alternative_threshold = 3.25, alternative_overkill_count = 4, alternative_escape_count = 1, "
            "are_limits_possible = true"
        )
        words = (
            "tile@1 rejects 19 of 20 good validation images and passes 0 of 8 defective ones at its threshold 2.5; "
            "the limits are 20% of the good and 20% of the defective. At 3.25 it rejects 4 of 20 good validation "
            "images and passes 1 of 8 defective ones. To choose that: "
            '`duckspect models threshold tile@1 3.25 --reason "..."`'
        )
        assert limit_warnings(con) == [words]
        assert len(con.execute(compiled(plant_copy, "a_champion_keeps_its_limits")).fetchall()) == 1
        con.execute("drop table eval_operating_points")
        assert limit_warnings(con) == [], "a selection may not have built it yet"


def test_the_band_for_review_is_around_the_threshold_and_holds_a_share_of_the_images(built_plant):
    bands = ask(
        built_plant,
        "select version_id, review_evidence, wanted_review_share, threshold, review_from, review_to "
        "from dim_model_versions where is_champion order by 1",
    )
    few = "the plant is small: both have fewer than 20 validation images"
    assert [row[:3] for row in bands] == [("pcb@2", "inspected", 0.1), ("tile@1", "inspected", 0.1)], few
    assert all(low is None or low < at for *_, at, low, _ in bands)
    assert all(high is None or at <= high for *_, at, _, high in bands)
    shares = ask(
        built_plant,
        "select model, avg(is_borderline::int) from intermediate.int_predictions__judged "
        "where is_champion and image_id in (select image_id from raw.inspections) group by 1",
    )
    assert all(share <= 0.1 for _, share in shares)
    assert dict(shares)["pcb"] > 0.05


def test_mistakes_are_said_in_a_sentence(tmp_path, plant_copy):
    missing = duckspect("build", "-w", str(tmp_path / "none.duckdb"))
    assert "There is no warehouse at" in missing.stderr
    with held(plant_copy):
        for command in ("build", "publish"):
            result = duckspect(command, "-w", str(plant_copy))
            assert result.returncode == 1
            assert "is in use by another process" in result.stderr


def test_a_table_of_work_is_not_taken_for_one_that_dbt_built(con):
    con.execute("create table work.eval_operating_points as select 1 as a")
    assert limit_warnings(con) == []
