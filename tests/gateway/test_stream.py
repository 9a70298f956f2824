"""/v1/stream: subscribing, and what a subscriber hears. Over real WebSockets, in front of the real state machine."""

from __future__ import annotations

import pytest

from raftbook.engine import Entry, Run
from raftbook.feed.symbol_feed import WAITING_EVENTS, SymbolFeed
from raftbook.gateway import stream_delivery
from raftbook.json_format import command_from_fields
from raftbook.state_machine import StateMachine
from tests.support.direct_service import START_TIME
from tests.support.feed_followers import BookFollower
from tests.support.sample_orders import ACME, order, sell
from tests.support.stream_client import open_stream
from tests.support.stream_market import open_stream_market

SUBSCRIPTION = {"channel": "book", "symbol": "ACME"}


async def test_a_book_begins_with_a_snapshot_and_goes_on_with_an_update_for_every_event(market, client):
    await market.enter(sell("s1", price="101.00", quantity="5"), sell("s2", price="101.50", quantity="1"))
    snapshot = await client.ask("subscribe", **SUBSCRIPTION)
    assert snapshot == {
        "channel": "book",
        "type": "snapshot",
        "symbol": "ACME",
        "sequence": 3,
        "log_index": 2,
        "timestamp": snapshot["timestamp"],
        "status": "trading",
        "bids": [],
        "asks": [["101.00", "5"], ["101.50", "1"]],
    }
    # It is accepted and trades twice: three events of one entry, so the book changes once, with the last of them.
    await market.enter(order("b1", price="101.50", quantity="7"))
    bare, second, told = [await client.hear() for _ in range(3)]
    assert [bare, second] == [
        {"channel": "book", "type": "update", "symbol": "ACME", "sequence": sequence} for sequence in (4, 5)
    ]
    assert told == {
        "channel": "book",
        "type": "update",
        "symbol": "ACME",
        "sequence": 6,
        "log_index": 3,
        "timestamp": told["timestamp"],
        "bids": [["101.50", "1"]],
        "asks": [["101.00", "0"], ["101.50", "0"]],
        "last_price": "101.50",
    }


async def test_the_l3_channel_tells_orders_and_trades(market, client):
    await market.enter(sell("s1", price="101.00", quantity="5"))
    snapshot = await client.ask("subscribe", channel="l3", symbol="ACME")
    assert snapshot["asks"] == [{"order_id": 1, "price": "101.00", "quantity": "5"}]
    await market.enter(order("b1", price="101.00", quantity="2"))
    _, told = await client.hear_until(lambda message: "orders" in message)
    assert told["orders"] == [
        {"order_id": 1, "side": "sell", "price": "101.00", "quantity": "3", "to_back": False},
    ]
    [trade] = told["trades"]
    assert (trade["price"], trade["quantity"], trade["maker_order_id"], trade["taker_side"]) == (
        "101.00",
        "2",
        1,
        "buy",
    )


async def test_trades_name_no_accounts_and_the_trade_before_them(market, client):
    await market.enter(sell("s1", quantity="9"), order("b1", quantity="1"))
    snapshot = await client.ask("subscribe", channel="trades", symbol="ACME")
    assert [trade["trade_id"] for trade in snapshot["trades"]] == [1]
    await market.enter(order("b2", quantity="2"), order("b3", quantity="3"))
    trades = [await client.hear() for _ in range(2)]
    assert [(trade["trade_id"], trade["previous_trade_id"], trade["quantity"]) for trade in trades] == [
        (2, 1, "2"),
        (3, 2, "3"),
    ]
    for trade in (*trades, *snapshot["trades"]):
        assert not [name for name in trade if "account" in name or "client" in name]


async def test_own_orders_come_with_their_events_and_without_the_other_side(market, client):
    await market.enter(sell("s1", quantity="5"), order("b0", price="1.00"))
    snapshot = await client.ask("subscribe", channel="orders", account="bob")
    assert [o["client_order_id"] for o in snapshot["orders"]] == ["s1"]
    [report] = await market.enter(order("b1", quantity="2"))
    update = await client.hear()
    assert (update["type"], update["sequence"]) == ("update", report["log_index"])
    [trade] = update["events"]
    assert (trade["event"], trade["maker_account"], trade["maker_client_order_id"]) == ("trade", "bob", "s1")
    assert "taker_account" not in trade
    assert "taker_client_order_id" not in trade


async def test_own_orders_of_one_symbol(market, client):
    assert (await market.http.post("/v1/instruments", json={**ACME, "symbol": "OTHER"})).status_code == 200
    await client.ask("subscribe", channel="orders", account="bob", symbol="OTHER")
    await market.enter(sell("s1"), sell("s2", symbol="OTHER"))
    update = await client.hear()
    assert [event["client_order_id"] for event in update["events"]] == ["s2"]


async def test_an_auction_is_told_with_its_indication(market, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await market.http.patch("/v1/instruments/ACME", json={"status": "auction"})
    assert (await client.hear())["status"] == "auction"
    await market.enter(sell("s1", price="99.00", quantity="5"), order("b1", price="101.00", quantity="4"))
    told = (await client.hear_until(lambda message: "indication" in message))[-1]
    assert told["indication"]["quantity"] == "4"
    async with open_stream(market.url) as late:
        snapshot = await late.ask("subscribe", **SUBSCRIPTION)
    assert (snapshot["status"], snapshot["indication"]) == ("auction", told["indication"])
    assert (snapshot["bids"], snapshot["asks"]) == ([["101.00", "4"]], [["99.00", "5"]])


async def test_updates_of_an_interval_are_one(market, client):
    follower = BookFollower()
    follower.take(await client.ask("subscribe", **SUBSCRIPTION, interval_ms=200))
    for number in range(6):
        await market.enter(order(f"b{number}", price=f"{90 + number}.00"))
    while follower.sequence < 7:
        follower.take(await client.hear())
    assert follower.updates < 6
    assert len(follower.sides[0]) == 6


async def test_resuming_goes_on_behind_the_sequence_that_was_seen(market, client):
    for number in range(5):
        await market.enter(order(f"b{number}"))
    assert (await client.ask("subscribe", **SUBSCRIPTION, from_sequence=3))["sequence"] == 4
    assert [(await client.hear())["sequence"] for _ in range(2)] == [5, 6]
    # Who has seen everything hears nothing until there is something.
    await client.say("subscribe", **SUBSCRIPTION, from_sequence=6)
    await market.enter(order("b9"))
    assert (await client.hear())["sequence"] == 7


async def test_a_sequence_that_is_no_longer_held_answers_with_a_snapshot():
    async with open_stream_market(feed_events_kept=3) as market, open_stream(market.url) as client:
        for number in range(6):
            await market.enter(order(f"b{number}"))
        message = await client.ask("subscribe", **SUBSCRIPTION, from_sequence=2)
        assert (message["type"], message["sequence"]) == ("snapshot", 7)
        message = await client.ask("subscribe", channel="orders", account="alice", from_sequence=2)
        assert (message["type"], len(message["orders"])) == ("snapshot", 6)


async def test_a_sequence_that_this_node_has_not_applied_yet_is_waited_for(market, client):
    await client.say("subscribe", **SUBSCRIPTION, from_sequence=3)
    await client.say("ping")
    assert (await client.hear())["type"] == "pong"
    for number in range(3):
        await market.enter(order(f"b{number}"))
    assert (await client.hear())["sequence"] == 4


async def test_but_not_for_ever(market, client, monkeypatch):
    monkeypatch.setattr(stream_delivery, "AHEAD_WAIT_S", 0.05)
    error = await client.ask("subscribe", **SUBSCRIPTION, from_sequence=9, request_id=5)
    assert (error["type"], error["code"], error["request_id"]) == ("error", "sequence_ahead", 5)
    unknown = await client.ask("subscribe", channel="book", symbol="ACNE", from_sequence=9)
    assert (unknown["code"], unknown["near"]) == ("unknown_symbol", ["ACME"])
    assert (await client.ask("subscribe", **SUBSCRIPTION))["type"] == "snapshot"


async def test_when_the_node_takes_a_snapshot_its_subscribers_get_one_too(market, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    ahead = StateMachine.from_snapshot(market.service.state.to_snapshot())
    commands = (command_from_fields("new", order("b1")), command_from_fields("new", order("b2", price="99.00")))
    ahead.apply_entry(ahead.index + 1, Entry(START_TIME, (Run("peer.1", 1, commands),)))
    market.service.restore(ahead)
    message = await client.hear()
    assert (message["type"], message["sequence"]) == ("snapshot", 3)
    assert message["bids"] == [["100.25", "5"], ["99.00", "5"]]
    await market.enter(order("b3"))
    assert (await client.hear())["sequence"] == 4


async def test_subscribing_again_replaces(market, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await client.ask("subscribe", **SUBSCRIPTION, encoding="cbor")
    await market.enter(order("b1"))
    await client.hear()
    assert (await client.ask("ping"))["type"] == "pong"
    assert client.encodings == ["json", "cbor", "cbor", "json"]


async def test_unsubscribing_names_the_last_sequence(market, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await market.enter(order("b1"))
    await client.hear()
    answer = await client.ask("unsubscribe", **SUBSCRIPTION, request_id="u")
    assert answer == {**SUBSCRIPTION, "type": "unsubscribed", "sequence": 2, "request_id": "u"}
    await market.enter(order("b2"))
    assert (await client.ask("ping"))["type"] == "pong"
    assert (await client.ask("unsubscribe", **SUBSCRIPTION))["code"] == "not_subscribed"


async def test_more_subscriptions_than_a_connection_may_have():
    async with open_stream_market(max_subscriptions_per_connection=2) as market, open_stream(market.url) as client:
        for channel in ("book", "l3"):
            assert (await client.ask("subscribe", channel=channel, symbol="ACME"))["type"] == "snapshot"
        assert (await client.ask("subscribe", channel="trades", symbol="ACME"))["code"] == "too_many_subscriptions"
        assert (await client.ask("subscribe", channel="l3", symbol="ACME"))["type"] == "snapshot"


@pytest.mark.parametrize("leaves", [False, True])
async def test_who_resumes_far_behind_where_nobody_listened_is_told_all_of_it_by_and_by(market, monkeypatch, leaves):
    folded, fold_behind = [], SymbolFeed.fold_behind

    def fold_one(symbol_feed: SymbolFeed, sequence: int) -> bool:
        folded.append(sequence)
        return fold_behind(symbol_feed, sequence, most=1)

    monkeypatch.setattr(SymbolFeed, "fold_behind", fold_one)
    for first in range(0, 2 * WAITING_EVENTS, 100):
        await market.enter(*(order(f"f{number}", time_in_force="ioc") for number in range(first, first + 100)))
    async with open_stream(market.url) as client:
        await client.say("subscribe", **SUBSCRIPTION, from_sequence=10)
        if leaves:
            assert (await client.ask("unsubscribe", **SUBSCRIPTION))["type"] == "unsubscribed"
            await client.say("subscribe", **SUBSCRIPTION, from_sequence=10)
        await market.enter(order("late"))
        last = 10
        while last < market.service.feed.sequence("ACME"):
            update = await client.hear()
            assert update.get("first_sequence", update["sequence"]) == last + 1
            last = update["sequence"]
    assert len(folded) > 2
