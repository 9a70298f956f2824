"""The HTTP server of a node: uvicorn, so bounded that no client takes the node's descriptors, and left without loss."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from typing import TYPE_CHECKING, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raftbook.errors import ProblemError
from raftbook.gateway.http_api import make_app
from raftbook.gateway.responses import problem_response

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from raftbook.gateway.service import Service

DRAIN_S: Final = 3
"""Then, for the answers that clients wait for; and as long again for what nobody waits for."""

QUIET_S: Final = 0.5
"""A connection on which nothing has happened for so long may be closed without a last answer."""

KEEP_ALIVE_S: Final = 75
"""Longer than clients keep idle connections (httpx: 5 s), so that they close first: no request meets a closed end."""

_LEAVE_INTERVAL_S: Final = 0.02

RESERVED_DESCRIPTORS: Final = 128
"""What clients must leave to the log, the snapshots and the peers: a log that cannot open a segment halts the node."""


def _max_client_connections() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(RESERVED_DESCRIPTORS, limit // 2)


def _refusal_of_a_connection() -> bytes:
    detail = (
        "too many clients are connected to this node; use another one, or raise its limit of open files (ulimit -n)"
    )
    response = problem_response(ProblemError(503, "too_many_connections", detail, retry_after_s=1.0))
    fields = [name + b": " + value for name, value in response.raw_headers]
    lines = [b"HTTP/1.1 503 Service Unavailable", *fields, b"connection: close", b"", bytes(response.body)]
    return b"\r\n".join(lines)


def _waiting_connections(listener: socket.socket) -> Iterator[socket.socket]:
    """Those that the system has accepted and the loop has not: their clients may have sent something already."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            # There are no more, or no descriptors for them; those clients hear of it when the listener is closed.
            return
        connection.setblocking(False)
        yield connection


class NodeHttpProtocol(HttpToolsProtocol):
    """uvicorn keeps a connection that never says anything for ever, so it is their number that is bounded."""

    is_leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.active_at = self.loop.time()
        if len(self.connections) > _max_client_connections():
            transport.write(_refusal_of_a_connection())
            transport.close()

    def data_received(self, data: bytes) -> None:
        self.active_at = self.loop.time()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.is_leaving:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self.active_at = self.loop.time()
        super().on_response_complete()

    def leave(self) -> None:
        """The next answer is the last on this connection, and says so (`connection: close`)."""
        self.is_leaving = True
        if self._is_answering:
            self.cycle.keep_alive = False

    def close_if_quiet(self) -> None:
        if not self._is_answering and self.loop.time() - self.active_at >= QUIET_S:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


class HttpServer(uvicorn.Server):
    """uvicorn in the node's own loop; signals are the node's affair.

    It leaves so that no client is left in doubt. uvicorn would close every connection on which no answer is due, also
    that of a client whose next request is on its way, and drop those that it has not accepted yet.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=NodeHttpProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; give each connection a last answer, or close it when it has been quiet for a while."""
        loop = asyncio.get_running_loop()
        accepted = [connection for listener in sockets or () for connection in _waiting_connections(listener)]
        for server in self.servers:
            server.close()
        for connection in accepted:
            await loop.connect_accepted_socket(self._new_protocol, connection)
        connections: set[NodeHttpProtocol] = self.server_state.connections  # type: ignore[assignment]
        for protocol in connections:
            protocol.leave()
        deadline = loop.time() + DRAIN_S
        while connections and loop.time() < deadline:
            for protocol in tuple(connections):
                protocol.close_if_quiet()
            await asyncio.sleep(_LEAVE_INTERVAL_S)
        await super().shutdown(sockets)

    def _new_protocol(self) -> NodeHttpProtocol:
        return NodeHttpProtocol(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
