"""One node as a process: opens its files, joins its peers, serves HTTP, and leaves in order on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Final

import uvicorn
from structlog import get_logger
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raftbook.errors import ProblemError, RaftbookError
from raftbook.gateway.http_api import make_app
from raftbook.gateway.responses import problem_response
from raftbook.member.storage_folder import StorageFolder
from raftbook.node.garbage_collector import tune_garbage_collector
from raftbook.node.logs import configure_logs
from raftbook.node.service import NodeService
from raftbook.replication.listening import ListenAddress
from raftbook.replication.transport import TcpPeerTransport

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from raftbook.node.config import Config

_log = get_logger()

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_HALTED: Final = 70
"""The node found itself unable to keep its promise, and stopped at once (EX_SOFTWARE of sysexits.h)."""

HAND_OVER_S: Final = 2.0
"""On the way out: for another leader, while clients are served as ever."""

DRAIN_S: Final = 3
"""Then, for the answers that clients wait for; and as long again for what nobody waits for."""

QUIET_S: Final = 0.5
"""A connection on which nothing has happened for so long may be closed without a last answer."""

KEEP_ALIVE_S: Final = 75
"""Longer than clients keep idle connections (httpx: 5 s), so that they close first: no request meets a closed end."""

_LEAVE_INTERVAL_S: Final = 0.02

UNTIL_INTERVAL_S: Final = 0.05

SWITCH_INTERVAL_S: Final = 0.0005
"""The log writer's thread must get the interpreter back quickly when its sync is done."""

LISTEN_BACKLOG: Final = 1024

RESERVED_DESCRIPTORS: Final = 128
"""What clients must leave to the log, the snapshots and the peers: a log that cannot open a segment halts the node."""


def run(
    config: Config, node_id: str, data_dir: Path | None, *, until: Callable[[NodeService], bool] | None = None
) -> int:
    """Run a node until it is told to stop, or `until` says that it may leave; returns the exit code of the process.

    `until` is asked every so often, on the node's loop.

    Raises:
        RaftbookError: it cannot start; the message says why, and what to do.
    """
    configure_logs(node_id, os.environ)
    node = config.node(node_id)
    with contextlib.ExitStack() as opened:
        # Before the folder, which a node that cannot listen must leave as it is.
        api_listener = opened.enter_context(ListenAddress.for_clients(node_id, node.api).bind())
        peer_listener = opened.enter_context(ListenAddress.for_peers(node_id, node.peer).bind())
        folder = StorageFolder.open(
            config.node_folder(node_id, data_dir), config.cluster.name, node_id, config.cluster.durability.value
        )
        opened.callback(folder.close)
        runner = opened.enter_context(asyncio.Runner(loop_factory=_new_event_loop))
        return runner.run(_serve(config, node_id, folder, api_listener, peer_listener, until))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop of uvloop where it is installed, asyncio's own elsewhere."""
    try:
        import uvloop  # noqa: PLC0415 (not on every platform)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def halt(error: BaseException) -> None:
    """End the process now: nothing that it would still say could be trusted. What was promised is on disk."""
    code = error.code if isinstance(error, RaftbookError) else "bug"
    _log.critical("node halts", code=code, error=f"{type(error).__name__}: {error}")
    if not isinstance(error, RaftbookError):
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_HALTED)


def _halt_on_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    # A listener that could not accept (out of descriptors) goes on later; everything else is a bug of the node.
    is_of_socket = isinstance(error, OSError) and "socket" in context
    if isinstance(error, Exception) and not is_of_socket:
        halt(error)
    _log.error("event loop", **{key: str(value) for key, value in context.items()})


async def _serve(
    config: Config,
    node_id: str,
    folder: StorageFolder,
    api_listener: socket.socket,
    peer_listener: socket.socket,
    until: Callable[[NodeService], bool] | None,
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_halt_on_unhandled)
    node = config.node(node_id)
    try:
        api_listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        raise ListenAddress.for_clients(node_id, node.api).failure(error) from error
    random_source = random.Random(folder.start)  # noqa: S311 (election timeouts are no secrets)
    service = NodeService(config, node_id, folder, on_failure=halt, random_source=random_source)
    transport = TcpPeerTransport(
        node_id=node_id,
        cluster=config.cluster.name,
        start=folder.start,
        listen_address=node.peer,
        peers={other.id: other.peer for other in config.nodes if other.id != node_id},
        fresh=lambda: folder.journal.last_index == 0,
        on_connected=service.on_connected,
        on_disconnected=service.on_disconnected,
        on_message=service.on_message,
        listener=peer_listener,
    )
    service.attach(transport)
    await transport.start()
    service.start()
    server = _HttpServer(service)
    stop = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_garbage_collector()
    serving = asyncio.create_task(server.serve(sockets=[api_listener]), name="http")
    _log.info(
        "node started",
        cluster=config.cluster.name,
        peer_address=node.peer_address,
        api_address=node.api_address,
        applied_index=service.state.index,
        origin=folder.origin,
    )
    stopping = asyncio.create_task(_wait_for_end(stop, service, until), name="stop")
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    _log.info("node drains")
    await service.hand_over(timeout_s=HAND_OVER_S)
    server.should_exit = True
    await serving
    await service.settle(timeout_s=DRAIN_S)
    await service.stop()
    await transport.stop()
    if not stopping.cancel():
        stopping.result()  # Raises what `until` raised, if it did.
    _log.info("node stopped", applied_index=service.state.index)
    return EXIT_DONE


async def _wait_for_end(stop: asyncio.Event, service: NodeService, until: Callable[[NodeService], bool] | None) -> None:
    """Returns when a signal has set `stop`, or `until` is met."""
    while not stop.is_set() and (until is None or not until(service)):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), None if until is None else UNTIL_INTERVAL_S)


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


class _NodeHttpProtocol(HttpToolsProtocol):
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


class _HttpServer(uvicorn.Server):
    """uvicorn in the node's own loop; signals are the node's affair.

    It leaves so that no client is left in doubt. uvicorn would close every connection on which no answer is due, also
    that of a client whose next request is on its way, and drop those that it has not accepted yet.
    """

    def __init__(self, service: NodeService) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=_NodeHttpProtocol,
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
        connections: set[_NodeHttpProtocol] = self.server_state.connections  # type: ignore[assignment]
        for protocol in connections:
            protocol.leave()
        deadline = loop.time() + DRAIN_S
        while connections and loop.time() < deadline:
            for protocol in tuple(connections):
                protocol.close_if_quiet()
            await asyncio.sleep(_LEAVE_INTERVAL_S)
        await super().shutdown(sockets)

    def _new_protocol(self) -> _NodeHttpProtocol:
        return _NodeHttpProtocol(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
