"""Where keys are required: which role each route needs, and what no copied or altered request can do."""

from __future__ import annotations

import time

import httpx
import pytest
from starlette.responses import Response
from starlette.routing import Route

from raftbook.engine.types import Role
from raftbook.gateway import make_app
from raftbook.gateway.access import AccessControl
from raftbook.gateway.endpoint import EndpointRoute
from raftbook.security.signing import (
    KEY_HEADER,
    NODE_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    format_key,
    signed_headers,
)
from tests.support.api_keys import headers_for
from tests.support.direct_service import DirectService
from tests.support.keyed_venue import (
    ADMIN,
    ALICE,
    BOTH,
    READER,
    assert_refused,
    config_with_keys,
)
from tests.support.sample_orders import order

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
