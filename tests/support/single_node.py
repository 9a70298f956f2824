"""A whole node in the loop of the test: its files, its Raft with nobody else in it, and its service."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from raftbook.member.storage_folder import StorageFolder
from raftbook.node.config import ClusterConfig, Config, Durability, LimitsConfig, NodeConfig, RaftConfig
from raftbook.node.service import NodeService
from raftbook.replication.transport import TcpPeerTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_FAST_ELECTIONS = RaftConfig(heartbeat_s=0.005, election_timeout_min_s=0.02, election_timeout_max_s=0.03)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def single_node(data_dir: Path, **limits: int) -> AsyncIterator[NodeService]:
    """The service of a cluster of one, ready; whatever would halt the process fails the test."""
    node = NodeConfig(id="n1", peer_address=f"127.0.0.1:{_free_port()}", api_address=f"127.0.0.1:{_free_port()}")
    cluster = ClusterConfig(name="test", data_dir=str(data_dir), durability=Durability.OS)
    all_limits = LimitsConfig(**{"storage_reserve_bytes": 1 << 20, **limits})
    config = Config(cluster=cluster, nodes=(node,), limits=all_limits, raft=_FAST_ELECTIONS)
    failures: list[BaseException] = []
    folder = StorageFolder.open(config.node_folder("n1"), "test", "n1", "os")
    service = NodeService(config, "n1", folder, on_failure=failures.append, random_source=random.Random(1))
    transport = TcpPeerTransport(
        node_id="n1",
        cluster="test",
        start=folder.start,
        listen_address=node.peer,
        peers={},
        fresh=lambda: folder.journal.last_index == 0,
        on_connected=service.on_connected,
        on_disconnected=service.on_disconnected,
        on_message=service.on_message,
    )
    service.attach(transport)
    await transport.start()
    service.start()
    try:
        async with asyncio.timeout(10):
            while not service.ready:  # noqa: ASYNC110 - a node tells this by its state alone.
                await asyncio.sleep(0.002)
        yield service
    finally:
        await service.stop()
        await transport.stop()
        folder.close()
    assert not failures, failures
