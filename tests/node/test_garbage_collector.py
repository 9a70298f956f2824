"""A node never looks for cycles among what is old. So nothing that comes and goes may leave any."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from raftbook.node import http_server, runner
from raftbook.node.garbage_collector import tune_garbage_collector
from tests.support.server import free_listener
from tests.support.single_node import single_node

CONNECTIONS = 30
REQUESTS = 3


@pytest.fixture
def tuned():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_has_outlived_two_looks_is_not_looked_at_again(tuned):
    tune_garbage_collector()
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(2_000_000)]
    assert gc.get_stats()[1]["collections"] > 0
    assert gc.get_stats()[2]["collections"] == before
    assert len(kept) == 2_000_000


def test_connections_requests_and_refusals_leave_no_cycles(tmp_path):
    """On the loop of a node: asyncio's own leaves one behind each connection."""
    with asyncio.Runner(loop_factory=runner._new_event_loop) as loop:
        assert loop.run(cycles_left(tmp_path)) == 0


async def cycles_left(tmp_path) -> int:
    async with single_node(tmp_path) as service:
        listener = free_listener()
        server = http_server.HttpServer(service)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        requests = [b"GET /healthz", b"GET /v1/orders/99?account=a", b"GET /v1/nothing", b"POST /v1/commands"]
        await exchange(listener.getsockname(), requests)
        gc.collect()
        gc.disable()
        try:
            for _ in range(CONNECTIONS):
                await exchange(listener.getsockname(), requests)
            while server.server_state.connections:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.005)
            found = gc.collect()
        finally:
            gc.enable()
        server.should_exit = True
        await serving
    return found


async def exchange(address, requests):
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
