"""/v1/stream: what a client says, and what it hears. Over real WebSockets, in front of the real state machine."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol

from raftbook.engine import Entry, Run
from raftbook.feed.symbol_feed import WAITING_EVENTS, SymbolFeed
from raftbook.gateway import make_app, stream_delivery
from raftbook.json_format import command_from_fields
from raftbook.node.websocket_protocol import NodeWebSocketProtocol
from raftbook.state_machine import StateMachine
from tests.support.direct_service import START_TIME, DirectService, make_config
from tests.support.feed_followers import BookFollower
from tests.support.sample_orders import ACME, order, sell
from tests.support.server import free_listener, serve
from tests.support.stream_client import StreamClient, open_deaf_stream, open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from raftbook.gateway.stream import Stream

SUBSCRIPTION = {"channel": "book", "symbol": "ACME"}


class Venue:
    """A node with an open market, and a client of its HTTP interface."""

    def __init__(self, service: DirectService, stream: Stream, url: str, http: httpx.AsyncClient) -> None:
        self.service = service
        self.stream = stream
        self.url = url
        self.http = http

    async def enter(self, *commands: dict) -> list[dict]:
        """Commands in one entry; their reports."""
        response = await self.http.post("/v1/commands", json=[{"op": "new", **command} for command in commands])
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def open_venue(**limits: int) -> AsyncIterator[Venue]:
    """For its clients the system buffers little, so that what they do not read waits in the node."""
    service = DirectService(make_config(**limits))
    app = make_app(service)
    listener = free_listener()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    async with serve(app, listener) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/v1/instruments", json=ACME)).status_code == 200
        yield Venue(service, app.state.stream, url, http)


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with open_venue() as venue:
        yield venue


@pytest.fixture
async def client(venue: Venue) -> AsyncIterator[StreamClient]:
    async with open_stream(venue.url) as client:
        yield client


# --- Subscribing -----------------------------------------------------------------------------------------------------


async def test_a_book_begins_with_a_snapshot_and_goes_on_with_an_update_for_every_event(venue, client):
    await venue.enter(sell("s1", price="101.00", quantity="5"), sell("s2", price="101.50", quantity="1"))
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
    await venue.enter(order("b1", price="101.50", quantity="7"))
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


async def test_the_l3_channel_tells_orders_and_trades(venue, client):
    await venue.enter(sell("s1", price="101.00", quantity="5"))
    snapshot = await client.ask("subscribe", channel="l3", symbol="ACME")
    assert snapshot["asks"] == [{"order_id": 1, "price": "101.00", "quantity": "5"}]
    await venue.enter(order("b1", price="101.00", quantity="2"))
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


async def test_trades_name_no_accounts_and_the_trade_before_them(venue, client):
    await venue.enter(sell("s1", quantity="9"), order("b1", quantity="1"))
    snapshot = await client.ask("subscribe", channel="trades", symbol="ACME")
    assert [trade["trade_id"] for trade in snapshot["trades"]] == [1]
    await venue.enter(order("b2", quantity="2"), order("b3", quantity="3"))
    trades = [await client.hear() for _ in range(2)]
    assert [(trade["trade_id"], trade["previous_trade_id"], trade["quantity"]) for trade in trades] == [
        (2, 1, "2"),
        (3, 2, "3"),
    ]
    for trade in (*trades, *snapshot["trades"]):
        assert not [name for name in trade if "account" in name or "client" in name]


async def test_own_orders_come_with_their_events_and_without_the_other_side(venue, client):
    await venue.enter(sell("s1", quantity="5"), order("b0", price="1.00"))
    snapshot = await client.ask("subscribe", channel="orders", account="bob")
    assert [o["client_order_id"] for o in snapshot["orders"]] == ["s1"]
    [report] = await venue.enter(order("b1", quantity="2"))
    update = await client.hear()
    assert (update["type"], update["sequence"]) == ("update", report["log_index"])
    [trade] = update["events"]
    assert (trade["event"], trade["maker_account"], trade["maker_client_order_id"]) == ("trade", "bob", "s1")
    assert "taker_account" not in trade
    assert "taker_client_order_id" not in trade


async def test_own_orders_of_one_symbol(venue, client):
    assert (await venue.http.post("/v1/instruments", json={**ACME, "symbol": "OTHER"})).status_code == 200
    await client.ask("subscribe", channel="orders", account="bob", symbol="OTHER")
    await venue.enter(sell("s1"), sell("s2", symbol="OTHER"))
    update = await client.hear()
    assert [event["client_order_id"] for event in update["events"]] == ["s2"]


async def test_an_auction_is_told_with_its_indication(venue, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await venue.http.patch("/v1/instruments/ACME", json={"status": "auction"})
    assert (await client.hear())["status"] == "auction"
    await venue.enter(sell("s1", price="99.00", quantity="5"), order("b1", price="101.00", quantity="4"))
    told = (await client.hear_until(lambda message: "indication" in message))[-1]
    assert told["indication"]["quantity"] == "4"
    async with open_stream(venue.url) as late:
        snapshot = await late.ask("subscribe", **SUBSCRIPTION)
    assert (snapshot["status"], snapshot["indication"]) == ("auction", told["indication"])
    assert (snapshot["bids"], snapshot["asks"]) == ([["101.00", "4"]], [["99.00", "5"]])


async def test_updates_of_an_interval_are_one(venue, client):
    follower = BookFollower()
    follower.take(await client.ask("subscribe", **SUBSCRIPTION, interval_ms=200))
    for number in range(6):
        await venue.enter(order(f"b{number}", price=f"{90 + number}.00"))
    while follower.sequence < 7:
        follower.take(await client.hear())
    assert follower.updates < 6
    assert len(follower.sides[0]) == 6


async def test_resuming_goes_on_behind_the_sequence_that_was_seen(venue, client):
    for number in range(5):
        await venue.enter(order(f"b{number}"))
    assert (await client.ask("subscribe", **SUBSCRIPTION, from_sequence=3))["sequence"] == 4
    assert [(await client.hear())["sequence"] for _ in range(2)] == [5, 6]
    # Who has seen everything hears nothing until there is something.
    await client.say("subscribe", **SUBSCRIPTION, from_sequence=6)
    await venue.enter(order("b9"))
    assert (await client.hear())["sequence"] == 7


async def test_a_sequence_that_is_no_longer_held_answers_with_a_snapshot():
    async with open_venue(feed_events_kept=3) as venue, open_stream(venue.url) as client:
        for number in range(6):
            await venue.enter(order(f"b{number}"))
        message = await client.ask("subscribe", **SUBSCRIPTION, from_sequence=2)
        assert (message["type"], message["sequence"]) == ("snapshot", 7)
        message = await client.ask("subscribe", channel="orders", account="alice", from_sequence=2)
        assert (message["type"], len(message["orders"])) == ("snapshot", 6)


async def test_a_sequence_that_this_node_has_not_applied_yet_is_waited_for(venue, client):
    await client.say("subscribe", **SUBSCRIPTION, from_sequence=3)
    await client.say("ping")
    assert (await client.hear())["type"] == "pong"
    for number in range(3):
        await venue.enter(order(f"b{number}"))
    assert (await client.hear())["sequence"] == 4


async def test_but_not_for_ever(venue, client, monkeypatch):
    monkeypatch.setattr(stream_delivery, "AHEAD_WAIT_S", 0.05)
    error = await client.ask("subscribe", **SUBSCRIPTION, from_sequence=9, request_id=5)
    assert (error["type"], error["code"], error["request_id"]) == ("error", "sequence_ahead", 5)
    unknown = await client.ask("subscribe", channel="book", symbol="ACNE", from_sequence=9)
    assert (unknown["code"], unknown["near"]) == ("unknown_symbol", ["ACME"])
    assert (await client.ask("subscribe", **SUBSCRIPTION))["type"] == "snapshot"


async def test_when_the_node_takes_a_snapshot_its_subscribers_get_one_too(venue, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    ahead = StateMachine.from_snapshot(venue.service.state.to_snapshot())
    commands = (command_from_fields("new", order("b1")), command_from_fields("new", order("b2", price="99.00")))
    ahead.apply_entry(ahead.index + 1, Entry(START_TIME, (Run("peer.1", 1, commands),)))
    venue.service.restore(ahead)
    message = await client.hear()
    assert (message["type"], message["sequence"]) == ("snapshot", 3)
    assert message["bids"] == [["100.25", "5"], ["99.00", "5"]]
    await venue.enter(order("b3"))
    assert (await client.hear())["sequence"] == 4


async def test_subscribing_again_replaces(venue, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await client.ask("subscribe", **SUBSCRIPTION, encoding="cbor")
    await venue.enter(order("b1"))
    await client.hear()
    assert (await client.ask("ping"))["type"] == "pong"
    assert client.encodings == ["json", "cbor", "cbor", "json"]


async def test_unsubscribing_names_the_last_sequence(venue, client):
    await client.ask("subscribe", **SUBSCRIPTION)
    await venue.enter(order("b1"))
    await client.hear()
    answer = await client.ask("unsubscribe", **SUBSCRIPTION, request_id="u")
    assert answer == {**SUBSCRIPTION, "type": "unsubscribed", "sequence": 2, "request_id": "u"}
    await venue.enter(order("b2"))
    assert (await client.ask("ping"))["type"] == "pong"
    assert (await client.ask("unsubscribe", **SUBSCRIPTION))["code"] == "not_subscribed"


async def test_more_subscriptions_than_a_connection_may_have():
    async with open_venue(max_subscriptions_per_connection=2) as venue, open_stream(venue.url) as client:
        for channel in ("book", "l3"):
            assert (await client.ask("subscribe", channel=channel, symbol="ACME"))["type"] == "snapshot"
        assert (await client.ask("subscribe", channel="trades", symbol="ACME"))["code"] == "too_many_subscriptions"
        assert (await client.ask("subscribe", channel="l3", symbol="ACME"))["type"] == "snapshot"


@pytest.mark.parametrize("leaves", [False, True])
async def test_who_resumes_far_behind_where_nobody_listened_is_told_all_of_it_by_and_by(venue, monkeypatch, leaves):
    folded, fold_behind = [], SymbolFeed.fold_behind

    def fold_one(symbol_feed: SymbolFeed, sequence: int) -> bool:
        folded.append(sequence)
        return fold_behind(symbol_feed, sequence, most=1)

    monkeypatch.setattr(SymbolFeed, "fold_behind", fold_one)
    for first in range(0, 2 * WAITING_EVENTS, 100):
        await venue.enter(*(order(f"f{number}", time_in_force="ioc") for number in range(first, first + 100)))
    async with open_stream(venue.url) as client:
        await client.say("subscribe", **SUBSCRIPTION, from_sequence=10)
        if leaves:
            assert (await client.ask("unsubscribe", **SUBSCRIPTION))["type"] == "unsubscribed"
            await client.say("subscribe", **SUBSCRIPTION, from_sequence=10)
        await venue.enter(order("late"))
        last = 10
        while last < venue.service.feed.sequence("ACME"):
            update = await client.hear()
            assert update.get("first_sequence", update["sequence"]) == last + 1
            last = update["sequence"]
    assert len(folded) > 2


# --- Order entry -----------------------------------------------------------------------------------------------------


async def test_commands_enter_in_the_order_of_their_frames_and_each_is_answered(venue, client):
    for number in range(50):
        await client.say("new", **order(f"b{number}"), request_id=number)
    answers = [await client.hear() for _ in range(50)]
    assert sorted(answer["request_id"] for answer in answers) == list(range(50))
    in_order = sorted(answers, key=lambda answer: answer["report"]["origin_sequence"])
    assert [answer["request_id"] for answer in in_order] == list(range(50))
    assert {answer["report"]["status"] for answer in answers} == {"accepted"}


async def test_a_refused_command_is_a_report_too(client):
    answer = await client.ask("cancel", account="alice", client_order_id="none", request_id={"any": [1]})
    assert answer["request_id"] == {"any": [1]}
    assert (answer["report"]["status"], answer["report"]["reason"]) == ("rejected", "unknown_order")


async def test_a_command_that_is_not_waited_for_is_pending(venue, client):
    venue.service.stall()
    answer = await client.ask("new", **order(), wait="pending", request_id=1)
    assert answer["report"]["status"] == "pending"
    answer = await client.ask("new", **order("a2"), wait_s=0.01, request_id=2)
    assert answer["report"]["status"] == "pending"


async def test_what_was_not_taken_is_an_error(venue, client):
    venue.service.busy_answers = 1
    error = (await client.ask("new", **order(), request_id=1))["error"]
    assert (error["status"], error["code"], error["retry_after_s"]) == (429, "busy", 0.01)
    venue.service.draining = True
    error = (await client.ask("new", **order(), request_id=2))["error"]
    assert (error["status"], error["code"]) == (503, "draining")
    assert venue.service.taken == 1, "the instrument"


async def test_of_commands_that_do_not_all_fit_the_first_are_taken():
    async with open_venue(intake_max_items=2) as venue, open_stream(venue.url) as client:
        venue.service.stall()
        for number in range(4):
            await client.say("new", **order(f"b{number}"), request_id=number)
        refused = [await client.hear() for _ in range(2)]
        assert [(answer["request_id"], answer["error"]["code"]) for answer in refused] == [(2, "busy"), (3, "busy")]
        venue.service.resume()
        assert [(await client.hear())["request_id"] for _ in range(2)] == [0, 1]


async def test_who_waits_less_long_is_told_earlier(venue, client):
    venue.service.stall()
    for number, wait_s in enumerate((60, 0.02, 0.01, 30)):
        await client.say("new", **order(f"b{number}"), request_id=number, wait_s=wait_s)
    overdue = [await client.hear() for _ in range(2)]
    assert sorted(answer["request_id"] for answer in overdue) == [1, 2]
    assert {answer["report"]["status"] for answer in overdue} == {"pending"}
    venue.service.resume()
    executed = [await client.hear() for _ in range(2)]
    assert [(answer["request_id"], answer["report"]["status"]) for answer in executed] == [
        (0, "accepted"),
        (3, "accepted"),
    ]


async def test_what_a_snapshot_has_executed_is_an_error_that_says_where_to_look(venue, client):
    venue.service.stall()
    await client.say("new", **order(), request_id=1)
    await venue.service.has_taken(2)
    venue.service.cover_waiting()
    error = (await client.hear())["error"]
    assert error["code"] == "not_held"
    assert "client order id" in error["detail"]


async def test_more_unanswered_commands_than_a_connection_may_have():
    async with open_venue(max_outstanding_per_connection=3) as venue, open_stream(venue.url) as client:
        venue.service.stall()
        for number in range(4):
            await client.say("new", **order(f"b{number}"), request_id=number)
        answer = await client.hear()
        assert (answer["request_id"], answer["error"]["code"]) == (3, "busy")
        venue.service.resume()
        assert sorted([(await client.hear())["request_id"] for _ in range(3)]) == [0, 1, 2]


async def test_cbor_is_answered_in_cbor_with_the_same_fields(venue, client):
    in_json = await client.ask("subscribe", **SUBSCRIPTION)
    in_cbor = await client.ask("subscribe", **SUBSCRIPTION, encoding="cbor")
    assert in_cbor == in_json
    answer = await client.ask("new", **order(), encoding="cbor", request_id=b"\x00")
    if "report" not in answer:
        answer = await client.hear()
    assert (answer["request_id"], answer["report"]["order"]["price"]) == (b"\x00", "100.25")
    assert client.encodings[1:] == ["cbor"] * (len(client.encodings) - 1)


# --- What is wrong ---------------------------------------------------------------------------------------------------


MALFORMED = [
    ("nonsense", "not valid JSON"),
    ("[1]", "expected a JSON object"),
    ("{}", "op: missing"),
    ('{"op":7}', "op: missing"),
    ('{"op":"subcribe"}', "did you mean subscribe"),
    ('{"op":"subscribe"}', "channel: missing; expected book, l3, trades or orders"),
    ('{"op":"subscribe","channel":"boook","symbol":"ACME"}', "did you mean book?"),
    ('{"op":"subscribe","channel":"book"}', "symbol: missing"),
    ('{"op":"subscribe","channel":"book","symbol":"A B"}', "no symbol"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","account":"bob"}', "account: goes with orders only"),
    ('{"op":"subscribe","channel":"orders","symbol":"ACME"}', "account: name whose orders"),
    ('{"op":"subscribe","channel":"orders","account":"bob","interval_ms":100}', "interval_ms"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","interval_ms":49}', "50 to 10000"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequence":-1}', "from_sequence"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequence":true}', "from_sequence"),
    ('{"op":"subscribe","channel":"book","symbol":"ACME","from_sequnce":1}', "did you mean from_sequence?"),
    ('{"op":"ping","request_id":"' + 300 * "x" + '"}', "request_id: of 302 bytes"),
    ('{"op":"subscribe","channel":' + 900 * "[" + 900 * "]" + "}", "a list is no channel"),
    ('{"op":"subscribe","channel":' + 9_000 * "[" + "}", "nested too deeply"),
    ('{"op":"subscribe","channel":{"book":1}}', "a map is no channel"),
    (b"\x01", "CBOR map"),
    (b"\xa1\x01\x02", "text string"),
    (b"\xff", "CBOR"),
    (b"\xa0\xa0", "goes on after"),
    (b"\xa1\x62op\xc1\x01", "CBOR"),
]


async def test_a_malformed_frame_is_answered_with_what_to_send(client):
    for frame, words in MALFORMED:
        await client.connection.send(frame)
        error = await client.hear()
        assert (error["type"], error["code"]) == ("error", "malformed"), frame
        assert words in error["detail"], frame
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_malformed_command_names_its_field_and_its_request(client):
    answer = await client.ask("new", **order(side="by"), request_id=4)
    assert answer["request_id"] == 4
    assert {name: answer["error"][name] for name in ("status", "code", "field")} == {
        "status": 400,
        "code": "malformed",
        "field": "side",
    }
    answer = await client.ask("new", **order(), wait="later", request_id=5)
    assert (answer["request_id"], answer["error"]["code"]) == (5, "malformed")


async def test_an_unknown_symbol_names_near_ones(client):
    error = await client.ask("subscribe", channel="book", symbol="ACNE")
    assert (error["code"], error["near"]) == ("unknown_symbol", ["ACME"])


async def test_sixteen_malformed_frames_in_a_row_end_the_connection(client):
    for _ in range(15):
        assert (await client.ask("nonsense"))["code"] == "malformed"
    assert (await client.ask("ping"))["type"] == "pong"
    for _ in range(16):
        await client.say("nonsense")
    messages, code, _ = await client.closing()
    assert (len(messages), code) == (16, 1008)


async def test_a_frame_that_is_too_large_ends_the_connection(client):
    await client.connection.send("x" * (65 << 10))
    assert (await client.closing())[1] == 1009


async def test_text_that_is_not_utf_8_ends_the_connection(client):
    await client.connection.send(b"\xff\xfe", text=True)
    assert (await client.closing())[1] == 1007


async def test_without_an_upgrade_the_answer_says_what_this_is(venue):
    response = await venue.http.get("/v1/stream")
    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")


async def test_another_path_is_no_stream(venue):
    with pytest.raises(Exception, match="HTTP 40"):
        async with open_stream(f"{venue.url}/v2"):
            pass


# --- Slow and silent clients -----------------------------------------------------------------------------------------


async def test_a_subscriber_that_does_not_read_is_closed_and_the_others_do_not_notice():
    async with (
        open_venue(subscriber_backlog_bytes=65_536) as venue,
        open_stream(venue.url) as good,
        open_deaf_stream(venue.url) as deaf,
    ):
        follower = BookFollower()
        follower.take(await good.ask("subscribe", **SUBSCRIPTION))
        for channel in ("l3", "trades", "book"):
            await deaf.say("subscribe", channel=channel, symbol="ACME")
        numbers = itertools.count()
        while not venue.stream.figures.dropped:
            await venue.enter(*(order(f"b{next(numbers)}", price="1.00") for _ in range(200)))
            while follower.sequence < venue.service.feed.sequence("ACME"):
                follower.take(await good.hear())
        assert venue.stream.figures.dropped == 1
        assert venue.stream.figures.subscriptions == 1
        await venue.enter(order("last"))
        follower.take(await good.hear())
        assert follower.snapshots == 1
        deaf.connection.transport.resume_reading()
        _messages, code, reason = await deaf.closing()
        assert code == 4008
        assert "subscriber_backlog_bytes" in reason


async def test_a_snapshot_may_be_larger_than_the_bound():
    async with open_venue(subscriber_backlog_bytes=4096) as venue, open_deaf_stream(venue.url) as client:
        await venue.enter(*(order(f"b{number}") for number in range(2_000)))
        await client.say("subscribe", channel="l3", symbol="ACME")
        [protocol] = websockets_of_the_node()
        async with asyncio.timeout(10):
            while not protocol.buffered_bytes:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
        assert protocol.buffered_bytes > 2 * 4096
        await venue.enter(order("next"))
        client.connection.transport.resume_reading()
        snapshot = await client.hear()
        assert len(snapshot["bids"]) == 2_000
        assert (await client.hear())["type"] == "update"


async def test_the_server_pings_and_closes_who_does_not_answer(monkeypatch):
    monkeypatch.setattr(NodeWebSocketProtocol, "schedule_ping", pinging_soon(NodeWebSocketProtocol.schedule_ping))
    async with open_venue() as venue, open_stream(venue.url) as client:
        async with asyncio.timeout(10):
            while not has_answered_a_ping():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.005)
            assert (await client.ask("ping"))["type"] == "pong"
            client.connection.transport.pause_reading()
            while venue.stream.connections:  # noqa: ASYNC110 (nobody tells)
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


async def test_a_connection_that_has_ended_leaves_nothing_behind(venue):
    """Nor any cycle, which a node's garbage collector would not find."""

    async def connections_left() -> int:
        async with asyncio.timeout(10):
            while venue.stream.connections:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
            for _ in range(5):
                await asyncio.sleep(0.002)
        return sum(type(found) in (NodeWebSocketProtocol, ServerProtocol) for found in gc.get_objects())

    async def come_and_go() -> None:
        async with open_stream(venue.url) as client:
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
    assert venue.stream.figures.subscriptions == 0


async def test_a_client_that_is_cut_off_leaves_nothing_behind(venue):
    async with open_stream(venue.url) as client:
        await client.ask("subscribe", **SUBSCRIPTION)
        client.connection.transport.abort()
        with pytest.raises(ConnectionClosed):
            await client.hear()
    async with asyncio.timeout(10):
        while venue.stream.connections:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.002)
    assert venue.stream.figures.subscriptions == 0
    assert json.loads((await venue.http.get("/v1/book/ACME")).text)["bids"] == []


async def test_a_market_is_followed_as_long_as_somebody_is_subscribed_to_it(venue, client):
    symbol_feed = venue.service.feed._symbols["ACME"]
    symbol_feed.due = venue.service.feed._waiting_events = 4
    await client.ask("subscribe", **SUBSCRIPTION)
    for number in range(8):
        await venue.enter(order(f"a{number}"))
        assert (await client.hear())["sequence"] == number + 2
        assert symbol_feed.is_followed
    await client.ask("unsubscribe", **SUBSCRIPTION)
    for number in range(8):
        await venue.enter(sell(f"s{number}"))
    assert not symbol_feed.is_followed
