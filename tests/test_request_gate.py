"""What stands before the routes of the server: tokens, limits, patience."""

import asyncio
import contextlib
import json
import socket
import threading

import pytest
import uvicorn
from waiting import PATIENCE

from models_py.errors import DuckspectError
from udfs.serving.addresses import address_of
from udfs.serving.header_timeout import impatient
from udfs.serving.request_gate import RequestGate, RequestLimits
from udfs.serving.serve import _HttpServer
from udfs.serving.server_metrics import ServerMetrics
from udfs.serving.tokens import TokenError, TokenFile, add_token, read_tokens, remove_token

PREDICT = "/v1/models/pcb/predict"


@pytest.fixture
def tokens(tmp_path):
    return tmp_path / "tokens.json"


def front(tokens, app, **limits):
    return RequestGate(app, TokenFile(tokens), RequestLimits(**{"linger_seconds": 0.05, **limits}), ServerMetrics())


async def quick(scope, receive, send):
    """An application that answers at once."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def silent(scope, receive, send):
    """An application that never answers."""
    await asyncio.Event().wait()


async def slow(scope, receive, send):
    """An application that answers once all others had a turn: requests made together are at work together."""
    for _ in range(100 if "slow" in scope["query_string"].decode() else 0):
        await asyncio.sleep(0)
    await quick(scope, receive, send)


async def ask(app, path=PREDICT, token="", query="", messages=None, headers=(), method="POST", read=None):
    sent = []
    read = [] if read is None else read

    async def send(message):
        sent.append(message)

    waiting = list(messages or [{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive():
        read.append(len(sent))  # how much of the answer was sent before the client was listened to
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    listed = [(b"authorization", f"Bearer {token}".encode()), *headers]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": listed}
    await app({**scope, "client": ("127.0.0.1", 1)}, receive, send)
    head = dict(sent[0]["headers"])
    body = sent[1]["body"]
    return sent[0]["status"], head, json.loads(body)["error"] if body.startswith(b"{") else body


def test_too_many_at_once_are_sent_away_with_a_time_to_come_back(tokens):
    token = add_token(tokens, "line1", "writer")

    async def rush():
        release = asyncio.Event()

        async def held(scope, receive, send):
            await release.wait()
            await quick(scope, receive, send)

        app = front(tokens, held, at_once=3)
        asked = [asyncio.create_task(ask(app, token=token)) for _ in range(5)]
        refused = [await answer for _, answer in zip(range(2), asyncio.as_completed(asked), strict=False)]
        release.set()
        answers = await asyncio.gather(*asked)
        return refused, answers, await ask(app, token=token)

    refused, answers, later = asyncio.run(rush())
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 429, 429]
    for status, headers, reason in refused:
        assert (status, "There are 3 requests at work or waiting" in reason) == (429, True)
        assert int(headers[b"retry-after"]) >= 1
    assert later[0] == 200


def test_one_token_leaves_places_to_others(tokens):
    greedy, other = add_token(tokens, "line1", "writer"), add_token(tokens, "line2", "writer")
    app = front(tokens, slow, at_once=8)

    async def rush():
        many = asyncio.gather(*(ask(app, token=greedy, query="slow") for _ in range(20)))
        await asyncio.sleep(0)
        return await ask(app, token=other, query="slow"), await many

    late, answers = asyncio.run(rush())
    assert late[0] == 200
    assert [status for status, _, _ in answers].count(200) == 6
    assert {reason for status, _, reason in answers if status == 429} == {
        "line1 has 6 requests at work or waiting, and one token may have 6. Try again in 1 s."
    }


def test_slow_bodies_take_no_place_and_no_more_bytes_than_their_token_may(tokens):
    dawdler, other = add_token(tokens, "line1", "writer"), add_token(tokens, "line2", "writer")
    app = front(tokens, slow, at_once=2, body_bytes=1000, bytes_at_once=4000)
    part = {"type": "http.request", "body": b"x" * 900, "more_body": True}

    async def rush():
        bodies = [asyncio.create_task(ask(app, token=dawdler, messages=[part])) for _ in range(6)]
        while not all(body.done() for body in bodies[3:]):  # those beyond its share of the bytes
            await asyncio.sleep(0)
        late = await ask(app, token=other)
        assert not any(body.done() for body in bodies[:3])
        for body in bodies[:3]:
            body.cancel()
        return late, await asyncio.gather(*bodies[3:])

    late, answers = asyncio.run(rush())
    assert late[0] == 200
    assert [status for status, _, _ in answers] == [429] * 3
    assert "line1 has 2,700 bytes of bodies in memory, and one token may have 3,000" in answers[0][2]
    assert asyncio.run(ask(app, token=dawdler, messages=[part | {"more_body": False}]))[0] == 200


def test_only_so_many_bodies_of_one_token_may_be_on_their_way(tokens):
    token = add_token(tokens, "line1", "writer")
    app = front(tokens, slow, at_once=1, body_seconds=PATIENCE)
    part = {"type": "http.request", "body": b"", "more_body": True}

    async def rush():
        bodies = [asyncio.create_task(ask(app, token=token, messages=[part])) for _ in range(5)]
        answers = [await body for body in bodies[3:]]
        assert not any(body.done() for body in bodies[:3])
        for body in bodies[:3]:
            body.cancel()
        return answers

    assert [status for status, _, _ in asyncio.run(rush())] == [429, 429]


@pytest.mark.parametrize(
    ("method", "path", "header", "status"),
    [
        ("GET", "/healthz", (b"content-length", b"31000000"), 413),
        ("POST", "/readyz", (b"content-length", b"31000000"), 413),
        ("GET", "/docs", (b"transfer-encoding", b"chunked"), 413),
        ("POST", PREDICT, (b"content-length", b"31000000"), 401),
        ("GET", "/v1/models", (b"content-length", b"31000000"), 401),
        ("POST", "/v1/models/pcb/predict/", (b"content-length", b"31000000"), 401),
        ("POST", PREDICT, (b"content-length", b"9" * 5000), 401),
    ],
)
def test_a_body_that_nobody_asked_for_is_refused_before_it_is_read_and_kept_nowhere(
    tokens, method, path, header, status
):
    read = []
    messages = [{"type": "http.request", "body": b"x" * 60_000, "more_body": True}] * 10

    async def never(scope, receive, send):
        raise AssertionError("it reached the routes")

    found = asyncio.run(
        ask(front(tokens, never), path=path, method=method, headers=[header], messages=messages, read=read)
    )
    assert found[0] == status
    assert found[1][b"connection"] == b"close"
    assert set(read) == {2}, "the answer is out before the body is listened to"


def test_a_request_without_a_body_is_answered_on_every_route(tokens):
    token = add_token(tokens, "bob", "reader")
    for path in ("/healthz", "/v1/models"):
        for headers in ([], [(b"content-length", b"0")]):
            assert (
                asyncio.run(ask(front(tokens, slow), path=path, method="GET", token=token, headers=headers))[0] == 200
            )


def test_a_request_without_an_answer_is_given_up(tokens):
    token = add_token(tokens, "line1", "writer")
    app = front(tokens, silent, seconds=0.05)
    status, head, reason = asyncio.run(ask(app, token=token))
    assert (status, "0.05 seconds" in reason) == (504, True)
    assert f"Send the request again with 'X-Request-Id: {head[b'x-request-id'].decode()}'" in reason
    named = asyncio.run(ask(app, token=token, query="slow", headers=[(b"x-request-id", b"B-1042")]))
    assert "X-Request-Id: B-1042" in named[2]
    _, _, reason = asyncio.run(ask(app, path="/v1/models", token=token, query="slow"))
    assert reason.endswith("Try again.")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_a_body_beyond_the_limit_is_not_read(tokens, declared):
    token = add_token(tokens, "line1", "writer")
    messages = [{"type": "http.request", "body": b"x" * 600, "more_body": True}] * 3
    headers = [(b"content-length", b"1800")] if declared else []
    status, _, reason = asyncio.run(
        ask(front(tokens, quick, body_bytes=1000), token=token, messages=messages, headers=headers)
    )
    assert (status, "1,000 bytes" in reason) == (413, True)


def test_a_body_that_dawdles_is_given_up(tokens):
    token = add_token(tokens, "line1", "writer")
    messages = [{"type": "http.request", "body": b"x", "more_body": True}]
    status, _, reason = asyncio.run(ask(front(tokens, quick, body_seconds=0.05), token=token, messages=messages))
    assert (status, "0.05 seconds" in reason) == (408, True)


def test_an_application_that_fails_is_no_secret_and_no_traceback(tokens):
    token = add_token(tokens, "line1", "writer")

    async def broken(scope, receive, send):
        raise ValueError("inner detail")

    status, _, reason = asyncio.run(ask(front(tokens, broken), token=token))
    assert (status, "inner" in reason) == (500, False)


@contextlib.contextmanager
def listening(app, patience):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=impatient(patience), lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def dawdlers(place, count, stack):
    """Clients that begin a request and never finish its headers."""
    clients = [stack.enter_context(socket.create_connection(place, PATIENCE)) for _ in range(count)]
    for client in clients:
        with contextlib.suppress(ConnectionError):  # cut off already
            client.sendall(b"POST /v1/models/pcb/predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    return clients


def test_clients_that_never_finish_their_headers_cost_the_others_nothing(tokens):
    token = add_token(tokens, "line1", "writer")
    with listening(front(tokens, quick), PATIENCE) as place, contextlib.ExitStack() as stack:
        dawdlers(place, 50, stack)
        with socket.create_connection(place) as client:
            request = (
                f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx"
            )
            client.sendall(request.encode())
            assert b"200 OK" in client.recv(1000)


def test_clients_that_never_finish_their_headers_are_cut_off(tokens):
    with listening(front(tokens, quick), 0.2) as place, contextlib.ExitStack() as stack:
        for client in dawdlers(place, 50, stack):
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""


def test_tokens_are_kept_as_hashes_and_read_again_when_they_change(tokens):
    keyring = TokenFile(tokens)
    assert keyring.find("anything") is None
    token = add_token(tokens, "line1", "writer")
    found = keyring.find(token)
    assert (found.name, found.role, found.may("reader"), found.may("admin")) == ("line1", "writer", True, False)
    assert token not in tokens.read_text()
    assert keyring.holds(found)
    remove_token(tokens, "line1")
    assert keyring.find(token) is None
    assert not keyring.holds(found)
    add_token(tokens, "line2", "reader")
    tokens.write_text("{damaged")
    assert keyring.find(token) is None


def test_what_is_wrong_with_a_token_is_said(tokens):
    add_token(tokens, "line1", "writer")
    with pytest.raises(TokenError, match="has a token already"):
        add_token(tokens, "line1", "reader")
    with pytest.raises(TokenError, match="reader, writer, admin"):
        add_token(tokens, "line2", "root")
    with pytest.raises(TokenError, match="name: must be"):
        add_token(tokens, "a b", "reader")
    with pytest.raises(TokenError, match="Names: line1"):
        remove_token(tokens, "line9")
    tokens.write_text("[]")
    with pytest.raises(TokenError, match="cannot be read"):
        read_tokens(tokens)


@pytest.mark.parametrize(
    ("text", "host", "port"), [(":80", "127.0.0.1", 80), ("[::1]:9494", "::1", 9494), ("plant:1", "plant", 1)]
)
def test_addresses_are_read(text, host, port):
    found = address_of(text, "--http")
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("text", ["", "8480", "host:", "host:http", "host:0", "host:70000"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(DuckspectError, match="HOST:PORT"):
        address_of(text, "--http")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: slow\r\n", b"GET / HTTP/1.1\r\nHost: idle\r\n\r\n"])
def test_connections_that_ask_nothing_make_way(said):
    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def ask(port, request):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        if request.endswith(b"\r\n\r\n"):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        return reader, writer

    async def run():
        settings = uvicorn.Config(
            answer, http=impatient(600), lifespan="off", log_config=None, limit_concurrency=4, timeout_keep_alive=600
        )
        server = _HttpServer(settings)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            port = listener.getsockname()[1]
            open_ones = [await ask(port, said) for _ in range(12)]
            for _ in range(12):
                open_ones.append(await ask(port, b"GET / HTTP/1.1\r\nHost: line\r\n\r\n"))
            with contextlib.suppress(ConnectionResetError):
                await open_ones[0][0].read()  # ends, for the oldest was closed
            for _, writer in open_ones:
                writer.close()
            server.should_exit = True
            await serving

    asyncio.run(asyncio.wait_for(run(), 60))
