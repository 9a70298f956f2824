"""How long a leader leads: not unseated by who comes back, and not in office where it can commit nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.replication.messages import VoteRequest
from raftbook.replication.raft_node import RaftSettings
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from tests.replication.test_raft_node import Recorder

if TYPE_CHECKING:
    from raftbook.simulation.node import SimulatedNode

FALLBACK_S = RaftSettings().fallback_timeout_s
SLACK_S = 0.02
"""Of a step-down: a message that was under way, and the time between two ticks."""


def make_cluster(seed: int = 1, **settings: object) -> SimulatedCluster:
    return SimulatedCluster(seed=seed, settings=ClusterSettings(**settings))


def wait_until_stepped_down(cluster: SimulatedCluster, leader: SimulatedNode) -> float:
    began_at = cluster.scheduler.now
    cluster.wait(lambda: not leader.leads, timeout_s=5.0)
    status = leader.status
    assert (status.leader, status.ready_to_propose, status.has_quorum) == (None, False, False)
    assert status.role in ("follower", "candidate")
    return cluster.scheduler.now - began_at


class TestComingBack:
    @pytest.mark.parametrize("member_count", [3, 5])
    @pytest.mark.parametrize("seed", range(4))
    def test_however_often_a_member_that_was_cut_off_wished_to_stand(self, seed, member_count):
        with make_cluster(seed, member_count=member_count) as cluster:
            leader = cluster.settle()
            term = leader.raft.term
            follower = cluster.others(leader)[0]
            # One direction alone, so that its wishes are heard while it hears nobody.
            for other in cluster.others(follower):
                cluster.network.cut(other.node_id, follower.node_id)
            recorder = Recorder(cluster)
            cluster.run_for(1.9)
            assert len(recorder.of(VoteRequest, sender=follower.node_id)) >= 2 * (member_count - 1)
            cluster.run_for(10.0)
            assert follower.raft.term == leader.raft.term == term
            cluster.network.heal_all()
            for _ in range(100):
                cluster.run_for(0.02)
                assert leader.raft.ready_to_propose
            cluster.settle()
            assert leader.raft.term == term

    def test_one_that_lost_its_connection_to_the_leader_alone_unseats_nobody(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            term = leader.raft.term
            follower = cluster.others(leader)[0]
            recorder = Recorder(cluster)
            cluster.network.cut_off(leader.node_id, follower.node_id)
            cluster.run_for(6.0)
            assert len(recorder.of(VoteRequest, sender=follower.node_id)) > 5
            cluster.network.heal_all()
            cluster.settle()
            assert leader.leads
            assert leader.raft.term == term

    @pytest.mark.parametrize("seed", range(8))
    def test_one_that_stood_just_before_it_was_cut_off_costs_one_election(self, seed):
        """Pre-votes were granted, and then the others never heard of its term: it can only be joined."""
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            term = leader.raft.term
            follower = cluster.others(leader)[0]
            cluster.network.cut_off(follower.node_id)
            follower.raft._core.campaign()
            cluster.run_for(5.0)
            assert follower.raft.term == term + 1
            assert leader.leads
            cluster.network.heal_all()
            cluster.wait(lambda: leader.raft.term > term)
            cluster.wait_for_leader(timeout_s=1.5)
            cluster.settle()
            assert leader.raft.term <= term + 3


class TestSteppingDown:
    @pytest.mark.parametrize("member_count", [2, 3, 4, 5])
    @pytest.mark.parametrize("seed", range(4))
    def test_a_leader_that_is_cut_off_leads_no_longer_than_the_fallback_timeout(self, seed, member_count):
        with make_cluster(seed, member_count=member_count) as cluster:
            leader = cluster.settle()
            cluster.run_for(0.01 * seed)
            cluster.network.cut_off(leader.node_id)
            led_s = wait_until_stepped_down(cluster, leader)
            # Since the last answer, which came a heartbeat before the cut at the most.
            assert FALLBACK_S - RaftSettings().heartbeat_s - SLACK_S < led_s < FALLBACK_S + SLACK_S

    @pytest.mark.parametrize("direction", ["it is not heard", "it hears nobody"])
    def test_one_direction_is_enough(self, direction):
        with make_cluster() as cluster:
            leader = cluster.settle()
            for follower in cluster.others(leader):
                ends = (leader.node_id, follower.node_id)
                cluster.network.cut(*(ends if direction == "it is not heard" else ends[::-1]))
            assert wait_until_stepped_down(cluster, leader) < FALLBACK_S + SLACK_S

    @pytest.mark.parametrize(
        ("member_count", "answering", "leads"), [(4, 1, False), (4, 2, True), (5, 1, False), (5, 2, True)]
    )
    def test_it_leads_on_with_a_majority_and_not_with_a_half(self, member_count, answering, leads):
        with make_cluster(member_count=member_count) as cluster:
            leader = cluster.settle()
            for follower in cluster.others(leader)[answering:]:
                cluster.network.cut_off(leader.node_id, follower.node_id)
                follower.pause()
            cluster.run_for(4.0)
            assert leader.leads == leads

    @pytest.mark.parametrize("seed", range(4))
    def test_the_answers_of_members_that_may_not_vote_keep_nobody_in_office(self, seed):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            wiped, other = cluster.others(leader)
            leader.propose(b"entry")
            cluster.settle()
            wiped.kill()
            wiped.wipe()
            cluster.network.cut_off(other.node_id)
            cut_at = cluster.scheduler.now
            wiped.start()
            cluster.wait(lambda: wiped.raft.leader == leader.node_id)
            cluster.wait(lambda: not leader.leads, timeout_s=FALLBACK_S)
            assert cluster.scheduler.now - cut_at < FALLBACK_S + SLACK_S
            assert not wiped.is_voter
            cluster.network.heal_all()
            cluster.settle()
            assert wiped.is_voter

    def test_nor_do_a_learners_answers_to_a_snapshot(self, monkeypatch):
        monkeypatch.setattr("raftbook.replication.snapshot_transfer.CHUNK_BYTES", 16)
        with make_cluster() as cluster:
            leader = cluster.settle()
            wiped, other = cluster.others(leader)
            for number in range(100):
                leader.propose(b"%d" % number * 20)
            cluster.settle()
            leader.take_snapshot()
            cluster.wait(lambda: leader.status.base_index > 50)
            wiped.kill()
            wiped.wipe()
            other.kill()
            wiped.start()
            cut_at = cluster.scheduler.now
            cluster.wait(lambda: not leader.leads, timeout_s=FALLBACK_S + SLACK_S)
            assert cluster.scheduler.now - cut_at > FALLBACK_S / 2
