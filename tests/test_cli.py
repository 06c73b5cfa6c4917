"""The command line as a user meets it: help, results, errors in words, exit statuses."""

import contextlib
import csv
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys

import duckdb
import pyarrow.parquet as pq
import pytest
from conftest import duckspect, write_board
from PIL import Image
from waiting import PATIENCE, wait_for

from models_py.warehouse.database import migrations
from udfs import connect
from udfs.cli import reference
from udfs.cli.formats import Format
from udfs.cli.rows import WRITERS, AnnouncedRows, execute

COMMANDS = dict(reference.commands())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_one_line_and_one_example_of_itself(command):
    text = COMMANDS[command].help
    summary, _, example = text.partition("\n\n")
    assert summary.endswith(".")
    assert "\n" not in summary
    assert example.strip().startswith(f"Example: duckspect {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['duckspect', '--help']\n"
        "from udfs.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'duckdb', 'numpy', 'pandas', 'pyarrow', 'PIL', 'ultralytics', 'dbt'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
    assert "ingest" in result.stdout


def test_looking_after_models_does_not_load_torch(warehouse):
    code = (
        "import sys\nfrom udfs.cli.models import list_models\n"
        f"list_models(None, {str(warehouse)!r}, as_json=True)\nprint('torch' in sys.modules, file=sys.stderr)"
    )
    assert duckspect("init", "-w", str(warehouse)).returncode == 0
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr.strip()) == ("[]", "False")


def test_no_argument_prints_help_and_version_prints_the_version():
    assert "Usage" in duckspect().stdout + duckspect().stderr
    assert duckspect("--version").stdout.startswith("duckspect 0.")


def test_init_makes_a_warehouse_and_says_where(warehouse):
    assert duckspect("init", "-w", str(warehouse)).stdout == f"{warehouse} is ready: schema {len(migrations())}.\n"
    assert "is up to date" in duckspect("init", "-w", str(warehouse)).stdout


def test_the_environment_names_the_warehouse(warehouse):
    duckspect("init", env={"DUCKSPECT_WAREHOUSE": str(warehouse)})
    assert warehouse.exists()


def test_info_tells_tables_rows_size_and_versions(warehouse, boards):
    duckspect("ingest", str(boards), "-w", str(warehouse))
    found = json.loads(duckspect("info", "--json", "-w", str(warehouse)).stdout)
    assert {table["table"]: table["rows"] for table in found["tables"]}["raw.images"] == 4
    assert found["size_bytes"] == warehouse.stat().st_size
    assert found["versions"]["duckdb"] == duckdb.__version__
    assert "raw.inspections" in duckspect("info", "-w", str(warehouse)).stdout


def test_ingest_says_what_it_recognised_and_what_it_did(warehouse, boards):
    result = duckspect("ingest", str(boards), "-w", str(warehouse))
    assert "Recognised DeepPCB: 3 *_test.jpg boards, 3 of them with" in result.stderr
    assert "3 images found, 0 unchanged. New: 4 images, 3 inspections, 5 labels (3 boxes, 0 polygons, 0 masks, " in (
        result.stdout
    )
    assert "Readers find it in w.published.duckdb." in result.stderr
    with duckdb.connect(warehouse.with_name("w.published.duckdb"), read_only=True) as readers:
        assert readers.execute("select count(*) from raw.images").fetchone() == (4,)
    write_board(boards, "00041003", 2, "1 2 3 4 3\n")
    Image.new("L", (16, 16)).save(
        boards / "PCBData/group00041/00041/00041004_test.jpg",
        "gif",
        save_all=True,
        append_images=[Image.new("L", (16, 16), 200)],
    )
    result = duckspect("ingest", str(boards), "-w", str(warehouse))
    assert "1 file with several frames, of which the first is used: 00041004_test.jpg" in result.stdout
    assert "under two names, with other labels: 1." in result.stdout
    assert "00041003_test.jpg (mousebite) and " in result.stdout
    report = json.loads(duckspect("ingest", str(boards), "--json", "-w", str(warehouse)).stdout)
    assert (report["unchanged"], report["added"]["images"], report["added"]["polygons"]) == (5, 0, 0)
    assert (report["several_frames"], report["contradictions"]) == ([], [])


def test_ingest_leaves_no_copy_unless_wanted_or_if_the_last_build_was_cut_off(warehouse, boards):
    assert duckspect("ingest", str(boards), "--no-publish", "-w", str(warehouse)).returncode == 0
    (warehouse.with_name("w_files") / "dbt/target").mkdir(parents=True)
    kept = duckspect("ingest", str(boards), "-w", str(warehouse))
    assert kept.returncode == 0
    assert "Readers keep the copy they have, for the last build did not end well" in kept.stderr
    assert not warehouse.with_name("w.published.duckdb").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingest", "/nowhere"], "There is nothing at '/nowhere'"),
        (["ingest", ".", "--layout", "nonsense"], "layout: must be one of manifest, deeppcb"),
        (["ingest", ".", "--column", "uri"], "--column: must be NAME=YOURS, such as uri=image_path, but got 'uri'"),
        (["info"], "There is no warehouse at"),
        (["sql", "select 1"], "There is no warehouse at"),
        (["demo", "--folder", "/proc"], "is not empty and holds no plant"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_an_error_is_a_sentence_without_a_traceback(tmp_path, arguments, words):
    result = duckspect(*arguments, "-w", str(tmp_path / "w.duckdb"))
    assert result.returncode == 1
    assert "Error: " in result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_usage_exits_with_2():
    assert duckspect("ingest").returncode == 2
    assert duckspect("demo", "--units", "3").returncode == 2
    assert duckspect("nonsense").returncode == 2


def test_a_warehouse_in_use_is_said_with_the_process_that_holds_it(warehouse):
    with connect(warehouse):
        result = duckspect("info", "-w", str(warehouse))
    assert result.returncode == 1
    assert "is in use by another process (process" in result.stderr


@pytest.fixture
def filled(warehouse):
    connect(warehouse).close()
    return warehouse


VALUES = "select 1 as a, 'é' as b, null as c, [1, 2] as d, {'x': 1.5} as e, 'nan'::double as f, '\\xAA'::blob as g"


def test_sql_prints_a_table(filled):
    result = duckspect("sql", VALUES, "-w", str(filled))
    assert "é" in result.stdout
    assert "<1 bytes>" in result.stdout


def test_sql_prints_csv(filled):
    assert duckspect("sql", VALUES, "--format", "csv", "-w", str(filled)).stdout.splitlines() == [
        "a,b,c,d,e,f,g",
        '1,é,,"[1, 2]","{""x"": 1.5}",nan,qg==',
    ]


def test_sql_prints_json(filled):
    assert json.loads(duckspect("sql", VALUES, "--format", "json", "-w", str(filled)).stdout) == [
        {"a": 1, "b": "é", "c": None, "d": [1, 2], "e": {"x": 1.5}, "f": None, "g": "qg=="}
    ]


def test_sql_prints_json_for_no_rows(filled):
    assert json.loads(duckspect("sql", "from raw.images", "--format", "json", "-w", str(filled)).stdout) == []


def test_sql_writes_parquet_whole_or_not_at_all(filled, tmp_path):
    out = tmp_path / "rows.parquet"
    query = "select range as i from range(25000)"
    assert duckspect("sql", query, "--format", "parquet", "-o", str(out), "-w", str(filled)).returncode == 0
    assert pq.read_table(out)["i"].to_pylist() == list(range(25000))
    broken = "select error('stop') from range(3)"
    assert duckspect("sql", broken, "--format", "parquet", "-o", str(out), "-w", str(filled)).returncode == 1
    assert pq.read_table(out).num_rows == 25000
    assert [path.name for path in tmp_path.glob("*rows*")] == ["rows.parquet"]


def test_sql_reads_a_file_and_standard_input(filled, tmp_path):
    (tmp_path / "q.sql").write_text("select 40 + 2 as answer;")
    assert "42" in duckspect("sql", "--file", str(tmp_path / "q.sql"), "-w", str(filled)).stdout
    assert "42" in duckspect("sql", "-", "-w", str(filled), stdin="select 40 + 2 as answer").stdout


def test_sql_changes_nothing_unless_told(filled):
    insert = "insert into raw.rejected_files values ('a', 'b', now())"
    refused = duckspect("sql", insert, "-w", str(filled))
    assert refused.returncode == 1
    assert "Add --write" in refused.stderr
    assert duckspect("sql", insert, "--write", "-w", str(filled)).returncode == 0
    assert duckspect(
        "sql", "select count(*) from raw.rejected_files", "--format", "csv", "-w", str(filled)
    ).stdout.endswith("1\n")


def test_sql_shows_duckdbs_words_for_a_mistake(filled):
    result = duckspect("sql", "select nonsense from raw.images", "-w", str(filled))
    assert result.returncode == 1
    assert 'Referenced column "nonsense" not found' in result.stderr


def test_long_tables_say_how_many_rows_they_leave_out(filled):
    assert "800 more rows" in duckspect("sql", "from range(1000)", "-w", str(filled)).stderr


def test_the_shell_answers_statements_over_several_lines_and_dot_commands(filled):
    typed = (
        "select\n 1 as one;\n.mode json\nselect ';' as semicolon;\n.columns raw.templates\nselec;\n.nonsense\n.quit\n"
    )
    result = duckspect("shell", "-w", str(filled), stdin=typed)
    assert "one" in result.stdout
    assert '{"semicolon": ";"}' in result.stdout
    assert "template_image_id" in result.stdout
    assert "syntax error" in result.stderr
    assert ".nonsense: must be one of .help, .tables" in result.stderr
    assert result.returncode == 0


def read_prompt(terminal):
    """Read what a terminal shows until the shell waits for a line."""
    shown = b""
    while not shown.endswith(b"duckspect> "):
        assert select.select([terminal], [], [], PATIENCE)[0], shown
        shown += os.read(terminal, 4096)


def test_the_shell_keeps_a_history_on_a_terminal(filled, tmp_path):
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "udfs.cli", "shell", "-w", str(filled)]
    environment = {"XDG_STATE_HOME": str(tmp_path), "TERM": "dumb", "PATH": "/usr/bin", "HOME": str(tmp_path)}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        for line in (b"select 41 + 1 as answer;\n", b".quit\n"):
            read_prompt(master)
            os.write(master, line)
        assert process.wait(PATIENCE) == 0
    os.close(master)
    assert "select 41 + 1 as answer;" in (tmp_path / "duckspect/history").read_text()


def opened_by_reader(pipe):
    """A named pipe to write to, once somebody reads it."""
    with contextlib.suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def test_ctrl_c_stops_a_long_query_and_exits_with_130(warehouse, tmp_path):
    duckspect("init", "-w", str(warehouse))
    pipe = tmp_path / "rows.csv"
    os.mkfifo(pipe)
    rows = f"read_csv('{pipe}', header = false, columns = {{'a': 'integer'}})"
    query = f"select count(*) from {rows} a, range(100000000000) b, range(1000) c"
    command = [sys.executable, "-m", "udfs.cli", "sql", query, "-w", str(warehouse)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            rows_of_query = wait_for(lambda: opened_by_reader(pipe), lambda: process.poll())
            os.write(rows_of_query, b"1\n")
            os.close(rows_of_query)
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()


def test_demo_draws_ingests_and_says_what_to_type_next(tmp_path):
    warehouse = tmp_path / "a plant.duckdb"
    first = duckspect("demo", "--units", "60", "--no-train", "-w", str(warehouse))
    assert first.returncode == 0, first.stderr
    assert "60 images found, 0 unchanged" in first.stdout
    assert "AUSTIN_L2" in first.stdout
    assert "duckspect ingest YOUR_FOLDER" in first.stdout
    again = duckspect("demo", "--units", "60", "--no-train", "-w", str(warehouse))
    assert "60 images found, 60 unchanged" in again.stdout
    with connect(warehouse, read_only=True) as con:
        assert con.execute("select count(*) from raw.rejected_files").fetchone() == (0,)
        assert con.execute("select count(distinct attributes->>'camera_id') > 5 from raw.inspections").fetchone() == (
            True,
        )


ODD_VALUES = {
    "(1, 2)": "(1, 2)",
    "row(1, row(2, 3))": "(1, (2, 3))",
    "[(1, 2)]": "[(1, 2)]",
    "map {[1]: 'a'}": "{[1]=a}",
    "interval '3 months 2 days'": "3 months 2 days",
    "[interval 1 day]": "[1 day]",
    "union_value(a := 1)": "1",
    "'10101'::bit": "10101",
    "340282366920938463463374607431768211455::uhugeint": "340282366920938463463374607431768211455",
    "'1234567890123456789012345678901234567890'::bignum": "1234567890123456789012345678901234567890",
    "1::variant": "1",
    "'POINT(1 2)'::geometry": "POINT (1 2)",
    "time_ns '12:34:56.123456789'": "12:34:56.123456789",
    "timetz '12:00:00+02'": "12:00:00+02",
    "time '12:00'": "12:00:00",
    "date 'infinity'": "infinity",
    "timestamp '-infinity'": "-infinity",
    "timestamptz '0044-03-15 (BC) 00:00:00+00'": "0044-03-15 (BC) 00:00:00+00",
    "[date 'infinity']": "[infinity]",
    "'6d3d2541-2e6b-4a0b-b7b8-2f6a0d1a0c11'::uuid": "6d3d2541-2e6b-4a0b-b7b8-2f6a0d1a0c11",
    "'x'::enum('x', 'y')": "x",
    "170141183460469231731687303715884105727::hugeint": "170141183460469231731687303715884105727",
    "'{\"a\": 1}'::json": '{"a": 1}',
    "1.5::decimal(38, 3)": "1.500",
}


@pytest.mark.parametrize(("value", "text"), ODD_VALUES.items(), ids=ODD_VALUES)
def test_a_value_of_any_type_is_printed_in_every_format(con, value, text):
    printed = {}
    for name, write in WRITERS.items():
        stream = io.BytesIO()
        write(AnnouncedRows(execute(con, f"select 7 as n, {value} as v -- a comment"), lambda: None), stream)
        printed[name] = stream.getvalue()
    assert list(csv.reader(io.StringIO(printed[Format.csv].decode()))) == [["n", "v"], ["7", text]]
    assert text in printed[Format.table].decode()
    (row,) = json.loads(printed[Format.json])
    assert row["n"] == 7
    assert str(row["v"]) in (text, "1.5", "['infinity']")
    assert pq.read_table(io.BytesIO(printed[Format.parquet])).num_rows == 1


def test_columns_of_one_name_are_all_printed(con):
    stream = io.BytesIO()
    WRITERS[Format.csv](AnnouncedRows(execute(con, "select 1 as a, 2 as a"), lambda: None), stream)
    assert stream.getvalue() == b"a,a\n1,2\n"
