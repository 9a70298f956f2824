"""The gateway as a process: serves on one address, reads its file again on SIGHUP, and leaves in order on SIGTERM."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import ConfigError
from raftbook.node.config import DEFAULT_ADDRESS_REQUESTS_PER_S, is_loopback, parse_address
from raftbook.node.http_server import LISTEN_BACKLOG, BoundedServer
from raftbook.node.logs import configure_logs
from raftbook.node.runner import EXIT_DONE, new_event_loop, raise_descriptor_limit
from raftbook.replication.listening import ListenAddress
from raftbook.security.tls import NodeTls
from raftbook.sharding.gateway import ShardGateway
from raftbook.sharding.http_api import GatewayCounts
from raftbook.sharding.map_file import load_gateway_file
from raftbook.sharding.upstream import Upstream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from raftbook.node.config import SecurityConfig
    from raftbook.sharding.map_file import GatewayFile

_log = get_logger()

NAME: Final = "gateway"
"""Of the process in its log, and in its certificate."""


def run(shards_file: str, listen_address: str, *, api_key: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code of the process. See `load_gateway_file` for `shards_file`.

    It starts also while shards are down: the others are served, and these when they come.

    Raises:
        RaftbookError: it cannot start; the message says why, and what to do.
    """
    file = load_gateway_file(shards_file)
    configure_logs(NAME, os.environ)
    address = checked_address(listen_address, file.security)
    tls = load_tls(file.security, address[0])
    raise_descriptor_limit()
    with ListenAddress.for_gateway(address).bind() as listener, asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(file, shards_file, listen_address, listener, tls, api_key))


def checked_address(listen_address: str, security: SecurityConfig) -> tuple[str, int]:
    """(host, port). ConfigError where it is none, or where others than those it is for could use the gateway there."""
    address = parse_address(listen_address)
    if not is_loopback(address.host) and not (security.has_tls and security.require_client_certificates):
        raise ConfigError(
            f"--listen {listen_address}: whoever reaches the gateway acts under its key, so it listens beyond this "
            "machine only to clients with certificates; write ca_file, certificate_file, key_file and "
            "require_client_certificates = true into [security] of the file with the shards, or --listen 127.0.0.1:8100"
        )
    return address


def load_tls(security: SecurityConfig, host: str) -> NodeTls | None:
    """None without TLS. CertificateError where a file is missing or unfit: it is one of a node that is called NAME."""
    files = security.tls_files(NAME)
    if files is None:
        return None
    return NodeTls.load(
        files,
        NAME,
        # On all addresses of the machine (0.0.0.0) clients use one of its names, and find out whether it is there.
        hosts=[] if _is_every_address(host) else [host],
        require_client_certificates=security.require_client_certificates,
        now=datetime.now(UTC),
    )


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def make_server(
    file: GatewayFile, listen_address: str, tls: NodeTls | None, connect: Callable[..., Upstream] = Upstream
) -> tuple[BoundedServer, ShardGateway]:
    """What serves the shards of `file`; to be used on the loop on which it is made."""
    requests_per_s = file.limits.address_requests_per_s
    if requests_per_s is None:
        is_local = is_loopback(parse_address(listen_address).host)
        requests_per_s = 0 if is_local else DEFAULT_ADDRESS_REQUESTS_PER_S
    counts = GatewayCounts(requests_per_s)
    gateway = ShardGateway(file.shard_map, file.limits, listen_address, counts, connect)
    server = BoundedServer(lambda _: gateway, file.limits, tls=None if tls is None else tls.for_clients)
    counts.server = server.figures
    return server, gateway


def reload(gateway: ShardGateway, shards_file: str, tls: NodeTls | None) -> None:
    """The shards and the certificate as their files have them now; of what is unfit the old stays in use."""
    try:
        shard_map = load_gateway_file(shards_file).shard_map
        gateway.take(shard_map)
    except ConfigError as error:
        _log.error("shards not reloaded", code=error.code, error=str(error))
    else:
        _log.info("shards reloaded", shards=shard_map.names)
    if tls is not None:
        try:
            tls.reload(now=datetime.now(UTC))
        except ConfigError as error:
            _log.error("certificates not reloaded", code=error.code, error=str(error))
        else:
            _log.info("certificates reloaded", expires=f"{tls.expires_at:%Y-%m-%d}")


async def _serve(
    file: GatewayFile,
    shards_file: str,
    listen_address: str,
    listener: socket.socket,
    tls: NodeTls | None,
    api_key: str | None,
) -> int:
    listener.listen(LISTEN_BACKLOG)
    server, gateway = make_server(file, listen_address, tls, partial(Upstream, api_key=api_key))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload, gateway, shards_file, tls)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    _log.info("gateway started", shards=file.shard_map.names, listen_address=listen_address, tls=tls is not None)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    _log.info("gateway drains")
    stopping.cancel()
    server.should_exit = True
    await serving
    await gateway.aclose()
    _log.info("gateway stopped")
    return EXIT_DONE
