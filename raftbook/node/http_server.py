"""The HTTP server of a node, or of a gateway to shards: uvicorn, bounded in every way, and left without loss."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import uvicorn
from structlog import get_logger

from raftbook.errors import ProblemError
from raftbook.gateway.http_api import make_app
from raftbook.gateway.metrics import ServerFigures
from raftbook.node.body_budget import BodyBudget
from raftbook.node.connection_table import ConnectionTable, source_of
from raftbook.node.http_protocol import QUIET_S, NodeHttpProtocol, last_answer
from raftbook.node.websocket_protocol import UVICORN_SETTINGS, NodeWebSocketProtocol
from raftbook.replication.accepting import Acceptor, connect_protocol

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from raftbook.gateway.service import Service
    from raftbook.node.config import LimitsConfig

_log = get_logger()

DRAIN_S: Final = 3
"""Then, for the answers that clients wait for; and as long again for what nobody waits for."""

LISTEN_BACKLOG: Final = 1024

RESERVED_DESCRIPTORS: Final = 128
"""What clients must leave to the log, the snapshots and the peers: a log that cannot open a segment halts the node."""

_LEAVE_INTERVAL_S: Final = 0.02
_TICKS_BETWEEN_CHECKS: Final = 5
"""uvicorn's ticks of 0.1 s."""
_TLS_SHUTDOWN_S: Final = 2.0
"""For a client to say that it has read the end of an encrypted connection."""


def _max_client_connections() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(RESERVED_DESCRIPTORS, limit // 2)


class BoundedServer(uvicorn.Server):
    """uvicorn in the process's own loop, which minds the signals. With `tls` it speaks HTTPS, and nothing else.

    It leaves so that no client is left in doubt. uvicorn would close every connection on which no answer is due, also
    that of a client whose next request is on its way, and drop those that it has not accepted yet.

    `make` makes the application, which may ask for the server's figures.
    """

    def __init__(
        self,
        make: Callable[[Callable[[], ServerFigures]], ASGIApp],
        limits: LimitsConfig,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                make(self.figures),
                http=NodeHttpProtocol,
                ws=NodeWebSocketProtocol,
                **UVICORN_SETTINGS,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=limits.keep_alive_timeout_s,  # type: ignore[arg-type]  # It goes to call_later.
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._limits = limits
        self._tls = tls
        self._table = ConnectionTable(
            max_connections=min(limits.max_connections, _max_client_connections()),
            max_per_source=limits.max_connections_per_address,
        )
        self._bodies = BodyBudget(
            max_bytes=limits.max_held_body_bytes, max_bytes_per_source=limits.max_held_body_bytes_per_address
        )
        self._connecting: set[asyncio.Task[None]] = set()

    def figures(self) -> ServerFigures:
        """For whoever watches the process."""
        return ServerFigures(len(self.server_state.connections), self._bodies.held_bytes, self._bodies.refused)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets, "a node has bound its address before it opens its files"
        acceptors = [Acceptor(listener, self._take) for listener in sockets]
        for acceptor in acceptors:
            acceptor.start(LISTEN_BACKLOG)
        self.servers = acceptors  # type: ignore[assignment]  # They are closed like servers.
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            for protocol in tuple(self.server_state.connections):
                assert isinstance(protocol, NodeHttpProtocol | NodeWebSocketProtocol)
                protocol.close_if_overdue()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; give each connection a last answer, or close it when it has been quiet for a while."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            server.close()
        # Those that the system had accepted and the loop had not: their clients may have sent something already.
        if self._connecting:
            _, silent = await asyncio.wait(self._connecting, timeout=QUIET_S)
            for task in silent:
                task.cancel()
        connections: set[NodeHttpProtocol | NodeWebSocketProtocol] = self.server_state.connections  # type: ignore[assignment]
        for protocol in tuple(connections):
            protocol.leave()
        deadline = loop.time() + DRAIN_S
        while connections and loop.time() < deadline:
            slept_at = loop.time()
            await asyncio.sleep(_LEAVE_INTERVAL_S)
            if loop.time() - slept_at >= QUIET_S:
                continue  # It was the node that was quiet: what came meanwhile is read in the next turn.
            for protocol in tuple(connections):
                protocol.close_if_quiet()
        await super().shutdown(sockets)

    # One connection.

    def _take(self, connection: socket.socket, address: str) -> None:
        source = source_of(address)
        reason = self._table.admit(source)
        if reason is None:
            task = asyncio.create_task(self._connect(connection, source), name="connect")
            self._connecting.add(task)
            task.add_done_callback(self._connected)
        else:
            self._refuse(connection, source, reason)

    async def _connect(self, connection: socket.socket, source: str) -> None:
        """Until the connection has its protocol, or has come to nothing."""
        protocol: NodeHttpProtocol | None = None

        def new_protocol() -> NodeHttpProtocol:
            nonlocal protocol
            protocol = NodeHttpProtocol(
                self.config,
                self.server_state,
                limits=self._limits,
                bodies=self._bodies.share_of(source),
                on_closed=partial(self._table.release, source),
            )
            return protocol

        try:
            fault = await connect_protocol(
                connection,
                new_protocol,
                tls=self._tls,
                handshake_timeout_s=self._limits.tls_handshake_timeout_s,
                shutdown_timeout_s=_TLS_SHUTDOWN_S,
            )
        finally:
            if protocol is None or not protocol.is_made:  # Else its end has been told, or will be.
                connection.close()
                self._table.release(source)
        if fault is not None:
            _log.warning("client not connected", source=source, reason=fault)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if not task.cancelled():
            task.result()  # Raises what nobody foresaw, and the node halts.

    def _refuse(self, connection: socket.socket, source: str, reason: str) -> None:
        _log.warning("client refused", source=source, reason=reason)
        with connection, contextlib.suppress(OSError):  # It may be gone already.
            if self._tls is None:
                connection.send(last_answer(ProblemError(503, "too_many_connections", reason, retry_after_s=1.0)))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer(BoundedServer):
    """A node's."""

    def __init__(self, service: Service, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(lambda figures: make_app(service, server=figures), service.config.limits, tls=tls)
