"""The schema: applied once, in order, documented, and never touched by an older program."""

import hashlib
import subprocess
import sys

import duckdb
import pytest

from models_py.errors import WarehouseError
from models_py.warehouse.database import files_folder, migrate, migrations, open_warehouse, warehouse_path
from udfs import connect


def test_the_first_connection_applies_every_schema_file_once_and_in_order(warehouse):
    with connect(warehouse) as con:
        applied = con.execute(
            "select version, name from schema_migrations where version > 0 order by applied_at, version"
        ).fetchall()
    assert applied == [(m.version, m.name) for m in migrations()]
    with connect(warehouse) as con:
        assert migrate(con) == []
        assert con.execute("select count(*) from schema_migrations where version > 0").fetchone() == (
            len(migrations()),
        )


def test_every_table_view_and_column_has_a_comment(con):
    silent = con.execute(
        "select table_name, column_name from duckdb_columns() where schema_name in ('raw', 'ml') and comment is null "
        "union all select table_name, null from duckdb_tables() where schema_name in ('raw', 'ml') and comment is null "
        "union all select view_name, null from duckdb_views() where schema_name in ('raw', 'ml') and comment is null"
    ).fetchall()
    assert silent == []


def test_the_tables_of_the_design_exist_with_their_columns(con):
    columns = {
        "raw.images": "image_id uri source format width height channels size_bytes ingested_at",
        "raw.inspections": "inspection_id unit_id image_id uri line_id station_id product_type captured_at",
        "raw.annotations": "annotation_id image_id kind label x1 y1 x2 y2 polygon mask_uri split annotator",
        "raw.reviews": "inspection_id verdict label reviewer reviewed_at",
        "raw.rejected_files": "uri reason seen_at",
        "ml.model_versions": "name version task architecture artifact_uri artifact_sha256 labels preprocess params "
        "metrics train_query snapshot_sha256 parent created_at created_by code_version libraries",
        "ml.alias_history": "name alias version valid_from valid_to changed_by reason",
        "ml.model_aliases": "name alias version",
        "ml.thresholds": "name version label threshold valid_from chosen_by",
        "ml.training_metrics": "run_id epoch metric value",
        "ml.inference_log": "model version device images cache_hits errors seconds logged_at",
    }
    for table, names in columns.items():
        con.execute(f"select {', '.join(names.split())} from {table}")


def test_a_warehouse_killed_before_its_first_checkpoint_opens_with_all_it_had(warehouse):
    code = f"import os, udfs; con = udfs.connect({str(warehouse)!r}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert warehouse.with_suffix(".duckdb.wal").exists()
    with connect(warehouse) as con:
        assert migrate(con) == []
        assert con.execute("select count(*) from raw.images").fetchone() == (0,)


def test_a_newer_warehouse_is_refused_and_left_as_it_is(warehouse):
    with connect(warehouse) as con:
        con.execute("insert into schema_migrations values (99, '0099_future.sql', 'x', now(), '9.9')")
    before = hashlib.sha256(warehouse.read_bytes()).hexdigest()
    with pytest.raises(WarehouseError, match=r"written by a newer duckspect \(schema 99; .*Upgrade duckspect"):
        connect(warehouse)
    assert hashlib.sha256(warehouse.read_bytes()).hexdigest() == before


def test_a_warehouse_of_another_schema_is_read_but_not_written(warehouse):
    second = migrations()[1]
    with connect(warehouse) as con:
        con.execute("update schema_migrations set sha256 = 'another text', applied_by = '0.0.9' where version = 2")
    before = hashlib.sha256(warehouse.read_bytes()).hexdigest()
    with pytest.raises(WarehouseError) as refused:
        connect(warehouse)
    assert f"{second.name} has the hash {second.sha256[:12]} in this duckspect" in str(refused.value)
    assert "was applied with another text by 0.0.9" in str(refused.value)
    assert hashlib.sha256(warehouse.read_bytes()).hexdigest() == before
    with connect(warehouse, read_only=True) as con:
        assert con.execute("select count(*) from raw.images").fetchone() == (0,)


def test_an_older_warehouse_is_brought_up_to_date_and_keeps_its_rows(tmp_path, warehouse):
    first = tmp_path / "schema"
    first.mkdir()
    (first / "0001_raw.sql").write_text(migrations()[0].sql)
    with duckdb.connect(warehouse) as con:
        migrate(con, folder=first)
        con.execute("insert into raw.rejected_files values ('a', 'b', now())")
    with connect(warehouse) as con:
        assert con.execute("select uri from raw.rejected_files").fetchall() == [("a",)]
        assert con.execute("select max(version) from schema_migrations").fetchone() == (len(migrations()),)


def before_polygons(warehouse, folder):
    """A warehouse as it was before labels could be polygons, with a label of each kind."""
    folder.mkdir()
    for migration in migrations():
        if "polygons" in migration.name:
            break
        (folder / migration.name).write_text(migration.sql)
    with duckdb.connect(warehouse) as con:
        migrate(con, folder=folder)
        con.execute(
            "insert into raw.files (uri, size_bytes, version, role, layout, label_set_id, seen_at) "
            "values ('a', 1, 'v', 'image', 'coco', 'set', now())"
        )
        for kind, corner, mask in (("class", None, None), ("box", 1, None), ("mask", None, "m.png")):
            con.execute(
                "insert into raw.annotations (annotation_id, image_id, uri, kind, label, x1, y1, x2, y2, mask_uri, "
                "annotated_at, label_set_id) values ($1, 'i', 'a', $1, 'dent', $2, $2, $2, $2, $3, now(), 'set')",
                [kind, corner, mask],
            )


@pytest.mark.parametrize("signal", [0, 9])
def test_labels_survive_the_coming_of_polygons_even_if_the_process_is_killed(tmp_path, warehouse, signal):
    before_polygons(warehouse, tmp_path / "schema")
    code = f"import os, udfs; con = udfs.connect({str(warehouse)!r}); os.kill(os.getpid(), {signal})"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert warehouse.with_suffix(".duckdb.wal").exists() == bool(signal)
    with connect(warehouse) as con:
        rows = con.execute("select kind, x1, mask_uri, polygon from raw.current_annotations order by kind").fetchall()
        assert rows == [("box", 1, None, None), ("class", None, None, None), ("mask", None, "m.png", None)]
        (silent,) = con.execute(
            "select count(*) from duckdb_columns() where table_name like '%annotations' and comment is null"
        ).fetchone()
        assert silent == 0
        with pytest.raises(duckdb.ConstraintException):
            con.execute("update raw.annotations set kind = 'polygon' where kind = 'box'")


def test_an_older_warehouse_opened_read_only_names_the_remedy(warehouse):
    duckdb.connect(warehouse).close()
    with pytest.raises(WarehouseError, match=r"has schema 0, .*Run `duckspect init` once"):
        connect(warehouse, read_only=True)


def test_a_broken_schema_file_changes_nothing(tmp_path):
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "0001_good.sql").write_text("create table a (i integer);")
    (folder / "0002_bad.sql").write_text("create table b (i integer); create tabel c (i integer);")
    with duckdb.connect() as con:
        with pytest.raises(WarehouseError, match=r"0002_bad.sql could not be applied, nothing was changed"):
            migrate(con, folder=folder)
        assert con.execute("select count(*) from duckdb_tables()").fetchone() == (0,)


def test_a_gap_in_the_numbers_is_an_error(tmp_path):
    (tmp_path / "0002_later.sql").write_text("select 1;")
    with pytest.raises(WarehouseError, match="numbered 0001, 0002"):
        migrations(tmp_path)


def test_the_path_is_the_argument_then_the_environment_then_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUCKSPECT_WAREHOUSE", raising=False)
    assert warehouse_path() == tmp_path / "warehouse.duckdb"
    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", "/data/plant.duckdb")
    assert str(warehouse_path()) == "/data/plant.duckdb"
    assert warehouse_path("x.duckdb") == tmp_path / "x.duckdb"
    assert str(files_folder()) == "/data/plant_files"
    assert str(files_folder("/data/plant.published.duckdb")) == "/data/plant_files"
    assert str(files_folder("/data/plant.v2.duckdb")) == "/data/plant.v2_files"


def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path):
    with pytest.raises(WarehouseError, match=r"no warehouse at .*duckspect init"):
        open_warehouse(tmp_path / "no.duckdb", read_only=True)
    with pytest.raises(WarehouseError, match="no folder"):
        open_warehouse(tmp_path / "nowhere" / "w.duckdb")
    text = tmp_path / "text.duckdb"
    text.write_text("this is not a database, it is a text" * 1000)
    with pytest.raises(WarehouseError, match="cannot be opened as a DuckDB file"):
        open_warehouse(text)


def test_paths_with_spaces_and_quotes_work(tmp_path):
    with connect(tmp_path / "it's a plant.duckdb") as con:
        assert con.execute("select count(*) from raw.images").fetchone() == (0,)
