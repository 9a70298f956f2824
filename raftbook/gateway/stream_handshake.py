"""How a connection to /v1/stream begins, at a node and at a gateway to shards alike; and how a fault ends it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog
from starlette.routing import Route, WebSocketRoute

from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from raftbook.gateway.stream_connection import FrameSocket

_log = structlog.get_logger()

PATH: Final = "/v1/stream"
FRAMES_EXTENSION: Final = "raftbook.frames"
"""Under which the server's WebSocket protocol hands itself over."""
INTERNAL_ERROR: Final = 1011


def http_routes() -> list[Route]:
    return [Route(PATH, _upgrade_required, methods=["GET"])]


def websocket_routes(serve: Callable[[WebSocket], Awaitable[None]]) -> list[WebSocketRoute]:
    return [WebSocketRoute(PATH, serve)]


async def _upgrade_required(_: Request) -> Response:
    raise ProblemError(426, "upgrade_required", "this is a WebSocket; connect to it with ws:// or wss://")


@asynccontextmanager
async def accepted(websocket: WebSocket, process: str) -> AsyncIterator[FrameSocket]:
    """The handshake, and then what the connection is written to. `process` is what the client takes us for."""
    socket: FrameSocket = websocket.scope["extensions"][FRAMES_EXTENSION]
    await websocket.accept()
    try:
        yield socket
    except Exception:  # noqa: BLE001 (whatever it is, it ends this connection and no other)
        _log.exception("unexpected error", path=PATH)
        socket.end(INTERNAL_ERROR, f"the {process} met a fault of its own")
