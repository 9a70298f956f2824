"""A uvicorn server on a free loopback port, in the loop of the test, as a node runs it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn

from raftbook.node.websocket_protocol import UVICORN_SETTINGS, NodeWebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp


def free_listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """It ends when it is told to; uvicorn looks ten times a second, which a thousand tests would wait for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_end = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told_to_end.wait()


@asynccontextmanager
async def serve(app: ASGIApp, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """Serves `app` inside the context, and yields its URL."""
    listener = listener or free_listener()
    config = uvicorn.Config(
        app,
        http="httptools",
        ws=NodeWebSocketProtocol,
        lifespan="off",
        log_level="warning",
        access_log=False,
        **UVICORN_SETTINGS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn says it by this attribute alone.
                await asyncio.sleep(0.005)
        yield url_of(listener)
    finally:
        server.told_to_end.set()
        await serving
        listener.close()
