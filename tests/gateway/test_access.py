"""Where keys are required: who may do what, whose orders one sees, and what no copied or altered request can do."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cbor2
import httpx
import msgspec
import pytest
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import InvalidStatus

from raftbook.engine.commands import AddInstrument, RevokeKey
from raftbook.engine.types import Number, Role
from raftbook.gateway import make_app
from raftbook.gateway.access import AccessControl, address_of
from raftbook.gateway.endpoint import EndpointRoute
from raftbook.node.config import SecurityConfig
from raftbook.security.signing import (
    KEY_HEADER,
    NODE_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    STREAM_TARGET,
    TIMESTAMP_HEADER,
    ApiKey,
    format_key,
    signed_headers,
)
from tests.support.api_keys import KeyAuth, creation_of, headers_for, key_of
from tests.support.direct_service import DirectService, make_config
from tests.support.openapi_check import OpenApiCheck
from tests.support.sample_orders import order, sell
from tests.support.server import serve
from tests.support.stream_client import StreamClient, open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

ADMIN = key_of(Role.ADMIN, "admin001")
OTHER_ADMIN = key_of(Role.ADMIN, "admin002")
ALICE = key_of(Role.TRADE, "alice001")
BOB = key_of(Role.TRADE, "bob00001")
BOTH = key_of(Role.TRADE, "both0001")
READER = key_of(Role.READ, "reader01")
ALICES_READER = key_of(Role.READ, "reader02")
KEYS = (
    creation_of(ADMIN, "*"),
    creation_of(OTHER_ADMIN, "*"),
    creation_of(ALICE, "alice"),
    creation_of(BOB, "bob"),
    creation_of(BOTH, "alice", "bob"),
    creation_of(READER),
    creation_of(ALICES_READER, "alice"),
)
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))

_checks: list[OpenApiCheck] = []
"""One for all tests, since all nodes describe the same interface."""


@dataclass
class Venue:
    """A node that requires keys, and clients of it."""

    service: DirectService
    app: Starlette
    transport: httpx.ASGITransport
    node: str

    @asynccontextmanager
    async def client(self, key: ApiKey | None) -> AsyncIterator[httpx.AsyncClient]:
        """Every answer must be as OpenAPI says."""
        async with self.unchecked_client(key) as client:
            if not _checks:
                _checks.append(OpenApiCheck((await client.get("/openapi.json")).json()))
            client.event_hooks = {"response": [_checks[0].check]}
            yield client

    def unchecked_client(self, key: ApiKey | None) -> httpx.AsyncClient:
        auth = None if key is None else KeyAuth(key, self.node)
        return httpx.AsyncClient(transport=self.transport, base_url="http://localhost", auth=auth)

    async def submit(self, *commands) -> None:
        """What the log holds already."""
        for report in await self.service.submit(commands, wait_s=1):
            assert report.execution.accepted


def config_with_keys(**limits):
    return msgspec.structs.replace(make_config(**limits), security=SecurityConfig(require_keys=True))


async def venue_of(config) -> Venue:
    service = DirectService(config)
    app = make_app(service)
    venue = Venue(service, app, httpx.ASGITransport(app), service.origin)
    await venue.submit(ACME, *KEYS)
    return venue


@pytest.fixture
async def venue() -> Venue:
    return await venue_of(config_with_keys())


@pytest.fixture
async def alice(venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(ALICE) as client:
        yield client


@pytest.fixture
async def bob(venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(BOB) as client:
        yield client


@pytest.fixture
async def admin(venue) -> AsyncIterator[httpx.AsyncClient]:
    async with venue.client(ADMIN) as client:
        yield client


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in response.headers) == (status == 401)


# --- Every route and every role --------------------------------------------------------------------------------------

NEEDED = {
    "GET /": None,
    "GET /assets/{name:path}": None,
    "GET /docs": None,
    "GET /docs/{name:path}": None,
    "GET /healthz": None,
    "GET /metrics": Role.READ,
    "GET /openapi.json": None,
    "GET /readyz": None,
    "GET /v1/stream": None,
    "GET /v1/book/{symbol}": Role.READ,
    "GET /v1/candles/{symbol}": Role.READ,
    "GET /v1/cluster": Role.READ,
    "GET /v1/instruments": Role.READ,
    "GET /v1/node": Role.READ,
    "GET /v1/orders": Role.READ,
    "GET /v1/orders/by-client-id/{account}/{client_order_id}": Role.READ,
    "GET /v1/orders/{order_id}": Role.READ,
    "GET /v1/submissions/{origin}/{sequence}": Role.READ,
    "GET /v1/tickers": Role.READ,
    "GET /v1/trades/{symbol}": Role.READ,
    "DELETE /v1/orders": Role.TRADE,
    "DELETE /v1/orders/by-client-id/{account}/{client_order_id}": Role.TRADE,
    "DELETE /v1/orders/{order_id}": Role.TRADE,
    "PATCH /v1/orders/by-client-id/{account}/{client_order_id}": Role.TRADE,
    "PATCH /v1/orders/{order_id}": Role.TRADE,
    "POST /v1/commands": Role.TRADE,
    "POST /v1/orders": Role.TRADE,
    "DELETE /v1/keys/{key_id}": Role.ADMIN,
    "GET /v1/keys": Role.ADMIN,
    "PATCH /v1/instruments/{symbol}": Role.ADMIN,
    "POST /v1/instruments": Role.ADMIN,
    "POST /v1/instruments/{symbol}/uncross": Role.ADMIN,
    "POST /v1/keys": Role.ADMIN,
}
"""The role that each route needs; None: open. A new route has its line here."""

IN_PATHS = {
    "symbol": "ACME",
    "account": "alice",
    "client_order_id": "a1",
    "order_id": "1",
    "origin": "direct-1",
    "sequence": "1",
    "key_id": "nosuch01",
    "name:path": "nothing",
}


def routes_of(app) -> list[str]:
    return sorted(
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    )


async def test_every_route_has_its_line_in_the_table(venue):
    assert routes_of(venue.app) == sorted(NEEDED)


@pytest.mark.parametrize(
    ("key", "role"),
    [(None, None), (READER, Role.READ), (ALICE, Role.TRADE), (ADMIN, Role.ADMIN)],
    ids=["nobody", "read", "trade", "admin"],
)
async def test_a_route_serves_the_roles_that_it_is_for_and_no_others(venue, key, role):
    # The status of a DirectService is not all that OpenAPI says.
    async with venue.unchecked_client(key) as client:
        for route in routes_of(venue.app):
            method, path = route.split()
            for name, value in IN_PATHS.items():
                path = path.replace(f"{{{name}}}", value)
            query = "?account=alice" if path.startswith("/v1/orders") and "by-client-id" not in path else ""
            response = await client.request(method, path + query)
            needed = NEEDED[route]
            if needed is not None and role is None:
                assert_refused(response, 401, "unauthenticated")
            elif needed is not None and role < needed:
                assert_refused(response, 403, "forbidden")
                assert "this needs a" in response.json()["detail"]
            elif path.startswith("/v1/orders") and role is Role.READ:
                assert_refused(response, 403, "forbidden")  # The key has the role, and not the account.
                assert "is for no account, not for alice" in response.json()["detail"]
            else:
                assert response.status_code not in (401, 403), (route, response.text)
            assert response.headers[NODE_HEADER] == venue.node


async def test_a_route_of_which_nobody_has_said_who_may_use_it_stops_the_node():
    async def endpoint(_):
        return Response()

    control = AccessControl(DirectService(config_with_keys()))
    with pytest.raises(AssertionError, match="/v1/secrets: say who may use it"):
        control.guard([Route("/v1/secrets", endpoint)])


async def test_every_declared_route_is_guarded(venue):
    """Whatever path leads to a handler leads past the guard: without a caller in the scope handlers do not run."""
    for route in venue.app.routes:
        if isinstance(route, EndpointRoute):
            assert route.app.__qualname__.startswith("AccessControl."), route.path


async def test_where_no_keys_are_required_nobody_is_asked_for_one():
    service = DirectService()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(make_app(service)), base_url="http://localhost"
    ) as client:
        assert await client.post("/v1/instruments", json={"symbol": "A", "price_decimals": 2, "quantity_decimals": 0})
        assert (await client.post("/v1/orders", json=order(symbol="A"))).status_code == 200
        assert (await client.get("/v1/orders")).json()[0]["account"] == "alice"
        assert (await client.get("/v1/keys")).json() == []


# --- What is no good request -----------------------------------------------------------------------------------------


def request_with(alice, **changes) -> httpx.Request:
    given = {"method": "POST", "url": "/v1/orders?wait=committed", "json": order()} | changes
    return alice.build_request(**given)


async def send(client, request, headers) -> httpx.Response:
    request.headers.update(headers)
    return await client.send(request, auth=None)


async def test_a_signed_request_is_taken_once(venue, alice):
    request = request_with(alice)
    headers = headers_for(ALICE, venue.node, request)
    assert (await send(alice, request, headers)).status_code == 200
    assert_refused(await send(alice, request, headers), 401, "replayed")
    taken = venue.service.taken
    assert_refused(await send(alice, request_with(alice), headers), 401, "replayed")
    assert venue.service.taken == taken


async def test_a_request_for_one_node_is_good_at_no_other_and_after_no_restart(venue, alice):
    request = request_with(alice)
    for other in ("n2.1", f"{venue.node}2", "direct-2"):
        refused = await send(alice, request, headers_for(ALICE, other, request))
        assert_refused(refused, 401, "signature_invalid")
        assert venue.node in refused.json()["detail"]
        assert refused.headers[NODE_HEADER] == venue.node
    assert venue.service.state.exchange.orders("alice") == []


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"json": order(quantity="6")}, {}),
        ({"json": order(), "url": "/v1/orders?wait=pending"}, {}),
        ({"url": "/v1/orders"}, {}),
        ({"url": "/v1/commands?wait=committed"}, {}),
        ({"method": "DELETE", "url": "/v1/orders?account=alice", "json": None}, {}),
        ({}, {TIMESTAMP_HEADER: "now+1"}),
        ({}, {NONCE_HEADER: "another-nonce-of-16"}),
        ({}, {KEY_HEADER: BOTH.key_id}),
        ({}, {KEY_HEADER: ADMIN.key_id}),
        ({}, {SIGNATURE_HEADER: "A" * 86}),
    ],
    ids=lambda value: "-".join(map(str, value)) or "same",
)
async def test_what_was_altered_is_refused(venue, alice, changes, headers):
    signed = headers_for(ALICE, venue.node, request_with(alice))
    if headers.get(TIMESTAMP_HEADER):
        headers = {TIMESTAMP_HEADER: str(int(signed[TIMESTAMP_HEADER]) + 1)}
    taken = venue.service.taken
    response = await send(alice, request_with(alice, **changes), signed | headers)
    assert_refused(response, 401, "signature_invalid")
    assert venue.service.taken == taken


@pytest.mark.parametrize(("off_s", "words"), [(-6, "6.0 s behind"), (6, "6.0 s ahead of"), (-3600, "behind")])
async def test_a_request_outside_the_window_is_refused(venue, alice, off_s, words):
    request = request_with(alice)
    headers = signed_headers(
        ALICE,
        venue.node,
        "POST",
        "/v1/orders?wait=committed",
        body=request.content,
        timestamp=time.time_ns() + int(off_s * 1e9),
        nonce="a-nonce-of-16-chars",
    )
    response = await send(alice, request, headers)
    assert_refused(response, 401, "timestamp_outside_window")
    assert words in response.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({KEY_HEADER: ALICE.key_id}, "missing: Raftbook-Timestamp, Raftbook-Nonce, Raftbook-Signature"),
        ({"Authorization": "Basic YTpi"}, "Authorization must be `Bearer"),
        ({"Authorization": "Bearer"}, "Authorization must be `Bearer"),
        ({"Authorization": "Bearer nonsense"}, "this is no API key"),
        ({"Authorization": f"Bearer {format_key(READER)[:-1]}"}, "cut off or altered"),
        ({"Authorization": f"Bearer {format_key(READER._replace(key_id='nosuch01'))}"}, "no read key nosuch01"),
        ({"Authorization": f"Bearer {format_key(READER._replace(secret=bytes(32)))}"}, "with this secret"),
        ({"Authorization": f"Bearer {format_key(ALICE)}"}, "revoke it: raftbook account revoke alice001"),
        ({"Authorization": f"Bearer {format_key(ALICE._replace(role=Role.READ))}"}, "there is no read key alice001"),
    ],
)
async def test_what_is_no_key_is_refused_in_words_that_help(venue, alice, headers, words):
    response = await send(alice, alice.build_request("GET", "/v1/orders"), headers)
    assert_refused(response, 401, "unauthenticated")
    assert words in response.json()["detail"]
    assert format_key(ALICE).rsplit("_", 1)[1] not in response.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({KEY_HEADER: "nosuch01"}, "there is no key 'nosuch01'"),
        ({KEY_HEADER: READER.key_id}, "a read key signs nothing"),
        ({TIMESTAMP_HEADER: "soon"}, "nanoseconds since the epoch"),
        ({TIMESTAMP_HEADER: "9" * 19}, "nanoseconds since the epoch"),
        ({NONCE_HEADER: "short"}, "16 to 64 of"),
    ],
)
async def test_what_is_no_signature_is_refused_in_words_that_help(venue, alice, changes, words):
    request = request_with(alice)
    response = await send(alice, request, headers_for(ALICE, venue.node, request) | changes)
    assert_refused(response, 401, "unauthenticated")
    assert words in response.json()["detail"]


async def test_the_body_of_a_request_that_cannot_be_good_is_not_even_read(venue, alice):
    async def endless():
        yield b"["
        pytest.fail("the node reads what nobody has signed")

    request = alice.build_request("POST", "/v1/commands", content=endless())
    headers = signed_headers(
        ALICE._replace(key_id="nosuch01"), venue.node, "POST", "/v1/commands", timestamp=time.time_ns(), nonce="n" * 16
    )
    assert_refused(await send(alice, request, headers), 401, "unauthenticated")


async def test_a_signed_body_that_is_too_large_is_refused_before_it_is_all_read(venue, alice):
    response = await alice.post("/v1/orders", content=b"x" * (venue.service.config.limits.max_body_bytes + 1))
    assert_refused(response, 413, "body_too_large")


# --- Whose orders ----------------------------------------------------------------------------------------------------

BOBS_ORDER = {"account": "bob", "client_order_id": "b1"}


@pytest.fixture
async def bobs_order(bob) -> dict[str, Any]:
    report = (await bob.post("/v1/orders", json=sell())).json()
    assert report["status"] == "accepted"
    return report


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/orders", sell("b2")),
        ("POST", "/v1/orders", order("d1", account=None)),
        ("DELETE", "/v1/orders?account=bob", None),
        ("DELETE", "/v1/orders/by-client-id/bob/b1", None),
        ("DELETE", "/v1/orders/1?account=bob", None),
        ("DELETE", "/v1/orders/1", None),
        ("PATCH", "/v1/orders/by-client-id/bob/b1", {"quantity": "1"}),
        ("PATCH", "/v1/orders/1", {"account": "bob", "quantity": "1"}),
        ("PATCH", "/v1/orders/1?account=bob", {"quantity": "1"}),
        ("GET", "/v1/orders?account=bob", None),
        ("GET", "/v1/orders/by-client-id/bob/b1", None),
        ("GET", "/v1/orders/by-client-id/bob/no-such-order", None),
        ("GET", "/v1/orders/1?account=bob", None),
    ],
)
async def test_another_accounts_orders_are_out_of_reach(venue, alice, bobs_order, method, path, body):
    before = venue.service.state.exchange.orders(open_only=False)
    response = await alice.request(method, path, json=body)
    assert_refused(response, 403, "forbidden")
    assert "is for alice, not for" in response.json()["detail"]
    assert venue.service.state.exchange.orders(open_only=False) == before


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_another_accounts_order_under_the_own_name_is_as_unknown_as_one_that_never_was(alice, bobs_order, method):
    body = {"quantity": "1"} if method == "PATCH" else None
    answers = []
    for order_id in (bobs_order["order"]["order_id"], 999):
        path = f"/v1/orders/{order_id}?account=alice"
        response = await alice.request(method, path, json=body)
        answers.append((response.status_code, response.json()["code"]))
    assert answers[0] == answers[1]
    assert answers[0][1] == "unknown_order"
    # By its id alone as well.
    if method == "GET":
        assert_refused(await alice.get("/v1/orders/1"), 404, "unknown_order")


async def test_a_list_without_an_account_is_of_the_keys_own_accounts(venue, alice, bob, admin, bobs_order):
    await alice.post("/v1/orders", json=order(price="99.00"))
    await bob.post("/v1/orders", json=sell("b2", price="101.00"))

    async def listed(key, query=""):
        async with venue.client(key) as client:
            return [found["client_order_id"] for found in (await client.get(f"/v1/orders{query}")).json()]

    assert await listed(ALICE) == await listed(ALICES_READER) == ["a1"]
    assert await listed(BOB) == ["b1", "b2"]
    assert await listed(BOTH) == await listed(ADMIN) == ["b1", "a1", "b2"]
    assert await listed(BOTH, "?limit=1&from_order_id=2") == ["a1"]
    assert await listed(BOTH, "?account=bob") == ["b1", "b2"]
    assert await listed(READER) == []


@pytest.mark.parametrize("media_type", ["application/json", "application/cbor"])
async def test_of_many_commands_those_of_others_are_refused_in_their_places(venue, alice, bobs_order, media_type):
    commands = [
        {"op": "new", **order()},
        {"op": "new", **sell("b9")},
        {"op": "cancel", **BOBS_ORDER},
        {"op": "cancel", "account": "bob", "order_id": 1},
        {"op": "cancel_all", "account": "bob"},
        {"op": "replace", **BOBS_ORDER, "quantity": "1"},
        {"op": "set_status", "symbol": "ACME", "status": "halted"},
        {"op": "add_instrument", "symbol": "EVIL", "price_decimals": 2, "quantity_decimals": 0},
        {"op": "uncross", "symbol": "ACME"},
        {"op": "tick"},
        {"op": "revoke_key", "key_id": ADMIN.key_id},
        {"op": "create_key", "key_id": "evil0001", "name": "evil", "role": "admin", "public_key": KEYS[0].public_key},
        {"op": "cancel", "account": "alice", "client_order_id": "a1"},
    ]
    content = json.dumps(commands).encode() if media_type == "application/json" else cbor2.dumps(commands)
    headers = {"content-type": media_type, "accept": media_type}
    response = await alice.post("/v1/commands", content=content, headers=headers)
    reports = response.json() if media_type == "application/json" else cbor2.loads(response.content)
    assert reports[0]["status"] == "accepted"
    assert {(report["status"], report["reason"]) for report in reports[1:-1]} == {("rejected", "forbidden")}
    assert reports[-1]["reason"] == "unknown_order"  # It is filled.
    assert all(report["log_index"] is None for report in reports[1:-1])
    exchange = venue.service.state.exchange
    assert exchange.order(1).leaves_quantity == 0  # What alice bought of it is all that became of bob's order.
    assert set(exchange.instruments) == {"ACME"}
    assert set(exchange.api_keys.records) == {key.key_id for key in KEYS}


async def test_a_report_does_not_tell_of_others(venue, alice, bob, admin):
    """Bob's iceberg and stop are his own business, also where alice's order makes them move."""
    await bob.post("/v1/orders", json=sell("b1", quantity="9", display_quantity="2"))
    stop = order("b2", account="bob", order_type="stop_limit", stop_price="100", price="90")
    assert (await bob.post("/v1/orders", json=stop)).json()["status"] == "accepted"
    taken = (await alice.post("/v1/orders", json=order(quantity="5"))).json()
    kinds = [event["event"] for event in taken["events"]]
    assert kinds == ["order_accepted", "trade", "trade", "trade"]
    for event in taken["events"][1:]:
        assert event["taker_account"] == "alice"
        assert event["taker_client_order_id"] == "a1"
        assert not any(name in event for name in ("maker_account", "maker_client_order_id"))
    assert "bob" not in json.dumps(taken)
    where = f"/v1/submissions/{taken['origin']}/{taken['origin_sequence']}"
    assert (await alice.get(where)).json() == taken
    whole = [event["event"] for event in (await admin.get(where)).json()["events"]]
    assert whole.count("order_restated") == 2
    assert "order_triggered" in whole
    # And neither may bob read the report, which would tell him of alice.
    assert_refused(await bob.get(where), 404, "not_held")
    assert_refused(await alice.get(f"/v1/submissions/{taken['origin']}/1"), 404, "not_held")
    assert_refused(await alice.get(f"/v1/submissions/{taken['origin']}/1?count=3"), 404, "not_held")


async def test_refused_and_mass_canceled_submissions_are_their_accounts_own(alice, bob):
    refused = (await alice.post("/v1/orders", json=order(price="0.001"))).json()["report"]
    canceled = (await alice.delete("/v1/orders?account=alice")).json()
    for report in (refused, canceled):
        where = f"/v1/submissions/{report['origin']}/{report['origin_sequence']}"
        assert (await alice.get(where)).json() == report
        assert_refused(await bob.get(where), 404, "not_held")


async def test_market_data_does_not_tell_who_traded(venue, alice, bob, admin, bobs_order):
    await alice.post("/v1/orders", json=order())

    async def names_seen(key):
        async with venue.client(key) as client:
            [trade] = (await client.get("/v1/trades/ACME")).json()
            return {value for name, value in trade.items() if "account" in name or "client_order_id" in name}

    assert await names_seen(READER) == set()
    assert await names_seen(ALICE) == {"alice", "a1"}
    assert await names_seen(BOB) == {"bob", "b1"}
    assert await names_seen(BOTH) == await names_seen(ADMIN) == {"alice", "a1", "bob", "b1"}


async def test_the_book_does_not_tell_whose_orders_wait(venue, bobs_order):
    async with venue.client(READER) as reader:
        for level in (2, 3):
            text = (await reader.get(f"/v1/book/ACME?level={level}")).text
            assert "bob" not in text
            assert "b1" not in text


# --- Keys ------------------------------------------------------------------------------------------------------------


async def test_an_admin_makes_keys_lists_them_and_revokes_them(venue, admin):
    new = key_of(Role.TRADE, "newkey01")
    command = creation_of(new, "carol")
    created = await admin.post(
        "/v1/keys",
        json={
            "key_id": new.key_id,
            "name": command.name,
            "role": "trade",
            "accounts": ["carol"],
            "public_key": command.public_key,
        },
    )
    assert created.json()["events"][0]["event"] == "key_created"
    listed = (await admin.get("/v1/keys")).json()
    assert [key["key_id"] for key in listed] == [*(key.key_id for key in KEYS), "newkey01"]
    async with venue.client(new) as carol:
        assert (await carol.post("/v1/orders", json=order(account="carol"))).status_code == 200
        assert (await admin.delete("/v1/keys/newkey01")).status_code == 200
        refused = await carol.post("/v1/orders", json=order("a2", account="carol"))
        assert_refused(refused, 401, "key_revoked")
        assert "ask an admin" in refused.json()["detail"]
    assert (await admin.get("/v1/keys")).json()[-1]["revoked_at"] > 0
    assert (await admin.delete("/v1/keys/nosuch01")).json()["code"] == "unknown_key"


async def test_a_revoked_read_key_is_refused_though_it_was_known(venue, admin):
    async with venue.client(READER) as reader:
        assert (await reader.get("/v1/book/ACME")).status_code == 200
        await venue.submit(RevokeKey(READER.key_id))
        assert_refused(await reader.get("/v1/book/ACME"), 401, "key_revoked")


async def test_an_admin_key_that_is_revoked_while_its_request_is_read_does_nothing(venue):
    body = json.dumps({"symbol": "LATE", "price_decimals": 2, "quantity_decimals": 0}).encode()
    headers = signed_headers(
        ADMIN, venue.node, "POST", "/v1/instruments", body=body, timestamp=time.time_ns(), nonce="n" * 16
    )

    async def slowly():
        yield body[:10]
        await venue.submit(RevokeKey(ADMIN.key_id))
        yield body[10:]

    async with venue.client(None) as client:
        headers["content-type"] = "application/json"
        response = await client.post("/v1/instruments", content=slowly(), headers=headers)
    assert_refused(response, 401, "key_revoked")
    assert "LATE" not in venue.service.state.exchange.instruments


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/commands"])
async def test_a_key_that_is_revoked_while_its_node_catches_up_enters_nothing(venue, path):
    venue.service.joined.clear()
    fields = order(account="alice")
    body = [{"op": "new", **fields}] if path == "/v1/commands" else fields
    async with venue.client(ALICE) as client:
        waiting = asyncio.create_task(client.post(path, json=body))
        while not venue.service.is_awaited:  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(0.001)
        await venue.submit(RevokeKey(ALICE.key_id))
        taken = venue.service.taken
        venue.service.joined.set()
        assert_refused(await waiting, 401, "key_revoked")
    assert venue.service.taken == taken


# --- WebSocket -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def stream_of(venue, key: ApiKey | None) -> AsyncIterator[StreamClient]:
    """A connection whose handshake shows the key."""
    request = httpx.Request("GET", f"http://localhost{STREAM_TARGET}")
    headers = {} if key is None else headers_for(key, venue.node, request)
    async with serve(venue.app) as url, open_stream(url, additional_headers=headers) as stream:
        yield stream


def authentication(venue, key: ApiKey) -> dict[str, object]:
    """The fields of the op `authenticate`."""
    if key.role is Role.READ:
        return {"token": format_key(key)}
    headers = headers_for(key, venue.node, httpx.Request("GET", f"http://localhost{STREAM_TARGET}"))
    return {
        "key_id": headers[KEY_HEADER],
        "timestamp": int(headers[TIMESTAMP_HEADER]),
        "nonce": headers[NONCE_HEADER],
        "signature": headers[SIGNATURE_HEADER],
    }


async def test_a_stream_wants_a_key_before_anything_else(venue):
    async with stream_of(venue, None) as stream:
        refused = await stream.ask("subscribe", channel="book", symbol="ACME")
        assert (refused["type"], refused["code"]) == ("error", "unauthenticated")
        refused = await stream.ask("new", request_id=1, **order())
        assert (refused["request_id"], refused["error"]["code"]) == (1, "unauthenticated")
        answer = await stream.ask("authenticate", request_id=2, **authentication(venue, ALICE))
        assert answer == {"type": "authenticated", "key_id": ALICE.key_id, "role": "trade", "request_id": 2}
        assert (await stream.ask("subscribe", channel="book", symbol="ACME"))["type"] == "snapshot"
        again = await stream.ask("authenticate", **authentication(venue, BOB))
        assert again["code"] == "already_authenticated"


@pytest.mark.parametrize("key", [ALICE, READER], ids=["signed", "token"])
async def test_the_handshake_may_show_the_key(venue, key):
    async with stream_of(venue, key) as stream:
        assert (await stream.ask("subscribe", channel="l3", symbol="ACME"))["type"] == "snapshot"


async def test_a_handshake_with_a_bad_key_is_refused(venue):
    async with serve(venue.app) as url:
        for headers in (
            {"Authorization": "Bearer rb_read_nonsense"},
            headers_for(ALICE, "n9.9", httpx.Request("GET", f"http://localhost{STREAM_TARGET}")),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with open_stream(url, additional_headers=headers):
                    pytest.fail("it was let in")
            assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signature": "A" * 86}, "signature_invalid"),
        ({"timestamp": 0}, "timestamp_outside_window"),
        ({"key_id": "nosuch01"}, "unauthenticated"),
        ({"nonce": "x"}, "unauthenticated"),
        ({"timestamp": "soon"}, "malformed"),
        ({"timestamp": True}, "malformed"),
        ({"timestamp": -1}, "malformed"),
        ({"key_id": 5}, "malformed"),
        ({"signature": None}, "malformed"),
        ({"token": 5}, "malformed"),
        ({"token": format_key(READER)}, "malformed"),
    ],
)
async def test_what_authenticates_nobody(venue, change, code):
    async with stream_of(venue, None) as stream:
        answer = await stream.ask("authenticate", **(authentication(venue, ALICE) | change))
        assert (answer["type"], answer["code"]) == ("error", code)
        assert (await stream.ask("new", request_id=1, **order()))["error"]["code"] == "unauthenticated"


async def test_an_authentication_that_was_heard_is_good_for_nobody_else(venue):
    fields = authentication(venue, ALICE)
    async with serve(venue.app) as url:
        async with open_stream(url) as stream:
            assert (await stream.ask("authenticate", **fields))["type"] == "authenticated"
        async with open_stream(url) as thief:
            assert (await thief.ask("authenticate", **fields))["code"] == "replayed"


async def test_over_the_stream_as_over_http_everybody_is_for_the_own_accounts(venue, bobs_order):
    async with stream_of(venue, ALICE) as stream:
        for op, fields in (
            ("new", sell("b2")),
            ("cancel", BOBS_ORDER),
            ("cancel", {"account": "bob", "order_id": 1}),
            ("replace", {**BOBS_ORDER, "quantity": "1"}),
            ("cancel_all", {"account": "bob"}),
            ("set_status", {"symbol": "ACME", "status": "halted"}),
            ("tick", {}),
            ("revoke_key", {"key_id": ADMIN.key_id}),
        ):
            answer = await stream.ask(op, request_id=op, **fields)
            assert answer["request_id"] == op
            assert (answer["error"]["status"], answer["error"]["code"]) == (403, "forbidden"), op
        assert (await stream.ask("subscribe", channel="orders", account="bob"))["code"] == "forbidden"
        assert (await stream.ask("subscribe", channel="orders", account="alice"))["type"] == "snapshot"
        # By its id under the own account it is unknown.
        unknown = await stream.ask("cancel", request_id=1, account="alice", order_id=1)
        assert unknown["report"]["reason"] == "unknown_order"
        await stream.say("new", request_id=2, **order())
        answers = await stream.hear_until(lambda message: message.get("request_id") == 2)
        assert answers[-1]["report"]["status"] == "accepted"
        assert "bob" not in json.dumps(answers)
        assert "b1" not in json.dumps(answers)


async def test_a_read_key_enters_nothing_over_the_stream(venue):
    async with stream_of(venue, ALICES_READER) as stream:
        answer = await stream.ask("new", request_id=1, **order())
        assert answer["error"]["code"] == "forbidden"
        assert "is a read key; this needs a trade key" in answer["error"]["detail"]
        assert (await stream.ask("subscribe", channel="orders", account="alice"))["type"] == "snapshot"


async def test_an_order_whose_key_is_revoked_in_the_turn_in_which_it_comes_is_not_entered(venue, monkeypatch):
    service = venue.service

    def revoke_first(_service: DirectService) -> bool:
        asyncio.get_running_loop().call_soon(service.execute, RevokeKey(ALICE.key_id))
        return True

    async with stream_of(venue, ALICE) as stream:
        monkeypatch.setattr(DirectService, "has_joined", property(revoke_first))
        await stream.say("new", **order(account="alice"), request_id=1)
        assert (await stream.hear())["error"]["code"] == "key_revoked"
    assert service.state.exchange.orders("alice") == []


async def test_a_revoked_keys_stream_ends_at_once_and_no_others_do(venue):
    async with serve(venue.app) as url, open_stream(url) as alices, open_stream(url) as bobs:
        for stream, key in ((alices, ALICE), (bobs, BOB)):
            await stream.ask("authenticate", **authentication(venue, key))
            await stream.ask("subscribe", channel="trades", symbol="ACME")
        await venue.submit(RevokeKey(ALICE.key_id))
        messages, code, reason = await alices.closing()
        assert (messages, code) == ([], 4001)
        assert "was revoked" in reason
        assert (await bobs.ask("ping"))["type"] == "pong"
        async with open_stream(url) as again:
            assert (await again.ask("authenticate", **authentication(venue, ALICE)))["code"] == "key_revoked"


async def test_a_key_that_a_snapshot_no_longer_has_ends_its_stream(venue):
    async with stream_of(venue, None) as stream:
        await stream.ask("authenticate", **authentication(venue, BOB))
        del venue.service.state.exchange.api_keys.records[BOB.key_id]
        del venue.service.state.exchange.api_keys.key_ids[creation_of(BOB, "bob").public_key]
        venue.service.restore_from_itself()
        _, code, reason = await stream.closing()
        assert code == 4001
        assert "is known no more" in reason


async def test_a_stream_without_a_key_in_time_is_closed(venue, monkeypatch):
    monkeypatch.setattr("raftbook.gateway.stream.AUTHENTICATION_S", 0.05)
    async with stream_of(venue, None) as stream:
        _, code, _ = await stream.closing()
        assert code == 4001


async def test_without_keys_to_authenticate_is_a_misunderstanding():
    async with serve(make_app(DirectService())) as url, open_stream(url) as stream:
        assert (await stream.ask("authenticate", token="x"))["code"] == "no_keys"


# --- How often -------------------------------------------------------------------------------------------------------


async def test_a_key_that_asks_too_often_is_told_when_to_come_again():
    venue = await venue_of(config_with_keys(key_requests_per_s=2))
    async with venue.client(ALICE) as alice, venue.client(BOB) as bob:
        answers = [await alice.get("/v1/book/ACME") for _ in range(20)]
        assert [answer.status_code for answer in answers[:2]] == [200] * 2
        refused = answers[-1]
        assert_refused(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert "key alice001 asks more than 2 times a second" in refused.json()["detail"]
        assert (await bob.get("/v1/book/ACME")).status_code == 200


async def test_each_command_counts():
    venue = await venue_of(config_with_keys(key_requests_per_s=20))
    commands = [{"op": "cancel_all", "account": "alice"}] * 200
    async with venue.client(ALICE) as alice:
        assert (await alice.post("/v1/commands", json=commands)).status_code == 200
        refused = await alice.get("/v1/book/ACME")
        assert_refused(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 5


@pytest.mark.parametrize(
    ("key", "limit"),
    [(ALICE, "key_requests_per_s"), (ALICE, "address_requests_per_s"), (None, "address_requests_per_s")],
)
async def test_commands_over_the_stream_count_as_well(key, limit):
    venue = await venue_of(make_config(**{limit: 2}) if key is None else config_with_keys(**{limit: 2}))
    async with stream_of(venue, key) as stream:
        for number in range(20):
            await stream.say("cancel_all", request_id=number, account="alice")
        answers = [await stream.hear() for _ in range(20)]
        limited = [answer["error"] for answer in answers if "error" in answer]
        assert 10 <= len(limited) <= 19  # The handshake counts as well; a slow machine has more time.
        assert {error["code"] for error in limited} == {"rate_limited"}
        assert all(0 < error["retry_after_s"] <= 1 for error in limited)


async def test_an_address_that_asks_too_often_is_refused_before_anything_is_looked_at():
    venue = await venue_of(config_with_keys(address_requests_per_s=2))
    async with venue.client(None) as nobody:
        codes = [(await nobody.get("/v1/book/ACME")).json()["code"] for _ in range(20)]
    assert codes[0] == "unauthenticated"
    assert codes[-1] == "rate_limited"


async def test_addresses_are_limited_where_no_keys_are_required_as_well():
    app = make_app(DirectService(make_config(address_requests_per_s=2)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        statuses = [(await client.get("/healthz")).status_code for _ in range(20)]
    assert statuses[:2] == [200] * 2
    assert statuses[-1] == 429


async def test_a_cluster_on_loopback_limits_nobody_unless_it_says_so():
    assert make_config().key_requests_per_s == make_config().address_requests_per_s == 0
    assert make_config("192.0.2.1:8101").key_requests_per_s == 5_000
    assert make_config("127.0.0.1:8101", "node.example.com:8101").address_requests_per_s == 10_000
    assert make_config("192.0.2.1:8101", key_requests_per_s=0).key_requests_per_s == 0


@pytest.mark.parametrize(
    ("client", "counted_for"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5000), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 5000), "2001:db8:1:2::/64"),
        (("::1", 5000), "::1"),
        (("testclient", 5000), "testclient"),
        (None, "unknown"),
    ],
)
def test_for_whom_requests_are_counted(client, counted_for):
    assert address_of({"client": client}) == counted_for
