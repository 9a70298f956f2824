"""A plain client of /v1/stream: what it says and what it hears, message by message."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import cbor2
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websockets.asyncio.client import ClientConnection

Message = dict[str, Any]

PATIENCE_S = 20.0
"""For whatever must come in the end."""


class StreamClient:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.encodings: list[str] = []
        """Of the messages heard, in their order."""

    async def say(self, op: str, *, encoding: str = "json", **fields: object) -> None:
        message = {"op": op, **fields}
        await self.connection.send(json.dumps(message) if encoding == "json" else cbor2.dumps(message))

    async def hear(self) -> Message:
        """The next message. ConnectionClosed where there is none any more."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self.connection.recv()
        self.encodings.append("json" if isinstance(data, str) else "cbor")
        message: Message = json.loads(data) if isinstance(data, str) else cbor2.loads(data)
        return message

    async def hear_until(self, condition: Callable[[Message], object]) -> list[Message]:
        """All messages up to the first that meets the condition, and that one."""
        messages = [await self.hear()]
        while not condition(messages[-1]):
            messages.append(await self.hear())
        return messages

    async def ask(self, op: str, **fields: object) -> Message:
        """The next message after this question."""
        await self.say(op, **fields)
        return await self.hear()

    async def closing(self) -> tuple[list[Message], int, str]:
        """What is still heard until the connection is closed; the code and the reason of that."""
        messages: list[Message] = []
        while True:
            try:
                messages.append(await self.hear())
            except ConnectionClosed:
                # Code 1006 where it was cut without a close frame.
                return messages, self.connection.close_code or 0, self.connection.close_reason or ""


@asynccontextmanager
async def open_stream(url: str, **options: Any) -> AsyncIterator[StreamClient]:
    """A connection to the stream of the node at this HTTP URL."""
    async with connect(f"{url.replace('http', 'ws', 1)}/v1/stream", compression=None, **options) as connection:
        yield StreamClient(connection)


@asynccontextmanager
async def open_deaf_stream(url: str) -> AsyncIterator[StreamClient]:
    """A client that reads nothing unless it is told to, and for which the systems buffer little."""
    address = httpx.URL(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((address.host, address.port))
        connection.setblocking(False)
        async with open_stream(url, sock=connection, max_queue=1) as client:
            client.connection.transport.pause_reading()
            yield client
            client.connection.transport.abort()
