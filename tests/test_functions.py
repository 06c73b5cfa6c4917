"""The SQL functions: one list, and what each gives for good, missing and bad images."""

import gc
import hashlib
import inspect
import io
import os
import threading
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pytest
from conftest import duckspect, picture
from ibis.backends.sql.datatypes import DuckDBType
from PIL import Image
from served import MODELS, QUICK
from waiting import PATIENCE, wait_for

from models_py.registry import promote, set_operating_point
from models_py.training.train import train
from models_py.warehouse.database import sql_folder
from udfs import connect, cursor, interrupt
from udfs.functions import ibis_functions
from udfs.functions.catalogue import FUNCTIONS, names_function
from udfs.image_counter import COUNTER
from udfs.statements.explain import explain
from udfs.statements.guard import check, hints

SCALARS = [function for function in FUNCTIONS if not function.is_table]
TABLES = [function for function in FUNCTIONS if function.is_table]
OF_TASK = {"classify": "kind", "detect": "box", "segment": "area", "anomaly": "odd", None: "kind"}


def named(function):
    return function.name


def call(function, image):
    """SQL that calls a scalar function on an image expression."""
    given = {"image": image, "model": f"'{OF_TASK[function.task]}'"}
    given["regions"] = "[{'label': 'a', 'confidence': 0.5, 'x1': 1, 'y1': 1, 'x2': 9, 'y2': 9}]"
    given["region"] = "{'x1': 1, 'y1': 1, 'x2': 9, 'y2': 9}"
    return f"{function.name}({', '.join(given[a.name] for a in function.arguments if a.default is None)})"


def one(con, sql, *values):
    return con.execute(f"select {sql}", list(values)).fetchone()[0]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def part(built):
    return str(built.parent / "parts" / "part001.png")


def test_every_macro_file_is_in_the_list_and_takes_its_arguments(con):
    files = {file.stem for file in (sql_folder() / "macros").glob("*.sql")}
    assert files == {function.name for function in FUNCTIONS}
    for function in FUNCTIONS:
        kind = "table_macro" if function.is_table else "macro"
        found = con.execute(
            "select parameters, comment from duckdb_functions() where function_name = ? and function_type = ?",
            [function.name, kind],
        ).fetchone()
        assert found[0] == [item.name for item in function.arguments]
        assert found[1].startswith(function.title)


@pytest.mark.parametrize("function", SCALARS, ids=named)
def test_the_type_is_the_one_in_the_list(served, part, function):
    found = served.execute(f"select typeof({call(function, '?')})", [part]).fetchone()[0]
    assert found == served.execute(f"select typeof(null::{function.returns})").fetchone()[0]


@pytest.mark.parametrize("function", SCALARS, ids=named)
def test_null_gives_null(served, function):
    assert one(served, call(function, "null")) is None
    assert one(served, call(function, "null::blob")) is None


@pytest.mark.parametrize("function", SCALARS, ids=named)
def test_a_path_and_the_same_bytes_give_the_same(served, part, function):
    data = Path(part).read_bytes()
    by_path, by_bytes = one(served, call(function, "?"), part), one(served, call(function, "?::blob"), data)
    assert by_path == by_bytes
    if function.name != "image_error":
        assert by_path is not None


@pytest.mark.parametrize("function", SCALARS, ids=named)
def test_an_unreadable_image_gives_null_among_neighbours_that_do_not(served, part, function):
    rows = served.execute(
        f"select {call(function, 'image')} "
        "from (values (1, ?), (2, '/nowhere/x.png'), (3, ?)) as t (n, image) order by n",
        [part, part],
    ).fetchall()
    good, bad, again = (row[0] for row in rows)
    assert good == again
    if function.name == "image_error":
        assert good is None
        assert "/nowhere/x.png" in bad
    elif function.name == "compare":
        assert {key for key, value in bad.items() if value is not None} == {"error"}
    elif function.name == "predict":
        assert {key for key, value in bad.items() if value is not None} == {"model", "version", "task", "error"}
    else:
        assert good is not None
        assert bad is None


@pytest.mark.parametrize("function", FUNCTIONS, ids=named)
def test_the_example_is_sql_that_duckdb_understands(served, monkeypatch, function):
    sql = function.example
    for wanted, ours in (("'pcb", "'box"), ("'steel", "'kind"), ("'plate", "'area"), ("'tile", "'odd")):
        sql = sql.replace(wanted, ours)
    served.execute(sql).fetchall()


@pytest.mark.parametrize("function", TABLES, ids=named)
def test_table_functions_give_a_row_for_what_cannot_be_read(served, built, tmp_path, monkeypatch, function):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes((built.parent / "parts/part001.png").read_bytes())
    (folder / "b.txt").write_text("no image")
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(folder))
    model = "" if function.task is None else f", '{OF_TASK[function.task]}'"
    found = served.execute(f"select uri, error from {function.name}('{folder}/*'{model}) order by uri").fetchall()
    assert [(row[0], "not an image" in row[1]) for row in found if row[1]] == [(f"{folder}/b.txt", True)]
    columns = served.execute(f"describe from {function.name}('{folder}/*'{model})").fetchall()
    wanted = served.execute(f"describe select unnest(null::struct({function.returns}))").fetchall()
    assert [row[:2] for row in columns] == [row[:2] for row in wanted]


def test_detect_finds_the_drawn_defects_and_leaves_good_parts_alone(served):
    rows = served.execute(
        "select label, x1, y1, x2, y2, detect(image, 'box') as found from parts where label <> 'good'"
    ).fetchall()
    hits = 0
    for label, x1, y1, x2, y2, found in rows:
        for box in found:
            wide = max(0, min(x2, box["x2"]) - max(x1, box["x1"]))
            high = max(0, min(y2, box["y2"]) - max(y1, box["y1"]))
            union = (x2 - x1) * (y2 - y1) + (box["x2"] - box["x1"]) * (box["y2"] - box["y1"]) - wide * high
            hits += box["label"] == label and wide * high / union > 0.5
    assert hits >= len(rows) / 2


def test_classify_gives_all_probabilities_and_the_likeliest_label(served, part):
    found = one(served, "classify(?, 'kind')", part)
    assert set(found["probabilities"]) == {"bar", "good", "spot"}
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_segment_gives_masks_of_the_size_of_their_boxes(served):
    found = served.execute("select unnest(segment(image, 'area')) from parts where label = 'spot'").fetchall()
    assert found
    for (region,) in found:
        mask = np.array(Image.open(io.BytesIO(region["mask"])).convert("L"))
        assert mask.shape == (region["y2"] - region["y1"], region["x2"] - region["x1"])
        assert (mask > 0).sum() == region["area"]


def test_a_threshold_in_the_call_overrides_the_operating_point(served):
    counts = [
        one(served, f"sum(len(detect(image, 'box', threshold := {value}))) from parts") for value in (0.02, 0.5, 1.1)
    ]
    assert counts[0] > counts[1] > counts[2] == 0
    assert one(served, "bool_and(anomaly(image, 'odd', threshold := 0).is_anomalous) from parts")


def test_a_new_operating_point_holds_from_the_next_query_on(served):
    sql = "sum(len(detect(image, 'box'))) from parts"
    assert one(served, sql) > 0
    set_operating_point(served, "box", 1.0, "test")
    assert one(served, sql) == 0
    assert one(served, "bool_and(predict(image, 'box').label = 'good') from parts")
    set_operating_point(served, "box", 0.01, "test", label="bar")
    assert {row[0] for row in served.execute("select unnest(detect(image, 'box')).label from parts").fetchall()} == {
        "bar"
    }


def test_a_promotion_is_seen_by_the_next_query_and_by_prepared_statements(served, part):
    other = train(
        served, name="kind", task="classify", query=MODELS["kind"][1], options={**QUICK, "epochs": 1, "seed": 9}
    )
    served.execute("prepare asked as select predict($1, 'kind').version")
    assert one(served, "predict(?, 'kind').version", part) == 1
    assert served.execute(f"execute asked('{part}')").fetchone()[0] == 1
    promote(served, other.reference, force="test")
    assert one(served, "predict(?, 'kind').version", part) == 2
    assert served.execute(f"execute asked('{part}')").fetchone()[0] == 2
    assert one(served, "predict(?, 'kind@1').version", part) == 1


def test_an_alias_of_an_answer_can_be_used_and_is_computed_once(served):
    served.execute("delete from ml.inference_log")
    rows = served.execute(
        "select detect(image, 'box') as found, len(found) as n from parts where n > 0 order by n, image"
    ).fetchall()
    assert rows
    assert all(len(found) == n for found, n in rows)
    assert served.execute("select sum(images - cache_hits) from ml.inference_log").fetchone()[0] == 36


def test_a_transaction_sees_one_version_throughout(served, part):
    other = train(
        served, name="kind", task="classify", query=MODELS["kind"][1], options={**QUICK, "epochs": 1, "seed": 9}
    )
    reader = served.cursor()
    reader.execute("begin")
    assert one(reader, "predict(?, 'kind').version", part) == 1
    promote(served, other.reference, force="test")
    assert one(reader, "predict(?, 'kind').version", part) == 1
    reader.execute("commit")
    assert one(reader, "predict(?, 'kind').version", part) == 2


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("detect('x', 'nope')", ["'nope'", "area, box, kind, odd"]),
        ("detect('x', 'box@9')", ["box has no '9'", "box@1"]),
        ("detect('x', 'odd')", ["odd is a model to find anomalies", "Models to detect defects: box", "models list"]),
        ("detect('x')", ["model: is missing", "Models to detect defects: box"]),
        ("embed('x', '')", ["model: is missing"]),
        ("anomaly_map('x', 'box')", ["box is a model to detect defects", "odd"]),
    ],
)
def test_a_wrong_model_fails_the_query_with_a_sentence_and_no_traceback(served, sql, words):
    with pytest.raises(duckdb.Error) as caught:
        one(served, sql)
    assert all(word in str(caught.value) for word in words)
    assert "At:" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_a_tampered_artifact_fails_the_query(served, tmp_path, part):
    file = tmp_path / "w_files/artifacts/kind/1/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(duckdb.Error, match="changed or truncated"):
        one(served, "classify(?, 'kind')", part)


ROOTED = {
    "missing": ("{root}/nothing.png", "no such file"),
    "folder": ("{root}", "is a folder"),
    "outside": ("/etc/hostname", "DUCKSPECT_ALLOWED_ROOTS"),
    "dots": ("{root}/../../../../etc/hostname", "DUCKSPECT_ALLOWED_ROOTS"),
    "scheme": ("s9://bucket/x.png", "unknown scheme 's9'"),
    "remote": ("https://example.org/x.png", "DUCKSPECT_ALLOWED_ROOTS"),
    "climbing": ("https://example.org/a/../x.png", "must not go up"),
    "nothing": ("", "is a folder"),
    "long": ("{root}/" + "x" * 5000, "cannot be read"),
    "zero": ("{root}/a\0b.png", "no path"),
}


@pytest.mark.parametrize("name", list(ROOTED))
def test_a_path_that_cannot_be_opened_says_why(served, built, monkeypatch, name):
    root = built.parent / "parts"
    monkeypatch.chdir(root)
    path, reason = ROOTED[name]
    path = path.format(root=root)
    assert reason in one(served, "image_error(?)", path)
    assert reason in one(served, "predict(?, 'kind').error", path)


def test_a_link_out_of_the_allowed_folders_is_not_followed(served, tmp_path, monkeypatch):
    folder = tmp_path / "open"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1, format="png"))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "pipe.png")
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(folder))
    assert "outside" in one(served, "image_error(?)", str(folder / "link.png"))
    assert "no regular file" in one(served, "image_error(?)", str(folder / "pipe.png"))
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", f"{folder}:{tmp_path}")
    assert one(served, "image_error(?)", str(folder / "link.png")) is None


def bomb():
    """A PNG of 60,000 x 60,000 pixels that says so in a few bytes."""
    data = bytearray(png(np.zeros((16, 16), np.uint8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(data)


BAD = {
    "empty": (b"", "empty"),
    "text": (b"hello, world", "not an image"),
    "truncated": (picture(1)[:200], "truncated"),
    "pixel": (png(np.zeros((1, 1), np.uint8)), "too few"),
    "bomb": (bomb(), "oversized"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_bytes_give_null_and_a_reason_and_spare_their_neighbours(served, name):
    data, reason = BAD[name]
    good = picture(7)
    rows = served.execute(
        "select predict(b, 'kind'), image_error(b) from (values (1, ?::blob), (2, ?::blob), (3, ?::blob)) as t (n, b) "
        "order by n",
        [good, data, good],
    ).fetchall()
    assert rows[0][0]["label"] == rows[2][0]["label"] is not None
    assert rows[1][0]["label"] is None
    assert reason in rows[1][0]["error"]
    assert reason in rows[1][1]


def test_image_info_measures_what_is_there(served):
    flat = np.full((20, 30), 100, np.uint8)
    data = png(flat)
    found = one(served, "image_info(?::blob)", data)
    assert found == {
        "width": 30,
        "height": 20,
        "channels": 1,
        "format": "png",
        "sha256": hashlib.sha256(data).hexdigest(),
        "brightness": 100.0,
        "sharpness": 0.0,
    }
    flat[10, 10] = 200
    assert one(served, "image_info(?::blob).sharpness", png(flat)) > 0


def test_draw_paints_the_box_and_crop_cuts_it_out(served):
    data = png(np.full((100, 120, 3), 128, np.uint8))
    box = "{'label': 'a', 'confidence': 0.5, 'x1': 20.0, 'y1': 40.0, 'x2': 60.0, 'y2': 80.0}"
    drawn = np.array(Image.open(io.BytesIO(one(served, f"draw(?::blob, [{box}])", data))))
    assert drawn.shape == (100, 120, 3)
    assert (drawn[60, 20] != 128).any()
    assert (drawn[80, 40] != 128).any()
    assert (drawn[60, 40] == 128).all()
    assert Image.open(io.BytesIO(one(served, f"crop(?::blob, {box})", data))).size == (40, 40)
    assert Image.open(io.BytesIO(one(served, f"crop(?::blob, {box}, margin := 30)", data))).size == (90, 90)
    assert one(served, "crop(?::blob, {'x1': 500, 'y1': 1, 'x2': 600, 'y2': 9})", data) is None
    assert one(served, "crop(?::blob, null::struct(x1 int, y1 int, x2 int, y2 int))", data) is None
    assert (np.array(Image.open(io.BytesIO(one(served, "draw(?::blob, [])", data)))) == 128).all()


def test_an_image_is_nearest_to_itself(served, part):
    rows = served.execute(
        "select image, list_cosine_similarity(embed(image, 'kind'), embed(?, 'kind')) as likeness from parts "
        "order by likeness desc limit 1",
        [part],
    ).fetchall()
    assert rows == [(part, pytest.approx(1, abs=1e-5))]


def test_the_log_has_one_row_per_query_and_model_and_counts_hits_and_errors(served, part):
    served.execute("delete from ml.inference_log")
    sql = "select predict(i, 'kind'), predict(i, 'odd') from (values (?), (?), ('/nowhere')) as t (i)"
    served.execute(sql, [part, part]).fetchall()
    served.execute(sql, [part, part]).fetchall()
    rows = served.execute(
        "select model, version, device, images, cache_hits, errors, seconds > 0 from ml.inference_log "
        "order by logged_at, model"
    ).fetchall()
    assert sorted(rows[:2]) == [("kind", 1, "cpu", 3, 0, 1, True), ("odd", 1, "cpu", 3, 0, 1, True)]
    assert sorted(rows[2:]) == [("kind", 1, "cpu", 3, 1, 1, True), ("odd", 1, "cpu", 3, 1, 1, True)]


def test_a_file_that_changes_is_scored_anew(served, tmp_path, monkeypatch):
    monkeypatch.setenv("DUCKSPECT_ALLOWED_ROOTS", str(tmp_path))
    file = tmp_path / "x.png"
    file.write_bytes(picture(1, format="png"))
    first = one(served, "image_info(?).sha256", str(file))
    file.write_bytes(picture(2, format="png"))
    os.utime(file, (1, 1))
    assert one(served, "image_info(?).sha256", str(file)) != first


def test_newly_ingested_folders_are_open_to_the_next_query(served, tmp_path):
    from models_py.ingest import IngestOptions, ingest, open_tree

    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(5, format="png"))
    assert "outside" in one(served, "image_error(?)", str(folder / "a.png"))
    ingest(served, open_tree(str(folder), tmp_path), tmp_path, IngestOptions(layout="images"))
    assert one(served, "image_error(?)", str(folder / "a.png")) is None


@pytest.mark.parametrize("of_cursor", [False, True], ids=["connection", "cursor"])
def test_an_interrupt_stops_a_long_query_after_the_images_at_work(served, of_cursor):
    con = cursor(served) if of_cursor else served
    con.execute("create table many as select ?::blob || i::varchar::blob as b from range(8000) as t (i)", [picture(1)])
    one(con, "predict(b, 'box') from many limit 1")
    before, at_stop = COUNTER.images, []

    def stop():
        wait_for(lambda: COUNTER.images > before)
        interrupt(con)
        at_stop.append(COUNTER.images)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(duckdb.Error, match=r"(?i)interrupted"):
        con.execute("select sum(len(detect(b, 'box'))) from many").fetchall()
    stopper.join()
    assert COUNTER.images - at_stop[0] < 500, "one call has 2,048, the table 8,000"
    assert one(con, "42") == 42


def test_many_threads_ask_at_once_and_get_the_same_answers(served):
    sql = "select predict(image, 'kind').label, predict(image, 'odd').score from parts order by image"
    wanted = served.execute(sql).fetchall()
    found = []

    def ask():
        with served.cursor() as cursor:
            found.append(cursor.execute(sql).fetchall())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [wanted] * 6


def test_a_read_only_session_answers_and_writes_no_log(built, part):
    with connect(built, read_only=True) as con:
        assert one(con, "classify(?, 'kind').label", part) is not None


def test_a_session_can_be_opened_again_and_twice(built, part):
    for _ in range(2):
        with connect(built) as first, connect(built) as second:
            assert one(first, "classify(?, 'kind').label", part) == one(second, "classify(?, 'kind').label", part)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # Ibis 12 calls it
def test_ibis_runs_the_functions_in_duckdb(served):
    from ibis import _

    connection = ibis.duckdb.from_connection(served)
    table = connection.table("parts").order_by("image")
    asked = table.mutate(
        found=ibis_functions.detect(_.image, "box"),
        label=ibis_functions.predict(_.image, "kind").label,
        picture=ibis_functions.draw(_.image, ibis_functions.detect(_.image, "box")),
    )
    rows = asked.select("found", "label", "picture").to_pyarrow().to_pylist()
    wanted = served.execute(
        "select detect(image, 'box'), predict(image, 'kind').label, draw(image, detect(image, 'box')) "
        "from parts order by image"
    ).fetchall()
    assert [tuple(row.values()) for row in rows] == wanted


@pytest.mark.parametrize("function", SCALARS, ids=lambda function: function.name)
def test_the_ibis_functions_have_the_names_arguments_and_results_of_the_catalogue(function):
    defined = getattr(ibis_functions, function.name)
    parameters = inspect.signature(defined).parameters.values()
    assert [parameter.name for parameter in parameters] == [argument.name for argument in function.arguments]
    for parameter, argument in zip(parameters, function.arguments, strict=True):
        given = inspect.Parameter.empty if argument.default is None else ibis_functions.sql_literal(argument.default)
        assert parameter.default == given
    result = type(ibis.null(DuckDBType.from_string(function.returns))).__name__.replace("Scalar", "Value")
    assert inspect.get_annotations(defined)["return"] == f"ir.{result}"
    assert defined.__doc__ == f"{function.title}."


def test_a_macro_is_found_from_another_attached_database(served):
    served.execute("attach ':memory:' as elsewhere")
    served.execute("use elsewhere")
    assert served.execute("select w.main.image_error('/none.png')").fetchone()[0].startswith("/none.png")


def test_the_packages_are_typed_for_their_users():
    root = Path(__file__).parents[1]
    assert all((root / name / "py.typed").exists() for name in ("models_py", "udfs", "dashboard"))


def test_explain_counts_and_scores_nothing(served):
    served.execute("delete from ml.inference_log")
    (found,) = explain(served, "create table x as select detect(image, 'box') from parts where label = 'bar'")
    assert (found.model, found.images, found.cached, found.seconds) == ("box@1", 12, 0, None)
    assert not served.execute("from ml.inference_log").fetchall()
    served.execute("select detect(image, 'box') from parts where label = 'bar' limit 5").fetchall()
    (found,) = explain(served, "select image from parts where len(detect(image, 'box')) > 0")
    assert (found.images, found.cached) == (36, 5)
    assert found.seconds > 0
    served.execute("create table predictions as select image_id, 'box' as model, 1 as version from raw.images limit 7")
    assert explain(served, "select detect(image, 'box') from parts")[0].predicted == 7


def test_views_over_models_are_refused_with_the_fix():
    with pytest.raises(Exception, match="create table v as select"):
        check("create or replace view v as select predict(uri, 'pcb').label from raw.images")
    with pytest.raises(Exception, match="detections"):
        check("create view v as from detections('x/*', 'pcb')")
    check("create view v as select 1; create table t as select detect(uri, 'pcb') from x")


def test_a_model_call_before_a_join_is_pointed_out():
    (hint,) = hints("select 1 from a join b using (k) where anomaly(a.uri, 'm').is_anomalous and b.x = 1")
    assert "anomaly() in WHERE runs before the join with b" in hint
    assert not hints("select 1 from a where line = 'x' and len(detect(uri, 'm')) > 0")
    assert not hints("select d.label from a, unnest(detect(uri, 'm')) as t(d) where d.label = 'x'")
    assert names_function("select DETECT (uri)")
    assert not names_function("select detected(uri)")


def test_duckdb_runs_cheap_filters_first(served):
    served.execute("delete from ml.inference_log")
    served.execute("select image from parts where len(detect(image, 'box')) > 0 and label = 'bar'").fetchall()
    assert served.execute("select images from ml.inference_log").fetchall() == [(12,)]


def test_the_command_line_lists_explains_and_refuses(built):
    listed = duckspect("functions").stdout
    assert all(function.signature in listed for function in FUNCTIONS)
    assert "operating point" in duckspect("functions", "detect").stdout
    assert "there is no 'x'" in duckspect("functions", "x").stderr
    explained = duckspect("explain", "select detect(image, 'box') from parts", "-w", str(built))
    assert "box@1" in explained.stdout
    assert "36" in explained.stdout
    refused = duckspect("sql", "--write", "create view v as select detect('x', 'box')", "-w", str(built))
    assert refused.returncode == 1
    assert "Store the rows instead" in refused.stderr
    answered = duckspect("sql", "select detect(image, 'nope') from parts", "-w", str(built))
    assert "there is no 'nope'" in answered.stderr
    assert "Traceback" not in answered.stderr


def test_the_functions_outlive_the_connection_that_brought_them(tmp_path):
    other = duckdb.connect(tmp_path / "w.duckdb")
    for _ in range(2):
        connect(tmp_path / "w.duckdb").close()
        gc.collect()
        assert "outside the folders" in other.execute("select image_error('/nowhere.png')").fetchone()[0]
    other.close()
