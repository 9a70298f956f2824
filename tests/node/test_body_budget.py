"""All clients together have a bounded number of bytes in a node's memory, however many there are, and however slow."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from raftbook.node import websocket_protocol
from raftbook.node.body_budget import BodyBudget
from tests.support.raw_http import (
    CONTINUATION,
    PATIENCE_S,
    POST,
    REQUEST,
    TEXT,
    UPGRADE,
    connection,
    everything_from,
    frame,
    is_alive,
    serving,
    told,
    until,
)
from tests.support.sample_orders import ACME

if TYPE_CHECKING:
    from raftbook.node.http_server import HttpServer
    from tests.support.raw_http import Address, Stream

HALF = 10_000
LIMITS = {
    "max_body_bytes": 2 * HALF,
    "max_held_body_bytes_per_address": 3 * HALF + 500,
    "max_held_body_bytes": 5 * HALF,
}
BEGUN = POST + b"content-length: %d\r\n\r\n[" % (2 * HALF) + b" " * (HALF - 1)
"""A body that lacks its second half."""
EMPTY_BATCH = POST + b"content-length: 2\r\n\r\n[]"


class Clients(contextlib.AsyncExitStack):
    """Connections that stay open until the end of the test."""

    def __init__(self, server: HttpServer, address: Address) -> None:
        super().__init__()
        self.server = server
        self._address = address

    async def connect(self, host: str) -> Stream:
        stream = await asyncio.open_connection(*self._address, local_addr=(host, 0))
        self.callback(stream[1].close)
        return stream

    async def begin(self, host: str, what: bytes = BEGUN, held_bytes: int = HALF) -> Stream:
        """Send `what`, of which the node is to keep so much."""
        before = self.server.figures().held_body_bytes
        stream = await self.connect(host)
        stream[1].write(what)
        await until(lambda: self.server.figures().held_body_bytes == before + held_bytes)
        return stream


async def refusal(stream: Stream) -> str:
    """Why the node refused what is sent, which is the end of the connection."""
    heard = await everything_from(stream[0])
    assert told(heard) == (429, "busy")
    assert b"\r\nretry-after: 1\r\n" in heard
    assert b"\r\nconnection: close\r\n" in heard
    return json.loads(heard.rpartition(b"\r\n\r\n")[2])["detail"]


async def answer(stream: Stream, request: bytes) -> bytes:
    """The status line of the answer, which is read to its end."""
    stream[1].write(request)
    head = await asyncio.wait_for(stream[0].readuntil(b"\r\n\r\n"), PATIENCE_S)
    fields = dict(line.split(b": ", 1) for line in head.lower().strip().split(b"\r\n")[1:])
    await stream[0].readexactly(int(fields[b"content-length"]))
    return head.partition(b"\r\n")[0]


async def test_bodies_under_way_are_bounded_for_one_address_and_for_all():
    async with serving(**LIMITS) as (server, address), Clients(server, address) as clients:
        one, two, three = [await clients.begin("127.0.0.2") for _ in range(3)]

        too_many = await clients.connect("127.0.0.2")
        too_many[1].write(BEGUN)
        assert "requests of 127.0.0.2 with 30500 bytes are under way" in await refusal(too_many)
        assert await answer(await clients.connect("127.0.0.2"), EMPTY_BATCH) == b"HTTP/1.1 200 OK", "little still fits"

        await clients.begin("127.0.0.3")
        await clients.begin("127.0.0.3")
        too_many = await clients.connect("127.0.0.4")
        too_many[1].write(EMPTY_BATCH)
        assert "requests of 50000 bytes are under way at this node" in await refusal(too_many)
        assert await is_alive(address), "what has no body is answered all the same"

        two[1].close()
        await until(lambda: server.figures().held_body_bytes == 4 * HALF)
        assert await answer(one, b" " * (HALF - 1) + b"]") == b"HTTP/1.1 200 OK"
        assert server.figures().held_body_bytes == 3 * HALF
        assert await answer(three, b" " * (HALF - 1) + b"]") == b"HTTP/1.1 200 OK"
        assert server.figures().held_body_bytes == 2 * HALF
        assert server.figures().refused_bodies == 2


async def test_a_body_that_nobody_reads_counts_until_its_request_is_answered():
    waits = b"GET /v1/instruments?at_least=1&wait_s=20 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\n"
    async with serving(**LIMITS) as (server, address), Clients(server, address) as clients:
        reader, _ = await clients.begin("127.0.0.2", waits + b"x" * 900, held_bytes=900)
        added = json.dumps(ACME).encode()
        post = POST.replace(b"/commands", b"/instruments") + b"content-length: %d\r\n\r\n" % len(added) + added
        assert await answer(await clients.connect("127.0.0.2"), post) == b"HTTP/1.1 200 OK"
        assert await asyncio.wait_for(reader.readline(), PATIENCE_S) == b"HTTP/1.1 200 OK\r\n"
        await until(lambda: server.figures().held_body_bytes == 0)


async def test_requests_one_after_the_other_on_one_connection_add_nothing_up():
    """Also those that are sent ahead of their answers, and those that are refused before their body has come."""
    too_large = POST + b"content-length: %d\r\n\r\n" % (3 * HALF)
    async with serving(**LIMITS) as (server, address), connection(address) as (reader, writer):
        for _ in range(4):
            writer.write((POST + b"content-length: %d\r\n\r\n[" % HALF + b" " * (HALF - 2) + b"]") * 2 + REQUEST)
            await asyncio.wait_for(reader.readuntil(b'"alive"}'), PATIENCE_S)
            assert await answer((reader, writer), too_large) == b"HTTP/1.1 413 Request Entity Too Large"
            assert await answer((reader, writer), b" " * (3 * HALF) + REQUEST) == b"HTTP/1.1 200 OK"
        assert server.figures().held_body_bytes == server.figures().refused_bodies == 0


async def test_messages_that_are_never_whole_are_bounded_as_well(monkeypatch: pytest.MonkeyPatch):
    """In one frame or in many; whole ones hold nothing."""
    monkeypatch.setattr(websocket_protocol, "MAX_CONTROL_FRAMES_PER_S", 10_000)
    header = bytes([0x80 | TEXT, 0x80 | 126]) + HALF.to_bytes(2, "big") + bytes(4)
    unfinished_frame = header + b" " * (HALF - 8)
    unfinished_message = frame(TEXT, b" " * 100, last=False) + frame(CONTINUATION, b" " * 100, last=False) * 99
    async with serving(**LIMITS) as (server, address), Clients(server, address) as clients:

        async def open_stream() -> Stream:
            stream = await clients.connect("127.0.0.2")
            stream[1].write(UPGRADE + b"\r\n")
            assert b" 101 " in await stream[0].readuntil(b"\r\n\r\n")
            return stream

        streams = [await open_stream() for _ in range(4)]
        for number, (_, writer) in enumerate(streams[:3]):
            writer.write(unfinished_message if number == 1 else unfinished_frame)
        await until(lambda: abs(server.figures().held_body_bytes - 3 * HALF) < 20)
        streams[3][1].write(unfinished_frame)
        closing = await everything_from(streams[3][0])
        assert closing[0] == 0x88
        assert int.from_bytes(closing[2:4], "big") == websocket_protocol.TRY_AGAIN_LATER
        assert server.figures().refused_bodies == 1

        streams[0][1].close()
        await until(lambda: abs(server.figures().held_body_bytes - 2 * HALF) < 20)
        streams[1][1].write(frame(CONTINUATION, b'{"op":"ping"}'))
        assert b"pong" in await asyncio.wait_for(streams[1][0].read(200), PATIENCE_S)
        assert abs(server.figures().held_body_bytes - HALF) < 20

        metrics = await clients.connect("127.0.0.3")
        metrics[1].write(
            REQUEST.replace(b"/healthz", b"/metrics").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        )
        text = (await everything_from(metrics[0])).partition(b"\r\n\r\n")[2].decode()
        found = {
            sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples
        }
        assert abs(found["raftbook_held_body_bytes"] - HALF) < 20
        assert found["raftbook_refused_bodies_total"] == 1
    assert server.figures().held_body_bytes == 0


def test_a_budget_counts_each_source_and_all_and_forgets_who_has_gone():
    budget = BodyBudget(max_bytes=11, max_bytes_per_source=6)
    one, two, other = budget.share_of("a"), budget.share_of("a"), budget.share_of("b")
    assert [one.take(4), two.take(2), other.take(4)] == [None, None, None]
    assert "requests of a with 6 bytes are under way" in (two.take(1) or "")
    assert "requests of 11 bytes are under way at this node" in (other.take(2) or "")
    assert (budget.held_bytes, budget.refused) == (10, 2)
    one.release(1)
    assert other.take(2) is None
    for share in (one, two, other, one):
        share.release_all()
    assert budget.held_bytes == 0
    assert not budget._by_source
    with pytest.raises(AssertionError):
        one.release(1)
