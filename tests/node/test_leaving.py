"""How a node's HTTP server leaves: every request that a client could send before it knew is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from raftbook.node import http_server
from tests.support.direct_service import DirectService
from tests.support.server import free_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: n1\r\n\r\n"
LAST_WORDS = b"\r\nconnection: close\r\n"


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[http_server.HttpServer, socket.socket]]:
    listener = free_listener()
    server = http_server.HttpServer(DirectService())
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
