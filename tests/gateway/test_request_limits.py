"""How often somebody may ask: limits of keys and of addresses."""

from __future__ import annotations

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from raftbook.gateway import make_app
from raftbook.gateway.access import address_of
from tests.support.direct_service import DirectService, make_config
from tests.support.keyed_venue import (
    ALICE,
    BOB,
    assert_refused,
    config_with_keys,
    stream_of,
    venue_of,
)
from tests.support.server import serve


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


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/made/up", 404), ("PUT", "/v1/orders", 405), ("OPTIONS", "/v1/orders", 204)]
)
async def test_what_does_not_exist_counts_as_well(method, path, status):
    app = make_app(DirectService(make_config(address_requests_per_s=2)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answers = [await client.request(method, path) for _ in range(20)]
    assert [answer.status_code for answer in answers[:2]] == [status] * 2
    assert_refused(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/v1/stream", "/made/up"])
async def test_handshakes_of_websockets_count_as_well(path):
    app = make_app(DirectService(make_config(address_requests_per_s=2)))
    statuses = []
    async with serve(app) as url:
        for _ in range(20):
            try:
                async with connect(f"{url.replace('http', 'ws')}{path}", compression=None):
                    statuses.append(101)
            except InvalidStatus as refused:
                statuses.append(refused.response.status_code)
    assert statuses[0] == (101 if path == "/v1/stream" else 403)
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
