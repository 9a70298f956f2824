"""Whatever a client sends, it gets a problem that names the fault, and nothing changes."""

from __future__ import annotations

import json

import cbor2
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftbook.engine.types import OrderType, SelfTradePrevention, Side, TimeInForce
from tests.gateway.conftest import open_market
from tests.support.sample_orders import order
from tests.support.single_node import single_node

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}
CBOR = {"Content-Type": "application/cbor"}
DEEP = b"[" * 20_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory):
    """One for all, since nothing here may change it."""
    folder = tmp_path_factory.mktemp("node")
    async with single_node(folder, max_body_bytes=65_536, max_commands_per_request=100, reports_kept=100) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(service):
    async with open_market(service) as client:
        yield client


def state_of(service):
    return service.state.index, service.state.chain_digest, service.state.state_digest()


async def refused(http, service, method, path, **request):
    """The problem that this request gets, having changed nothing."""
    before = state_of(service)
    response = await http.request(method, path, **request)
    assert state_of(service) == before
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    return problem


# ---------------------------------------------------------------- bodies

BODIES = {
    "empty": b"",
    "truncated": b'{"symbol":"ACME","side":"bu',
    "no JSON": b"symbol=ACME",
    "an array": b"[]",
    "a number": b"7",
    "null": b"null",
    "NUL": b'{"symbol":"ACME"\x00}',
    "not UTF-8": b'{"symbol":"\xff\xfe"}',
    "UTF-16": json.dumps({"symbol": "ACME"}).encode("utf-16"),
    "lone surrogate": b'{"symbol":"\\ud800"}',
    "two documents": b"{}{}",
    "NaN": b'{"symbol":"ACME","side":"buy","quantity":NaN}',
    "deep": DEEP,
    "deep objects": b'{"symbol":' * 5_000,
}
ENDPOINTS_WITH_BODY = [
    ("POST", "/v1/orders"),
    ("PATCH", "/v1/orders/1"),
    ("PATCH", "/v1/orders/by-client-id/alice/a1"),
    ("POST", "/v1/instruments"),
    ("PATCH", "/v1/instruments/ACME"),
    ("POST", "/v1/instruments/ACME/uncross"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS_WITH_BODY)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_no_json_object_is_malformed(http, service, method, path, body):
    problem = await refused(http, service, method, path, content=body, headers=JSON)

    assert (problem["status"], problem["code"]) == (400, "malformed")


@pytest.mark.parametrize("body", [body for name, body in BODIES.items() if name != "an array"])
async def test_a_body_that_is_no_json_array_is_malformed(http, service, body):
    problem = await refused(http, service, "POST", "/v1/commands", content=body, headers=JSON)

    assert (problem["status"], problem["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\x81",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 1000 + b"\x01",
        cbor2.dumps({}),
        cbor2.dumps([]) + b"\x00",
        cbor2.dumps([{"op": "tick", "not_after": 2**70}]),
        b"\x81\xd8\x23\x61a",
        b"\x81\xd8\x1c\x81\xd8\x1d\x00",
        b"\xd9\xd9\xf7\x80",
        b"\x81\xd9\x30\x39\x01",
        b"\x81\xa2\x62op\x64tick\x62op\x64tick",
        b"\x81\xa1\x61\xff\x01",
    ],
)
async def test_a_body_that_is_no_plain_cbor_array_is_malformed(http, service, body):
    problem = await refused(http, service, "POST", "/v1/commands", content=body, headers=CBOR)

    assert (problem["status"], problem["code"]) == (400, "malformed")


@pytest.mark.parametrize("value", [b"\xf9\x7e\x00", b"\xf7", b"\xe0", b"\xf9\x3c\x00", b"\x41a", b"\xf6", b"\x80"])
async def test_a_cbor_value_that_no_field_takes_is_malformed(http, service, value):
    """NaN, undefined, a simple value, a float, bytes, null, an array, each as the symbol."""
    before = state_of(service)
    command = b"\x81\xa2\x62op\x6aset_status\x66symbol" + value

    response = await http.post("/v1/commands", content=command, headers=CBOR)

    (report,) = cbor2.loads(response.content)
    assert (report["status"], report["reason"]) == ("rejected", "malformed")
    assert state_of(service) == before


@pytest.mark.parametrize(("method", "path"), [*ENDPOINTS_WITH_BODY, ("POST", "/v1/commands")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_content_type_is_refused_by_name(http, service, method, path, headers):
    problem = await refused(http, service, method, path, content=b"{}", headers=headers)

    assert (problem["status"], problem["code"]) == (415, "unsupported_media_type")
    assert "application/json" in problem["accepted"]


async def test_json_with_a_charset_of_utf_8_is_json(http):
    headers = {"Content-Type": 'Application/JSON; Charset="UTF-8"'}

    assert (await http.post("/v1/orders", content=json.dumps(order()), headers=headers)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [*ENDPOINTS_WITH_BODY, ("POST", "/v1/commands")])
async def test_a_body_beyond_the_bound_is_refused_without_reading_it_all(http, service, method, path):
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 1
            yield b" " * 1024

    problem = await refused(http, service, method, path, content=endless(), headers=JSON)

    assert (problem["status"], problem["code"]) == (413, "body_too_large")
    assert problem["max_body_bytes"] == 65_536
    assert read <= 66


async def test_a_body_that_announces_its_size_is_refused_unread(http, service):
    read = 0

    async def announced():
        nonlocal read
        read += 1
        yield b" " * 1024

    headers = {**JSON, "Content-Length": str(10 << 20)}
    problem = await refused(http, service, "POST", "/v1/commands", content=announced(), headers=headers)

    assert problem["code"] == "body_too_large"
    assert read <= 1


async def test_more_commands_than_a_request_may_hold_are_refused_whole(http, service):
    commands = [{"op": "cancel_all", "account": "alice"}] * 101

    for content, headers in ((json.dumps(commands), JSON), (cbor2.dumps(commands), CBOR)):
        problem = await refused(http, service, "POST", "/v1/commands", content=content, headers=headers)
        assert "at most 100" in problem["detail"]


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", None),
        ("symbol", 7),
        ("symbol", ""),
        ("symbol", "A B"),
        ("symbol", "A" * 25),
        ("symbol", "A\x00"),
        ("account", "a/b"),
        ("account", ["alice"]),
        ("client_order_id", "x" * 37),
        ("client_order_id", 5),
        ("side", "long"),
        ("side", None),
        ("order_type", "stopp"),
        ("time_in_force", "forever"),
        ("price", "abc"),
        ("price", "-1"),
        ("price", "0"),
        ("price", True),
        ("price", "1e400"),
        ("price", "9" * 30),
        ("price", {"amount": 1}),
        ("quantity", None),
        ("quantity", -5),
        ("quantity", "Infinity"),
        ("post_only", "yes"),
        ("not_after", "soon"),
        ("not_after", -1),
        ("not_after", 2**63),
        ("stop_price", "0"),
        ("stop_price", "abc"),
        ("display_quantity", 0),
        ("display_quantity", [1]),
        ("expire_time", "2026-11-30T16:00:00Z"),
        ("expire_time", -1),
        ("expire_time", 2**63),
        ("self_trade_prevention", "all"),
        ("self_trade_prevention", 1),
        ("prize", "100"),
    ],
)
async def test_a_field_that_an_order_cannot_have_is_named(http, service, field, value):
    problem = await refused(http, service, "POST", "/v1/orders", json={**order(), field: value})

    assert (problem["status"], problem["code"]) == (400, "malformed")
    assert field in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "fields", "field"),
    [
        ("POST", "/v1/orders", {**order(), "op": "cancel"}, "op"),
        ("PATCH", "/v1/orders/1", {"op": "replace", "quantity": "1"}, "op"),
        ("PATCH", "/v1/orders/1", {"order_id": 2, "quantity": "1"}, "order_id"),
        ("PATCH", "/v1/orders/1", {"quantity": "none"}, "quantity"),
        ("PATCH", "/v1/orders/1?account=alice", {"quantity": "1", "account": "bob"}, "account"),
        ("PATCH", "/v1/orders/by-client-id/alice/a1", {"quantity": "1", "account": "bob"}, "account"),
        ("PATCH", "/v1/orders/by-client-id/alice/a1", {"quantity": "1", "client_order_id": "a2"}, "client_order_id"),
        ("POST", "/v1/instruments", {"symbol": "X", "price_decimals": 19, "quantity_decimals": 0}, "price_decimals"),
        ("POST", "/v1/instruments", {"symbol": "X", "price_decimals": "2", "quantity_decimals": 0}, "price_decimals"),
        ("POST", "/v1/instruments", {"symbol": "X", "price_decimals": 2}, "quantity_decimals"),
        (
            "POST",
            "/v1/instruments",
            {"symbol": "X", "price_decimals": 2, "quantity_decimals": 0, "tick_size": "-1"},
            "tick_size",
        ),
        ("PATCH", "/v1/orders/1", {"stop_price": 0}, "stop_price"),
        ("PATCH", "/v1/orders/1", {"display_quantity": -1}, "display_quantity"),
        ("PATCH", "/v1/orders/1", {"expire_time": "soon"}, "expire_time"),
        ("PATCH", "/v1/orders/1", {"self_trade_prevention": "none"}, "self_trade_prevention"),
        *(
            (
                "POST",
                "/v1/instruments",
                {"symbol": "X", "price_decimals": 2, "quantity_decimals": 0, field: value},
                field,
            )
            for field, value in (
                ("min_quantity", "0"),
                ("max_quantity", "x"),
                ("min_notional", []),
                ("price_band", "5%"),
                ("market_protection", -1),
                ("max_open_orders", 0),
                ("max_open_orders", "9"),
                ("self_trade_prevention", "all"),
                ("price_bnad", "5"),
            )
        ),
        ("POST", "/v1/instruments/ACME/uncross", {"status": "halted"}, "status"),
        ("POST", "/v1/instruments/ACME/uncross", {"status": 1}, "status"),
        ("POST", "/v1/instruments/ACME/uncross", {"symbol": "B"}, "symbol"),
        ("POST", "/v1/instruments/ACME/uncross", {"op": "set_status", "status": "halted"}, "op"),
        ("POST", "/v1/instruments/ACME/uncross", {"price": "1"}, "price"),
        ("PATCH", "/v1/instruments/ACME", {}, "status"),
        ("PATCH", "/v1/instruments/ACME", {"status": "haltd"}, "status"),
        ("PATCH", "/v1/instruments/ACME", {"status": "halted", "tick_size": "5"}, "tick_size"),
        ("PATCH", "/v1/instruments/ACME", {"status": "halted", "symbol": "B"}, "symbol"),
    ],
)
async def test_a_field_that_the_endpoint_does_not_take_is_named(http, service, method, path, fields, field):
    problem = await refused(http, service, method, path, json=fields)

    assert (problem["status"], problem["code"]) == (400, "malformed")
    assert field in problem["detail"]


# ---------------------------------------------------------------- paths and queries


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/v1/orders?dept=5", "dept"),
        ("GET", "/v1/orders?limit=0", "limit"),
        ("GET", "/v1/orders?limit=10001", "limit"),
        ("GET", "/v1/orders?limit=ten", "limit"),
        ("GET", "/v1/orders?limit=1&limit=2", "limit"),
        ("GET", "/v1/orders?status=lost", "status"),
        ("GET", "/v1/orders?side=long", "side"),
        ("GET", "/v1/orders?account=%00", "account"),
        ("GET", "/v1/orders?account=", "account"),
        ("GET", "/v1/orders?symbol=%F0%9F%98%80", "symbol"),
        ("GET", "/v1/orders?from_order_id=-1", "from_order_id"),
        ("GET", "/v1/orders?at_least=-1", "at_least"),
        ("GET", "/v1/orders?at_least=1.5", "at_least"),
        ("GET", "/v1/orders?at_least=" + "9" * 5000, "at_least"),
        ("GET", "/v1/orders?at_least=9223372036854775808", "at_least"),
        ("GET", "/v1/orders?at_least=%D9%A1", "at_least"),
        ("GET", "/v1/orders?at_least=1&consistency=local", "at_least"),
        ("GET", "/v1/orders?consistency=strong", "consistency"),
        ("GET", "/v1/orders?wait_s=nan", "wait_s"),
        ("GET", "/v1/orders?wait_s=61", "wait_s"),
        ("GET", "/v1/orders?wait_s=-1", "wait_s"),
        ("GET", "/v1/orders?wait_s=1e9", "wait_s"),
        ("GET", "/v1/orders?wait=pending", "wait"),
        ("GET", "/v1/orders/abc", "order_id"),
        ("GET", "/v1/orders/0", "order_id"),
        ("GET", "/v1/orders/9223372036854775808", "order_id"),
        ("GET", "/v1/orders/1?at_least=x", "at_least"),
        ("DELETE", "/v1/orders/-1", "order_id"),
        ("DELETE", "/v1/orders", "account"),
        ("DELETE", "/v1/orders?symbol=ACME", "account"),
        ("DELETE", "/v1/orders?account=alice&side=both", "side"),
        ("DELETE", "/v1/orders?account=alice&status=open", "status"),
        ("DELETE", "/v1/orders/by-client-id/alice/a%20b", "client_order_id"),
        ("DELETE", "/v1/orders/by-client-id/al%20ice/a1", "account"),
        ("GET", "/v1/orders/by-client-id/alice/a1?account=alice", "account"),
        ("DELETE", "/v1/orders?account=alice&wait=maybe", "wait"),
        ("DELETE", "/v1/orders?account=alice&wait=pending&wait_s=5", "wait_s"),
        ("GET", "/v1/submissions/n1%00/1", "origin"),
        ("GET", "/v1/submissions/n1-1/0", "sequence"),
        ("GET", "/v1/submissions/n1-1/1?count=0", "count"),
        ("GET", "/v1/submissions/n1-1/1?count=101", "count"),
        ("GET", "/v1/submissions/n1-1/1?wait_s=forever", "wait_s"),
        ("GET", "/v1/book/A%20B", "symbol"),
        ("GET", "/v1/book/ACME?depth=0", "depth"),
        ("GET", "/v1/book/ACME?depth=5001", "depth"),
        ("GET", "/v1/book/ACME?level=1", "level"),
        ("GET", "/v1/book/ACME?consistency=", "consistency"),
        ("GET", "/v1/trades/ACME?limit=0", "limit"),
        ("GET", "/v1/trades/ACME?from_trade_id=last", "from_trade_id"),
        ("GET", "/v1/trades/%C3%84", "symbol"),
        ("GET", "/v1/instruments?symbol=ACME", "symbol"),
        ("GET", "/v1/cluster?all=1", "all"),
        ("GET", "/v1/node?digest_at=head", "digest_at"),
        ("GET", "/v1/node?state_digest=maybe", "state_digest"),
        ("GET", "/healthz?x=1", "x"),
        ("GET", "/readyz?noleader=perhaps", "noleader"),
    ],
)
async def test_a_path_or_query_that_makes_no_sense_is_named(http, service, method, path, field):
    problem = await refused(http, service, method, path)

    assert (problem["status"], problem["code"], problem["field"]) == (400, "malformed", field)
    assert problem["detail"].startswith(f"{field}: ")
    assert len(problem["detail"]) < 300


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("side", Side),
        ("order_type", OrderType),
        ("time_in_force", TimeInForce),
        ("self_trade_prevention", SelfTradePrevention),
    ],
)
async def test_what_is_allowed_is_listed_whole(http, service, field, members):
    problem = await refused(http, service, "POST", "/v1/orders", json={**order(), field: "xyz"})

    *first, last = [member.label for member in members]
    assert f"expected {', '.join(first)} or {last}" in problem["detail"]


async def test_the_trading_statuses_and_the_statuses_of_orders_are_listed_whole(http, service):
    problem = await refused(http, service, "PATCH", "/v1/instruments/ACME", json={"status": "xyz"})
    assert "expected trading, halted, closed or auction" in problem["detail"]
    problem = await refused(http, service, "POST", "/v1/instruments/ACME/uncross", json={"status": "xyz"})
    assert "expected trading or closed" in problem["detail"]
    problem = await refused(http, service, "GET", "/v1/orders?status=xyz")
    assert "is none of open, filled, canceled, rejected, expired, untriggered, all" in problem["detail"]


async def test_a_misspelt_parameter_is_answered_with_the_right_one(http, service):
    problem = await refused(http, service, "GET", "/v1/book/ACME?dept=5")

    assert problem["near"] == ["depth"]


# ---------------------------------------------------------------- anything at all

# Whole requests made of pieces that mean something, so that many come close to being right.
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(["ACME", "alice", "a1", "buy", "1", "-1", "1e9", "", "null"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELD_NAMES = st.sampled_from(
    [
        *order(),
        *("order_type", "time_in_force", "stop_price", "display_quantity", "expire_time", "self_trade_prevention"),
        *("op", "order_id", "status", "price_decimals", "price_band", "not_after", "post_only", "x"),
    ]
)
BODY_VALUES = st.one_of(VALUES, st.lists(st.dictionaries(FIELD_NAMES, VALUES | TEXTS, max_size=9), max_size=3))
BODIES_OF_ANY_KIND = st.one_of(
    st.binary(max_size=200),
    BODY_VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(FIELD_NAMES, VALUES | TEXTS, max_size=9).map(lambda value: json.dumps(value).encode()),
)
PATHS = st.sampled_from(
    [*ENDPOINTS_WITH_BODY, ("POST", "/v1/commands"), ("DELETE", "/v1/orders"), ("GET", "/v1/orders")]
)
QUERIES = st.dictionaries(
    st.sampled_from(["account", "symbol", "side", "limit", "wait", "wait_s", "at_least", "consistency", "status"]),
    TEXTS,
    max_size=2,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS, BODIES_OF_ANY_KIND, QUERIES, st.sampled_from([JSON, CBOR, {}]))
async def test_no_request_whatsoever_is_answered_with_a_500(http, service, endpoint, body, query, headers):
    """One node lives through all examples: whatever they did to it, the next one is answered as well."""
    response = await http.request(*endpoint, content=body, params={"wait_s": "0", **query}, headers=headers)

    assert response.status_code < 500 or response.json()["code"] in ("outcome_unknown", "not_caught_up")
    if response.status_code >= 400:
        assert response.json()["code"]
        assert response.json()["detail"]
    service.state.exchange.check()
