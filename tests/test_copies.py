"""A warehouse and its copies are read under any file name and alias, also beside another plant's."""

import csv
import io
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from conftest import duckspect

from models_py.errors import WarehouseError
from models_py.warehouse.database import SCHEMAS, open_warehouse
from udfs import connect
from udfs.builds.build import publish

VIEWS = """
select schema_name || '.' || view_name from duckdb_views()
where database_name = '{}' and not internal order by all
"""


def ask(*statements):
    """What the DuckDB command line answers to the last of several statements."""
    program = Path(sys.executable).with_name("duckdb")
    result = subprocess.run(
        [program, "-csv", "-noheader", ":memory:", "; ".join(statements)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return list(csv.reader(io.StringIO(result.stdout)))


def attach(file, name):
    return f"attach '{file}' as {name} (read_only)"


def counts(names, database):
    return " union all ".join(f"select '{name}', count(*) from {database}.{name}" for name in names)


@pytest.fixture(scope="module")
def plants(built_plant, tmp_path_factory):
    """The published copies of two plants, the second with twice as many units, and a backup of that one."""
    folder = tmp_path_factory.mktemp("plants")
    for name in ("austin", "bremen"):
        shutil.copy(built_plant, folder / f"{name}.duckdb")
    with duckdb.connect(folder / "bremen.duckdb") as con:
        con.execute("update agg_inspections_daily set unit_count = 2 * unit_count")
    copies = [publish(folder / f"{name}.duckdb") for name in ("austin", "bremen")]
    return {"austin": copies[0], "bremen": copies[1], "backup": shutil.copy(copies[1], folder / "backup of friday.db")}


def test_views_of_two_plants_are_read_side_by_side_each_from_its_own_file(plants):
    with duckdb.connect(plants["austin"], read_only=True) as con:
        views = [name for (name,) in con.execute(VIEWS.format("austin")).fetchall()]
        expected = [list(map(str, row)) for row in con.execute(counts(views, "austin")).fetchall()]
        units = con.execute("select unit_count from kpi_summary").fetchone()[0]
    assert sum(name.startswith("main.kpi_") for name in views) >= 18
    assert {"raw.current_annotations", "ml.model_aliases", "staging.stg_raw__images"} <= set(views)
    decoys = [
        "create table agg_inspections_daily as select -1 as unit_count",
        "create schema raw",
        "create table raw.images as select -1 as width",
    ]
    for here in ("memory.main", "b.main", "c.staging"):
        opened = [*(attach(plants[plant], name) for plant, name in zip(plants, "abc", strict=True)), *decoys]
        opened.append(f"use {here}")
        for database in "abc":
            assert ask(*opened, counts(views, database)) == expected
        found = ask(*opened, " union all ".join(f"select unit_count from {name}.main.kpi_summary" for name in "abc"))
        assert found == [[str(units)], [str(2 * units)], [str(2 * units)]]


def test_a_copy_of_rows_is_read_under_any_alias_and_keeps_its_comments(plants, tmp_path):
    copy = tmp_path / "rows.duckdb"
    ask(attach(plants["austin"], "a"), f"attach '{copy}' as copied", "copy from database a to copied")
    described = "select view_name, comment from duckdb_views() where database_name = 'x' and not internal order by all"
    for query in (described, "select * from x.kpi_summary", "select count(*) from x.raw.current_annotations"):
        assert ask(attach(copy, "x"), query) == ask(attach(plants["austin"], "x"), query)


def test_a_selection_builds_on_a_renamed_copy_over_views_that_it_does_not_make(built_plant, tmp_path):
    warehouse = Path(shutil.copy(built_plant, tmp_path / "gary.duckdb"))
    result = duckspect("build", "-w", str(warehouse), "-s", "inspection_metadata kpi_summary")
    assert result.returncode == 0, result.stderr
    assert "Readers find it in gary.published.duckdb." in result.stdout
    assert ask(attach(tmp_path / "gary.published.duckdb", "g"), "select unit_count from g.kpi_summary") == [["120"]]


def test_a_copy_whose_views_name_a_file_that_is_gone_is_not_published(plants, tmp_path):
    """As those that an older version of duckspect built, after a rename."""
    warehouse = Path(shutil.copy(plants["austin"], tmp_path / "old.duckdb"))
    published = publish(warehouse)
    before = published.read_bytes()
    with duckdb.connect(warehouse) as con:
        con.execute("attach ':memory:' as gone; create table gone.days as select 1 as unit_count")
        con.execute("create or replace view kpi_summary as select * from gone.main.days")
    with pytest.raises(WarehouseError, match=r'kpi_summary cannot be read: .*"gone" does not exist\. `duckspect b'):
        publish(warehouse)
    assert published.read_bytes() == before


def test_a_reader_sees_whole_copies_while_they_are_swapped(tmp_path):
    warehouse, ended = tmp_path / "w.duckdb", threading.Event()
    with connect(warehouse) as con:
        con.execute("create table one (n integer); create table two (n integer)")
    copy, seen = publish(warehouse), []

    def read():
        while not ended.is_set():
            with duckdb.connect(copy, read_only=True) as con:
                seen.append(con.execute("select (select count(*) from one), (select count(*) from two)").fetchone())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for number in range(8):
                with connect(warehouse) as con:
                    con.execute(f"begin; insert into one values ({number}); insert into two values ({number}); commit")
                publish(warehouse)
        finally:
            ended.set()
        reading.result()
    assert seen == sorted(seen)
    assert all(one == two for one, two in seen)
    assert seen
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_warehouse_is_not_named_after_a_schema(name, tmp_path):
    with pytest.raises(WarehouseError, match=f"{name}.duckdb: a warehouse cannot be named after one of its schemas"):
        open_warehouse(tmp_path / f"{name}.duckdb")
    assert not (tmp_path / f"{name}.duckdb").exists()


def test_all_schemas_are_known(built_plant):
    with connect(built_plant, read_only=True) as con:
        found = con.execute(
            "select schema_name from duckdb_schemas() where database_name = current_database() and not internal"
        ).fetchall()
    assert {name for (name,) in found} - {"main"} <= set(SCHEMAS)
