"""The interface described: its OpenAPI document, and a real node held against it by schemathesis."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest
from starlette.routing import Route

from raftbook.engine.types import EventKind, Reason
from raftbook.errors import InvalidCommandError
from raftbook.gateway import make_app, problem_codes
from raftbook.gateway.endpoint import EndpointRoute
from raftbook.gateway.problem_codes import REFUSALS
from raftbook.json_format import OPERATIONS, command_from_json
from tests.fuzzing.__main__ import PROJECT_FOLDER
from tests.support.direct_service import DirectService, make_config
from tests.support.openapi_check import OpenApiCheck

FILES_AND_STREAM = {"/", "/assets/{name:path}", "/v1/stream", "/docs", "/docs/{name:path}"}
"""What is no operation: the pages, and the WebSocket."""


@pytest.fixture
async def document(http):
    return (await http.get("/openapi.json")).json()


async def test_every_route_is_described_but_the_pages_and_the_stream(document):
    app = make_app(DirectService(make_config()))
    routes = [route for route in app.router.routes if isinstance(route, Route)]

    described = {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}

    assert {route.path for route in routes if not isinstance(route, EndpointRoute)} <= FILES_AND_STREAM
    assert described == {(route.path, route.declared.method) for route in routes if isinstance(route, EndpointRoute)}


def test_every_problem_that_is_raised_anywhere_is_named():
    """The stream's own errors are its protocol's, and not answers of the HTTP interface."""
    tables = [table for name, table in vars(problem_codes).items() if name.isupper() and isinstance(table, dict)]
    named = {(status, code) for table in tables for status, codes in table.items() for code in codes}
    files = [*(PROJECT_FOLDER / "raftbook/gateway").glob("*.py"), *(PROJECT_FOLDER / "raftbook/node").glob("http_*.py")]
    raised = {
        (call.args[0].value, call.args[1].value)
        for file in files
        if not file.name.startswith("stream")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ProblemError"
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Constant)
    }

    assert len(raised) > 15
    assert raised - named == set()


async def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]

    assert len(names) == len(set(names))
    assert all(operation["summary"] for path in document["paths"].values() for operation in path.values())


async def test_every_command_and_every_event_is_described(document):
    schemas = document["components"]["schemas"]

    def tags(field):
        return {
            schema["properties"][field]["const"]
            for schema in schemas.values()
            if "const" in schema.get("properties", {}).get(field, {})
        }

    assert tags("op") == set(OPERATIONS)
    assert tags("event") == {kind.label for kind in EventKind}
    assert set(REFUSALS) < {reason.value for reason in Reason}


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "0.01",
        "100.25",
        "999999999999999999",
        "0.000000000000000001",
        "0",
        "0.0",
        "00",
        "1.",
        ".5",
        "-1",
        "+1",
        "1e5",
        "1234567890123456789",
        "9" * 19,
        "9" * 30,
        "",
        " 1",
        "1\n",
    ],
)
async def test_a_number_that_fits_the_schema_is_taken(document, text):
    """The other way round it need not be: exponents and a nineteenth digit are taken as well."""
    check = OpenApiCheck(document)
    fields = {"op": "new", "symbol": "ACME", "side": "buy", "quantity": text, "client_order_id": "a1"}

    fits = check.fault_of_document({"$ref": "#/components/schemas/NewOrderForm"}, fields) is None

    try:
        command_from_json(json.dumps(fields))
    except InvalidCommandError:
        assert not fits
    else:
        assert fits or "e" in text or len(text) == 19


async def test_the_reference_page_is_whole_and_takes_nothing_from_elsewhere(http):
    page = await http.get("/docs")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {name.startswith("/") for name in named} == {True}
    for name in named:
        assert (await http.get(name)).status_code == 200, name
    assert "MIT" in (await http.get("/docs/vendor/redoc-2.5.1.LICENSE.txt")).text
    assert (await http.get("/docs/nothing.js")).json()["code"] == "no_such_asset"


@pytest.mark.system
@pytest.mark.timeout(240)
def test_schemathesis_finds_nothing_at_a_real_node():
    """A short run with all checks; `make fuzz-api` makes long ones. A finding prints how to repeat it."""
    command = [sys.executable, "-m", "tests.fuzzing", "--seed", "1", "--max-examples", "4", "--no-shrink"]

    ended = subprocess.run(
        [*command, "--phases", "examples,fuzzing,stateful"],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "No issues found" in ended.stdout
