"""A leader gives its leadership away: to whom, when, at what cost, and what becomes of it when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.codec import encode_command
from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.replication.hand_over import HandOver, choose_successor
from raftbook.replication.messages import TermNotice, TimeoutNow, VoteReply, VoteRequest
from raftbook.replication.raft_core import CANDIDATE, FOLLOWER
from raftbook.replication.raft_node import RaftSettings
from raftbook.replication.replicator import Progress
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from tests.replication.test_raft_node import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.messages import Message
    from raftbook.simulation.node import SimulatedNode

LONGEST_GAP_S = 0.1
"""Without a leader that is ready to propose: four messages of 1-3 ms and two syncs of 1-6 ms, one behind the other."""

GIVE_UP_S = RaftSettings().election_timeout_max_s


def make_cluster(seed: int = 1, **settings: object) -> SimulatedCluster:
    return SimulatedCluster(seed=seed, settings=ClusterSettings(**settings))


class Load:
    """Orders that cross each other, entered at all running nodes in turn, one every 4 ms."""

    PERIOD_S = 0.004

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._entered = 0
        self._is_on = True
        cluster.running[0].submit([encode_command(AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0)))])
        self._enter()

    def _enter(self) -> None:
        if not self._is_on:
            return
        nodes = self._cluster.running
        self._entered += 1
        if nodes:
            nodes[self._entered % len(nodes)].submit([self._order(self._entered)])
        self._cluster.scheduler.after(self.PERIOD_S, self._enter)

    @staticmethod
    def _order(number: int) -> bytes:
        order = NewOrder(
            symbol="ACME",
            account=f"account-{number % 2}",
            client_order_id=f"order-{number}",
            side=Side.BUY if number % 2 else Side.SELL,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            price=Number(1000, 2),
            quantity=Number(1, 0),
        )
        return encode_command(order)

    def end(self) -> int:
        """Stop, and see that each order was executed once, everywhere; returns how many there were."""
        self._is_on = False
        cluster = self._cluster
        cluster.wait(lambda: all(self._has_executed_all(node) for node in cluster.nodes.values()))
        cluster.settle()
        cluster.checks.finished()
        return self._entered

    def _has_executed_all(self, node: SimulatedNode) -> bool:
        watermarks = node.state.exchange.watermarks
        own = [(other.intake.origin, other.intake.last_sequence) for other in self._cluster.nodes.values()]
        return node.is_running and all(watermarks.get(origin, 0) >= sequence for origin, sequence in own)


def wait_for_successor(cluster: SimulatedCluster, old: SimulatedNode, *, timeout_s: float = 10.0) -> SimulatedNode:
    others = [node.node_id for node in cluster.others(old)]
    return cluster.wait_for_leader(*others, timeout_s=timeout_s)


def hand_over(cluster: SimulatedCluster, old: SimulatedNode) -> tuple[SimulatedNode, float]:
    """The next leader, and for how long nobody was ready to propose."""
    began_at = cluster.scheduler.now
    assert old.raft.hand_over()
    new = wait_for_successor(cluster, old, timeout_s=LONGEST_GAP_S)
    return new, cluster.scheduler.now - began_at


def losing(kind: type) -> Callable[[str, str, Message], bool]:
    return lambda _sender, _receiver, message: not isinstance(message, kind)


def voter(match_index: int, *, needs_snapshot: bool = False) -> Progress:
    return Progress(match_index + 1, match_index, is_voter=True, needs_snapshot=needs_snapshot)


class TestSuccessor:
    @pytest.mark.parametrize(
        ("why", "followers", "quiet", "successor"),
        [
            ("it holds most of the log", {"n2": voter(7), "n3": voter(9)}, (), "n3"),
            ("of equals, the first by name", {"n3": voter(9), "n2": voter(9)}, (), "n2"),
            ("a learner may not lead", {"n2": voter(3), "n3": Progress(10, 9)}, (), "n2"),
            ("a snapshot takes too long", {"n2": voter(3), "n3": voter(9, needs_snapshot=True)}, (), "n2"),
            ("the other has not answered lately", {"n2": voter(3), "n3": voter(9)}, ("n3",), "n2"),
            ("better one that is quiet than none", {"n2": voter(3), "n3": Progress(4)}, ("n2", "n3"), "n2"),
            ("of those that are quiet, the furthest", {"n2": voter(3), "n3": voter(4)}, ("n2", "n3"), "n3"),
            ("nobody is there", {}, (), None),
            ("nobody has said that it may vote", {"n2": Progress(4), "n3": Progress(4)}, (), None),
        ],
    )
    def test_who_is_chosen(self, why, followers, quiet, successor):
        assert choose_successor(followers, quiet) == successor

    @pytest.mark.parametrize(
        ("what", "is_over", "change"),
        [
            ("it still leads", False, {}),
            ("another leads", True, {"leader": "n3", "term": 5}),
            ("between two leaders", False, {"leader": None, "term": 5}),
            ("nobody leads for too long", True, {"leader": None, "term": 5, "now": 11.0}),
            ("it still leads after too long", True, {"now": 11.0}),
            ("it was elected again", True, {"term": 6}),
            ("the successor is gone", True, {"connected": ("n3",)}),
            ("the successor stands, and is gone from here", False, {"connected": (), "leader": None, "term": 5}),
        ],
    )
    def test_when_an_attempt_is_over(self, what, is_over, change):
        view = {"own_id": "n1", "term": 4, "leader": "n1", "connected": ("n2", "n3"), "now": 10.5} | change
        assert HandOver("n2", 4, deadline=11.0).is_over(**view) == is_over


class TestHandOver:
    def test_the_successor_leads_at_once_in_the_next_term_without_pre_votes(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            term = old.raft.term
            recorder = Recorder(cluster)
            new, gap_s = hand_over(cluster, old)
            assert gap_s < LONGEST_GAP_S
            assert new.raft.term == term + 1
            assert recorder.of(TimeoutNow) == [TimeoutNow(term)]
            requests = recorder.of(VoteRequest)
            assert [(request.pre_vote, request.handed_over) for request in requests] == [(False, True)] * 2
            cluster.settle()
            assert not old.raft.is_handing_over
            assert cluster.leaders == [new]

    @pytest.mark.parametrize("member_count", [2, 3, 5])
    @pytest.mark.parametrize("seed", range(4))
    def test_under_load_nothing_is_lost_and_the_gap_is_short(self, seed, member_count):
        with make_cluster(seed, member_count=member_count) as cluster:
            cluster.settle()
            load = Load(cluster)
            cluster.run_for(0.2)
            old = cluster.wait_for_leader()
            cluster.wait(lambda: old.raft.in_flight > 0)
            new, gap_s = hand_over(cluster, old)
            assert gap_s < LONGEST_GAP_S
            cluster.run_for(0.2)
            assert cluster.leaders == [new]
            assert load.end() > 100

    def test_twice_in_a_row(self):
        with make_cluster() as cluster:
            first = cluster.settle()
            load = Load(cluster)
            second, _gap_s = hand_over(cluster, first)
            third, gap_s = hand_over(cluster, second)
            assert gap_s < LONGEST_GAP_S
            assert third is not second
            load.end()

    @pytest.mark.parametrize("member_count", [3, 5])
    @pytest.mark.parametrize("seed", range(2))
    def test_a_rolling_restart_of_all_nodes_leaves_no_gap(self, seed, member_count):
        with make_cluster(seed, member_count=member_count) as cluster:
            cluster.settle()
            load = Load(cluster)
            for node in list(cluster.nodes.values()):
                if node.leads:
                    _new, gap_s = hand_over(cluster, node)
                    assert gap_s < LONGEST_GAP_S
                    cluster.wait(lambda node=node: not node.raft.is_handing_over)
                term = cluster.wait_for_leader().raft.term
                node.kill()
                cluster.run_for(0.5)
                node.start()
                cluster.wait(lambda node=node: node.is_voter and len(cluster.network.connected(node.node_id)) > 1)
                assert cluster.wait_for_leader().raft.term == term
            assert load.end() > 250

    def test_it_is_asked_only_when_it_holds_the_whole_log(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            for follower in cluster.others(old):
                follower.sync_s = (0.2, 0.2)
            index = [old.propose(b"%d" % number) for number in range(5)][-1]
            durable: list[int] = []

            def note(_sender: str, receiver: str, message: Message) -> bool:
                if isinstance(message, TimeoutNow):
                    durable.append(cluster.nodes[receiver].status.durable_index)
                return True

            cluster.network.message_filter = note
            assert old.raft.hand_over()
            successor = cluster.nodes[old.raft.successor]
            assert durable == []
            cluster.wait(lambda: bool(durable))
            assert durable == [index]
            successor.sync_s = (0.001, 0.006)
            wait_for_successor(cluster, old)

    def test_nothing_is_proposed_meanwhile_and_all_of_it_afterwards(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            followers = cluster.others(old)
            for follower in followers:
                follower.stall_disk()
            index = old.propose(b"keeps the successor busy")
            assert old.raft.hand_over()
            assert old.raft.is_handing_over
            assert not old.status.ready_to_propose
            with pytest.raises(AssertionError):
                old.propose(b"too late")
            old.submit([Load._order(1)])
            cluster.run_for(GIVE_UP_S / 2)
            assert old.raft.is_handing_over
            assert old.status.last_index == index
            for follower in followers:
                follower.resume_disk()
            new = wait_for_successor(cluster, old)
            cluster.wait(lambda: new.state.exchange.watermarks.get(old.intake.origin) == 1)

    def test_once_under_way_it_goes_on_to_the_same_successor(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            recorder = Recorder(cluster, losing(TimeoutNow))
            assert old.raft.hand_over()
            successor = old.raft.successor
            cluster.run_for(0.1)
            assert old.raft.hand_over()
            assert old.raft.successor == successor
            assert len(recorder.of(TimeoutNow)) == 1

    @pytest.mark.parametrize(("member_count", "down"), [(3, 1), (5, 2)])
    def test_where_only_a_bare_majority_runs_the_old_leader_votes_too(self, member_count, down):
        with make_cluster(member_count=member_count) as cluster:
            old = cluster.settle()
            for node in cluster.others(old)[:down]:
                node.kill()
            cluster.run_for(0.5)
            recorder = Recorder(cluster)
            new, gap_s = hand_over(cluster, old)
            assert gap_s < LONGEST_GAP_S
            granted = VoteReply(new.raft.term, granted=True, pre_vote=False)
            assert recorder.of(VoteReply, sender=old.node_id) == [granted]


class TestWhoCannot:
    def test_who_does_not_lead_has_nothing_to_give(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            for follower in cluster.others(leader):
                assert not follower.raft.hand_over()
                assert not follower.raft.is_handing_over

    def test_a_single_node_has_nobody(self):
        with make_cluster(member_count=1) as cluster:
            node = cluster.wait_for_leader()
            assert not node.raft.hand_over()
            assert node.raft.ready_to_propose

    def test_without_connections_there_is_nobody(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            for follower in cluster.others(leader):
                follower.kill()
            cluster.run_for(0.1)
            assert leader.leads
            assert not leader.raft.hand_over()
            assert leader.raft.ready_to_propose

    def test_a_leader_to_which_nobody_has_spoken_yet_knows_nobody(self):
        with make_cluster() as cluster:
            cluster.wait(lambda: bool(cluster.leaders))
            (leader,) = cluster.leaders
            assert not leader.raft.hand_over()
            cluster.settle()

    def test_a_learner_is_nobody(self):
        with make_cluster(raft=RaftSettings(fallback_timeout_s=30.0)) as cluster:
            leader = cluster.settle()
            wiped, other = cluster.others(leader)
            leader.propose(b"entry")
            cluster.settle()
            wiped.kill()
            wiped.wipe()
            other.kill()
            wiped.start()
            cluster.wait(lambda: wiped.status.durable_index == leader.status.last_index)
            cluster.run_for(0.5)
            assert leader.leads
            assert not wiped.is_voter
            assert not leader.raft.hand_over()

    def test_one_that_hangs_is_passed_over(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            hangs, other = cluster.others(leader)
            hangs.pause()
            cluster.run_for(0.6)
            assert hangs.node_id in cluster.network.connected(leader.node_id)
            new, gap_s = hand_over(cluster, leader)
            assert new is other
            assert gap_s < LONGEST_GAP_S


class TestInVain:
    def test_what_nobody_answers_is_given_up_and_may_be_tried_again(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            load = Load(cluster)
            term = leader.raft.term
            Recorder(cluster, losing(TimeoutNow))
            began_at = cluster.scheduler.now
            assert leader.raft.hand_over()
            cluster.wait(lambda: not leader.raft.is_handing_over)
            assert GIVE_UP_S <= cluster.scheduler.now - began_at < GIVE_UP_S + 0.02
            assert leader.raft.ready_to_propose
            assert leader.raft.term == term
            cluster.run_for(0.5)
            cluster.network.message_filter = None
            new, _gap_s = hand_over(cluster, leader)
            assert new.raft.term == term + 1
            load.end()

    @pytest.mark.parametrize("member_count", [3, 5])
    @pytest.mark.parametrize("loses_power", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_successor_that_dies_when_it_is_asked_costs_no_order(self, seed, loses_power, member_count):
        with make_cluster(seed, member_count=member_count) as cluster:
            leader = cluster.settle()
            load = Load(cluster)
            cluster.run_for(0.1)
            asked: list[SimulatedNode] = []

            def die(_sender: str, receiver: str, message: Message) -> bool:
                if isinstance(message, TimeoutNow):
                    asked.append(cluster.nodes[receiver])
                    cluster.scheduler.after(0.0, asked[0].lose_power if loses_power else asked[0].kill)
                return True

            cluster.network.message_filter = die
            began_at = cluster.scheduler.now
            assert leader.raft.hand_over()
            cluster.wait(lambda: bool(asked) and not leader.raft.is_handing_over)
            # A process that dies is known by its connection; a machine without power only by its silence.
            assert cluster.scheduler.now - began_at < (GIVE_UP_S + 0.02 if loses_power else 0.1)
            assert leader.raft.ready_to_propose
            cluster.network.message_filter = None
            new, _gap_s = hand_over(cluster, leader)
            assert new is not asked[0]
            asked[0].start()
            load.end()

    @pytest.mark.parametrize("at", [VoteRequest, VoteReply])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_successor_that_dies_as_a_candidate_costs_one_election(self, seed, at):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            load = Load(cluster)
            cluster.run_for(0.1)
            assert leader.raft.hand_over()
            successor = cluster.nodes[leader.raft.successor]

            def die(_sender: str, _receiver: str, message: Message) -> bool:
                if isinstance(message, at) and successor.is_running:
                    cluster.scheduler.after(0.0, lambda: successor.is_running and successor.kill())
                return True

            cluster.network.message_filter = die
            cluster.wait(lambda: not successor.is_running)
            cluster.wait_for_leader(timeout_s=2.0)
            cluster.wait(lambda: not leader.raft.is_handing_over, timeout_s=GIVE_UP_S)
            successor.start()
            load.end()

    @pytest.mark.parametrize("seed", range(3))
    def test_a_successor_that_is_cut_off_is_given_up_and_disturbs_nobody_for_long(self, seed):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            load = Load(cluster)
            term = leader.raft.term
            asked: list[str] = []

            def cut_off(_sender: str, receiver: str, message: Message) -> bool:
                if isinstance(message, TimeoutNow):
                    asked.append(receiver)
                    cluster.network.cut_off(receiver)
                return True

            cluster.network.message_filter = cut_off
            assert leader.raft.hand_over()
            cluster.wait(lambda: bool(asked) and leader.raft.ready_to_propose, timeout_s=GIVE_UP_S + 0.1)
            assert leader.raft.term == term
            # What was asked of it is under way and arrives with the heal: it stands with an old log, and cannot win.
            cluster.run_for(0.3)
            cluster.network.heal_all()
            cluster.wait(lambda: bool(cluster.leaders), timeout_s=1.5)
            load.end()

    @pytest.mark.parametrize("seed", range(3))
    def test_a_leader_that_is_cut_off_while_it_hands_over_loses_nothing(self, seed):
        with make_cluster(seed, member_count=5) as cluster:
            leader = cluster.settle()
            load = Load(cluster)
            cluster.run_for(0.1)
            assert leader.raft.hand_over()
            cluster.run_for(0.004 * seed)
            cluster.network.cut_off(leader.node_id)
            wait_for_successor(cluster, leader, timeout_s=2.0)
            cluster.run_for(2.0)
            assert not leader.raft.is_handing_over
            assert not leader.leads
            cluster.network.heal_all()
            load.end()


class TestTimeoutNow:
    def test_one_of_an_older_term_is_answered_with_the_newer(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            recorder = Recorder(cluster)
            follower.raft.received(leader.node_id, TimeoutNow(leader.raft.term - 1))
            cluster.run_for(1.0)
            assert recorder.of(VoteRequest) == []
            assert recorder.of(TermNotice, sender=follower.node_id) == [TermNotice(leader.raft.term)]
            assert cluster.leaders == [leader]

    @pytest.mark.parametrize("later_by", [0, 3])
    def test_one_that_is_not_of_the_leader_who_is_followed_does_nothing(self, later_by):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower, other = cluster.others(leader)
            recorder = Recorder(cluster)
            sender = leader if later_by else other
            follower.raft.received(sender.node_id, TimeoutNow(leader.raft.term + later_by))
            leader.raft.received(other.node_id, TimeoutNow(leader.raft.term + later_by))
            cluster.run_for(1.0)
            assert recorder.of(VoteRequest) == []
            assert cluster.leaders == [leader]

    def test_a_learner_does_not_stand(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            leader.propose(b"entry")
            cluster.settle()
            follower.kill()
            follower.wipe()
            follower.start()
            cluster.wait(lambda: follower.raft.leader == leader.node_id)
            assert not follower.is_voter
            recorder = Recorder(cluster)
            follower.raft.received(leader.node_id, TimeoutNow(follower.raft.term))
            assert follower.raft._core.role == FOLLOWER
            assert recorder.of(VoteRequest) == []

    def test_who_could_not_record_its_vote_does_not_stand(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower = cluster.others(leader)[0]
            follower.stall_disk()
            leader.propose(b"waits for its disk")
            cluster.run_for(RaftSettings().fallback_timeout_s + 0.1)
            follower.raft.received(leader.node_id, TimeoutNow(leader.raft.term))
            assert follower.raft._core.role == FOLLOWER
            assert cluster.leaders == [leader]

    def test_its_requests_and_the_votes_wait_for_the_disks(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            recorder = Recorder(cluster)
            assert old.raft.hand_over()
            successor = cluster.nodes[old.raft.successor]
            successor.stall_disk()
            cluster.wait(lambda: successor.raft._core.role == CANDIDATE)
            cluster.run_for(0.1)
            assert recorder.of(VoteRequest) == []
            for node in cluster.others(successor):
                node.stall_disk()
            successor.resume_disk()
            cluster.run_for(0.1)
            assert len(recorder.of(VoteRequest)) == 2
            assert recorder.of(VoteReply) == []
            for node in cluster.others(successor):
                node.resume_disk()
            cluster.wait(lambda: successor.raft.ready_to_propose)

    def test_only_a_vote_is_given_at_a_leaders_wish_and_no_pre_vote(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            follower, other = cluster.others(leader)
            recorder = Recorder(cluster)
            request = VoteRequest(leader.raft.term + 1, 10**6, leader.raft.term, pre_vote=True, handed_over=True)
            follower.raft.received(other.node_id, request)
            leader.raft.received(other.node_id, request)
            assert recorder.of(VoteReply) == []
            assert cluster.leaders == [leader]

    def test_a_later_election_of_the_successors_own_is_an_ordinary_one(self):
        with make_cluster() as cluster:
            old = cluster.settle()
            new, _gap_s = hand_over(cluster, old)
            cluster.settle()
            recorder = Recorder(cluster)
            cluster.network.cut_off(new.node_id)
            wait_for_successor(cluster, new)
            cluster.network.heal_all()
            cluster.settle()
            requests = recorder.of(VoteRequest)
            assert requests
            assert not any(request.handed_over for request in requests)
