"""Clients that trade over WebSockets while leaders are killed: nothing lost, nothing doubled, no feed with a gap."""

from __future__ import annotations

from raftbook.node.config import LimitsConfig
from tests.system.traders.run import run


async def test_sixteen_traders_and_a_killed_leader(make_cluster):
    cluster = make_cluster(limits=LimitsConfig(log_retain_entries=1 << 40))

    figures = await run(cluster, clients=16, seconds=5, kills=1, commands_per_s=60)

    assert figures.commands >= 100
    assert figures.trades > 0
    assert figures.reconnections > 0, "the clients at the killed node went to another one"
    assert figures.resumptions > 0
