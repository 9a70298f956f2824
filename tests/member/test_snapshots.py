"""When a member writes a snapshot of its state."""

from __future__ import annotations

from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster

SNAPSHOT_ENTRIES = 50


def test_a_snapshot_that_came_from_the_leader_is_not_written_again():
    settings = ClusterSettings(snapshot_entries=SNAPSHOT_ENTRIES, retain_entries=0)
    with SimulatedCluster(seed=1, settings=settings) as cluster:
        leader = cluster.settle()
        lagging, other = cluster.others(leader)
        lagging.kill()
        for number in range(3 * SNAPSHOT_ENTRIES):
            index = leader.propose(b"entry %d" % number)
        cluster.wait_applied(index, leader.node_id, other.node_id)
        cluster.wait(lambda: leader.status.base_index > 2 * SNAPSHOT_ENTRIES)
        lagging.start()
        cluster.wait(lambda: lagging.status.base_index > 2 * SNAPSHOT_ENTRIES)
        assert lagging.status.applied_index - lagging.status.base_index < SNAPSHOT_ENTRIES
        assert lagging.member.snapshot_due() is None
