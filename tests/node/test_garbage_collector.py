"""A node never looks for cycles among what is old. So nothing that comes and goes may leave any."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections import deque

import pytest

from cli.bench.stream_load import client_frame
from raftbook.node import http_server, runner
from raftbook.node.garbage_collector import (
    LOOK_INTERVAL_S,
    YOUNG_OBJECTS,
    RegularLooks,
    tune_garbage_collector,
    without_looks,
)
from tests.support.server import free_listener
from tests.support.single_node import single_node

CONNECTIONS = 30
REQUESTS = 3
TEXT_FRAME = 0x81


async def http_traffic(address):
    requests = [b"GET /healthz", b"GET /v1/orders/99?account=a", b"GET /v1/nothing", b"POST /v1/commands"]
    reader, writer = await asyncio.open_connection(*address)
    order = {"op": "new", "symbol": "X", "account": "a", "side": "buy", "price": "1", "quantity": "1"}
    body = json.dumps([order]).encode()
    for request in requests * REQUESTS:
        content = body if request.startswith(b"POST") else b""
        head = b"%s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (request, len(content)) + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


async def stream_traffic(address):
    """A WebSocket with subscriptions, orders that rest, trade and are refused, and nonsense; then it is closed."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        b"GET /v1/stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    order = {"op": "new", "symbol": "ACME", "account": "a", "price": "1", "quantity": "1"}
    messages: list[dict[str, object]] = [
        {"op": "add_instrument", "symbol": "ACME", "price_decimals": 0, "quantity_decimals": 0},
        {"op": "subscribe", "channel": "book", "symbol": "ACME"},
        {"op": "subscribe", "channel": "orders", "account": "a"},
        {**order, "side": "buy"},
        {**order, "side": "sell"},
        {**order, "side": "sell", "quantity": "-1"},
        {"op": "cancel", "account": "a", "order_id": 10**6},
        {"op": "unsubscribe", "channel": "book", "symbol": "ACME"},
        {"op": "nonsense"},
    ]
    for number, message in enumerate(messages):
        writer.write(client_frame({**message, "request_id": number}))
        heard = None
        while heard is None or (heard.get("request_id") != number and heard.get("type") != "snapshot"):
            heard = json.loads(await asyncio.wait_for(text(reader), 10))
    writer.close()
    await writer.wait_closed()


async def text(reader) -> bytes:
    """The next message; pings are left unanswered."""
    while True:
        first_byte, size_bytes = await reader.readexactly(2)
        if size_bytes >= 126:
            size_bytes = int.from_bytes(await reader.readexactly(2 if size_bytes == 126 else 8), "big")
        payload = await reader.readexactly(size_bytes)
        if first_byte == TEXT_FRAME:
            return payload


@pytest.fixture
def tuned():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_has_outlived_two_looks_is_not_looked_at_again(tuned):
    tune_garbage_collector()
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(300_000)]
    assert gc.get_stats()[1]["collections"] > 0
    assert gc.get_stats()[2]["collections"] == before
    assert len(kept) == 300_000


def test_a_look_is_short_whatever_rests_in_the_book(tuned):
    """A hundred thousand orders more are told to the youngest and the middle-aged a few thousand objects at a time."""
    looked_at: list[int] = []

    def meter(phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            looked_at.append(sum(len(gc.get_objects(generation)) for generation in range(about["generation"] + 1)))

    tune_garbage_collector()
    gc.callbacks.append(meter)
    try:
        kept = [[number] for number in range(100_000)]
    finally:
        gc.callbacks.remove(meter)
    assert len(looked_at) > 50
    assert max(looked_at) < 4 * YOUNG_OBJECTS
    assert len(kept) == 100_000


def test_the_young_stay_few_where_the_old_go_as_they_come(tuned):
    """As orders in a full book: Python itself counts what has come and not gone, and would wait until they are many."""

    def most_young(look) -> int:
        full_book = deque([number] for number in range(50_000))
        gc.collect()
        most = 0
        for number in range(30_000):
            full_book.append([number])
            full_book.popleft()
            if number % 500 == 0:
                look()
                most = max(most, len(gc.get_objects(0)) + len(gc.get_objects(1)))
        return most

    tune_garbage_collector()
    assert most_young(lambda: None) > 10 * YOUNG_OBJECTS
    assert most_young(RegularLooks().look) < 3 * YOUNG_OBJECTS


def test_what_is_restored_is_never_looked_at(tuned):
    tune_garbage_collector()
    frozen, looks = gc.get_freeze_count(), sum(stats["collections"] for stats in gc.get_stats())
    with contextlib.suppress(OSError), without_looks():
        restored = [[number] for number in range(100_000)]
        raise OSError("the disk refuses")
    assert gc.isenabled()
    assert sum(stats["collections"] for stats in gc.get_stats()) == looks
    assert gc.get_freeze_count() - frozen >= len(restored)


async def test_looks_come_regularly_until_they_are_stopped():
    generations = []

    def meter(phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            generations.append(about["generation"])

    looks = RegularLooks()
    gc.disable()
    gc.callbacks.append(meter)
    try:
        looks.start()
        async with asyncio.timeout(10):
            while len(generations) < 6:  # noqa: ASYNC110 (the garbage collector tells nobody else)
                await asyncio.sleep(0.001)
        assert generations[:6] == [0, 1, 0, 1, 0, 1]
        looks.stop()
        seen = len(generations)
        await asyncio.sleep(5 * LOOK_INTERVAL_S)
        assert len(generations) == seen
    finally:
        looks.stop()
        gc.callbacks.remove(meter)
        gc.enable()


@pytest.mark.parametrize("traffic", [http_traffic, stream_traffic])
def test_connections_requests_subscriptions_and_refusals_leave_no_cycles(tmp_path, traffic):
    """On the loop of a node: asyncio's own leaves one behind each connection."""
    with asyncio.Runner(loop_factory=runner.new_event_loop) as loop:
        assert loop.run(cycles_left(tmp_path, traffic)) == 0


async def cycles_left(tmp_path, traffic) -> int:
    async with single_node(tmp_path) as service:
        listener = free_listener()
        server = http_server.HttpServer(service)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await traffic(listener.getsockname())
        gc.collect()
        gc.disable()
        try:
            for _ in range(CONNECTIONS):
                await traffic(listener.getsockname())
            while server.server_state.connections:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.005)
            found = gc.collect()
        finally:
            gc.enable()
        server.should_exit = True
        await serving
    return found
