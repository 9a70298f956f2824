"""Nodes that are killed, paused or restarted while clients trade."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.system.clients import Clients, new_order, wait_for
from tests.system.log_checks import check_against_logs
from tests.system.system_cluster import DEADLINE_S

MAX_GAP_S: Final = 2.0
"""Between two answers, of any clients, while nodes leave in order and come back."""


async def test_a_follower_is_killed_and_restarted(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    follower = cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.kill(follower)
            await clients.progress()
            cluster.start(follower)
            await cluster.wait_for_role(follower, "follower", "leader")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_the_leader_is_killed_and_restarted(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.kill(leader)
            await clients.progress()
            await cluster.wait_for_leader_among(*cluster.others(leader))
            cluster.start(leader)
            await cluster.wait_for_role(leader, "follower", "leader")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_the_leader_is_paused_and_resumed(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.pause(leader)
            await cluster.wait_for_leader_among(*cluster.others(leader))
            await clients.progress()
            cluster.resume(leader)
            await cluster.wait_for_role(leader, "follower")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_all_nodes_are_killed_at_once_and_restarted(make_cluster):
    cluster = make_cluster()
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress(200)
            cluster.kill(*cluster.node_ids)
            cluster.start()
            await cluster.wait_for_leader(deadline_s=DEADLINE_S)
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_every_node_in_turn_is_told_to_stop_and_restarted(make_cluster):
    """No client is left in doubt by it: each attempt is answered for good, or was refused before anything was taken."""
    cluster = make_cluster()
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            began_at = time.monotonic()
            for node_id in cluster.node_ids:
                assert await cluster.terminate(node_id) == {node_id: 0}
                await clients.progress()
                cluster.start(node_id)
                await cluster.wait_for_role(node_id, "follower", "leader")
                await clients.progress()
        in_doubt = [
            attempt for record in clients.records for attempt in record.attempts if attempt.outcome == "unknown"
        ]
        assert in_doubt == []
        assert clients.longest_gap_s(since=began_at) < MAX_GAP_S
        await check_against_logs(cluster, clients)


async def test_two_of_five_nodes_are_killed(make_cluster):
    cluster = make_cluster(node_count=5)
    leader = await cluster.start_and_elect()
    killed = [leader, cluster.others(leader)[0]]
    async with Clients(cluster, count=5) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.kill(*killed)
            await clients.progress()
            cluster.start(*killed)
            for node_id in killed:
                await cluster.wait_for_role(node_id, "follower", "leader")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_a_single_node_is_killed_and_restarted(make_cluster):
    cluster = make_cluster(node_count=1)
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress(200)
            cluster.kill("n1")
            cluster.start("n1")
            await clients.progress(200)
        await check_against_logs(cluster, clients)


async def test_an_order_resubmitted_elsewhere_after_its_node_died_gets_the_first_answer(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    first, second = cluster.others(leader)
    order = new_order("alice", "once", "buy", "99.50", "7")
    async with Clients(cluster) as clients:
        told = await clients.enter(first, order)
        assert told.outcome == "definite"
        assert told.report["status"] == "accepted"
        cluster.kill(first)

        again = await clients.enter(second, order)
        assert again.outcome == "definite"
        assert again.report["duplicate"] is True
        assert again.report["order"] == told.report["order"]
        cluster.start(first)
        logs = await check_against_logs(cluster, clients)
    for log in logs:
        assert log.state.exchange.depth("ACME") == ([(9950, 7)], [])


async def test_orders_whose_node_dies_before_it_answers_are_executed_once(make_cluster):
    """The node is killed with orders on their way: some reached the leader, some nobody. The client asks elsewhere."""
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    first, second = cluster.others(leader)
    orders = [new_order("alice", f"a{number}", "buy", "99.50") for number in range(40)]
    async with Clients(cluster) as clients:
        entering = [asyncio.create_task(clients.enter(first, order)) for order in orders]
        await wait_for(lambda: any(record.report is not None for record in clients.records), "a first answer")
        cluster.kill(first)
        await asyncio.gather(*entering)
        for order in orders:
            again = await clients.enter(second, order)
            assert again.outcome == "definite"
            assert again.report["status"] == "accepted"
        cluster.start(first)
        logs = await check_against_logs(cluster, clients)
    for log in logs:
        assert log.state.exchange.depth("ACME") == ([(9950, 40)], [])
