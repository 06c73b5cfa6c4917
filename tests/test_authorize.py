"""What a remote client's SQL may do."""

import pytest

from udfs.serving._authorize import Guard, RefusedError
from udfs.serving._costs import CostlyError
from udfs.session import Session


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    from udfs import connect

    with connect(tmp_path_factory.mktemp("guard") / "w.duckdb") as con:
        con.execute("create table predictions as select 1 as prediction_id")
        con.execute("create view kpi_summary as select 1 as a")
        con.execute("create macro plus_one(a) as a + 1")
        yield Guard(Session.of(con).cursor)


READS = [
    "select 1",
    "from kpi_summary",
    "select * from raw.inspections limit 3",
    "from w.raw.images",
    "with a as (select 1 as x) select x from a",
    "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) select * from t",
    "SELECT #1 FROM predictions",
    "select uri, d.label from raw.images, unnest(detect(uri, 'pcb')) as t(d)",
    "select predict(uri, 'pcb') from raw.images",
    "select catalog_name from information_schema.schemata order by all",
    "select schema_name, sql from duckdb_tables() union all select schema_name, view_name from duckdb_views()",
    "describe predictions",
    "summarize raw.images",
    "show tables",
    "select plus_one(3)",
    "select list_transform([1, 2], lambda x: x + 1), [x for x in [1, 2]]",
    "select count(*) filter (where true) over () from raw.images",
    "select * from raw.images semi join raw.inspections using (image_id)",
    "select * from range(3), (values (1)) as v(a)",
    "select extract(year from now()), '2020-01-01'::date, case when true then 1 end",
]
CHANGES = [
    "INSERT INTO main.scratch VALUES (NULL)",
    "insert into raw.reviews select inspection_id, 'confirmed', null, 'me', now() from raw.inspections",
    "insert into raw.images select * from raw.images on conflict do nothing",
    "insert or ignore into raw.inspections select * from raw.inspections",
    "insert into scratch by name select 1 as a on conflict do nothing",
    "create or replace table scratch as select * from range(3)",
    "create view mine as select 1 as a",
    "update scratch set a = 1",
    "delete from scratch where a = 1",
    "alter table scratch add column b integer",
    "drop table scratch",
    "truncate scratch",
    "merge into scratch using other on scratch.a = other.a when matched then update set a = 1",
    "BEGIN TRANSACTION",
    "COMMIT",
]
NOBODY = [
    "select * from read_text('/etc/passwd')",
    "select (select content from read_text('/etc/passwd'))",
    "(((from read_blob('/etc/passwd'))))",
    "select exists (from read_csv('x'))",
    "from '/etc/passwd'",
    "from 'x.csv'",
    'select * from "/tmp/x.csv"',
    'select * from "/tmp/x.csv", (with "/tmp/x.csv" as (select 1) select 1)',
    "from 'http://169.254.169.254/latest/x.csv'",
    "from raw.images at (version => (select 1 from read_text('x')))",
    "describe 'x.csv'",
    "summarize 'x.parquet'",
    "select * from glob('/etc/*')",
    "from images('/etc/*')",
    "from detections('/etc/*', 'pcb')",
    "from query('select 1')",
    "from query_table('read_text')",
    "select json_serialize_plan('from read_text(''x'')')",
    "from json_execute_serialized_sql('x')",
    "select getenv('HOME')",
    "select current_setting('temp_directory')",
    "select nextval('s')",
    "select sleep_ms(1000)",
    "from duckdb_settings()",
    "from duckdb_secrets()",
    "from duckdb_logs",
    "from system.main.duckdb_logs",
    "from sqlite_master",
    "from other.main.x",
    "from arrow_scan(1, 2, 3)",
    "select quack_check_token('a', 'b', 'c')",
    "select duckspect_authentication('a', 'b', 'c')",
    "from quack_query('quack:elsewhere', 'select 1')",
    "call quack_serve('quack:localhost:1')",
    "copy raw.images to '/tmp/x'",
    "copy predictions from '/tmp/x'",
    "attach '/tmp/x.db'",
    "detach w",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "pragma database_list",
    "export database '/tmp/x'",
    "import database '/tmp/x'",
    "create secret (type s3)",
    "create macro a(x) as getenv(x)",
    "checkpoint",
    "use memory",
    "prepare p as select 1",
    "execute p",
    "select 1; drop table predictions",
    "select 1; copy (select 1) to 'x'",
    "insert into scratch select * from read_text('/etc/passwd')",
    "insert into scratch from '/etc/passwd'",
    "insert into scratch select content from scratch, '/etc/passwd'",
    "insert into scratch select * from \"read_text\"('/etc/passwd')",
    "insert into scratch select * from read_text /* */ ('x')",
    "insert into scratch values ((select content from read_text('x')))",
    "insert into scratch select getenv('HOME')",
    "insert into scratch select 1; copy scratch to 'x'",
    "create table scratch as with a as (from read_text('x')) from a",
    "create view mine as from 'x.parquet'",
    "update scratch set a = (select content from read_text('x'))",
    "merge into scratch using read_csv('x') y on true when matched then delete",
    "insert or replace into raw.images select * from raw.images",
    "insert into raw.images select * from raw.images on conflict (image_id) do update set uri = 'x'",
    "insert into raw.files select * replace ('/etc/passwd' as uri) from raw.files",
    "delete from raw.images",
    "truncate raw.images",
    "drop table ml.model_versions",
    "drop schema raw cascade",
    "insert into ml.alias_history select * from ml.alias_history",
    "alter table raw.images drop column uri",
    "",
    "select",
]


@pytest.mark.parametrize("sql", READS)
def test_a_reader_may_read(guard, sql):
    guard.check(sql, "reader")
    guard.check(sql, "writer")


@pytest.mark.parametrize("sql", CHANGES)
def test_only_a_writer_may_write_rows(guard, sql):
    guard.check(sql, "writer")
    with pytest.raises(RefusedError, match="a reader may only SELECT"):
        guard.check(sql, "reader")


@pytest.mark.parametrize("sql", NOBODY)
@pytest.mark.parametrize("role", ["reader", "writer"])
def test_files_settings_and_evidence_are_out_of_reach(guard, sql, role):
    with pytest.raises(RefusedError):
        guard.check(sql, role)


def test_an_admin_may_do_anything(guard):
    for sql in NOBODY:
        guard.check(sql, "admin")


def test_a_table_made_since_is_known(guard):
    with guard._cursor() as con:
        con.execute("create table fresh as select 1 as a")
    guard.check("from fresh", "reader")


def test_an_endless_statement_is_refused_unread(guard):
    with pytest.raises(RefusedError, match="longer than"):
        guard.check("select " + "1," * 600_000 + "1", "reader")


@pytest.fixture(scope="module")
def frugal(tmp_path_factory):
    from udfs import connect

    with connect(tmp_path_factory.mktemp("frugal") / "w.duckdb") as con:
        con.execute("create table big as select range as a, range % 10 as k from range(100_000)")
        yield Guard(Session.of(con).cursor, {"reader": 1e6, "writer": 1e8})


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select count(*) from big a, big b", r"by its plan it goes through 1e\+10 rows"),
        ("select count(*) from big a, big b, big c, big d", "rows"),
        ("select count(*) from big a join big b on a.a + b.a = 7 or a.k = b.k", "rows"),
        ("select count(*) from big a join big b using (k)", "rows"),
        ("select count(*) from range(1_000_000_000)", "rows"),
        ("select a.a from big a, big b order by 1", "rows"),
        ("with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t", "for admins"),
        ("select len(range(800_000_000))", r"range\(\) as a value must have a length that is written down, 10,000"),
        ("select range(a) from big", "written down"),
        ("select repeat('x', 2_000_000_000)", r"repeat\(\)"),
        ("select rpad('x', a::integer, 'y') from big", r"rpad\(\)"),
        ("select list_resize([1], 800_000_000)", r"list_resize\(\)"),
    ],
)
def test_a_query_that_would_do_too_much_is_refused_before_it_begins(frugal, sql, word):
    with pytest.raises(CostlyError, match=word):
        frugal.check(sql, "reader")
    frugal.check(sql, "admin")


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from big",
        "select count(*) from big a join big b using (a)",
        "select k, count(*), median(a) over () from big group by all limit 5",
        "select len(range(100)), repeat('-', 80)",
        "describe big",
        "show tables",
    ],
)
def test_what_queries_usually_do_is_allowed(frugal, sql):
    frugal.check(sql, "reader")


def test_each_role_has_its_own_limit_and_writing_counts_too(frugal):
    with pytest.raises(CostlyError, match="a reader's may go through"):
        frugal.check("select count(*) from range(10_000_000)", "reader")
    frugal.check("select count(*) from range(10_000_000)", "writer")
    with pytest.raises(CostlyError, match="a writer's may go through"):
        frugal.check("create table huge as select a.a from big a, big b", "writer")
    frugal.check("create table copied as select a from big", "writer")
    frugal.check("BEGIN TRANSACTION", "writer")
