"""`duckspect serve` over HTTP: verdicts, records, batches, limits, promotion under load, an end that loses nothing."""

import base64
import io
import itertools
import json
import shutil
import signal
import threading

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from conftest import duckspect, picture, write_board
from drawn import part
from PIL import Image
from server import Server, at_once, serving
from waiting import PATIENCE, wait_for

from udfs import connect
from udfs.verdicts.journal import journal_folder


def png(seed: int, defect: str | None = "spot") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(part(seed, defect)[0]).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def warehouse(built, tmp_path_factory):
    """A copy of the served warehouse for one server; the images stay where they are."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copy(built, folder / "w.duckdb")
    shutil.copytree(built.parent / "w_files", folder / "w_files")
    return folder / "w.duckdb"


@pytest.fixture(scope="module")
def server(warehouse):
    with serving(warehouse) as found:
        yield found


def asked(con, sql):
    """The one row of a query that runs in the server."""
    return con.execute(f"from wh.query($${sql}$$)").fetchone()


@pytest.mark.parametrize("model", ["kind", "box", "area", "odd"])
def test_http_says_what_sql_says(server, model):
    image = png(901)
    answer = server.predict(model, image).json()
    con = server.attach()
    row = asked(con, f"select to_json(predict(from_base64('{base64.b64encode(image).decode()}'), '{model}'))::varchar")
    expected = json.loads(row[0])
    for name in ("model", "version", "task", "label"):
        assert answer[name] == expected[name]
    assert answer["score"] == pytest.approx(expected["score"], abs=1e-4)
    assert len(answer["regions"]) == len(expected["regions"])
    for mine, theirs in zip(answer["regions"], expected["regions"], strict=True):
        assert mine["label"] == theirs["label"]
        assert mine["confidence"] == pytest.approx(theirs["confidence"], abs=1e-4)
        assert (mine["x1"] is None) == (theirs["x1"] is None)


def test_an_image_may_come_as_form_json_bytes_or_uri(server, warehouse, built):
    image, url = png(902), f"{server.url}/v1/models/box/predict"
    uri = str(built.parent / "parts" / "part001.png")
    bodies = [
        {"files": {"image": image}},
        {"json": {"image": base64.b64encode(image).decode()}},
        {"data": image, "headers": {"Content-Type": "image/png"}},
        {"json": {"uri": uri}},
    ]
    for body in bodies:
        headers = server.headers() | body.pop("headers", {})
        answer = requests.post(url, headers=headers, timeout=PATIENCE, **body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["task"] == "detect"


def test_the_picture_comes_as_a_field_or_as_the_answer(server):
    image = png(903)
    answer = requests.post(
        f"{server.url}/v1/models/area/predict?picture=true",
        files={"image": image},
        headers=server.headers(),
        timeout=PATIENCE,
    )
    drawn = Image.open(io.BytesIO(base64.b64decode(answer.json()["picture"])))
    assert drawn.size == (64, 64)
    again = requests.post(
        f"{server.url}/v1/models/area/predict",
        files={"image": image},
        headers=server.headers() | {"Accept": "image/png"},
        timeout=PATIENCE,
    )
    assert again.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(again.content)).size == (64, 64)


def test_a_verdict_is_on_record_with_its_unit_and_its_image(server, warehouse):
    fields = {"unit_id": "U-77", "line_id": "L9", "station_id": "S2", "product_type": "BRACKET"}
    image = png(904)
    answer = server.predict("kind", image, **fields).json()
    server.settle()
    con = server.attach()
    found = asked(
        con,
        f"select inspections.unit_id, inspections.line_id, images.uri, images.format, verdicts.client, "
        f"verdicts.request_id = '{answer['request_id']}' from ml.verdicts "
        f"join raw.inspections using (inspection_id) join raw.images on images.image_id = verdicts.image_id "
        f"where verdicts.inspection_id = '{answer['inspection_id']}'",
    )
    assert (found[0], found[1], *found[3:]) == ("U-77", "L9", "png", "line1", True)
    assert (warehouse.parent / found[2]).read_bytes() == image
    assert found[2].startswith("w_files/served/")
    assert server.predict("kind", image).json()["inspection_id"] is None


def test_a_request_that_is_sent_again_is_recorded_once(server):
    for _ in range(2):
        answer = requests.post(
            f"{server.url}/v1/models/kind/predict",
            files={"image": png(905)},
            data={"unit_id": "U-twice"},
            headers=server.headers() | {"X-Request-Id": "retry-1"},
            timeout=PATIENCE,
        )
        assert answer.headers["x-request-id"] == "retry-1"
    server.settle()
    con = server.attach()
    assert asked(con, "select count(*) from ml.verdicts where request_id = 'retry-1'") == (1,)
    assert asked(con, "select count(*) from raw.inspections where unit_id = 'U-twice'") == (1,)


def test_a_request_that_is_sent_again_gets_the_verdict_that_is_on_record(server, warehouse):
    def ask(name: str) -> dict:
        answer = requests.post(
            f"{server.url}/v1/models/odd/predict",
            files={"image": png(906)},
            headers=server.headers() | {"X-Request-Id": name},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = ask("retry-2")
    threshold = 0.0 if not first["is_defective"] else 1e9
    server.settle()
    server.attach("admin").execute(
        f"from wh.query($$insert into ml.thresholds values ('odd', 1, '*', {threshold}, now(), 'test')$$)"
    ).fetchall()
    assert ask("another")["is_defective"] is not first["is_defective"], "a new threshold holds from the next request on"
    assert ask("retry-2") == first
    assert asked(server.attach(), "select count(*) from ml.verdicts where request_id = 'retry-2'") == (1,)


def test_a_server_whose_journal_cannot_be_written_says_so_until_it_can(server, warehouse):
    folder = journal_folder(warehouse)
    moved = folder.with_name("moved")
    server.settle()
    folder.rename(moved)
    folder.touch()
    try:
        refused = server.predict("kind", png(907))
        assert (refused.status_code, "could not be stored" in refused.json()["error"]) == (503, True)
        assert server.predict("kind", b"no image").status_code == 503, "a rejection is on record before it goes out"
        ready = requests.get(f"{server.url}/readyz", timeout=PATIENCE)
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert ready.json()["threads"]["journal"] == "its last task failed: Not a directory"
        assert requests.get(f"{server.url}/v2/health/ready", timeout=PATIENCE).status_code == 503
    finally:
        folder.unlink()
        moved.rename(folder)
    # It tries by itself.
    wait_for(lambda: requests.get(f"{server.url}/readyz", timeout=PATIENCE).status_code == 200, server.said)
    assert server.predict("kind", png(907)).status_code == 200
    threads = requests.get(f"{server.url}/readyz", timeout=PATIENCE).json()["threads"]
    assert {"journal", "verdict rows", "control", "images", "decode"} <= set(threads)
    assert set(threads.values()) == {"ok"}


def test_clients_that_ask_at_once_share_forward_passes_and_get_their_own_answers(server):
    images = [png(1000 + number, (None, "spot", "bar")[number % 3]) for number in range(24)]
    batches = server.metric("duckspect_batch_images_count"), server.metric("duckspect_batch_images_sum")
    kept = server.metric("duckspect_result_cache_bytes")
    together = at_once(24, lambda number: server.predict("box", images[number]).json())
    counted = server.metric("duckspect_batch_images_count") - batches[0]
    assert counted == 24
    assert server.metric("duckspect_batch_images_sum") - batches[1] > 2 * counted
    assert server.metric("duckspect_result_cache_bytes") > kept
    con = server.attach()
    for image, answer in zip(images, together, strict=True):
        row = asked(con, f"select predict(from_base64('{base64.b64encode(image).decode()}'), 'box').score")
        assert answer["score"] == pytest.approx(row[0], abs=1e-3)


def test_a_bad_image_fails_its_own_request_alone_and_is_on_record(server):
    bad = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
    answers = at_once(8, lambda number: server.predict("kind", bad if number == 3 else png(1100 + number)))
    assert [answer.status_code for answer in answers] == [422 if number == 3 else 200 for number in range(8)]
    assert "png" in answers[3].json()["error"].lower()
    server.settle()
    assert asked(server.attach(), "select count(*) from raw.rejected_files where uri like 'urn:sha256:%'")[0] >= 1


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"headers": {}}, 401, "token"),
        ({"headers": {"Authorization": "Bearer dsk_wrong"}}, 401, "token"),
        ({"headers": {"X-API-Key": ""}}, 401, "token"),
        ({"role": "reader"}, 403, "writer"),
        ({"model": "nothing"}, 404, "Registered"),
        ({"model": "kind@77"}, 404, "kind@1"),
        ({"json": {"image": "?"}}, 422, "base64"),
        ({"json": {}}, 422, "uri"),
        ({"json": {"image": "QQ==", "speed": 3}}, 422, "speed"),
        ({"json": {"uri": "/etc/passwd"}}, 422, "DUCKSPECT_ALLOWED_ROOTS"),
        ({"json": {"uri": "../../../../etc/passwd"}}, 422, "passwd"),
        ({"json": {"uri": "w_files/../../../../../../etc/hosts"}}, 422, "hosts"),
        ({"json": {"uri": "http://169.254.169.254/latest/meta-data"}}, 422, "outside"),
        ({"json": {"uri": "http://127.0.0.1:1/x.png"}}, 422, "outside"),
        ({"json": {"uri": "gopher://127.0.0.1/x"}}, 422, "scheme"),
        ({"data": b"x", "type": "text/csv"}, 415, "text/csv"),
        ({"data": b"", "type": "image/png"}, 422, "empty"),
        ({"data": b"{", "type": "application/json"}, 422, "JSON"),
        ({"data": b"x", "type": "multipart/form-data"}, 400, "boundary"),
        ({"data": b"x", "type": "multipart/form-data; boundary=x; charset=punycode"}, 415, "punycode"),
        ({"data": b'{"a": 1' + b', "a": 1' * 20_000 + b"}", "type": "application/json"}, 413, "10,000 values"),
        ({"data": b'{"uri": "\\ud800"}', "type": "application/json"}, 422, "JSON"),
        ({"json": {str(number): 1 for number in range(900)}}, 422, "and 895 more"),
        ({"json": {"image": "QQ==", "captured_at": "yesterday"}}, 422, "captured_at"),
        (
            {"json": {"image": "QQ==", "captured_at": "2262-01-01T00:00:00Z"}},
            422,
            "to a day after now, but is 2262",
        ),
        ({"json": {"image": "QQ==", "captured_at": "0001-01-01T00:00:00+12:00"}}, 422, "from 1990-01-01"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_what_is_wrong_with_a_request_is_said_in_a_sentence(server, change, status, word):
    headers = change.get("headers", server.headers(change.get("role", "writer")))
    body = {key: change[key] for key in ("json", "data") if key in change} or {"files": {"image": png(1)}}
    if "type" in change:
        headers = headers | {"Content-Type": change["type"]}
    answer = requests.post(
        f"{server.url}/v1/models/{change.get('model', 'kind')}/predict", headers=headers, timeout=PATIENCE, **body
    )
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]
    assert server.says(answer.json()["request_id"])
    assert server.predict("kind", png(1)).status_code == 200


def test_no_token_is_ever_written_down(server):
    requests.get(f"{server.url}/v1/models", headers={"Authorization": "Bearer dsk_secret"}, timeout=PATIENCE)
    server.get("/v1/models")
    assert "dsk_" not in server.said()
    text = server.tokens_file.read_text()
    assert all(token not in text for token in server.tokens.values())
    assert server.tokens_file.stat().st_mode & 0o077 == 0


def test_health_and_documents_are_open_and_complete(server):
    assert requests.get(f"{server.url}/healthz", timeout=PATIENCE).text == "ok"
    ready = requests.get(f"{server.url}/readyz", timeout=PATIENCE).json()
    assert ready["ready"]
    assert ready["models"]["kind"] == "kind@1"
    page = requests.get(f"{server.url}/docs", timeout=PATIENCE).text
    assert "http://" not in page
    assert "https://" not in page.replace("https://fastapi.tiangolo.com/img/favicon.png", "")
    schema = requests.get(f"{server.url}/openapi.json", timeout=PATIENCE).json()
    assert "/v1/models/{reference}/predict" in schema["paths"]
    assert server.get("/v1/models/kind@champion").json()["aliases"] == ["champion"]
    assert {model["name"] for model in server.get("/v1/models").json()} == {"kind", "box", "area", "odd"}


def test_a_client_of_the_open_inference_protocol_is_served(server):
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    headers = {"authorization": f"Bearer {server.tokens['writer']}"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("kind", "1", headers=headers)
    assert client.get_model_metadata("kind", headers=headers)["versions"] == ["1"]
    images = [png(1200), b"broken", png(1201, None)]
    given = triton.InferInput("image", [3], "BYTES")
    given.set_data_from_numpy(np.array(images, dtype=np.object_), binary_data=True)
    wanted = [
        triton.InferRequestedOutput("label", binary_data=True),
        triton.InferRequestedOutput("score", binary_data=True),
        triton.InferRequestedOutput("error", binary_data=False),
    ]
    found = client.infer("kind", [given], outputs=wanted, headers=dict(headers), request_id="7")
    assert found.get_response()["id"] == "7"
    errors = found.as_numpy("error")
    assert [bool(error) for error in errors.tolist()] == [False, True, False]
    for place in (0, 2):
        answer = server.predict("kind", images[place]).json()
        assert found.as_numpy("label")[place].decode() == answer["label"]
        assert found.as_numpy("score")[place] == pytest.approx(answer["score"], abs=1e-5)
    text = triton.InferInput("image", [1], "BYTES")
    coded = np.array([base64.b64encode(images[0])], dtype=np.object_)
    text.set_data_from_numpy(coded, binary_data=False)
    by_json = client.infer("box", [text], model_version="1", headers=headers, parameters={"unit_id": "U-oip"})
    assert by_json.as_numpy("is_defective").dtype == bool
    with pytest.raises(triton.InferenceServerException, match="no 'nothing'"):
        client.infer("nothing", [given], headers=headers)


ONE = {"name": "uri", "datatype": "BYTES", "shape": [1], "data": ["x"]}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{}", "inputs"),
        (b"[" * 5000, "JSON"),
        (b"[" * 20_000, "10,000 values"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [ONE, ONE]}, "at most 1 item"),
        ({"inputs": [ONE | {"datatype": "FP32"}]}, "BYTES"),
        ({"inputs": [ONE | {"name": ["image"]}]}, "inputs.0.name"),
        ({"inputs": [ONE | {"name": "image", "data": ["?"]}]}, "base64"),
        ({"inputs": [ONE | {"data": [7]}]}, "strings"),
        ({"inputs": [ONE | {"data": []}]}, "1 to 64"),
        ({"inputs": [ONE | {"data": ["x"] * 65, "shape": [65]}]}, "1 to 64"),
        ({"inputs": [ONE | {"data": ["x" * 5000]}]}, "4096"),
        ({"inputs": [ONE | {"data": None}]}, "binary_data_size"),
        ({"inputs": [ONE | {"shape": [2]}]}, "does not fit 1 images"),
        ({"inputs": [ONE | {"shape": [-1]}]}, "greater than or equal to 0"),
        ({"inputs": [ONE | {"shape": [True]}]}, "inputs.0.shape.0"),
        ({"inputs": [ONE | {"shape": []}]}, "at least 1 item"),
        ({"inputs": [ONE | {"shape": [1] * 9}]}, "at most 8 items"),
        ({"inputs": [ONE | {"shape": [10**4000]}]}, "does not fit"),
        ({"inputs": [ONE | {"parameters": {"binary_data_size": -1}}]}, "binary_data_size"),
        ({"inputs": [ONE | {"parameters": {"binary_data_size": 10**30}, "data": None}]}, "binary_data_size"),
        ({"inputs": [ONE], "outputs": [{"name": "nothing"}]}, "'label', 'confidence'"),
        ({"inputs": [ONE], "outputs": [{"name": {}}]}, "outputs.0.name"),
        ({"inputs": [ONE], "outputs": [{"name": "score"}, {"name": "score"}]}, "once"),
        ({"inputs": [ONE], "outputs": [{"name": "score"}] * 1000}, "at most 7 items"),
        ({"inputs": [ONE], "outputs": [{"name": "regions"}] * 20_000}, "10,000 values"),
        ({"inputs": [ONE], "id": float("nan")}, "id"),
        ({"inputs": [ONE], "id": "\ud800"}, "JSON"),
        ({"inputs": [ONE], "id": "7" * 201}, "at most 200 characters"),
        ({"inputs": [ONE | {"data": ["\ud800"]}]}, "JSON"),
        ({"inputs": [ONE], "parameters": {"unit_id": 7}}, "unit_id"),
        ({"inputs": [ONE], "parameters": []}, "parameters"),
    ],
    ids=str,
)
def test_a_request_outside_the_protocol_is_refused_in_words(server, body, word):
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = requests.post(f"{server.url}/v2/models/kind/infer", data=data, headers=server.headers(), timeout=PATIENCE)
    assert answer.status_code in (400, 413, 422), answer.text
    assert word in answer.json()["error"]


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "x", "²", "99999"])
def test_a_length_of_the_json_part_that_is_none_is_refused(server, length):
    headers = server.headers() | {"Inference-Header-Content-Length": length.encode("latin-1")}
    answer = requests.post(f"{server.url}/v2/models/kind/infer", data=b"{}", headers=headers, timeout=PATIENCE)
    assert answer.status_code == 400
    assert "must be the length of the JSON part, 2 at most" in answer.json()["error"]


@pytest.mark.parametrize(
    "binary",
    [b"\0" * 400, b"\x05\0\0\0ab", b"\x05\0", b"\x01\0\0\0\xff"],
    ids=["too many", "ends early", "half a length", "no text"],
)
def test_a_binary_tensor_that_cannot_be_read_is_refused(server, binary):
    described = ONE | {"parameters": {"binary_data_size": len(binary)}}
    head = json.dumps({"inputs": [{key: described[key] for key in described if key != "data"}]}).encode()
    headers = server.headers() | {"Inference-Header-Content-Length": str(len(head))}
    answer = requests.post(f"{server.url}/v2/models/kind/infer", data=head + binary, headers=headers, timeout=PATIENCE)
    assert answer.status_code in (400, 413), answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    ["kind%00", "%ED%A0%80", "kind@" + "9" * 5000, "kind/versions/" + "9" * 5000, "kind@%00", "x" * 9000, "kind@²"],
)
def test_odd_names_of_models_are_not_found(server, path):
    for url in (f"/v1/models/{path}", f"/v2/models/{path}", f"/v2/models/{path}/ready"):
        assert server.get(url).status_code == 404
    answer = requests.post(
        f"{server.url}/v2/models/{path}/infer", json={"inputs": [ONE]}, headers=server.headers(), timeout=PATIENCE
    )
    assert answer.status_code == 404


def test_a_token_that_is_taken_away_is_refused_at_once(warehouse, server):
    added = duckspect("tokens", "add", "temp", "--role", "reader", "--tokens", str(server.tokens_file))
    headers = {"X-API-Key": added.stdout.strip()}
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=PATIENCE).status_code == 200
    assert duckspect("tokens", "remove", "temp", "--tokens", str(server.tokens_file)).returncode == 0
    assert requests.get(f"{server.url}/v1/models", headers=headers, timeout=PATIENCE).status_code == 401


def test_a_promotion_holds_from_the_next_request_on_and_drops_none(server, warehouse):
    stop, statuses, versions = threading.Event(), [], []

    def load() -> None:
        while not stop.is_set():
            answer = server.predict("kind", png(1300))
            statuses.append(answer.status_code)
            versions.append(answer.json().get("version"))

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        train_second(server)
        promoted = duckspect("models", "promote", "kind@2", "--force", "test", "-w", str(warehouse))
        assert promoted.returncode == 0, promoted.stderr
        assert server.predict("kind", png(1301)).json()["version"] == 2
        folder = warehouse.with_name("w_files") / "artifacts" / "kind" / "1"
        (folder / "model.safetensors").write_bytes(b"broken")
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(statuses) == {200}
    assert {1, 2} <= set(versions)


def test_compiling_while_serving_drops_no_request_and_holds_from_the_next_on(server, warehouse):
    stop, statuses, seeds = threading.Event(), [], itertools.count(1500)

    def load() -> None:
        while not stop.is_set():
            statuses.append(server.predict("odd", png(next(seeds))).status_code)

    before = server.predict("odd", png(1499)).json()
    assert "odd: may answer faster after `duckspect models compile`" in server.said()
    client = threading.Thread(target=load)
    client.start()
    try:
        compiled = duckspect("models", "compile", "odd", "--json", "-w", str(warehouse))
        assert compiled.returncode == 0, compiled.stderr
        (outcome,) = json.loads(compiled.stdout)
        after = server.predict("odd", png(1498)).json()
        assert after["version"] == before["version"]
        if outcome["compiled_ms"] < outcome["torch_ms"]:  # else torch stays, as it should
            assert server.says("odd is answered by odd@1 now, compiled")
    finally:
        stop.set()
        client.join()
    assert set(statuses) == {200}


def train_second(server: Server) -> None:
    """A second version of `kind`, by the registry's own rows: the same artifact under a new number."""
    con = server.attach("admin")
    folder = server.warehouse.with_name("w_files") / "artifacts" / "kind"
    shutil.copytree(folder / "1", folder / "2")
    con.execute(
        "from wh.query($$insert into ml.model_versions by name select * replace (2 as version, "
        "replace(artifact_uri, 'kind/1', 'kind/2') as artifact_uri, now() as created_at) "
        "from ml.model_versions where name = 'kind'$$)"
    ).fetchall()


def test_a_broken_artifact_leaves_the_version_before_in_service(server, warehouse):
    con = server.attach("admin")
    assert server.predict("area", png(1400)).json()["version"] == 1
    con.execute(
        "from wh.query($$insert into ml.model_versions by name select * replace (2 as version, "
        "artifact_uri || '-gone' as artifact_uri, 'x' as artifact_sha256, now() as created_at) "
        "from ml.model_versions where name = 'area'$$)"
    ).fetchall()
    promoted = duckspect("models", "promote", "area@2", "--force", "test", "-w", str(warehouse))
    assert promoted.returncode == 0, promoted.stderr
    assert server.says("area@1 stays in service"), "what a command promotes is loaded before anybody asks"
    answer = server.predict("area", png(1401))
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert requests.get(f"{server.url}/readyz", timeout=PATIENCE).json()["broken"] == ["area"]
    assert server.predict("area@2", png(1401)).status_code == 503


def test_commands_run_in_the_server_that_holds_the_warehouse(server, warehouse):
    listed = duckspect("models", "list", "-w", str(warehouse))
    assert listed.returncode == 0, listed.stderr
    assert "kind@1" in listed.stdout
    wrong = duckspect("models", "promote", "nothing", "-w", str(warehouse))
    assert wrong.returncode == 1
    assert "Registered" in wrong.stderr
    assert duckspect("models", "promote", "--nonsense", "-w", str(warehouse)).returncode == 2
    board = write_board(warehouse.parent / "boards", "00041000", 4100, "1 1 10 10 2\n")
    loaded = duckspect("ingest", str(board.parents[3]), "--layout", "deeppcb", "-w", str(warehouse))
    assert loaded.returncode == 0, loaded.stderr
    with connect(warehouse.with_name("w.published.duckdb"), read_only=True) as readers:
        found = readers.execute("select count(*) from raw.inspections where uri like '%00041000%'").fetchone()
    assert found == (1,)
    elsewhere = duckspect("sql", "select 1", "--write", "-w", str(warehouse))
    assert elsewhere.returncode == 1
    assert "in use by another process" in elsewhere.stderr


def test_a_server_that_is_killed_loses_no_verdict_that_it_gave(built, tmp_path):
    shutil.copy(built, tmp_path / "w.duckdb")
    shutil.copytree(built.parent / "w_files", tmp_path / "w_files")
    server = Server(tmp_path / "w.duckdb", "--no-keep-images")
    given: list[str] = []

    def load(number: int) -> None:
        for step in range(10_000):
            try:
                answer = server.predict("kind", png(2000 + 100 * number + step), unit_id=f"U-{number}-{step}")
            except requests.RequestException:
                return
            if answer.status_code == 200:
                given.append(answer.json()["inspection_id"])

    def ask_again(server: Server) -> dict:
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "before-the-end"}
        url = f"{server.url}/v1/models/kind/predict"
        return requests.post(url, files={"image": png(1999)}, headers=headers, timeout=PATIENCE).json()

    token = server.tokens["writer"]
    before = ask_again(server)
    clients = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    wait_for(lambda: len(given) > 20, server.said)
    server.stop(signal.SIGKILL)
    for client in clients:
        client.join()
    with connect(tmp_path / "w.duckdb") as con:
        assert not list(journal_folder(tmp_path / "w.duckdb").iterdir())
        rows = con.execute(
            "select verdicts.inspection_id, images.uri from ml.verdicts join raw.inspections using (inspection_id) "
            "join raw.images on images.image_id = verdicts.image_id"
        ).fetchall()
        ids = con.execute("select request_id from ml.verdicts").fetchall()
    assert set(given) <= {row[0] for row in rows}
    assert all(row[1].startswith("urn:sha256:") for row in rows)
    with serving(tmp_path / "w.duckdb", "--no-keep-images") as again:
        assert ask_again(again) == before
    with connect(tmp_path / "w.duckdb") as con:
        assert con.execute("select request_id from ml.verdicts").fetchall() == ids


def test_a_server_that_is_told_to_stop_finishes_what_is_at_work(built, tmp_path):
    shutil.copy(built, tmp_path / "w.duckdb")
    shutil.copytree(built.parent / "w_files", tmp_path / "w_files")
    server = Server(tmp_path / "w.duckdb")
    answers = []

    def ask(number: int) -> None:
        answers.append(server.predict("box", png(3000 + number)).status_code)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for client in clients:
        client.start()
    wait_for(lambda: len(answers) + server.metric("duckspect_requests_in_progress") == 12, server.said)
    assert server.stop() == 0
    for client in clients:
        client.join()
    assert set(answers) == {200}
    with connect(tmp_path / "w.duckdb") as con:
        assert con.execute("select count(*) from ml.verdicts").fetchone() == (12,)


def test_a_server_without_tokens_says_how_to_make_one(built, tmp_path):
    found = duckspect("serve", "-w", str(built), "--tokens", str(tmp_path / "none.json"))
    assert found.returncode == 1
    assert "duckspect tokens add" in found.stderr
    wrong = duckspect("serve", "-w", str(built), "--http", "somewhere")
    assert wrong.returncode == 1
    assert "HOST:PORT" in wrong.stderr


def test_what_the_server_scored_is_not_scored_again(plant_copy):
    with connect(plant_copy, read_only=True) as con:
        before = con.execute("select count(*) from predictions").fetchone()[0]
        product = con.execute(
            "select product_type from raw.inspections where product_type like 'PCB-%' limit 1"
        ).fetchone()[0]
    with serving(plant_copy) as server:
        for number in range(3):
            fields = {"unit_id": f"U-{number}", "line_id": "AUSTIN_L1", "product_type": product}
            answer = server.predict("pcb", picture(4000 + number, (160, 160)), **fields)
            assert answer.status_code == 200, answer.text
        built = duckspect("build", "-w", str(plant_copy))
        assert built.returncode == 0, built.stderr
        con = server.attach()
        assert con.execute("select count(*) from wh.main.predictions").fetchone()[0] == before + 3
        counted = asked(
            con,
            "select count(*), count(verdicts.image_id) from predictions join raw.inspections using (image_id) "
            "left join ml.verdicts using (image_id) where unit_id like 'U-%' and scored_at = judged_at",
        )
        assert counted == (3, 3)
        assert asked(con, "select count(*) from fct_inspections where unit_id like 'U-%'") == (3,)
    with connect(plant_copy.with_name("w.published.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from fct_inspections where unit_id like 'U-%'").fetchone() == (3,)
