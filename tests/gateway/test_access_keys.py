"""Keys that are made and revoked while a node runs."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from raftbook.engine.commands import RevokeKey
from raftbook.engine.types import Role
from raftbook.security.signing import (
    signed_headers,
)
from tests.support.api_keys import creation_of, key_of
from tests.support.keyed_venue import (
    ADMIN,
    ALICE,
    KEYS,
    READER,
    assert_refused,
)
from tests.support.sample_orders import order


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
