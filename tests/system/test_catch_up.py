"""Nodes that come back with too little, or with nothing, and get the rest from their peers."""

from __future__ import annotations

from raftbook.node.config import LimitsConfig
from tests.system.clients import Clients
from tests.system.log_checks import check_against_logs
from tests.system.system_cluster import DEADLINE_S

COMPACTING = LimitsConfig(snapshot_entries=30, log_retain_entries=10)
WITNESS = "n1"
"""Keeps its whole log, so that the clients' records can be held to it."""


async def test_nodes_restarted_with_an_empty_disk_catch_up_from_the_log_and_vote_again(make_cluster):
    """First a follower, then the leader. Then a node is killed, so that the vote of the one that came back counts."""
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    emptied, other = cluster.others(leader)
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.kill(emptied)
            cluster.wipe(emptied)
            await clients.progress()
            cluster.start(emptied)
            await cluster.wait_for_role(emptied, "follower")

            leader = await cluster.wait_for_leader(deadline_s=DEADLINE_S)
            cluster.kill(leader)
            cluster.wipe(leader)
            await cluster.wait_for_leader_among(emptied, other)
            await clients.progress()
            cluster.start(leader)
            await cluster.wait_for_role(leader, "follower")

            cluster.kill(other)
            await cluster.wait_for_leader_among(emptied, leader)
            await clients.progress()
            cluster.start(other)
        await check_against_logs(cluster, clients)


async def test_a_node_restarted_with_an_empty_disk_catches_up_by_snapshot_and_votes_again(make_cluster):
    cluster = make_cluster(node_limits={"n2": COMPACTING, "n3": COMPACTING})
    leader, emptied = await start_with_a_leader_that_compacts(cluster)
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.kill(emptied)
            cluster.wipe(emptied)
            await wait_for_base_index(cluster, leader, 1)
            cluster.node_limits[emptied] = LimitsConfig()
            cluster.start(emptied)
            await wait_for_base_index(cluster, emptied, 1)
            await cluster.wait_for_role(emptied, "follower")
            await clients.progress()

            cluster.kill(leader)
            await cluster.wait_for_leader_among(WITNESS, emptied)
            await clients.progress()
            cluster.start(leader)
        logs = await check_against_logs(cluster, clients)
    assert [log.node_id for log in logs if log.is_whole] == [WITNESS]


async def test_a_node_that_lags_behind_what_the_leader_still_holds_catches_up_by_snapshot(make_cluster):
    cluster = make_cluster(node_limits={"n2": COMPACTING, "n3": COMPACTING})
    leader, lagging = await start_with_a_leader_that_compacts(cluster)
    # From now on it compacts nothing by itself, so a log that begins later can only come with a snapshot.
    cluster.kill(lagging)
    cluster.node_limits[lagging] = LimitsConfig()
    cluster.start(lagging)
    async with Clients(cluster) as clients:
        async with clients.trading():
            await cluster.wait_for_role(lagging, "follower")
            await clients.progress()
            cluster.kill(lagging)
            held = (await status_of(cluster, WITNESS))["last_index"]
            await wait_for_base_index(cluster, leader, held + 1)
            cluster.start(lagging)
            await wait_for_base_index(cluster, lagging, held + 1)
            await clients.progress()
        logs = await check_against_logs(cluster, clients)
    assert [log.node_id for log in logs if log.is_whole] == [WITNESS]


async def test_all_nodes_are_killed_while_they_compact_and_restarted_from_their_snapshots(make_cluster):
    cluster = make_cluster(node_limits={"n2": COMPACTING, "n3": COMPACTING})
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            for round_number in range(1, 3):
                await wait_for_base_index(cluster, "n2", 30 * round_number)
                cluster.kill(*cluster.node_ids)
                cluster.start()
                await cluster.wait_for_leader(deadline_s=DEADLINE_S)
                await clients.progress()
        logs = await check_against_logs(cluster, clients)
    assert WITNESS in [log.node_id for log in logs if log.is_whole]


async def start_with_a_leader_that_compacts(cluster):
    """(leader, third node): the leader is not the witness."""
    leader = await cluster.start_and_elect()
    while leader == WITNESS:
        cluster.kill(WITNESS)
        leader = await cluster.wait_for_leader_among("n2", "n3")
        cluster.start(WITNESS)
        await cluster.wait_for_role(WITNESS, "follower", "leader")
        leader = await cluster.wait_for_leader(deadline_s=DEADLINE_S)
    (third,) = cluster.others(WITNESS, leader)
    return leader, third


async def status_of(cluster, node_id):
    return await cluster.wait_until(lambda statuses: statuses[node_id], deadline_s=DEADLINE_S, awaited=node_id)


async def wait_for_base_index(cluster, node_id, base_index):
    """Until the log of this node begins at `base_index` or later."""

    def compacted(statuses):
        status = statuses[node_id]
        return (status is not None and status["base_index"] >= base_index) or None

    await cluster.wait_until(compacted, deadline_s=DEADLINE_S, awaited=f"{node_id}'s log from {base_index} on")
