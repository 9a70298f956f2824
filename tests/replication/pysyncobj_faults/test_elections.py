"""Who leads, and who is a member: stock PySyncObj's faults, and raftbook on the same schedules."""

from __future__ import annotations

import pickle

import pytest

from raftbook.replication.messages import AppendEntries
from tests.replication.pysyncobj_faults.scenarios import run
from tests.replication.test_raft_node import make_cluster


class TestMembers:
    """Row 16: the check for one change of members at a time reads a field that nobody sets."""

    def test_stock_pysyncobj_takes_four_at_once_and_has_no_majority_any_more(self):
        outcome = run("stock_elections.four_adds_at_once")
        assert outcome["denied"] == []
        assert outcome["before_any_commit"]
        assert outcome["members"] == 7
        assert outcome["acknowledged"] == []

    def test_raftbooks_are_those_of_its_configuration_whatever_the_log_says(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            peers = {node.node_id: node.raft._core.peers for node in cluster.nodes.values()}
            (follower, _other) = cluster.others(leader)
            index, term = leader.status.last_index, leader.raft.term
            # 2 is PySyncObj's mark of a change of members.
            entries = tuple((term, b"\x02" + pickle.dumps(["add", node_id])) for node_id in ("n4", "n5", "n6", "n7"))
            follower.raft.received(leader.node_id, AppendEntries(term, index, term, index, entries))
            assert follower.status.last_index == index + 4
            follower.raft.tick()
            assert {node.node_id: node.raft._core.peers for node in cluster.nodes.values()} == peers
            follower.kill()
            assert leader.propose(b"order") == index + 1
            cluster.wait_applied(index + 1)
            follower.start()
            cluster.settle()
            assert {node.node_id: node.raft._core.peers for node in cluster.nodes.values()} == peers


class TestVotes:
    """Row 17: votes are counted as they come, and not by who they are of."""

    def test_stock_pysyncobj_leads_by_one_vote_that_comes_twice(self):
        outcome = run("stock_elections.vote_counted_twice")
        assert outcome == {"vote": "response_vote", "voters": ["B"], "leads_after_each": [False, True, True]}


class TestRejoining:
    """Row 17: who was cut off comes back with a higher term."""

    def test_stock_pysyncobj_unseats_a_leader_whose_majority_was_never_in_doubt(self):
        outcome = run("stock_elections.rejoining_minority")
        assert outcome["led_all_along"]
        assert outcome["acknowledged"] == 10
        assert outcome["terms_gained_meanwhile"] > 5
        assert outcome["unseated"]

    @pytest.mark.parametrize("seed", range(2))
    def test_raftbooks_leads_on(self, seed):
        with make_cluster(seed, member_count=5) as cluster:
            leader = cluster.settle()
            term = leader.raft.term
            strays = cluster.others(leader)[:2]
            for stray in strays:
                cluster.network.cut_off(stray.node_id, *(node.node_id for node in cluster.others(*strays)))
            for number in range(10):
                index = leader.propose(b"%d" % number)
                cluster.run_for(1.0)
            assert all(stray.status.last_index < index for stray in strays)
            cluster.network.heal_all()
            cluster.settle()
            assert leader.leads
            assert {node.raft.term for node in cluster.nodes.values()} == {term}


class TestTwoLeaders:
    """Row 18: a leader does not know for how long it is one."""

    def test_stock_pysyncobjs_reads_what_is_out_of_date_for_half_a_minute(self):
        outcome = run("stock_elections.two_leaders")
        assert outcome["is_another"]
        assert outcome["acknowledged"] == ["order"]
        assert outcome["read_at_old_leader"] == []
        assert outcome["seconds"] > 20

    def test_raftbooks_leads_no_longer_than_its_fallback_timeout(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            cluster.network.cut_off(old.node_id)
            cluster.wait_for_leader(*(node.node_id for node in cluster.others(old)))
            cluster.run_for(cluster.settings.raft.fallback_timeout_s)
            assert not old.leads
