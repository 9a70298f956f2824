"""What becomes of a command and of who waits for its answer: stock PySyncObj's faults, and raftbook there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.engine.commands import AddInstrument
from raftbook.engine.types import Number
from raftbook.replication.messages import IntakeDelta
from raftbook.replication.raft_node import RaftSettings
from tests.replication.pysyncobj_faults.scenarios import run
from tests.replication.test_raft_node import Recorder, make_cluster

if TYPE_CHECKING:
    from raftbook.engine.events import Execution
    from raftbook.replication.messages import Message
    from raftbook.replication.ordered_log import StateReplica
    from raftbook.simulation.node import SimulatedNode


def submit(node: SimulatedNode, symbol: str) -> list[Execution]:
    """A client's command that can be accepted only once; returns where its answers will stand."""
    answers: list[Execution] = []
    sequence = node.enter([AddInstrument(symbol, 2, 0, Number(1, 2), Number(1, 0))])
    node.waiting[node.member.origin, sequence] = answers.append
    return answers


class TestExceptions:
    """Row 11: an exception while an entry is applied is logged, and the entry is applied once more."""

    def test_stock_pysyncobj_executes_a_command_twice_whose_client_raises(self):
        outcome = run("stock_commands.raising_callback")
        assert outcome["errors"] == ["RuntimeError"]
        assert outcome["executed"] == ["pay 100", "pay 100"]

    def test_stock_pysyncobj_executes_a_command_that_raises_for_ever(self):
        outcome = run("stock_commands.raising_command")
        assert outcome["executed"].keys() == {"fail"}
        assert outcome["executed"]["fail"] > 50

    def test_raftbook_hands_it_to_whoever_drives_the_node(self, monkeypatch):
        with make_cluster(member_count=1) as cluster:
            (node,) = cluster.nodes.values()
            cluster.wait_for_leader()
            monkeypatch.setattr(node, "replica_apply", lambda _replica, _index, _entry: 1 / 0)
            node.propose(b"boom")
            with pytest.raises(ZeroDivisionError):
                cluster.run_for(1.0)


class TestAnswers:
    """Row 12: who asks, and what he is told."""

    def test_stock_pysyncobj_answers_a_request_of_a_process_with_the_success_of_its_predecessors(self):
        outcome = run("stock_commands.late_reply")
        assert outcome["lost_on_the_way"] == 1
        assert outcome["answers"] == ["SUCCESS"]
        assert outcome["executed"] == ["order of the old process"]

    def test_raftbook_answers_only_what_was_executed(self):
        def passes(sender: str, _receiver: str, message: Message) -> bool:
            return not (is_losing and sender == submitter.node_id and isinstance(message, IntakeDelta))

        is_losing = False
        with make_cluster() as cluster:
            leader = cluster.settle()
            submitter = cluster.others(leader)[0]
            Recorder(cluster, passes)
            old_origin, last_index = submitter.member.origin, leader.status.last_index
            submit(submitter, "OLD")
            cluster.wait(lambda: leader.status.last_index > last_index)
            submitter.restart()
            cluster.settle()
            is_losing = True
            answers = submit(submitter, "NEW")
            cluster.run_for(3.0)
            assert answers == []
            is_losing = False
            for other in cluster.others(submitter):
                cluster.network.break_connection(submitter.node_id, other.node_id)
            cluster.wait(lambda: bool(answers))
            (answer,) = answers
            assert answer.origin == submitter.member.origin != old_origin
            assert answer.accepted
            cluster.settle()
            assert all(set(node.state.exchange.instruments) == {"OLD", "NEW"} for node in cluster.nodes.values())

    def test_stock_pysyncobj_says_that_a_command_failed_and_executes_it(self):
        outcome = run("stock_commands.failure_of_what_is_executed")
        assert outcome["answers"] == ["LEADER_CHANGED"]
        assert outcome["executed"] == [["pay 100", "pay 100"]] * 2

    @pytest.mark.parametrize("seed", range(5))
    def test_raftbook_says_what_became_of_it_whoever_leads(self, seed):
        with make_cluster(seed) as cluster:
            leader = cluster.settle()
            submitter = cluster.others(leader)[0]
            last_index = leader.status.last_index
            answers = submit(submitter, "ACME")
            cluster.wait(lambda: leader.status.last_index > last_index)
            leader.lose_power()
            cluster.wait(lambda: bool(answers))
            assert [answer.accepted for answer in answers] == [True]
            leader.start()
            cluster.settle()
            assert len(answers) == 1

    def test_stock_pysyncobj_never_answers_what_comes_back_in_a_snapshot(self):
        outcome = run("stock_commands.callback_lost_over_snapshot")
        assert outcome["executed"] == [True, True, True]
        assert outcome["answers"] == []

    def test_stock_pysyncobj_forgets_a_command_that_could_not_be_sent(self):
        outcome = run("stock_commands.failed_send")
        assert outcome["leads"]
        assert outcome["answers"] == []
        assert outcome["executed"] == []

    def test_raftbook_sends_it_when_the_connection_is_back(self):
        with make_cluster() as cluster:
            leader = cluster.settle()
            submitter = cluster.others(leader)[0]
            for other in cluster.others(submitter):
                cluster.network.break_connection(submitter.node_id, other.node_id, within_s=0.001)
            cluster.wait(lambda: not cluster.network.connected(submitter.node_id))
            answers = submit(submitter, "ACME")
            cluster.wait(lambda: bool(answers))
            assert [answer.accepted for answer in answers] == [True]


class TestLongReplay:
    """Row 20: all that is committed is applied in one tick."""

    def test_stock_pysyncobj_does_nothing_else_for_many_election_timeouts(self):
        outcome = run("stock_commands.long_replay")
        assert outcome["longest_tick_s"] > 5 * outcome["election_timeout_s"]

    def test_raftbook_leaves_room_for_heartbeats(self):
        with make_cluster(member_count=1, raft=RaftSettings(apply_slice_s=0.02)) as cluster:
            (node,) = cluster.nodes.values()
            cluster.wait_for_leader()
            for number in range(100):
                node.propose(b"%d" % number)
            cluster.settle()
            node.restart()
            apply = node.replica_apply
            longest = 0

            def slow_apply(replica: StateReplica, index: int, entry: bytes) -> None:
                cluster.scheduler.now += 0.003
                apply(replica, index, entry)

            node.replica_apply = slow_apply
            tick = node.raft.tick

            def watched_tick() -> None:
                nonlocal longest
                before = len(node.applied)
                tick()
                longest = max(longest, len(node.applied) - before)

            node.raft.tick = watched_tick
            cluster.wait(lambda: len(node.applied) == 100)
            # Winning the election is two ticks in one.
            assert 1 <= longest <= 2 * 7
