"""What a node does around its log, in the loop of the test."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from raftbook.engine.commands import NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.errors import NotReadyError, StorageFullError
from raftbook.member.storage_folder import StorageFolder
from raftbook.node import service as service_module
from raftbook.node.config import ClusterConfig, Config, Durability, InstrumentConfig, LimitsConfig, NodeConfig
from raftbook.node.service import NodeService
from raftbook.replication.disk import FileDisk
from raftbook.replication.messages import PROTOCOL_VERSION, AppendEntries, Hello, NodeReport
from raftbook.replication.storage_space import StorageFigures
from tests.support.small_file_system import fill, small_file_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from raftbook.replication.messages import Message

ORDER = NewOrder("ACME", "alice", "order-1", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(100, 0), Number(1, 0))


class Peers:
    """A transport whose other ends are the test."""

    def __init__(self) -> None:
        self.connected: tuple[str, ...] = ()
        self.sent: list[tuple[str, Message]] = []

    def send(self, peer: str, message: Message) -> bool:
        self.sent.append((peer, message))
        return peer in self.connected

    def send_many(self, peers: tuple[str, ...], message: Message) -> tuple[str, ...]:
        return tuple(peer for peer in peers if self.send(peer, message))

    def flush(self) -> None: ...


class WallClock:
    ahead_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead_ns


def make_service(
    folder: Path, member_count: int, *, wall_clock_ns: Callable[[], int] = time.time_ns, **limits: int
) -> tuple[NodeService, Peers, list[BaseException]]:
    nodes = tuple(
        NodeConfig(id=f"n{number}", peer_address=f"127.0.0.1:{7100 + number}", api_address=f"127.0.0.1:{8100 + number}")
        for number in range(1, member_count + 1)
    )
    config = Config(
        cluster=ClusterConfig(name="test", data_dir=str(folder), durability=Durability.OS),
        nodes=nodes,
        instruments=(InstrumentConfig(symbol="ACME", price_decimals=2, tick_size="0.01", lot_size="1"),),
        limits=LimitsConfig(**{"storage_reserve_bytes": 1 << 20, **limits}),
    )
    failures: list[BaseException] = []
    storage = StorageFolder(FileDisk(folder, "os"), "test", "n1", 1)
    service = NodeService(
        config,
        "n1",
        storage,
        on_failure=failures.append,
        random_source=random.Random(1),
        wall_clock_ns=wall_clock_ns,
    )
    peers = Peers()
    service.attach(peers)
    return service, peers, failures


async def test_configured_instruments_come_before_orders_that_wait_already(tmp_path):
    service, _peers, failures = make_service(tmp_path, 1)
    waiting = asyncio.ensure_future(service.submit([ORDER], wait_s=5.0))
    await asyncio.sleep(0)
    service.start()
    (report,) = await waiting
    assert report.execution is not None
    assert report.execution.accepted
    assert not failures
    await service.stop()


async def test_what_a_step_sends_leaves_before_the_disk_is_turned_to(tmp_path, monkeypatch):
    service, peers, failures = make_service(tmp_path, 1)
    done: list[str] = []
    for owner, name in ((service._member, "step"), (peers, "flush"), (service._writer, "kick")):
        work = getattr(owner, name)

        def noted(name=name, work=work):
            result = work()
            done.append(name)
            return result

        monkeypatch.setattr(owner, name, noted)
    service.start()
    await service.submit([ORDER], wait_s=5.0)
    await service.stop()
    steps = [place for place, name in enumerate(done) if name == "step"]
    assert steps
    assert all(done[place : place + 3] == ["step", "flush", "kick"] for place in steps)
    assert not failures


async def test_a_full_intake_does_not_keep_a_new_leader_from_adding_them(tmp_path):
    service, _peers, failures = make_service(
        tmp_path, 1, intake_max_items=1, account_max_items=1, max_commands_per_request=1
    )
    waiting = asyncio.ensure_future(service.submit([ORDER], wait_s=5.0))
    await asyncio.sleep(0)
    service.start()
    (report,) = await waiting
    assert report.execution is not None
    assert "ACME" in service.state.exchange.instruments
    assert not failures
    await service.stop()


async def test_a_follower_is_ready_only_while_it_is_connected_to_its_leader(tmp_path):
    service, peers, failures = make_service(tmp_path, 3)
    service.start()
    peers.connected = ("n2", "n3")
    for peer in peers.connected:
        service.on_connected(peer, Hello(PROTOCOL_VERSION, "test", peer, 1, False, 1))
    assert not service.ready
    service.on_message("n2", AppendEntries(1, 0, 0, 0, ((1, b"\x01"),)))
    service.on_message("n2", NodeReport(1, "leader", "n2", 1, 1, 1, 0, "", True, False))
    assert service.ready
    peers.connected = ("n3",)
    service.on_disconnected("n2")
    assert not service.ready
    assert not failures
    await service.stop()


async def test_a_node_that_has_just_started_takes_orders_when_it_has_caught_up_with_its_leader(tmp_path):
    service, peers, failures = make_service(tmp_path, 3)
    service.start()
    joining = asyncio.ensure_future(service.wait_joined(timeout_s=5.0))
    await asyncio.sleep(0.05)
    assert not joining.done(), "there may be a leader that it has not heard yet"
    peers.connected = ("n2", "n3")
    for peer in peers.connected:
        service.on_connected(peer, Hello(PROTOCOL_VERSION, "test", peer, 1, False, 1))
    service.on_message("n2", AppendEntries(1, 0, 0, 0, ((1, b"\x01"),)))
    service.on_message("n2", NodeReport(1, "leader", "n2", 500, 500, 500, 0, "", True, False))
    with pytest.raises(NotReadyError, match="applied the log up to 0"):
        await joining
    service.on_message("n2", NodeReport(1, "leader", "n2", 1, 1, 1, 0, "", True, False))
    await service.wait_joined(timeout_s=5.0)
    service.on_message("n2", NodeReport(1, "leader", "n2", 500, 500, 500, 0, "", True, False))
    await service.wait_joined(timeout_s=5.0)
    assert not failures
    await service.stop()


async def test_a_node_that_finds_no_leader_takes_orders_that_wait_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "FIND_LEADER_S", 0.2)
    service, _peers, _failures = make_service(tmp_path, 3)
    service.start()
    began_at = time.monotonic()
    await service.wait_joined(timeout_s=5.0)
    assert time.monotonic() - began_at >= 0.19
    await service.stop()


async def test_a_node_that_is_behind_since_its_disk_is_full_says_that_it_is_full(tmp_path):
    service, peers, _failures = make_service(tmp_path, 3)
    service.start()
    peers.connected = ("n2", "n3")
    for peer in peers.connected:
        service.on_connected(peer, Hello(PROTOCOL_VERSION, "test", peer, 1, False, 1))
    service.on_message("n2", AppendEntries(1, 0, 0, 0, ((1, b"\x01"),)))
    service.on_message("n2", NodeReport(1, "leader", "n2", 500, 500, 500, 0, "", True, False))
    service._measured(StorageFigures(free_bytes=0, reserve_bytes=0))
    await service.wait_joined(timeout_s=5.0)
    with pytest.raises(StorageFullError):
        await service.submit([ORDER], wait_s=0.0)
    await service.stop()


async def test_nobody_waits_for_a_leader_longer_than_for_an_answer(tmp_path):
    service, _peers, _failures = make_service(tmp_path, 3)
    service.start()
    began_at = time.monotonic()
    await service.wait_joined(timeout_s=0.1)
    assert 0.09 <= time.monotonic() - began_at < service_module.FIND_LEADER_S
    (report,) = await service.submit([ORDER], wait_s=0.0)
    assert report.execution is None
    await service.stop()


async def test_a_clock_that_was_ahead_once_does_not_make_every_later_order_late(tmp_path):
    clock = WallClock()
    service, _peers, _failures = make_service(tmp_path, 1, wall_clock_ns=clock)
    clock.ahead_ns = 3_600_000_000_000
    service.start()
    await service.submit([ORDER], wait_s=5.0)
    clock.ahead_ns = 0
    (report,) = await service.submit([ORDER._replace(client_order_id="later")], wait_s=5.0)
    assert report.execution is not None
    assert report.execution.accepted
    await service.barrier(timeout_s=5.0)
    await service.stop()


async def test_nothing_is_taken_on_a_full_disk_not_even_in_the_first_moment(tmp_path):
    service, _peers, _failures = make_service(tmp_path, 1, storage_reserve_bytes=1 << 40)
    with pytest.raises(StorageFullError, match="storage_reserve_bytes"):
        await service.submit([ORDER], wait_s=0.0)
    await service.stop()


async def test_a_snapshot_under_way_is_given_up_when_the_log_needs_the_room(tmp_path):
    with small_file_system(tmp_path, 8 << 20):
        service, _peers, failures = make_service(tmp_path / "n1", 1)
        service.start()
        await service.submit([ORDER], wait_s=5.0)
        disk = service._folder.disk
        assert disk.reserve_bytes() == 1 << 20
        service._snapshots.writer.start(1, 1, lambda: time.sleep(30) or b"")
        ballast = fill(tmp_path)
        await wait_until(lambda: service.status().storage_full)
        assert service._snapshots.writer.is_busy, "the reserve is whole, so there is no need yet"
        disk.create("other", may_use_reserve=True)
        disk.append("other", bytes(10_000), may_use_reserve=True)
        await wait_until(lambda: not service._snapshots.writer.is_busy)

        ballast.unlink()
        await wait_until(lambda: not service.status().storage_full)
        (report,) = await service.submit([ORDER._replace(client_order_id="later")], wait_s=5.0)
        assert report.execution is not None
        assert disk.reserve_bytes() == 1 << 20
        assert not failures
        await service.stop()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (a node tells this by its state alone)
            await asyncio.sleep(0.005)
