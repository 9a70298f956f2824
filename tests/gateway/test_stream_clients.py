"""/v1/stream: clients that are slow or silent, and what those leave behind that are gone. Over real WebSockets."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol

from raftbook.node.websocket_protocol import NodeWebSocketProtocol
from tests.support.feed_followers import BookFollower
from tests.support.sample_orders import order, sell
from tests.support.stream_client import open_deaf_stream, open_stream
from tests.support.stream_market import open_stream_market

SUBSCRIPTION = {"channel": "book", "symbol": "ACME"}


async def test_a_subscriber_that_does_not_read_is_closed_and_the_others_do_not_notice():
    async with (
        open_stream_market(subscriber_backlog_bytes=65_536) as market,
        open_stream(market.url) as good,
        open_deaf_stream(market.url) as deaf,
    ):
        follower = BookFollower()
        follower.take(await good.ask("subscribe", **SUBSCRIPTION))
        for channel in ("l3", "trades", "book"):
            await deaf.say("subscribe", channel=channel, symbol="ACME")
        numbers = itertools.count()
        while not market.stream.figures.dropped:
            await market.enter(*(order(f"b{next(numbers)}", price="1.00") for _ in range(200)))
            while follower.sequence < market.service.feed.sequence("ACME"):
                follower.take(await good.hear())
        assert market.stream.figures.dropped == 1
        assert market.stream.figures.subscriptions == 1
        await market.enter(order("last"))
        follower.take(await good.hear())
        assert follower.snapshots == 1
        deaf.connection.transport.resume_reading()
        _messages, code, reason = await deaf.closing()
        assert code == 4008
        assert "subscriber_backlog_bytes" in reason


async def test_a_snapshot_may_be_larger_than_the_bound():
    async with open_stream_market(subscriber_backlog_bytes=4096) as market, open_deaf_stream(market.url) as client:
        await market.enter(*(order(f"b{number}") for number in range(2_000)))
        await client.say("subscribe", channel="l3", symbol="ACME")
        [protocol] = websockets_of_the_node()
        async with asyncio.timeout(10):
            while not protocol.buffered_bytes:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
        assert protocol.buffered_bytes > 2 * 4096
        await market.enter(order("next"))
        client.connection.transport.resume_reading()
        snapshot = await client.hear()
        assert len(snapshot["bids"]) == 2_000
        assert (await client.hear())["type"] == "update"


async def test_the_server_pings_and_closes_who_does_not_answer(monkeypatch):
    monkeypatch.setattr(NodeWebSocketProtocol, "schedule_ping", pinging_soon(NodeWebSocketProtocol.schedule_ping))
    async with open_stream_market() as market, open_stream(market.url) as client:
        async with asyncio.timeout(10):
            while not has_answered_a_ping():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.005)
            assert (await client.ask("ping"))["type"] == "pong"
            client.connection.transport.pause_reading()
            while market.stream.connections:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.005)
        client.connection.transport.abort()


def pinging_soon(schedule_ping):
    def soon(self) -> None:
        self.ping_interval, self.ping_timeout = 0.05, 0.2
        schedule_ping(self)

    return soon


def has_answered_a_ping() -> bool:
    [protocol] = websockets_of_the_node()
    return protocol.last_ping_rtt > 0


def websockets_of_the_node() -> list[NodeWebSocketProtocol]:
    return [found for found in gc.get_objects() if type(found) is NodeWebSocketProtocol and found.is_open]


async def test_a_connection_that_has_ended_leaves_nothing_behind(market):
    """Nor any cycle, which a node's garbage collector would not find."""

    async def connections_left() -> int:
        async with asyncio.timeout(10):
            while market.stream.connections:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
            for _ in range(5):
                await asyncio.sleep(0.002)
        return sum(type(found) in (NodeWebSocketProtocol, ServerProtocol) for found in gc.get_objects())

    async def come_and_go() -> None:
        async with open_stream(market.url) as client:
            await client.ask("subscribe", **SUBSCRIPTION)
            await client.say("subscribe", channel="orders", account="bob", from_sequence=10**6)
            await client.ask("new", **order())

    await come_and_go()
    gc.collect()
    gc.disable()
    try:
        before = await connections_left()
        for _ in range(5):
            await come_and_go()
        assert await connections_left() == before
    finally:
        gc.enable()
    assert market.stream.figures.subscriptions == 0


async def test_a_client_that_is_cut_off_leaves_nothing_behind(market):
    async with open_stream(market.url) as client:
        await client.ask("subscribe", **SUBSCRIPTION)
        client.connection.transport.abort()
        with pytest.raises(ConnectionClosed):
            await client.hear()
    async with asyncio.timeout(10):
        while market.stream.connections:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.002)
    assert market.stream.figures.subscriptions == 0
    assert json.loads((await market.http.get("/v1/book/ACME")).text)["bids"] == []


async def test_a_market_is_followed_as_long_as_somebody_is_subscribed_to_it(market, client):
    symbol_feed = market.service.feed._symbols["ACME"]
    symbol_feed.due = market.service.feed._waiting_events = 4
    await client.ask("subscribe", **SUBSCRIPTION)
    for number in range(8):
        await market.enter(order(f"a{number}"))
        assert (await client.hear())["sequence"] == number + 2
        assert symbol_feed.is_followed
    await client.ask("unsubscribe", **SUBSCRIPTION)
    for number in range(8):
        await market.enter(sell(f"s{number}"))
    assert not symbol_feed.is_followed
