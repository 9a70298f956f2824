"""Orders that expire in a cluster of real processes that has nothing else to do."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.system.clients import Clients, new_order
from tests.system.log_checks import check_against_logs

LIFETIME_S: Final = 2.0
MAX_LATENESS_S: Final = 1.0
"""From an expiry to its execution at every node. Ten milliseconds on a machine that has nothing else to do."""
IDLE_S: Final = 3.0


async def test_an_order_expires_in_an_idle_cluster_and_all_nodes_agree(make_cluster):
    cluster = make_cluster()
    leader = await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        await clients.enter(leader, new_order("alice", "stays", "buy", "99.00"))
        await cluster.wait_for_rest()
        expire_time = time.time_ns() + round(LIFETIME_S * 1e9)
        order = new_order("alice", "gone", "buy", "100.00", time_in_force="gtd", expire_time=expire_time)
        attempt = await clients.enter(cluster.others(leader)[0], order)
        assert attempt.report is not None
        assert (attempt.report["status"], attempt.report["order"]["status"]) == ("accepted", "open")
        entered_index = attempt.report["log_index"]

        await cluster.wait_for_applied(entered_index + 1)
        assert expire_time <= time.time_ns() <= expire_time + MAX_LATENESS_S * 1e9
        index, _digest = await cluster.wait_for_rest()
        assert index == entered_index + 1, "one entry, of which nobody is the submitter"
        await asyncio.sleep(IDLE_S)
        assert (await cluster.wait_for_rest())[0] == index, "and none after it"

        for log in await check_against_logs(cluster, clients):
            exchange = log.state.exchange
            statuses = {known.client_order_id: known.status.label for known in exchange.orders(open_only=False)}
            assert statuses == {"gone": "expired", "stays": "open"}
            assert 0 <= exchange.time - expire_time <= MAX_LATENESS_S * 1e9
