"""How a node's HTTP server leaves: what a client could send before it knew is answered, and subscribers are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from raftbook.json_format import command_from_fields
from raftbook.node import http_server
from tests.support.direct_service import DirectService
from tests.support.sample_orders import ACME, order
from tests.support.server import free_listener, url_of
from tests.support.stream_client import open_deaf_stream, open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
LAST_WORDS = b"\r\nconnection: close\r\n"


@contextlib.asynccontextmanager
async def serving(
    service: DirectService | None = None,
) -> AsyncIterator[tuple[http_server.HttpServer, socket.socket]]:
    listener = free_listener()
    server = http_server.HttpServer(service or DirectService())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.002)
            yield server, listener
    finally:
        server.should_exit = True
        await task


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The head of the answer."""
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b'{"status":"alive"}'))
    return head


async def test_a_client_that_has_just_been_answered_gets_one_more_answer_which_is_the_last():
    async with serving() as (server, listener):
        address = listener.getsockname()
        reader, writer = await asyncio.open_connection(*address)
        assert LAST_WORDS not in await ask(reader, writer)
        leaving = asyncio.create_task(server.shutdown([listener]))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        assert LAST_WORDS in await ask(reader, writer)
        assert await reader.read() == b""
        writer.close()
        await leaving


async def test_a_request_on_a_connection_that_was_never_accepted_is_answered():
    async with serving() as (server, listener):
        client = socket.create_connection(listener.getsockname())
        client.sendall(REQUEST)
        # The loop has had no turn since the system took the connection.
        await server.shutdown([listener])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        client.close()


def whole_answer(client: socket.socket) -> bytes:
    """What came until the answer was whole, or the connection closed."""
    heard = b""
    while not heard.endswith(b'{"status":"alive"}') and (chunk := client.recv(65536)):
        heard += chunk
    return heard


def test_a_node_that_stood_still_while_it_left_takes_nobody_for_quiet():
    """As the node's own loop does it, which runs timers that are due before it reads."""

    async def stand_still() -> bytes:
        async with serving() as (server, listener):
            loop = asyncio.get_running_loop()
            client = socket.create_connection(listener.getsockname())
            wakes, wake = socket.socketpair()
            with client, wakes, wake:
                client.sendall(REQUEST)
                assert LAST_WORDS not in await asyncio.to_thread(whole_answer, client)

                def stall() -> None:
                    loop.remove_reader(wakes)
                    client.sendall(REQUEST)
                    time.sleep(http_server.QUIET_S + 0.1)

                loop.add_reader(wakes, stall)
                leaving = asyncio.create_task(server.shutdown([listener]))
                await asyncio.sleep(0)
                wake.send(b"x")
                answer = await asyncio.to_thread(whole_answer, client)
                await leaving
            return answer

    loop = uvloop.new_event_loop()
    try:
        answer = loop.run_until_complete(stand_still())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert LAST_WORDS in answer


async def test_connections_that_are_quiet_are_closed():
    async with serving() as (server, listener):
        idle = [await asyncio.open_connection(*listener.getsockname()) for _ in range(3)]
        for reader, writer in idle[1:]:
            await ask(reader, writer)
        began_at = time.monotonic()
        await server.shutdown([listener])
        assert time.monotonic() - began_at < http_server.DRAIN_S
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()


async def test_a_client_closes_an_idle_connection_before_the_node_does():
    async with serving() as (server, _listener):
        assert server.config.timeout_keep_alive > 2 * 5, "httpx keeps idle connections for 5 s"


async def leave(server: http_server.HttpServer, listener: socket.socket) -> float:
    """Seconds that it took."""
    began_at = time.monotonic()
    await server.shutdown([listener])
    return time.monotonic() - began_at


async def test_a_subscriber_is_told_that_the_node_leaves_and_gets_the_answers_that_are_due():
    service = DirectService()
    async with serving(service) as (server, listener), open_stream(url_of(listener)) as stream:
        service.stall()
        await stream.say("add_instrument", **ACME, request_id=1)
        await service.has_taken(1)
        leaving = asyncio.create_task(leave(server, listener))
        assert await stream.hear() == {"type": "server_shutdown"}
        service.resume()
        messages, code, _ = await stream.closing()
        assert [message["report"]["status"] for message in messages] == ["accepted"]
        assert code == 1001
        assert await leaving < http_server.DRAIN_S


async def test_what_a_client_had_sent_before_it_knew_is_answered():
    service = DirectService()
    async with serving(service) as (server, listener), open_stream(url_of(listener)) as stream:
        for number in range(200):
            await stream.say("cancel", account="alice", client_order_id=f"none-{number}", request_id=number)
        leaving = asyncio.create_task(leave(server, listener))
        messages, code, _ = await stream.closing()
        assert {message["request_id"] for message in messages if "request_id" in message} == set(range(200))
        assert code == 1001
        assert await leaving < http_server.DRAIN_S


async def test_a_subscriber_that_does_not_read_does_not_hold_the_node():
    service = DirectService()
    await service.submit([command_from_fields("add_instrument", ACME)], wait_s=1.0)
    await service.submit([command_from_fields("new", order(f"b{number}")) for number in range(2_000)], wait_s=1.0)
    async with serving(service) as (server, listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with open_deaf_stream(url_of(listener)) as stream:
            await stream.say("subscribe", channel="l3", symbol="ACME")
            async with asyncio.timeout(20):
                while not buffered_bytes(server):  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.002)
            assert await leave(server, listener) < http_server.DRAIN_S
            assert not server.server_state.connections


def buffered_bytes(server: http_server.HttpServer) -> int:
    return sum(protocol.transport.get_write_buffer_size() for protocol in server.server_state.connections)
