"""What a remote client's SQL may do."""

import pytest

from udfs.serving.authorize import SqlGuard
from udfs.serving.query_costs import CostlyError
from udfs.serving.writes import RefusedError
from udfs.session.session import Session


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    from udfs import connect

    with connect(tmp_path_factory.mktemp("guard") / "w.duckdb") as con:
        con.execute("create table predictions as select 1 as prediction_id")
        con.execute("create view kpi_summary as select 1 as a")
        con.execute("create macro plus_one(a) as a + 1")
        con.execute("create table work.scratch as select 1 as a")
        con.execute("create table labels as select 1 as a")
        yield SqlGuard(Session.of(con).cursor)


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
    "INSERT INTO work.scratch VALUES (NULL)",
    "insert into raw.reviews select inspection_id, 'confirmed', null, 'me', now() from raw.inspections",
    "insert into raw.images select * from raw.images on conflict do nothing",
    "insert or ignore into w.raw.inspections select * from raw.inspections",
    "insert into work.scratch by name select 1 as a on conflict do nothing",
    "insert or replace into work.scratch select 1",
    "insert into work.scratch (a) with b as (from kpi_summary) select * from b, range(3) returning a",
    "create or replace table work.scratch as select * from range(3)",
    "create table w.work.other (a integer default 7 not null primary key, b varchar unique, unique (a, b))",
    "create table if not exists work.found as select predict(uri, 'pcb') as verdict from raw.images",
    "create view work.mine as select prediction_id from predictions",
    "update work.scratch set a = (select count(*) from predictions)",
    "delete from work.scratch using predictions where a = prediction_id",
    "drop table if exists work.scratch",
    "drop view work.mine",
    "truncate work.scratch",
    "merge into work.scratch using predictions on true when matched then update set a = 1",
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
    "from duckdb_settings",
    "from warehouse_location",
    "summarize w.main.WAREHOUSE_LOCATION",
    "create table work.stolen as from main.warehouse_location",
    "from pg_settings",
    "from pg_catalog.pg_settings",
    "from w.pg_catalog.PG_SETTINGS",
    "from pg_catalog.pg_prepared_statements",
    "select path from duckdb_databases()",
    "from duckdb_databases",
    "from system.main.duckdb_databases",
    "from pragma_database_list",
    "from pragma_database_list()",
    "from pragma_storage_info('predictions')",
    "from system.information_schema.tables",
    "from system.pg_catalog.pg_settings",
    "from other.information_schema.tables",
    "show variables",
    "summarize pg_catalog.pg_settings",
    "select * from pg_settings, (with pg_settings as (select 1) select 1)",
    "create table work.stolen as from pg_catalog.pg_settings",
    "create table work.stolen as table pg_settings",
    "create view work.stolen as from duckdb_databases",
    "create table work.stolen as select * from duckdb_databases, (with duckdb_databases as (select 1) select 1)",
    "insert into work.scratch select path from duckdb_databases()",
    "insert into work.scratch select 1 returning (select max(setting) from pg_catalog.pg_settings)",
    "update work.scratch set a = (select max(setting) from pg_settings)",
    "delete from work.scratch using other.main.x where true",
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
    "insert into work.scratch select * from read_text('/etc/passwd')",
    "insert into work.scratch from '/etc/passwd'",
    "insert into work.scratch select content from work.scratch, '/etc/passwd'",
    "insert into work.scratch select * from \"read_text\"('/etc/passwd')",
    "insert into work.scratch select * from read_text /* */ ('x')",
    "insert into work.scratch values ((select content from read_text('x')))",
    "insert into work.scratch select getenv('HOME')",
    "insert into work.scratch select 1; copy scratch to 'x'",
    "create table work.scratch as with a as (from read_text('x')) from a",
    "create view work.mine as from 'x.parquet'",
    "update work.scratch set a = (select content from read_text('x'))",
    "merge into work.scratch using read_csv('x') y on true when matched then delete",
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


TAKEN = [
    "insert into schema_migrations values (99, 'x', 'x', now(), 'x')",
    "insert into main.schema_migrations select 99, 'x', 'x', now(), 'x'",
    "drop table labels",
    "drop table work.scratch, labels",
    "truncate labels",
    "update predictions set prediction_id = 2",
    "with a as (select 1) delete from w.main.predictions",
    "merge into predictions using work.scratch on true when matched then delete",
    "create or replace view kpi_summary as select 666",
    "create or replace table predictions as select 666 as prediction_id",
    "create table mine as select 1 as a",
    "create view work as select 1 as a",
    "create view staging.mine as select 1 as a",
    "insert into intermediate.x values (1)",
    "insert into reference.x values (1)",
    "insert into ml_builds.x values (1)",
    "insert into raw.superseded_inspections select * from raw.superseded_inspections",
    "insert into raw.current_annotations select * from raw.current_annotations",
    "create table raw.mine as select 1 as a",
    "insert into other.work.x values (1)",
    "create table work.main.x as select 1 as a",
    "create table temp.work.x as select 1 as a",
    "create temp table x as select 1 as a",
    "create temporary view work.x as select 1 as a",
    "create table work.child (a integer references scratch (a))",
    "create table work.child (a integer, foreign key (a) references scratch (a))",
    "create table work.late (a timestamptz check (a > now()))",
    "create table work.late (a timestamptz, constraint b check (a > now()))",
    "create table work.made (a integer, b integer generated always as (a * 2))",
    "drop schema work",
    "drop schema work cascade",
    "create schema other",
    "create or replace schema work",
    "alter table work.scratch rename to b",
    "alter view work.mine rename to b",
    "comment on table labels is 'x'",
    "create macro work.plus(a) as a",
    "create or replace macro plus_one(a) as 666",
    "create sequence work.s",
    "create type work.t as integer",
    "create index i on labels (a)",
    "drop macro plus_one",
    "create trigger t after insert on work.scratch",
    "vacuum",
    "analyze",
]


@pytest.mark.parametrize("sql", TAKEN)
def test_a_writer_changes_nothing_beyond_its_own_schema(guard, sql):
    for role in ("reader", "writer"):
        with pytest.raises(RefusedError):
            guard.check(sql, role)
    guard.check(sql, "admin")


def test_a_writer_hears_where_it_may_write(guard):
    with pytest.raises(RefusedError, match=r"may not DROP labels: it may change what is in the schema work .*reviews"):
        guard.check("drop table labels", "writer")


@pytest.mark.parametrize("call", ["predict(uri, 'pcb')", "predict(uri, 'pcb').label", "len(detect(uri, 'pcb'))"])
def test_a_view_over_the_functions_is_refused_as_in_sql(guard, call):
    with pytest.raises(RefusedError, match=r"Store the rows instead: create table work\.mine"):
        guard.check(f"create or replace view work.mine as select {call} from raw.images", "writer")


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
        yield SqlGuard(Session.of(con).cursor, {"reader": 1e6, "writer": 1e8})


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
        frugal.check("create table work.huge as select a.a from big a, big b", "writer")
    frugal.check("create table work.copied as select a from big", "writer")
    frugal.check("BEGIN TRANSACTION", "writer")
