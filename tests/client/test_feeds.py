"""Feeds and local books: across the death of a node, over a server that lies, and to their end."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve as serve_websocket

from raftbook.client import RaftbookClient
from raftbook.client import feed as feed_module
from raftbook.errors import ProblemError, UnreachableError
from tests.client.commands import new, numbered
from tests.client.two_nodes import PATIENCE_S
from tests.support.sample_orders import sell


async def taken(feed, count):
    """The next messages of the feed."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(feed) for _ in range(count)]


def sequences(messages):
    return [message["sequence"] for message in messages]


@pytest.mark.parametrize("encoding", ["json", "cbor"])
@pytest.mark.parametrize("channel", ["book", "l3"])
async def test_a_book_is_told_from_a_snapshot_on(nodes, channel, encoding):
    async with RaftbookClient(nodes.first, encoding=encoding) as client, client.feed(channel, "ACME") as feed:
        (snapshot,) = await taken(feed, 1)
        await client.submit_many(numbered(3))
        updates = await taken(feed, 3)
    assert (snapshot["type"], snapshot["sequence"]) == ("snapshot", 1)
    assert sequences(updates) == [2, 3, 4]
    assert feed.url is None, "it is closed"


@pytest.mark.parametrize("channel", ["book", "l3", "trades", "orders"])
async def test_a_feed_goes_on_at_another_node_where_it_stood(client, nodes, channel):
    feed = client.own_orders("alice") if channel == "orders" else client.feed(channel, "ACME")
    async with feed:
        (snapshot,) = await taken(feed, 1)
        assert snapshot["type"] == "snapshot"
        await client.submit_many([new("a1"), {"op": "new", **sell("b1", quantity="1")}])
        before = await taken(feed, {"book": 3, "l3": 3, "trades": 1, "orders": 1}[channel])
        assert feed.url == nodes.first

        nodes.kill_first()
        await client.submit_many([new("a2"), {"op": "new", **sell("b2", quantity="1")}])
        after = await taken(feed, {"book": 3, "l3": 3, "trades": 1, "orders": 1}[channel])

        assert (feed.url, feed.resumptions, feed.problem) == (nodes.second, 1, None)
    messages = before + after
    assert {message["type"] for message in messages} == {"update"}
    if channel in ("book", "l3"):
        assert sequences(messages) == [2, 3, 4, 5, 6, 7]
    elif channel == "trades":
        assert after[0]["previous_trade_id"] == before[0]["trade_id"]
    else:
        told = [event["event"] for message in messages for event in message["events"]]
        assert told == ["order_accepted", "trade"] * 2


async def test_a_feed_that_is_closed_ends(client, nodes):
    feed = client.feed("book", "ACME")
    assert len(await taken(feed, 1)) == 1
    await feed.aclose()
    assert [message async for message in feed] == []


async def test_a_client_closes_the_feeds_that_nobody_closed(nodes):
    client = RaftbookClient(nodes.second)
    await taken(client.feed("book", "ACME"), 1)
    (connection,) = client._open_streams._connections
    await client.aclose()
    assert not client._open_streams._connections
    assert connection._websocket.close_code == 1000


async def test_a_feed_that_is_read_ends_with_its_client(nodes):
    client = RaftbookClient(nodes.second)
    feed = client.feed("book", "ACME")
    await taken(feed, 1)
    following = asyncio.create_task(taken(feed, 1))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(StopAsyncIteration):
        await following
    assert feed.url is None
    assert not client._open_streams._connections


async def test_a_quiet_market_outlives_one_node_after_the_other(client, nodes, monkeypatch):
    """What it took to find a node is counted anew each time, also where nothing happened in between."""
    monkeypatch.setattr(feed_module, "STEADY_S", 0.0)
    feed = client.feed("book", "ACME")
    await taken(feed, 1)
    following = asyncio.create_task(taken(feed, 1))
    for _ in range(2):
        connection = feed._connection
        feed._lost_at -= 2 * feed_module.RECONNECT_TIMEOUT_S  # As long ago as that was the one before.
        await connection._websocket.close()
        while feed._connection in (None, connection):
            assert not following.done(), "it gave up"
            await asyncio.sleep(0.01)
    await client.submit(new("a1"))
    (message,) = await following
    assert message["type"] == "update"
    await feed.aclose()


async def test_a_feed_begins_behind_what_was_seen_elsewhere(client, nodes):
    await client.submit_many(numbered(4))
    async with client.feed("book", "ACME", from_sequence=3) as feed:
        assert sequences(await taken(feed, 2)) == [4, 5]
        assert feed.position == 5


async def test_updates_are_merged_at_the_wish_of_the_subscriber(client, nodes):
    async with client.local_book("ACME", interval_ms=50) as book:
        for command in numbered(5):
            await client.submit(command)
        async with asyncio.timeout(PATIENCE_S):
            await book.wait_until(lambda book: book.sequence == 6)
        assert book.bids == [("100.25", "25")]


async def test_a_symbol_that_is_not_there_is_told(client):
    with pytest.raises(ProblemError) as caught:
        await taken(client.feed("book", "ACNE"), 1)
    assert (caught.value.code, caught.value.members["near"]) == ("unknown_symbol", ["ACME"])


async def test_where_no_node_is_at_the_beginning_the_feed_says_so_at_once(client, nodes):
    nodes.kill_first()
    with pytest.raises(UnreachableError):
        await taken(client.at(nodes.first).feed("book", "ACME"), 1)


async def test_a_feed_whose_nodes_stay_away_gives_up_in_time(client, nodes):
    async with client.at(nodes.first).feed("book", "ACME", reconnect_timeout_s=0.2) as feed:
        await taken(feed, 1)
        nodes.kill_first()
        with pytest.raises(UnreachableError):
            await taken(feed, 1)
        assert feed.url is None
        assert feed.problem is not None


# ---------------------------------------------------------------- a server that lies


@asynccontextmanager
async def scripted(*answers):
    """A server that answers each `subscribe` with the next of `answers`; yields (URL, the subscriptions it got)."""
    subscriptions = []
    waiting = iter(answers)

    async def handle(connection):
        async for frame in connection:
            subscriptions.append(json.loads(frame))
            for message in next(waiting):
                if isinstance(message, int):
                    await connection.close(message)
                else:
                    await connection.send(json.dumps(message))

    async with serve_websocket(handle, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}", subscriptions


def said(kind, sequence, **fields):
    return {"channel": "book", "type": kind, "symbol": "ACME", "sequence": sequence, **fields}


def snapshot(sequence, *bids):
    return said("snapshot", sequence, bids=[list(bid) for bid in bids], asks=[])


async def test_after_a_gap_a_feed_begins_again_with_a_snapshot():
    first = [snapshot(5), said("update", 6), said("update", 8), said("update", 9)]
    again = [said("update", 10), snapshot(11), said("update", 12)]
    async with scripted(first, again) as (url, subscriptions), RaftbookClient(url) as client:
        messages = await taken(client.at(url).feed("book", "ACME"), 4)
    assert [(message["type"], message["sequence"]) for message in messages] == [
        ("snapshot", 5),
        ("update", 6),
        ("snapshot", 11),
        ("update", 12),
    ]
    assert [subscription.get("from_sequence") for subscription in subscriptions] == [None, None]


async def test_what_is_told_twice_is_passed_on_once():
    messages = [snapshot(5), said("update", 6), said("update", 6), said("update", 7)]
    async with scripted(messages) as (url, _), RaftbookClient(url) as client:
        assert sequences(await taken(client.at(url).feed("book", "ACME"), 3)) == [5, 6, 7]


@pytest.mark.parametrize("close_code", [4008, 1001, 1011])
async def test_a_connection_that_is_closed_is_made_again_behind_the_last_message(close_code):
    first = [snapshot(5), said("update", 6), close_code]
    async with scripted(first, [said("update", 7)]) as (url, subscriptions), RaftbookClient(url) as client:
        assert sequences(await taken(client.at(url).feed("book", "ACME"), 3)) == [5, 6, 7]
    assert subscriptions[1]["from_sequence"] == 6


async def test_a_node_that_shuts_down_is_left_at_its_word():
    first = [snapshot(5), {"type": "server_shutdown"}, said("update", 6)]
    async with scripted(first, [said("update", 6)]) as (url, subscriptions), RaftbookClient(url) as client:
        assert sequences(await taken(client.at(url).feed("book", "ACME"), 2)) == [5, 6]
    assert len(subscriptions) == 2


async def test_a_node_that_is_behind_is_asked_again_or_another_one():
    behind = [{"type": "error", "code": "sequence_ahead", "detail": "this node has applied 4"}]
    async with scripted(behind, [said("update", 6)]) as (url, subscriptions), RaftbookClient(url) as client:
        assert sequences(await taken(client.at(url).feed("book", "ACME", from_sequence=5), 1)) == [6]
    assert [subscription["from_sequence"] for subscription in subscriptions] == [5, 5]


async def test_a_local_book_whose_messages_cannot_be_begins_again():
    impossible = {"order_id": 4, "side": "buy", "price": "1.00", "quantity": "1", "to_back": False}
    first = [snapshot(5) | {"channel": "l3"}, said("update", 6, orders=[impossible]) | {"channel": "l3"}]
    order = {"order_id": 4, "price": "1.00", "quantity": "3"}
    again = [said("snapshot", 6, bids=[order], asks=[]) | {"channel": "l3"}]
    async with (
        scripted(first, again) as (url, _),
        RaftbookClient(url) as client,
        client.at(url).local_book("ACME", level=3) as book,
        asyncio.timeout(PATIENCE_S),
    ):
        await book.wait_until(lambda book: book.sequence == 6)
        assert book.orders("buy") == [order]


async def test_what_is_no_node_is_recognised():
    async with scripted([["hello"]]) as (url, _), RaftbookClient(url) as client:
        with pytest.raises(ProblemError, match="is no raftbook node"):
            await taken(client.at(url).feed("book", "ACME"), 1)


# ---------------------------------------------------------------- local books


@pytest.mark.parametrize("level", [2, 3])
async def test_a_local_book_equals_the_node_s_across_its_death(client, nodes, level):
    async with client.local_book("ACME", level=level) as book, asyncio.timeout(PATIENCE_S):
        await client.submit_many([new("a1"), new("a2", price="100.00"), {"op": "new", **sell("b1", quantity="7")}])
        nodes.kill_first()
        await client.submit_many([new("a3", price="99.75"), {"op": "new", **sell("b2", price="101.00")}])
        await book.wait_until(lambda book: book.sequence == nodes.service.feed.sequence("ACME"))

        expected = await client.book("ACME")
        assert [list(each) for each in book.bids] == expected["bids"]
        assert [list(each) for each in book.asks] == expected["asks"]
        assert (book.top.bid.price, book.top.ask.quantity) == ("100.00", expected["asks"][0][1])
        assert book.log_index == expected["log_index"]
        assert (book.url, book.resumptions, book.problem) == (nodes.second, 1, None)
        if level == 3:
            assert book.orders("buy") == (await client.book("ACME", level=3))["bids"]


async def test_changes_are_told_and_those_that_come_meanwhile_are_passed_over(client, nodes):
    seen = []
    async with client.local_book("ACME") as book, asyncio.timeout(PATIENCE_S):
        async for changed in book.changes():
            assert changed is book
            seen.append(book.sequence)
            if book.sequence == 1:
                await client.submit_many(numbered(4))
                await book.wait_until(lambda book: book.sequence == 5)
            else:
                break
    assert seen == [1, 5]


async def test_a_book_whose_feed_ends_for_good_says_so(client, nodes):
    async with client.at(nodes.first).local_book("ACME") as book:
        book._feed._patience_s = 0.1
        nodes.kill_first()
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(book.changed(), PATIENCE_S)
