"""Nodes whose disks fill up while clients trade, and get room again: each has a small file system of its own."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from raftbook.node.config import LimitsConfig
from tests.support.small_file_system import fill, small_file_system
from tests.system.clients import POLL_S, Clients, new_order
from tests.system.log_checks import check_against_logs
from tests.system.raftbook_command import raftbook
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from tests.system.system_cluster import SystemCluster

DISK_BYTES: Final = 48 << 20
MARGIN_BYTES: Final = 4 << 20
LIMITS: Final = LimitsConfig(storage_reserve_bytes=MARGIN_BYTES)


class Disks:
    """The file systems of a cluster's nodes, filled up by ballast that has nothing to do with raftbook."""

    def __init__(self, cluster: SystemCluster, mounts: ExitStack) -> None:
        self._cluster = cluster
        self._ballast: dict[str, Path] = {}
        for node_id in cluster.node_ids:
            mounts.enter_context(small_file_system(cluster.data_folder(node_id), DISK_BYTES))

    def fill(self, *node_ids: str) -> None:
        """Not one byte is left."""
        for node_id in node_ids:
            self._ballast[node_id] = fill(self._cluster.data_folder(node_id))

    def empty(self, *node_ids: str) -> None:
        for node_id in node_ids:
            self._ballast.pop(node_id).unlink()

    def reserve_bytes(self, node_id: str) -> int:
        return (self._cluster.data_folder(node_id) / "reserve").stat().st_blocks * 512


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as mounts:
        yield mounts


@pytest.fixture
def make_cluster_with_disks(
    mounts: ExitStack, make_cluster: Callable[..., SystemCluster]
) -> Callable[..., tuple[SystemCluster, Disks]]:
    def make(**options) -> tuple[SystemCluster, Disks]:
        cluster = make_cluster(limits=LIMITS, **options)
        # Unmounted behind `make_cluster`, which ends the processes first.
        return cluster, Disks(cluster, mounts)

    return make


def enter_by_command_line(cluster: SystemCluster) -> subprocess.CompletedProcess[str]:
    order = ("--symbol", "ACME", "--side", "buy", "--quantity", "1", "--price", "90", "--account", "bob")
    return raftbook("submit", "--url", cluster.url("n1"), *order, folder=cluster.folder)


async def wait_for_storage(cluster: SystemCluster, *node_ids: str, full: bool) -> None:
    def found(statuses):
        asked = [statuses[node_id] for node_id in node_ids]
        return all(status is not None and status["storage_full"] is full for status in asked) or None

    awaited = f"{' and '.join(node_ids)} {'full' if full else 'with room'}"
    await cluster.wait_until(found, deadline_s=DEADLINE_S, awaited=awaited)


async def wait_for_word(clients: Clients, node_id: str, *full: str) -> None:
    """Until the node has heard that those are full."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            nodes = (await clients.read(node_id, "/v1/cluster")).json()["nodes"]
            if all(node["storage_full"] for node in nodes if node["id"] in full):
                return
            await asyncio.sleep(POLL_S)


async def statuses_of(cluster: SystemCluster) -> dict[str, Any]:
    return await cluster.wait_until(lambda found: found, deadline_s=DEADLINE_S, awaited="statuses")


async def last_index(cluster: SystemCluster, node_id: str) -> int:
    return (await statuses_of(cluster))[node_id]["last_index"]


def assert_refused(response: httpx.Response, *words: str) -> None:
    problem = response.json()
    assert response.status_code == 507, problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0
    assert problem["code"] == "storage_full"
    for word in (*words, "free some space"):
        assert word in problem["detail"], problem["detail"]


async def assert_served(clients: Clients, *node_ids: str) -> None:
    for node_id in node_ids:
        for path in ("/v1/book/ACME", "/v1/orders", "/v1/cluster", "/healthz"):
            response = await clients.read(node_id, path)
            assert response.status_code == 200, response.text


async def test_a_follower_without_room_refuses_orders_also_when_it_is_killed_and_the_others_trade_on(
    make_cluster_with_disks,
):
    cluster, disks = make_cluster_with_disks()
    leader = await cluster.start_and_elect()
    follower, other = cluster.others(leader)
    order = new_order("alice", "once", "buy", "90.00")
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            assert disks.reserve_bytes(follower) == MARGIN_BYTES
            disks.fill(follower)
            await wait_for_storage(cluster, follower, full=True)
            await wait_for_storage(cluster, leader, other, full=False)
            assert_refused(await clients.post_order(follower, order), follower, "storage_reserve_bytes", "another node")
            await assert_served(clients, follower)

            await clients.progress()
            index = await last_index(cluster, follower)
            await clients.progress()
            assert await last_index(cluster, follower) == index, "it is sent no entries"
            assert await last_index(cluster, leader) > index
            assert await cluster.wait_for_role(follower, "follower")
            assert (await clients.read(leader, "/v1/cluster")).json()["leader"] == leader

            # On its full disk it starts again and serves reads.
            applied_index = (await statuses_of(cluster))[follower]["applied_index"]
            cluster.kill(follower)
            await clients.progress()
            cluster.start(follower)
            await cluster.wait_for_role(follower, "follower")
            await wait_for_storage(cluster, follower, full=True)
            await cluster.wait_for_applied(applied_index, follower)
            assert_refused(await clients.post_order(follower, order), follower)
            await assert_served(clients, follower)
            # An election is something that a node must write down, also when it has no room.
            cluster.kill(leader)
            cluster.start(leader)
            leader = await cluster.wait_for_leader_among(*cluster.others(follower))
            await clients.progress()

            disks.empty(follower)
            await wait_for_storage(cluster, follower, full=False)
            await cluster.wait_for_applied(await last_index(cluster, leader), follower)
            assert (await clients.post_order(follower, order)).status_code == 200
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_leaders_without_room_hand_over_until_a_majority_has_none_and_nothing_is_lost(make_cluster_with_disks):
    cluster, disks = make_cluster_with_disks()
    leader = await cluster.start_and_elect()
    order = new_order("alice", "once", "buy", "90.00")
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            disks.fill(leader)
            successor = await cluster.wait_for_leader_among(*cluster.others(leader))
            await cluster.wait_for_role(leader, "follower")
            assert_refused(await clients.post_order(leader, order), leader, "another node")
            await assert_served(clients, leader)
            await clients.progress()

            disks.fill(successor)
            await assert_refused_while_a_majority_is_full(cluster, clients, disks, leader, successor)
            await cluster.wait_for_applied(await last_index(cluster, successor), leader)
            assert (await clients.post_order(leader, order)).status_code == 200
        await check_against_logs(cluster, clients)


async def test_while_both_followers_have_no_room_every_node_refuses_orders_and_nothing_is_lost(make_cluster_with_disks):
    cluster, disks = make_cluster_with_disks()
    full = cluster.others(await cluster.start_and_elect())
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            disks.fill(*full)
            await assert_refused_while_a_majority_is_full(cluster, clients, disks, *full)
        await check_against_logs(cluster, clients)


async def assert_refused_while_a_majority_is_full(
    cluster: SystemCluster, clients: Clients, disks: Disks, *full: str
) -> None:
    """Gives them room again at the end, and sees the orders that were refused taken."""
    (with_room,) = cluster.others(*full)
    orders = {node_id: new_order("alice", f"at-{node_id}", "buy", "90.00") for node_id in cluster.node_ids}
    await wait_for_storage(cluster, *full, full=True)
    await wait_for_word(clients, with_room, *full)
    assert_refused(await clients.post_order(with_room, orders[with_room]), *full, "no majority")
    for node_id in full:
        assert_refused(await clients.post_order(node_id, orders[node_id]), node_id)
    await assert_served(clients, *cluster.node_ids)

    disks.empty(*full)
    await wait_for_storage(cluster, *full, full=False)
    await clients.progress()
    for node_id, order in orders.items():
        assert (await clients.post_order(node_id, order, wait_s="30")).status_code == 200


async def test_a_single_node_without_room_says_so_and_goes_on_when_it_has_some(make_cluster_with_disks):
    cluster, disks = make_cluster_with_disks(node_count=1)
    await cluster.start_and_elect()
    order = new_order("alice", "once", "buy", "90.00")
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            disks.fill("n1")
            await wait_for_storage(cluster, "n1", full=True)
            response = await clients.post_order("n1", order)
            assert_refused(response, "n1")
            assert "another node" not in response.json()["detail"]
            told = await asyncio.to_thread(enter_by_command_line, cluster)
            assert (told.returncode, told.stdout) == (1, "")
            assert "the disk of n1 has" in told.stderr
            assert "free some space there" in told.stderr
            status = await asyncio.to_thread(
                raftbook, "cluster", "status", "--url", cluster.url("n1"), folder=cluster.folder
            )
            assert "storage full: n1; no orders are taken there until some space is freed" in status.stderr
            await assert_served(clients, "n1")
            disks.empty("n1")
            await clients.progress()
            assert (await clients.post_order("n1", order)).status_code == 200
        await check_against_logs(cluster, clients)
