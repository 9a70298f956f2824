"""An open market behind real WebSockets."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from raftbook.gateway import make_app
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME
from tests.support.server import free_listener, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from raftbook.gateway.stream import Stream


class StreamMarket:
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
async def open_stream_market(**limits: int) -> AsyncIterator[StreamMarket]:
    """For its clients the system buffers little, so that what they do not read waits in the node."""
    service = DirectService(make_config(**limits))
    app = make_app(service)
    listener = free_listener()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    async with serve(app, listener) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/v1/instruments", json=ACME)).status_code == 200
        yield StreamMarket(service, app.state.stream, url, http)
