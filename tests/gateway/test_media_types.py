"""JSON and CBOR say the same, both ways, at every endpoint; what a client cannot take is not done in vain."""

from __future__ import annotations

import cbor2
import pytest
from starlette.requests import Request

from raftbook.errors import ProblemError
from raftbook.gateway.media_types import CBOR, JSON, accepted_media_type
from tests.support.sample_orders import order, sell

READS = [
    "/v1/book/ACME",
    "/v1/book/ACME?level=3",
    "/v1/trades/ACME",
    "/v1/candles/ACME",
    "/v1/tickers",
    "/v1/instruments",
    "/v1/orders",
    "/v1/orders/1",
    "/v1/orders/by-client-id/alice/a1",
    "/v1/keys",
    "/v1/cluster",
    "/healthz",
    "/readyz",
]


@pytest.mark.parametrize("path", READS)
async def test_a_read_says_the_same_in_both(http, path):
    await http.post("/v1/orders", json=order("a1"))
    await http.post("/v1/orders", json=sell("b1", quantity="2"))

    in_json = await http.get(path)
    in_cbor = await http.get(path, headers={"Accept": CBOR})

    assert (in_json.headers["content-type"], in_cbor.headers["content-type"]) == (JSON, CBOR)
    said, again = in_json.json(), cbor2.loads(in_cbor.content)
    for document in (said, again):  # A moment later.
        for node in document.get("nodes", ()) if isinstance(document, dict) else ():
            node.pop("heard_s_ago")
    assert said == again
    assert in_cbor.headers.get("raftbook-log-index") == in_json.headers.get("raftbook-log-index")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/orders", order("a9")),
        ("PATCH", "/v1/orders/1", {"account": "alice", "quantity": "4"}),
        ("PATCH", "/v1/orders/by-client-id/alice/a1", {"price": "100.20"}),
        ("POST", "/v1/instruments", {"symbol": "NEW", "price_decimals": 2, "quantity_decimals": 0}),
        ("PATCH", "/v1/instruments/ACME", {"status": "auction"}),
        ("POST", "/v1/commands", [{"op": "cancel_all", "account": "alice"}]),
    ],
)
async def test_a_command_in_cbor_is_answered_in_cbor_and_in_json_if_the_client_likes_it_better(
    http, method, path, body
):
    await http.post("/v1/orders", json=order("a1"))
    content, headers = cbor2.dumps(body), {"Content-Type": CBOR}

    answer = await http.request(method, path, content=content, headers=headers)
    again = await http.request(method, path, content=content, headers={**headers, "Accept": JSON})

    assert (answer.status_code, answer.headers["content-type"]) == (200, CBOR)
    report = cbor2.loads(answer.content)
    assert (report[0] if isinstance(report, list) else report)["status"] == "accepted"
    assert again.headers["content-type"] in (JSON, "application/problem+json")


async def test_a_problem_is_json_whatever_the_client_accepts(http):
    answer = await http.get("/v1/book/NOPE", headers={"Accept": CBOR})

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "unknown_symbol"


async def test_a_command_whose_answer_the_client_would_not_take_is_not_executed(http, service):
    before = service.state.index

    answer = await http.post("/v1/orders", json=order("a1"), headers={"Accept": "text/html"})

    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.json()["available"] == [JSON, CBOR]
    assert service.state.index == before


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\x80", cbor2.dumps([order()]), cbor2.dumps({1: 2}), cbor2.dumps(order()) + b"\x00"]
)
async def test_a_body_that_is_no_cbor_map_is_malformed(http, service, body):
    before = service.state.index

    answer = await http.post("/v1/orders", content=body, headers={"Content-Type": CBOR})

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert service.state.index == before


def request_with(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/cbor", CBOR),
        ("APPLICATION/CBOR", CBOR),
        ("application/cbor;q=0.5, application/json;q=0.4", CBOR),
        ("application/cbor;q=0.5, application/json", JSON),
        ("application/json;q=0, */*;q=0.1", CBOR),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/json;q=2, application/cbor;q=0.1", CBOR),
        ("application/json;q=nan, application/cbor;q=0.001", CBOR),
        ("nonsense, application/cbor", CBOR),
    ],
)
def test_the_form_is_the_one_that_the_client_likes_best(accept, expected):
    assert accepted_media_type(request_with(accept=accept), (JSON, CBOR)) == expected


def test_of_two_that_it_likes_as_well_it_gets_the_one_that_it_speaks():
    assert accepted_media_type(request_with(accept="*/*", content_type=CBOR), (JSON, CBOR)) == CBOR
    assert accepted_media_type(request_with(content_type=f"{JSON}; charset=utf-8"), (CBOR, JSON)) == JSON


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0", "image/*", ","])
def test_what_rules_out_all_forms_is_a_problem_that_names_them(accept):
    with pytest.raises(ProblemError) as caught:
        accepted_media_type(request_with(accept=accept), (JSON, CBOR))

    assert (caught.value.status, caught.value.code) == (406, "not_acceptable")
    assert JSON in caught.value.detail
