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


def test_members_write_them_in_turns():
    """So that never more than one of them is held up by its fork, and shares its processor with a child."""
    entries = 150
    settings = ClusterSettings(snapshot_entries=entries, retain_entries=0)
    with SimulatedCluster(seed=1, settings=settings) as cluster:
        leader = cluster.settle()
        bases: dict[str, list[int]] = {node_id: [] for node_id in cluster.nodes}
        while leader.status.last_index < 2 * entries + entries // 3:
            cluster.wait_applied(leader.propose(b"entry"), *cluster.nodes)
            for node_id, node in cluster.nodes.items():
                if node.status.base_index not in (0, *bases[node_id]):
                    bases[node_id].append(node.status.base_index)
        turns = {node_id: [index // (entries // 3) for index in indexes] for node_id, indexes in bases.items()}
        assert turns == {"n1": [3, 6], "n2": [2, 5], "n3": [1, 4]}
