"""A process is killed just before a certain kind of thing, with its power or without, and comes back unharmed."""

from __future__ import annotations

import pytest

from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster

RAW_COMMAND = b"no command, and so refused by every node alike"


@pytest.mark.parametrize("loses_power", [False, True])
@pytest.mark.parametrize("kind", ["append", "apply", "create", "remove", "rename", "send", "sync", "sync_directory"])
def test_a_process_that_is_killed_before_it_comes_back(kind, loses_power):
    settings = ClusterSettings(segment_size_bytes=1_000, snapshot_entries=10, retain_entries=2)
    with SimulatedCluster(seed=4, settings=settings) as cluster:
        for nth in range(3):
            leader = cluster.settle()
            node = cluster.others(leader)[0]
            node.crash_kinds, node.crash_in, node.crash_loses_power = frozenset({kind}), nth, loses_power
            for _ in range(60):
                leader.submit([RAW_COMMAND])
                cluster.run_for(0.05)
                if not node.is_running:
                    break
            assert not node.is_running, f"it never came to {kind}"
            assert cluster.crash_points == {kind: nth + 1}
            assert node.start()
        cluster.settle()
        cluster.checks.finished()
