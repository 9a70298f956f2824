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
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import CertificateError, RaftbookError
from raftbook.member.storage_folder import StorageFolder
from raftbook.node.config_checks import check_founding_admin
from raftbook.node.garbage_collector import RegularLooks, tune_garbage_collector, without_looks
from raftbook.node.http_server import DRAIN_S, LISTEN_BACKLOG, HttpServer
from raftbook.node.logs import configure_logs
from raftbook.node.service import NodeService
from raftbook.replication.listening import ListenAddress
from raftbook.replication.transport import TcpPeerTransport, TlsContexts
from raftbook.security.tls import NodeTls

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from raftbook.node.config import Config

_log = get_logger()

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 1
EXIT_HALTED: Final = 70
"""The node found itself unable to keep its promise, and stopped at once (EX_SOFTWARE of sysexits.h)."""

HAND_OVER_S: Final = 2.0
"""On the way out: for another leader, while clients are served as ever."""

EXPIRES_SOON: Final = timedelta(days=30)

MAX_DESCRIPTORS: Final = 65_536

UNTIL_INTERVAL_S: Final = 0.05

SWITCH_INTERVAL_S: Final = 0.0005
"""The log writer's thread must get the interpreter back quickly when its sync is done."""


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
    check_founding_admin(config)
    tls = _load_tls(config, node_id)
    raise_descriptor_limit()
    with contextlib.ExitStack() as opened:
        # Before the folder, which a node that cannot listen must leave as it is.
        api_listener = opened.enter_context(ListenAddress.for_clients(node_id, node.api).bind())
        peer_listener = opened.enter_context(ListenAddress.for_peers(node_id, node.peer).bind())
        tune_garbage_collector()
        with without_looks():
            folder = StorageFolder.open(
                config.node_folder(node_id, data_dir), config.cluster.name, node_id, config.cluster.durability.value
            )
        opened.callback(folder.close)
        runner = opened.enter_context(asyncio.Runner(loop_factory=new_event_loop))
        return runner.run(_serve(config, node_id, folder, tls, api_listener, peer_listener, until))


def _load_tls(config: Config, node_id: str) -> NodeTls | None:
    """CertificateError where a file is missing or unfit."""
    files = config.security.tls_files(node_id)
    if files is None:
        return None
    tls = NodeTls.load(
        files,
        node_id,
        hosts=[config.node(node_id).api.host],
        require_client_certificates=config.security.require_client_certificates,
        now=datetime.now(UTC),
    )
    _log_expiry(tls)
    return tls


def _reload_tls(tls: NodeTls) -> None:
    """Renewed certificates, from the next handshakes on; what is unfit is told, and the old ones stay in use."""
    try:
        tls.reload(now=datetime.now(UTC))
    except CertificateError as error:
        _log.error("certificates not reloaded", code=error.code, error=str(error))
    else:
        _log.info("certificates reloaded", expires=f"{tls.expires_at:%Y-%m-%d}")
        _log_expiry(tls)


def _log_expiry(tls: NodeTls) -> None:
    if tls.expires_at - datetime.now(UTC) < EXPIRES_SOON:
        _log.warning(
            "the certificate expires soon",
            expires=f"{tls.expires_at:%Y-%m-%d}",
            fix="run `raftbook certs renew ID`, then send SIGHUP to the node",
        )


def raise_descriptor_limit() -> None:
    """To what the administrator allows: shells start processes with far fewer, for the sake of select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError) as error:  # macOS has a further limit, of the kernel.
            _log.warning("the limit of open files stays", limit=soft, error=str(error))


def new_event_loop() -> asyncio.AbstractEventLoop:
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
    tls: NodeTls | None,
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
        tls=TlsContexts(tls.accepting_peers, tls.dialling_peers) if tls is not None else None,
        listener=peer_listener,
    )
    with without_looks():
        # It builds the feed of every order that rests.
        service.attach(transport)
    # Before the node joins its peers, whom it would keep waiting.
    server = HttpServer(service, tls=tls.for_clients if tls is not None else None)
    await transport.start()
    service.start()
    looks = RegularLooks()
    looks.start()
    stop = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    if tls is not None:
        loop.add_signal_handler(signal.SIGHUP, _reload_tls, tls)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    serving = asyncio.create_task(server.serve(sockets=[api_listener]), name="http")
    _log.info(
        "node started",
        cluster=config.cluster.name,
        peer_address=node.peer_address,
        api_address=node.api_address,
        tls=tls is not None,
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
    looks.stop()
    if not stopping.cancel():
        stopping.result()  # Raises what `until` raised, if it did.
    _log.info("node stopped", applied_index=service.state.index)
    return EXIT_DONE


async def _wait_for_end(stop: asyncio.Event, service: NodeService, until: Callable[[NodeService], bool] | None) -> None:
    """Returns when a signal has set `stop`, or `until` is met."""
    while not stop.is_set() and (until is None or not until(service)):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), None if until is None else UNTIL_INTERVAL_S)
