"""Requests drawn from the server's own OpenAPI description: none breaks it, and every answer is as described."""

import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks as known
from server import serving

CHECKS = [
    known.not_a_server_error,
    known.status_code_conformance,
    known.content_type_conformance,
    known.response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    shutil.copy(built, folder / "w.duckdb")
    shutil.copytree(built.parent / "w_files", folder / "w_files")
    with serving(folder / "w.duckdb", "--no-keep-images") as found:
        yield found


def test_every_answer_is_as_described(server):
    api = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 12
    for operation in operations:
        asked = 0

        @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=server.headers("admin"), checks=CHECKS)

        ask()
        assert asked, operation.label
