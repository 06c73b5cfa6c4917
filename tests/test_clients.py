"""The KPI views answer clients that nobody here wrote, without our functions; other warehouses get them as SQL."""

import csv
import io
import os
import pwd
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
import sqlglot
from conftest import duckspect
from sqlglot import exp
from waiting import PATIENCE

from models_py.errors import DuckspectError
from udfs import connect
from udfs.builds.export_sql import DIALECTS, export_sql, tables, view_queries

VIEWS = sorted(file.stem for file in (Path(__file__).parents[1] / "dbt_project/models/kpi").glob("kpi_*.sql"))


@pytest.fixture(scope="module")
def counts(built_plant):
    with duckdb.connect(built_plant, read_only=True) as con:
        found = {view: con.execute(f"select count(*) from {view}").fetchone()[0] for view in VIEWS}
    assert sum(count > 0 for count in found.values()) > 12
    return found


def test_the_duckdb_command_line(built_plant, counts):
    program = Path(sys.executable).with_name("duckdb")
    query = " union all ".join(f"select '{view}', count(*), count(distinct v) from {view} as v" for view in VIEWS)
    result = subprocess.run(
        [program, "-readonly", "-csv", "-noheader", str(built_plant), query], capture_output=True, text=True, check=True
    )
    assert {row[0]: int(row[1]) for row in csv.reader(io.StringIO(result.stdout))} == counts


def test_adbc(built_plant, counts):
    import adbc_driver_duckdb.dbapi

    with adbc_driver_duckdb.dbapi.connect(str(built_plant)) as con, con.cursor() as cursor:
        for view in VIEWS:
            cursor.execute(f"select * from {view}")
            assert cursor.fetch_arrow_table().num_rows == counts[view]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ibis asks DuckDB in a way that it means to drop
def test_ibis(built_plant, counts):
    import ibis

    con = ibis.duckdb.connect(built_plant, read_only=True)
    for view in VIEWS:
        assert con.table(view).count().execute() == counts[view]
    daily = con.table("kpi_daily_quality")
    assert daily.group_by("line_id").agg(units=daily.unit_count.sum()).count().execute() >= 5
    con.disconnect()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_kpi_layer_is_written_for_another_warehouse(built_plant, dialect, tmp_path):
    file = tmp_path / "kpi.sql"
    result = duckspect("export-sql", "--dialect", dialect, "-o", str(file), "-w", str(built_plant))
    assert result.returncode == 0, result.stderr
    statements = sqlglot.parse(file.read_text(), read=dialect)
    assert result.stdout.strip() == f"{file}: {len(statements)} statements for {dialect}."
    made = [statement for statement in statements if isinstance(statement, exp.Create)]
    assert [view.this.this.name for view in made if view.kind == "VIEW"] == VIEWS
    assert {"dim_dates", "dim_lines"} < {table.this.this.name for table in made if table.kind == "TABLE"}
    assert not any(name.quoted for statement in made for name in statement.find_all(exp.Identifier))
    with duckdb.connect(built_plant, read_only=True) as con:
        names = [statement.this.this.name for statement in made]
        assert comments(statements) == set(con.execute(COMMENTS, [names]).fetchall())


COMMENTS = """
from (
    select table_name as name, column_name, comment from duckdb_columns() where schema_name = 'main'
    union select table_name, null, comment from duckdb_tables() where schema_name = 'main'
    union select view_name, null, comment from duckdb_views() where schema_name = 'main'
)
where name in (select unnest(?))
"""


def comments(statements):
    """What statements say of tables, views and their columns, read back by another parser."""
    found = set()
    for statement in statements:
        if isinstance(statement, exp.Comment):
            target = statement.this
            is_column = isinstance(target, exp.Column)
            found.add((target.table if is_column else target.name, target.name if is_column else None, said(statement)))
        else:
            table = statement.this.this.name
            if statement.args.get("properties"):
                found.add((table, None, said(statement.args["properties"])))
            for column in statement.this.expressions:
                if isinstance(column, exp.ColumnDef) and column.constraints:
                    found.add((table, column.name, said(column.constraints[0])))
    return found


def said(expression):
    return next(literal.name for literal in expression.find_all(exp.Literal) if literal.is_string)


def test_what_cannot_be_exported_is_said(tmp_path, built_plant):
    with connect(tmp_path / "w.duckdb") as con, pytest.raises(DuckspectError, match="no KPI views yet"):
        list(export_sql(con, "postgres"))
    with connect(built_plant, read_only=True) as con, pytest.raises(DuckspectError, match="but is 'oracle'"):
        list(export_sql(con, "oracle"))


def postgres_folder():
    """Where the server's programs are; None without one."""
    places = [Path(found).parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place.resolve() for place in places if (place / "postgres").exists()), None)


def unprivileged():
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


@contextmanager
def running_postgres(folder):
    """A server on loopback, gone afterwards."""
    programs, identity = postgres_folder(), unprivileged()
    data = folder / "data"
    if identity:
        os.chown(folder, identity["user"], identity["group"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"

    def run(*words):
        subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=PATIENCE, **identity)

    run(programs / "initdb", "-D", data, "-U", "reader", "-A", "trust", "-E", "UTF8", "--locale=C")
    run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"host=127.0.0.1 port={port} user=reader dbname=postgres"
    finally:
        run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def plain(value):
    return round(value, 9) if isinstance(value, float) else value


@pytest.fixture
def reachable():
    """A folder that a server without our rights can enter, as pytest's own cannot be."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="duckspect") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(postgres_folder() is None, reason="NO POSTGRESQL HERE: the exported views are parsed, but not run")
def test_a_real_postgresql_gives_the_same_answers(built_plant, reachable):
    import psycopg

    with (
        running_postgres(reachable) as address,
        psycopg.connect(address) as postgres,
        connect(built_plant, read_only=True) as con,
    ):
        for statement in export_sql(con, "postgres"):
            postgres.execute(statement)
        for table in tables(con, view_queries(con)):
            rows = con.execute(f"select * from {table}").fetchall()
            marks = ", ".join(["%s"] * len(con.execute(f"describe {table}").fetchall()))
            postgres.cursor().executemany(f"insert into {table} values ({marks})", rows)
        described = "select obj_description(%s::regclass), col_description(%s::regclass, 1)"
        for name, comment in con.execute(
            "select view_name, comment from duckdb_views() where view_name like 'kpi_%'"
        ).fetchall():
            assert postgres.execute(described, [name, name]).fetchone()[0] == comment
        assert postgres.execute(described, ["dim_lines"] * 2).fetchone() == (
            "One row per production line, described or seen.",
            "Production line; unknown if nobody said.",
        )
        postgres.execute("set TimeZone = 'UTC'")
        for view in VIEWS:
            columns = [row[0] for row in con.execute(f"describe {view}").fetchall()]
            query = f"select {', '.join(columns)} from {view}"
            ours = [tuple(map(plain, row)) for row in con.execute(query).fetchall()]
            theirs = [tuple(map(plain, row)) for row in postgres.execute(query).fetchall()]
            assert sorted(theirs, key=repr) == sorted(ours, key=repr), view
