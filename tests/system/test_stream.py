"""Subscribers of real nodes: one that dies, and one that leaves in order."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from websockets.exceptions import ConnectionClosed

from raftbook.json_format import command_to_json
from raftbook.simulation.workload import OrderFlow
from tests.support.feed_followers import BookFollower, Level3Follower, OrdersFollower, TradesFollower
from tests.support.stream_client import open_stream
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stream_client import StreamClient
    from tests.system.system_cluster import SystemCluster

ACCOUNTS = ("alice", "bob", "carol")
BATCH = 20
LEAVING_S = 6.0


class Subscriber:
    """All four channels, on whatever node it is told to use; it names what it saw last and goes on."""

    def __init__(self) -> None:
        self.followers = {
            "book": BookFollower(),
            "l3": Level3Follower(),
            "trades": TradesFollower(),
            "orders": OrdersFollower(),
        }

    async def subscribe(self, stream: StreamClient) -> None:
        for channel, follower in self.followers.items():
            of = {"account": "alice"} if channel == "orders" else {"symbol": "ACME"}
            seen = {} if follower.sequence is None else {"from_sequence": follower.sequence}
            await stream.say("subscribe", channel=channel, **of, **seen)

    async def hear_until(self, stream: StreamClient, log_index: int, trade_id: int) -> None:
        """Until the account's orders are told up to there, for an order of the account is the entry's, and the trades:
        each channel is told by itself.
        """
        orders, trades = self.followers["orders"], self.followers["trades"].trades
        while (
            (orders.sequence or 0) < log_index
            or len({f.sequence for f in self.books}) > 1
            or not trades
            or trades[-1]["trade_id"] < trade_id
        ):
            self.take(await stream.hear())

    @property
    def books(self) -> list[BookFollower]:
        return [self.followers["book"], self.followers["l3"]]

    def take(self, message: dict) -> None:
        self.followers[message["channel"]].take(message)


@asynccontextmanager
async def trading(cluster: SystemCluster, node_id: str) -> AsyncIterator[None]:
    """Orders come in at this node, one batch after the other."""
    ending = asyncio.Event()
    flow = OrderFlow(7, accounts=ACCOUNTS)

    async def trade(http: httpx.AsyncClient) -> None:
        while not ending.is_set():
            batch = [command_to_json(command) for command in itertools.islice(flow, BATCH)]
            (await http.post("/v1/commands", json=batch)).raise_for_status()

    async with (
        httpx.AsyncClient(base_url=cluster.url(node_id), timeout=DEADLINE_S) as http,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(trade(http))
        try:
            yield
        finally:
            ending.set()


async def enter_last_order(cluster: SystemCluster, node_id: str) -> int:
    """An order of the account; the log index of its execution."""
    order = {"symbol": "ACME", "account": "alice", "side": "buy", "price": "1.00", "quantity": "1"}
    async with httpx.AsyncClient(base_url=cluster.url(node_id), timeout=DEADLINE_S) as http:
        response = await http.post("/v1/orders", json=order)
    assert response.status_code == 200, response.text
    return response.json()["log_index"]


async def test_a_subscriber_whose_node_is_killed_goes_on_at_another_one_without_gap_or_repeat(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    doomed, other = cluster.others(leader)
    subscriber = Subscriber()
    async with trading(cluster, leader):
        async with open_stream(cluster.url(doomed)) as stream:
            await subscriber.subscribe(stream)
            while subscriber.followers["book"].updates < 200 or not subscriber.followers["orders"].events:
                subscriber.take(await stream.hear())
            cluster.kill(doomed)
            try:
                while True:
                    subscriber.take(await stream.hear())
            except ConnectionClosed:
                pass
        told_by_first = {channel: follower.sequence for channel, follower in subscriber.followers.items()}
        async with open_stream(cluster.url(other)) as stream:
            await subscriber.subscribe(stream)
            while any(f.sequence < told_by_first["book"] + 200 for f in subscriber.books):
                subscriber.take(await stream.hear())
            # The followers insist on every sequence and every trade id; and nobody began anew.
            assert [follower.snapshots for follower in subscriber.followers.values()] == [1, 1, 1, 1]
    last_index = await enter_last_order(cluster, other)
    async with open_stream(cluster.url(leader)) as stream:
        await subscriber.subscribe(stream)
        await subscriber.hear_until(stream, last_index, await last_trade_id(cluster, leader, last_index))
    assert [follower.snapshots for follower in subscriber.followers.values()] == [1, 1, 1, 1]
    await check_against_reads(cluster, leader, subscriber, last_index)


async def last_trade_id(cluster: SystemCluster, node_id: str, log_index: int) -> int:
    async with httpx.AsyncClient(base_url=cluster.url(node_id), timeout=DEADLINE_S) as http:
        trades = await http.get("/v1/trades/ACME", params={"limit": 1, "at_least": log_index})
    return trades.json()[-1]["trade_id"]


async def check_against_reads(cluster: SystemCluster, node_id: str, subscriber: Subscriber, log_index: int) -> None:
    """What the subscriber has kept is what the node answers with."""
    async with httpx.AsyncClient(base_url=cluster.url(node_id), timeout=DEADLINE_S) as http:
        at_least = {"at_least": log_index}
        book = (await http.get("/v1/book/ACME", params=at_least)).json()
        level3 = (await http.get("/v1/book/ACME", params={"level": 3, **at_least})).json()
        trades = (await http.get("/v1/trades/ACME", params={"limit": 1000, **at_least})).json()
        orders = (await http.get("/v1/orders", params={"account": "alice", **at_least})).json()
    assert subscriber.followers["book"].sides == (book["bids"], book["asks"])
    assert subscriber.followers["l3"].sides == (level3["bids"], level3["asks"])
    seen = {trade["trade_id"]: trade for trade in subscriber.followers["trades"].trades}
    assert trades
    assert all(seen[trade["trade_id"]]["price"] == trade["price"] for trade in trades if trade["trade_id"] in seen)
    assert max(seen) == trades[-1]["trade_id"]
    assert open_orders(subscriber.followers["orders"]) == {
        order["order_id"]: order["leaves_quantity"] for order in orders
    }


def open_orders(follower: OrdersFollower) -> dict[int, str]:
    """What is left of each of alice's open orders, from the snapshot and the events behind it."""
    leaves = {order["order_id"]: order["leaves_quantity"] for order in follower.open_at_first}
    for event in follower.events:
        if event["event"] == "trade":
            for role in ("maker", "taker"):
                if event.get(f"{role}_account") == "alice":
                    order_id = event[f"{role}_order_id"]
                    leaves[order_id] = str(int(leaves[order_id]) - int(event["quantity"]))
        elif "order_id" in event and not event.get("duplicate") and event["status"] != "rejected":
            is_live = event["status"] in ("open", "untriggered")
            leaves[event["order_id"]] = event["leaves_quantity"] if is_live else "0"
    return {order_id: quantity for order_id, quantity in leaves.items() if quantity != "0"}


async def test_a_node_that_leaves_tells_its_subscribers_and_exits_with_0(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    async with open_stream(cluster.url(leader)) as stream, open_stream(cluster.url(leader)) as deaf:
        await stream.say("subscribe", channel="book", symbol="ACME")
        await deaf.say("subscribe", channel="book", symbol="ACME")
        await stream.hear()
        await stream.say("new", symbol="ACME", side="buy", price="99.00", quantity="1", request_id="last")
        began_at = time.monotonic()
        codes = await cluster.terminate(leader)
        assert codes == {leader: 0}
        assert time.monotonic() - began_at < LEAVING_S
        messages, code, _reason = await stream.closing()
    # What the last order led to may come behind the notice.
    assert code == 1001
    assert {"type": "server_shutdown"} in messages
    answers = [message for message in messages if message.get("request_id") == "last"]
    assert [answer["report"]["status"] for answer in answers] == ["accepted"], messages
