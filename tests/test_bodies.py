"""Reading the bodies of requests: a large one is read in a thread, so that the event loop answers others meanwhile."""

import asyncio
import base64
import sys
import threading

import pytest
from starlette.requests import Request
from waiting import PATIENCE

from udfs.serving import schemas as forms
from udfs.serving.bodies import apart
from udfs.serving.routes import _inspection_request
from udfs.serving.tokens import Token

SMALL, LARGE = b"x" * 1000, b"x" * (3 << 20)
HEAD = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def in_json(image):
    return "application/json", b'{"unit_id": "U-1", "image": "%s"}' % base64.b64encode(image)


def in_form(image):
    unit = b'\r\n--B\r\nContent-Disposition: form-data; name="unit_id"\r\n\r\nU-1\r\n--B--\r\n'
    return "multipart/form-data; boundary=B", HEAD + image + unit


def request(kind, body):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    state = {"request_id": "r", "token": Token("line1", "writer", "", "")}
    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, "state": state}
    return Request(scope, receive)


def called_by_the_loop(work):
    """The names of the functions that the thread of the event loop calls while it does something, and the result."""
    names = set()

    async def watched():
        sys.setprofile(lambda frame, event, _: names.add(frame.f_code.co_name) if event == "call" else None)
        try:
            return await work
        finally:
            sys.setprofile(None)

    return asyncio.run(watched()), names


@pytest.mark.parametrize(("form", "reader"), [(in_json, "model_validate_json"), (in_form, "_parts")])
def test_a_large_body_is_parsed_in_a_thread_and_a_small_one_at_once(form, reader):
    for image, is_here in ((SMALL, True), (LARGE, False)):
        question, names = called_by_the_loop(
            _inspection_request("kind", request(*form(image)), forms.QueryParameters())
        )
        assert (question.data, question.unit_id) == (image, "U-1")
        assert (reader in names) is is_here


def test_the_loop_goes_on_while_a_large_body_is_read():
    read = threading.Event()

    async def check():
        reading = asyncio.create_task(apart(len(LARGE), read.wait, PATIENCE))
        await asyncio.sleep(0)
        read.set()  # only a loop that goes on comes here
        assert await reading

    asyncio.run(check())
