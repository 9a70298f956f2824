"""Where keys are required: whose orders one sees and changes, and what is told of others."""

from __future__ import annotations

import json

import cbor2
import pytest

from tests.support.keyed_venue import (
    ADMIN,
    ALICE,
    ALICES_READER,
    BOB,
    BOBS_ORDER,
    BOTH,
    KEYS,
    READER,
    assert_refused,
)
from tests.support.sample_orders import order, sell


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
