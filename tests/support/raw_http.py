"""A node's own HTTP server on a free loopback port, and clients that write to it whatever they like, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING

from raftbook.node.http_server import HttpServer
from tests.support.direct_service import DirectService, make_config
from tests.support.server import free_listener

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    Address = tuple[str, int]
    Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/commands HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
PATIENCE_S = 20


@contextlib.asynccontextmanager
async def serving(*, tls: ssl.SSLContext | None = None, **limits: float) -> AsyncIterator[tuple[HttpServer, Address]]:
    listener = free_listener()
    # So that a client that reads nothing is soon noticed: accepted sockets have the buffers of their listener.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    server = HttpServer(DirectService(make_config(**limits)), tls=tls)
    address = listener.getsockname()
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.002)
            yield server, address
    finally:
        server.should_exit = True
        await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (what is waited for is told to nobody)
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def connection(address: Address) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(address: Address, *chunks: bytes) -> tuple[int, str]:
    """Status and code of what is answered before the connection is closed; (0, "") where it just is."""
    async with connection(address) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0.002)  # So that each is a read of its own.
        return told(await everything_from(reader))


async def everything_from(reader: asyncio.StreamReader) -> bytes:
    """Until the connection is closed, or reset."""
    heard = b""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                heard += chunk
    return heard


def told(heard: bytes) -> tuple[int, str]:
    if not heard:
        return 0, ""
    head, _, body = heard.rpartition(b"\r\n\r\n")
    last = head.rpartition(b"HTTP/1.1 ")[2]
    return int(last[:3]), json.loads(body)["code"] if b"problem+json" in last else ""


async def is_alive(address: Address) -> bool:
    async with connection(address) as (reader, writer):
        writer.write(REQUEST)
        return (await asyncio.wait_for(reader.readline(), PATIENCE_S)) == b"HTTP/1.1 200 OK\r\n"


UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
TEXT, CONTINUATION, CLOSE, PING, PONG = 1, 0, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, last: bool = True) -> bytes:
    """As a client sends it, masked with zeros."""
    assert len(payload) < 126
    return bytes([opcode | (0x80 if last else 0), 0x80 | len(payload), 0, 0, 0, 0]) + payload


@contextlib.asynccontextmanager
async def faults_of_the_loop() -> AsyncIterator[list[object]]:
    """What would halt a node."""
    loop = asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    try:
        yield faults
    finally:
        loop.set_exception_handler(None)
