"""What a client can do to a node's HTTP port: nothing lasts, nothing grows, and everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from raftbook.node import http_protocol, http_server, websocket_protocol
from raftbook.node.connection_table import ConnectionTable, source_of
from raftbook.node.websocket_protocol import NodeWebSocketProtocol
from raftbook.security.tls import NodeTls, client_context
from tests.support.certificates import files_of, make_certificates
from tests.support.raw_http import (
    CLOSE,
    CONTINUATION,
    PATIENCE_S,
    PING,
    PONG,
    POST,
    REQUEST,
    TEXT,
    UPGRADE,
    answer_to,
    connection,
    everything_from,
    faults_of_the_loop,
    frame,
    is_alive,
    serving,
    told,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.raw_http import Address, Stream

TIMES = {"header_timeout_s": 0.3, "body_timeout_s": 0.3, "keep_alive_timeout_s": 0.3, "write_timeout_s": 0.3}


# ---------------------------------------------------------------- time


async def trickle(stream: Stream, first: bytes, bytes_one_by_one: bytes) -> bytes:
    """A byte every 20 ms, as long as anybody takes it; what was heard."""
    reader, writer = stream
    writer.write(first)
    hearing = asyncio.create_task(everything_from(reader))
    for byte in bytes_one_by_one:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
        if hearing.done():
            break
    return await hearing


SLOW: dict[str, tuple[Callable[[Stream], Awaitable[bytes]], tuple[int, str]]] = {
    "says nothing": (lambda stream: trickle(stream, b"", b""), (0, "")),
    "sends empty lines before a request": (lambda stream: trickle(stream, b"", b"\r\n" * 5000), (0, "")),
    "never ends its request line": (lambda stream: trickle(stream, b"GET /", b"x" * 5000), (408, "request_timeout")),
    "never ends its header": (
        lambda stream: trickle(stream, b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 5000),
        (408, "request_timeout"),
    ),
    "never ends its body": (
        lambda stream: trickle(stream, POST + b"content-length: 9999\r\n\r\n", b"[" * 5000),
        (408, "request_timeout"),
    ),
    "never ends its chunked body": (
        lambda stream: trickle(stream, POST + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n[\r\n" * 5000),
        (408, "request_timeout"),
    ),
    "never ends a chunk's extension": (
        lambda stream: trickle(stream, POST + b"transfer-encoding: chunked\r\n\r\n1;", b"a=b;" * 5000),
        (408, "request_timeout"),
    ),
    "goes on with a body that was refused": (
        lambda stream: trickle(stream, POST + b"content-length: 99999999\r\n\r\n", b"[" * 5000),
        (413, "body_too_large"),
    ),
    "begins a second request and stops": (
        lambda stream: trickle(stream, REQUEST, b"GET / HT"),
        (408, "request_timeout"),
    ),
    "does not say a second one": (lambda stream: trickle(stream, REQUEST, b""), (200, "")),
    "keeps itself alive with empty lines": (lambda stream: trickle(stream, REQUEST, b"\r\n" * 5000), (200, "")),
}


async def test_whoever_takes_too_long_is_told_and_closed():
    """All at once, at one node, which goes on answering somebody else."""
    async with serving(**TIMES) as (server, address), contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connection(address)) for _ in SLOW]
        began_at = time.monotonic()
        attacks = [
            asyncio.create_task(attack(stream)) for (attack, _), stream in zip(SLOW.values(), streams, strict=True)
        ]
        while not all(attack.done() for attack in attacks):
            assert await is_alive(address)
            assert time.monotonic() - began_at < PATIENCE_S, [
                name for name, attack in zip(SLOW, attacks, strict=True) if not attack.done()
            ]
            await asyncio.sleep(0.05)
        assert time.monotonic() - began_at >= min(TIMES.values()), "everybody has the time that was promised"
        await until(lambda: not server.server_state.connections)
        assert len(server._table) == 0
    assert {name: told(attack.result()) for name, attack in zip(SLOW, attacks, strict=True)} == {
        name: expected for name, (_, expected) in SLOW.items()
    }


async def test_a_client_that_takes_its_answer_too_slowly_is_cut_off():
    async with serving(**TIMES) as (server, address):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, address)
            asking = asyncio.create_task(ask_without_end(client))
            await until(lambda: server.server_state.connections)
            await until(lambda: not server.server_state.connections)
            asking.cancel()
        assert await is_alive(address)


async def ask_without_end(client: socket.socket) -> None:
    """Requests whose answers nobody reads."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while True:
            await loop.sock_sendall(
                client, b"GET /assets/vendor/lightweight-charts-5.2.1.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20
            )


async def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """The times are the client's to keep, and not the node's."""
    monkeypatch.setattr(http_server, "_TICKS_BETWEEN_CHECKS", 10**9)
    header_timeout_s = 1.2
    async with (
        serving(header_timeout_s=header_timeout_s) as (server, address),
        connection(address) as (reader, writer),
    ):
        asked_at = time.monotonic()
        writer.write(b"GET /v1/instruments?at_least=999&wait_s=2.5 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        writer.write(REQUEST[:10])  # In time for the next one; what waits for us does not count against it.
        head = await reader.readuntil(b"\r\n\r\n")
        (protocol,) = server.server_state.connections
        assert isinstance(protocol, http_protocol.NodeHttpProtocol)
        protocol.close_if_overdue()
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert time.monotonic() - asked_at > 2 * header_timeout_s
        assert b"connection: close" not in head
        writer.write(REQUEST[10:])
        assert b"HTTP/1.1 200 OK\r\n" in await reader.readuntil(b'"alive"}')


async def test_what_was_asked_before_a_broken_request_is_answered():
    async with serving(**TIMES) as (_, address), connection(address) as (reader, writer):
        writer.write(REQUEST + b"rubbish\r\n\r\n")
        heard = await reader.read()
    assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
    assert heard.endswith(b'{"status":"alive"}')
    assert b"connection: close" in heard


# ---------------------------------------------------------------- size


HUGE = b"x" * 5000
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n"


TOO_LARGE: dict[str, list[bytes]] = {
    "request line": [b"GET /" + HUGE],
    "name of a field": [b"GET / HTTP/1.1\r\n", HUGE],
    "value of a field": [b"GET / HTTP/1.1\r\nx: ", HUGE],
    "value in pieces": [b"GET / HTTP/1.1\r\nx: ", *[HUGE[:200]] * 100],
    "many fields": [b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 1000],
    "many fields in pieces": [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n" * 30] * 40],
    "a whole request": [b"GET / HTTP/1.1\r\nx: " + HUGE + b"\r\n\r\n"],
    "a second request": [REQUEST, b"GET / HTTP/1.1\r\nx: " + HUGE + b"\r\n\r\n"],
    "trailers": [CHUNKED, *[b"x: y\r\n" * 100] * 20],
    "one trailer": [CHUNKED, b"x: ", *[HUGE] * 2],
}


async def test_a_header_is_bounded():
    async with serving(max_header_bytes=4096) as (_, address):
        answers = await asyncio.gather(*(answer_to(address, *chunks) for chunks in TOO_LARGE.values()))
        assert await is_alive(address)
    assert dict(zip(TOO_LARGE, answers, strict=True)) == dict.fromkeys(TOO_LARGE, (431, "header_too_large"))


async def test_a_header_just_below_the_bound_is_taken():
    async with serving(max_header_bytes=4096) as (_, address), connection(address) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST[:-2] + b"x: " + b"y" * 3900 + b"\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b'"alive"}')


NO_HTTP: dict[str, list[bytes]] = {
    "a handshake of TLS": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)],
    "words": [b"hello\r\n\r\n"],
    "a version to come": [b"GET / HTTP/9.9\r\n\r\n"],
    "a field without colon": [b"GET / HTTP/1.1\r\nbad header\r\n\r\n"],
    "a length below zero": [b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"],
    "two lengths": [b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"],
    "length and chunks": [b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"],
    "a chunk without length": [POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
    "a path that is no text": [b"GET \xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n"],
    "zeros": [bytes(10_000)],
    "HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
}


async def test_what_is_no_http_is_refused():
    async with serving(**TIMES) as (_, address):
        answers = await asyncio.gather(*(answer_to(address, *chunks) for chunks in NO_HTTP.values()))
        assert await is_alive(address)
    assert dict(zip(NO_HTTP, answers, strict=True)) == dict.fromkeys(NO_HTTP, (400, "malformed_request"))


async def test_random_bytes_stop_nothing():
    randomness = random.Random(20261122)
    upgrade = b"upgrade: websocket\r\nconnection: upgrade\r\n"
    websocket = upgrade + b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"
    pieces = [
        REQUEST,
        POST,
        b"\r\n",
        b": ",
        b" HTTP/1.1\r\n",
        b"GET ",
        b"GET /v1/stream HTTP/1.1\r\n",
        upgrade,
        websocket,
    ]
    pieces += [
        b"expect: 100-continue\r\n",
        b"content-length: 3\r\n",
        b"transfer-encoding: chunked\r\n",
        b"3\r\nabc\r\n",
    ]
    async with serving(**TIMES) as (server, address):

        async def attack(seed: int) -> None:
            own = random.Random(seed)
            made = [
                own.choice(pieces) if own.random() < 0.8 else own.randbytes(own.randrange(1, 200)) for _ in range(12)
            ]
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(answer_to(address, *made), 0.5)

        for _ in range(3):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(60):
                    tasks.create_task(attack(randomness.randrange(1 << 32)))
            assert await is_alive(address)
        await until(lambda: not server.server_state.connections)
        assert len(server._table) == 0


# ---------------------------------------------------------------- number


async def test_one_address_cannot_take_all_connections():
    async with (
        serving(max_connections_per_address=3, max_connections=5) as (server, address),
        contextlib.AsyncExitStack() as stack,
    ):

        async def connect(host: str) -> Stream:
            stream = await asyncio.open_connection(*address, local_addr=(host, 0))
            stack.callback(stream[1].close)
            return stream

        async def refusal(host: str) -> str:
            reader, _ = await connect(host)
            heard = await reader.read()
            assert told(heard) == (503, "too_many_connections")
            return json.loads(heard.partition(b"\r\n\r\n")[2])["detail"]

        streams = [await connect("127.0.0.2") for _ in range(3)]
        assert (await refusal("127.0.0.2")).startswith("3 connections of 127.0.0.2 are open, the limit for one address")
        await connect("127.0.0.3")
        await connect("127.0.0.4")
        assert (await refusal("127.0.0.5")).startswith("5 clients are connected to this node, which is its limit")
        streams.pop()[1].close()
        await until(lambda: len(server._table) == 4)
        reader, writer = await connect("127.0.0.5")
        writer.write(REQUEST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_a_handshake_that_comes_to_nothing_gives_its_place_back(tmp_path: Path):
    folder = make_certificates(tmp_path, ["n1"])
    tls = NodeTls.load(files_of(folder, "n1"), "n1", hosts=["127.0.0.1"], now=datetime.now(UTC)).for_clients
    async with serving(tls=tls, max_connections=4, tls_handshake_timeout_s=0.2) as (server, address):
        for words in (b"", b"\x16\x03\x01", REQUEST, bytes(100)):
            assert await answer_to(address, words) == (0, "")
        await until(lambda: len(server._table) == 0)
        trusting = client_context(folder.certificate_file("ca"))
        reader, writer = await asyncio.open_connection(*address, ssl=trusting)
        writer.write(REQUEST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert len(server._table) == 1
        writer.close()
        await until(lambda: len(server._table) == 0)


def test_the_table_counts_each_source_and_all():
    table = ConnectionTable(max_connections=3, max_per_source=2)
    assert [table.admit("a"), table.admit("a"), table.admit("b")] == [None, None, None]
    assert "3 clients are connected" in (table.admit("c") or "")
    table.release("b")
    assert "2 connections of a are open" in (table.admit("a") or "")
    assert (table.admit("b"), len(table)) == (None, 3)
    for source in ("a", "a", "b"):
        table.release(source)
    assert len(table) == 0
    assert not table._by_source, "who has gone is forgotten"
    with pytest.raises(AssertionError):
        table.release("a")


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_connections_are_counted_by_who_can_have_the_address(address: str, source: str):
    assert source_of(address) == source


def test_the_last_answer_is_whole():
    from raftbook.errors import ProblemError  # noqa: PLC0415

    raw = http_protocol.last_answer(ProblemError(431, "header_too_large", "too large"))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert head.endswith(b"connection: close")


# ---------------------------------------------------------------- WebSockets


async def websocket_end(address: Address, *chunks: bytes) -> int:
    """The code of the close frame with which the node ends the connection, 0 where it is cut."""
    async with connection(address) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
        heard = await everything_from(reader)
    place = heard.rfind(b"\x88")
    return int.from_bytes(heard[place + 2 : place + 4], "big") if place >= 0 else 0


@pytest.mark.parametrize(
    "frames",
    [
        frame(TEXT, b"\xff") + frame(CLOSE),
        frame(TEXT, b"\xff", last=False) + frame(CONTINUATION, b"\xff") + frame(CLOSE),
        frame(PING) + frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"\xff"),
        frame(CLOSE, b"\x00"),
        frame(CLOSE, b"\x03\xe8\xff"),
        b"\xff" * 600,
    ],
)
async def test_no_frames_whatever_reach_the_loop_as_an_exception(frames):
    """There a fault halts the node."""
    async with faults_of_the_loop() as faults, serving() as (_, address):
        await websocket_end(address, frames)
        assert await is_alive(address)
        assert faults == []


@pytest.mark.parametrize(
    "fields", [b"".join(b"a%d: b\r\n" % number for number in range(140)), b"a: " + b"b" * 9_000 + b"\r\n"]
)
async def test_a_header_that_only_one_of_two_parsers_takes_opens_nothing(fields):
    async with faults_of_the_loop() as faults, serving() as (server, address):
        assert await answer_to(address, UPGRADE + fields + b"\r\n") == (400, "malformed_request")
        await until(lambda: not server.server_state.connections)
        assert faults == []


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_who_only_pings_is_sent_away(opcode, monkeypatch):
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT_S", 0.1)
    async with serving() as (_, address):
        assert await websocket_end(address, frame(opcode) * 20_000) == 1008


async def test_a_message_in_very_many_pieces_is_none(monkeypatch):
    monkeypatch.setattr(websocket_protocol, "MAX_CONTROL_FRAMES_PER_S", 10_000)
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT_S", 0.1)
    pieces = frame(TEXT, b"{", last=False) + frame(CONTINUATION, last=False) * 5_000
    async with serving() as (_, address):
        assert await websocket_end(address, pieces) == 1009


async def test_of_much_that_comes_at_once_a_turn_of_the_loop_takes_a_little(monkeypatch):
    """All of it is answered all the same."""
    slices = []
    take_slice = NodeWebSocketProtocol._take_slice

    def counted(protocol: NodeWebSocketProtocol, data: bytes) -> None:
        slices.append(len(data))
        take_slice(protocol, data)

    monkeypatch.setattr(NodeWebSocketProtocol, "_take_slice", counted)
    ping = frame(TEXT, b'{"op":"ping","request_id":7}')
    async with serving() as (_, address), connection(address) as (reader, writer):
        writer.write(UPGRADE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ping * 2_000)
        heard = b""
        while heard.count(b"pong") < 2_000:
            heard += await asyncio.wait_for(reader.read(65536), PATIENCE_S)
    assert sum(slices[1:]) == 2_000 * len(ping)
    assert max(slices[1:]) <= websocket_protocol.SLICE_BYTES


async def test_requests_ahead_of_their_answers_are_bounded():
    async with serving() as (_, address):
        async with connection(address) as (reader, writer):
            writer.write(REQUEST * 1_000)
            heard = await everything_from(reader)
        answered = heard.count(b"HTTP/1.1 200 OK")
        assert 1 <= answered <= 2 * http_protocol.MAX_PIPELINED
        assert await is_alive(address)
