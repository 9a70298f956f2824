"""What the simulator checks while it happens is seen when it goes wrong."""

from __future__ import annotations

import pytest

from raftbook.replication.journal import Journal
from raftbook.simulation.cluster import SimulatedCluster
from raftbook.simulation.invariants import InvariantError

_read_journal = Journal.__init__


def _without_vote(journal, wal, recovered):
    _read_journal(journal, wal, recovered)
    journal.voted_for = None


def _with_an_earlier_term(journal, wal, recovered):
    _read_journal(journal, wal, recovered)
    journal.term -= 1


def _killed_while_entries_wait(cluster):
    """A follower that has voted, which is on its disk, and is killed while it writes something else."""
    leader = cluster.settle()
    follower = next(node for node in cluster.others(leader) if node.journal.voted_for == leader.node_id)
    follower.stall_disk()
    index = leader.propose(b"an entry")
    cluster.wait(lambda: follower.status.last_index == index)
    assert not follower.journal.is_durable
    follower.kill()
    return follower


@pytest.mark.parametrize("fault", [_without_vote, _with_an_earlier_term])
def test_a_vote_that_was_on_the_disk_is_missed_though_other_things_were_not(fault, monkeypatch):
    with SimulatedCluster(seed=3) as cluster:
        follower = _killed_while_entries_wait(cluster)
        monkeypatch.setattr(Journal, "__init__", fault)
        with pytest.raises(InvariantError, match=f"{follower.node_id} forgot term 1 and its vote for"):
            follower.start()


def test_a_vote_that_is_found_again_is_not():
    with SimulatedCluster(seed=3) as cluster:
        follower = _killed_while_entries_wait(cluster)
        assert follower.start()
        cluster.settle()
