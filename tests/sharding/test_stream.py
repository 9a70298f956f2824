"""The gateway's WebSocket: subscriptions and order entry reach their shards, and outlive what leads there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

import httpx
import pytest

from raftbook.client import RaftbookClient
from raftbook.gateway import make_app
from raftbook.node.config import LimitsConfig
from raftbook.sharding.http_api import make_shard_app
from raftbook.sharding.shard_map import Shard, ShardMap
from raftbook.sharding.upstream import Upstream
from tests.sharding.conftest import SYMBOLS, add_instruments
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import order, sell
from tests.support.server import free_listener, serve, url_of
from tests.support.stream_client import open_stream


def beta(client_order_id="b1", **fields):
    return order(client_order_id, symbol="BETA", **fields)


class Streams(NamedTuple):
    """A service is behind two addresses; of `first_nodes`, closing one ends that address as a node that leaves does."""

    services: dict[str, DirectService]
    first_nodes: dict[str, AsyncExitStack]
    url: str


@pytest.fixture
async def streams():
    async with AsyncExitStack() as opened:
        services, first_nodes, shards = {}, {}, []
        for name, symbols in SYMBOLS.items():
            listeners = free_listener(), free_listener()
            urls = tuple(url_of(listener) for listener in listeners)
            services[name] = DirectService(make_config(*(url.removeprefix("http://") for url in urls)))
            app = make_app(services[name])
            first_nodes[name] = await opened.enter_async_context(AsyncExitStack())
            await first_nodes[name].enter_async_context(serve(app, listeners[0]))
            await opened.enter_async_context(serve(app, listeners[1]))
            shards.append(Shard(name, urls, symbols))
        upstreams = {shard.name: Upstream(shard) for shard in shards}
        for upstream in upstreams.values():
            opened.push_async_callback(upstream.aclose)
        limits = LimitsConfig(max_outstanding_per_connection=20, max_subscriptions_per_connection=3)
        app = make_shard_app(ShardMap("test", shards), upstreams, limits, "127.0.0.1:8100")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            await add_instruments(http)
        yield Streams(services, first_nodes, await opened.enter_async_context(serve(app)))


async def test_one_connection_enters_orders_for_all_shards(streams):
    """One test for what needs no more than a connection: to serve four nodes costs more than it does."""
    async with open_stream(streams.url) as client:
        answer = await client.ask("new", **beta(), request_id=1)
        assert (answer["request_id"], answer["report"]["shard"]) == (1, "south")
        answer = await client.ask("new", **sell("s1", quantity="2"), request_id="two", encoding="cbor")
        assert (answer["request_id"], answer["report"]["shard"]) == ("two", "north")
        assert client.encodings[-1] == "cbor"
        answer = await client.ask("new", **beta("b0", account=b"alice"), request_id=7, encoding="cbor")
        assert (answer["error"]["code"], answer["error"]["field"]) == ("malformed", "account")

        # Pipelined: what follows an order finds it, though no shard knows of it yet.
        south = streams.services["south"]
        south.stall()
        await client.say("new", **beta("b2"), request_id=3)
        await client.say("cancel", account="alice", client_order_id="b2", request_id=4)
        await south.has_taken(4)
        south.resume()
        answers = {answer["request_id"]: answer["report"] for answer in [await client.hear(), await client.hear()]}
        assert (answers[4]["status"], answers[4]["order"]["status"]) == ("accepted", "canceled")

        answer = await client.ask("replace", account="alice", client_order_id="b1", quantity="4", request_id=5)
        assert (answer["report"]["shard"], answer["report"]["order"]["quantity"]) == ("south", "4")
        answer = await client.ask("cancel_all", account="alice", request_id=6)
        assert [part["shard"] for part in answer["report"]["shards"]] == ["north", "south"]
        assert answer["report"]["status"] == "accepted"

        for fields, code in (
            ({"symbol": "NONE", "side": "buy", "quantity": 1}, "unknown_symbol"),
            ({"symbol": "BETA", "side": "sideways", "quantity": 1}, "malformed"),
            ({"side": "buy"}, "malformed"),
            ({"symbol": "BETA", "wait_s": -1}, "malformed"),
            ({"symbol": "BETA", "wait": "never"}, "malformed"),
        ):
            answer = await client.ask("new", **fields, request_id=7)
            assert (answer["request_id"], answer["error"]["code"]) == (7, code), fields
        answer = await client.ask("new", **beta("b1"), wait="pending", request_id=8)
        assert answer["report"]["duplicate"] is True

        assert await client.ask("ping", request_id=9) == {"type": "pong", "request_id": 9}
        assert (await client.ask("authenticate", token="x"))["code"] == "no_keys"
        assert (await client.ask("nonsense"))["code"] == "malformed"


async def test_subscriptions_are_told_by_the_shard_of_their_symbol(streams):
    async with open_stream(streams.url) as client, RaftbookClient(streams.url) as trader:
        snapshot = await client.ask("subscribe", channel="book", symbol="BETA")
        assert (snapshot["type"], snapshot["symbol"]) == ("snapshot", "BETA")
        await trader.submit({"op": "new", **order()})
        await trader.submit({"op": "new", **beta()})
        update = await client.hear()
        assert (update["channel"], update["symbol"], update["bids"]) == ("book", "BETA", [["100.25", "5"]])

        # To go on from a sequence means what it means at a node.
        answer = await client.ask("unsubscribe", channel="book", symbol="BETA")
        assert (answer["type"], answer["sequence"]) == ("unsubscribed", update["sequence"])
        again = await client.ask("subscribe", channel="book", symbol="BETA", from_sequence=snapshot["sequence"])
        assert again == update

        own = await client.ask("subscribe", channel="orders", account="alice", symbol="BETA")
        assert [found["client_order_id"] for found in own["orders"]] == ["b1"]
        for fields, code in (
            ({"channel": "orders", "account": "alice"}, "malformed"),
            ({"channel": "book", "symbol": "NONE"}, "unknown_symbol"),
            ({"channel": "boak", "symbol": "BETA"}, "malformed"),
        ):
            assert (await client.ask("subscribe", **fields))["code"] == code, fields
        assert (await client.ask("unsubscribe", channel="l3", symbol="ACME"))["code"] == "not_subscribed"
        await client.ask("subscribe", channel="trades", symbol="ACME")
        assert (await client.ask("subscribe", channel="l3", symbol="ACME"))["code"] == "too_many_subscriptions"


async def test_a_node_that_leaves_interrupts_neither_feed_nor_order_entry(streams):
    async with open_stream(streams.url) as client:
        snapshot = await client.ask("subscribe", channel="book", symbol="BETA")
        assert (await client.ask("new", **order("before", symbol="ACME"), request_id=0))["report"]["shard"] == "north"
        await client.say("new", **beta("b0"), request_id=1)
        heard = await client.hear_until(lambda message: "report" in message)
        streams.services["south"].stall()
        for number in range(1, 6):
            await client.say("new", **beta(f"b{number}"), request_id=10 + number)
        await streams.services["south"].has_taken(7)
        leaving = asyncio.create_task(streams.first_nodes["south"].aclose())
        await client.say("new", **order("meanwhile"), request_id=2)
        heard += await client.hear_until(lambda message: message.get("request_id") == 2)
        assert heard[-1]["report"]["status"] == "accepted"
        streams.services["south"].resume()
        await leaving

        sequence = snapshot["sequence"] + 6
        reports = {}
        while len(reports) < 5 or _position(heard) < sequence:
            heard.append(message := await client.hear())
            if "report" in message:
                reports[message["request_id"]] = message["report"]
        assert all(report["status"] == "accepted" for report in reports.values())
        updates = [message for message in heard if message.get("type") == "update"]
        assert [update.get("first_sequence", update["sequence"]) for update in updates] == [
            *(before["sequence"] + 1 for before in [snapshot, *updates[:-1]])
        ]
        assert streams.services["south"].state.exchange.registry.last_order_id == 6


def _position(messages):
    return max((message["sequence"] for message in messages if message.get("type") == "update"), default=0)


async def test_a_shard_that_does_not_answer_leaves_outcomes_open_and_the_connection_bounded(streams):
    async with open_stream(streams.url) as client:
        streams.services["south"].stall()
        answer = await client.ask("new", **beta(), wait_s=0.3, request_id=1)
        report = answer.get("report") or answer["error"]["reports"][0]
        assert report is None or report["status"] == "pending"
        for number in range(21):
            await client.say("new", **beta(f"p{number}"), request_id=number)
        busy = await client.hear_until(lambda message: "error" in message)
        assert busy[-1]["error"]["code"] == "busy"
        assert (await client.ask("ping", request_id="still"))["type"] == "pong"
        streams.services["south"].resume()
        answers = [await client.hear() for _ in range(20)]
        assert {answer["report"]["status"] for answer in answers} == {"accepted"}


async def test_sixteen_malformed_frames_in_a_row_close_the_connection(streams):
    async with open_stream(streams.url) as client:
        for _ in range(16):
            await client.say("nonsense")
        messages, code, _ = await client.closing()
        assert (len(messages), code) == (16, 1008)


async def test_the_library_takes_the_gateway_for_a_node(streams):
    async with RaftbookClient(streams.url) as client, client.session() as session:
        futures = [session.send({"op": "new", **(order if number % 2 else beta)(f"o{number}")}) for number in range(10)]
        reports = await asyncio.gather(*futures)
        assert [report["shard"] for report in reports] == ["south", "north"] * 5
        async with client.local_book("BETA") as book:
            await book.wait_until(lambda kept: kept.top.bid is not None)
