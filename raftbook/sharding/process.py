"""The gateway as a process: serves on one address, and leaves in order on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.errors import ConfigError
from raftbook.node.config import LimitsConfig, is_loopback, parse_address
from raftbook.node.http_server import LISTEN_BACKLOG, BoundedServer
from raftbook.node.logs import configure_logs
from raftbook.node.runner import EXIT_DONE, new_event_loop, raise_descriptor_limit
from raftbook.replication.listening import ListenAddress
from raftbook.sharding.http_api import make_shard_app
from raftbook.sharding.upstream import Upstream

if TYPE_CHECKING:
    import socket

    from raftbook.sharding.shard_map import ShardMap

_log = get_logger()

NAME: Final = "gateway"
"""Of the process, in its log."""


def run(shard_map: ShardMap, listen_address: str, *, api_key: str | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code of the process.

    It starts also while shards are down: the others are served, and these when they come.

    Raises:
        RaftbookError: it cannot start; the message says why, and what to do.
    """
    configure_logs(NAME, os.environ)
    address = checked_address(listen_address)
    raise_descriptor_limit()
    upstreams = {shard.name: Upstream(shard, api_key=api_key) for shard in shard_map.shards}
    with ListenAddress.for_gateway(address).bind() as listener, asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(shard_map, upstreams, listen_address, listener))


def checked_address(listen_address: str) -> tuple[str, int]:
    """(host, port). ConfigError where it is none, or others than this machine would hear what is said."""
    address = parse_address(listen_address)
    if not is_loopback(address.host):
        raise ConfigError(
            f"--listen {listen_address}: the gateway has neither TLS nor keys of its own, so it listens on this "
            "machine alone; write 127.0.0.1:8100, and put a server that has TLS in front of it"
        )
    return address


async def _serve(
    shard_map: ShardMap, upstreams: dict[str, Upstream], listen_address: str, listener: socket.socket
) -> int:
    limits = LimitsConfig()
    listener.listen(LISTEN_BACKLOG)
    server = BoundedServer(lambda _: make_shard_app(shard_map, upstreams, limits, listen_address), limits)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    _log.info("gateway started", shards=shard_map.names, listen_address=listen_address)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    _log.info("gateway drains")
    stopping.cancel()
    server.should_exit = True
    await serving
    for upstream in upstreams.values():
        await upstream.aclose()
    _log.info("gateway stopped")
    return EXIT_DONE
