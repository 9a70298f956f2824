"""Disks that fill up in a simulated cluster: who is sent what, who leads, who takes orders; and how it ends."""

from __future__ import annotations

import pytest

from raftbook.codec import encode_command
from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.errors import StorageFullError
from raftbook.replication.messages import SnapshotChunk
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from tests.replication.test_raft_node import Recorder

RAW_COMMAND = b"no command, and so refused by every node alike"


ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))


def order(number):
    """None of them trades."""
    gtc = (Side.BUY, OrderType.LIMIT, TimeInForce.GTC)
    return NewOrder("ACME", "alice", f"order-{number}", *gtc, Number(100 + number, 0), Number(1, 0))


def make_cluster(seed=1, **settings):
    return SimulatedCluster(seed=seed, settings=ClusterSettings(**settings))


def used_bytes(node):
    return sum(len(data) for data in node.disk.contents().values()) + node.disk.reserve_bytes()


def fill(cluster, *nodes, spare_bytes=0):
    """Others leave just so much, and the members notice."""
    for node in nodes:
        node.disk.capacity_bytes = used_bytes(node) + spare_bytes
    cluster.wait(lambda: all(node.member.storage_full for node in nodes))


def empty(cluster, *nodes):
    for node in nodes:
        node.disk.capacity_bytes = None
    cluster.wait(lambda: not any(node.member.storage_full for node in nodes))


def hears_that_full(node, *full):
    return all(other.node_id in node.member.heard for other in full) and all(
        node.member.heard[other.node_id].report.storage_full for other in full
    )


def propose(leader, count=20):
    return [leader.propose(b"entry %d" % number) for number in range(count)][-1]


@pytest.mark.parametrize("seed", range(5))
def test_a_full_follower_is_sent_no_entries_and_keeps_its_vote(seed):
    with make_cluster(seed) as cluster:
        leader = cluster.settle()
        follower, other = cluster.others(leader)
        fill(cluster, follower)
        cluster.wait(lambda: hears_that_full(leader, follower))
        held = follower.status.last_index
        index = propose(leader)
        cluster.wait_applied(index, leader.node_id, other.node_id)
        cluster.run_for(3.0)
        assert follower.status.last_index == held
        assert (follower.raft.leader, follower.status.role) == (leader.node_id, "follower")

        # Its vote is needed now, and it has room for that: nobody else can make the other one a leader.
        leader.kill()
        cluster.wait(lambda: other.leads)
        assert follower.is_running
        leader.start()
        empty(cluster, follower)
        cluster.wait_applied(index)
        cluster.settle()


def test_a_full_follower_that_connects_again_is_sent_next_to_nothing():
    """Neither by a leader that knew of it, nor by one that has just been started."""
    with make_cluster() as cluster:
        leader = cluster.settle()
        follower, other = cluster.others(leader)
        fill(cluster, follower)
        cluster.wait(lambda: hears_that_full(leader, follower))
        held = follower.status.last_index
        for _ in range(3):
            follower.kill()
            cluster.wait_applied(propose(leader), leader.node_id, other.node_id)
            follower.start()
            cluster.wait(lambda: follower.node_id in cluster.network.connected(leader.node_id))
            cluster.run_for(1.0)
            assert follower.is_running
            assert follower.status.last_index == held
        leader.restart()
        leader = cluster.wait_for_leader()
        cluster.wait_applied(propose(leader), leader.node_id)
        cluster.run_for(1.0)
        assert follower.status.last_index == held
        empty(cluster, follower)
        cluster.settle()


@pytest.mark.parametrize("seed", range(5))
def test_a_full_leader_hands_over_to_one_that_has_room(seed):
    with make_cluster(seed) as cluster:
        leader = cluster.settle()
        full, successor = cluster.others(leader)
        fill(cluster, full)
        cluster.wait(lambda: hears_that_full(leader, full))
        fill(cluster, leader)
        cluster.wait(lambda: successor.leads, timeout_s=2.0)
        term = successor.raft.term
        cluster.run_for(3.0)
        assert (successor.leads, successor.raft.term) == (True, term)
        empty(cluster, full, leader)
        cluster.settle()


def test_a_leader_stays_while_nobody_with_room_can_take_over():
    """It hands over to nobody that is full too, or the two would take turns for ever."""
    with make_cluster() as cluster:
        leader = cluster.settle()
        full, gone = cluster.others(leader)
        gone.kill()
        fill(cluster, full, leader)
        term = leader.raft.term
        cluster.run_for(5.0)
        assert (leader.leads, leader.raft.term) == (True, term)
        gone.start()
        cluster.wait(lambda: gone.leads)
        empty(cluster, full, leader)
        cluster.settle()


def test_a_full_leader_does_not_hand_over_to_another_full_one_for_want_of_a_voter_with_room():
    with make_cluster() as cluster:
        leader = cluster.settle()
        full, learner = cluster.others(leader)
        learner.kill()
        learner.wipe()
        fill(cluster, full, leader)
        learner.start()
        cluster.wait(lambda: learner.node_id in leader.member.heard and hears_that_full(leader, full))
        term = leader.raft.term
        cluster.run_for(5.0)
        assert not learner.is_voter, "it becomes one by an entry, for which there is no room"
        assert (leader.leads, leader.raft.term) == (True, term)
        empty(cluster, full, leader)
        cluster.settle()


def test_no_snapshot_is_written_while_the_reserve_is_broken_into():
    """What is left belongs to the log. When there is room again, the snapshot is made up for."""
    with make_cluster(member_count=1, snapshot_entries=50) as cluster:
        node = cluster.settle()
        cluster.wait_applied(propose(node, 40))
        fill(cluster, node)
        cluster.wait_applied(propose(node, 40))
        assert node.disk.reserve_bytes() == 0
        assert node.member.snapshot_due() is None
        cluster.run_for(2.0)
        assert node.status.base_index == 0
        assert node.is_running
        empty(cluster, node)
        cluster.wait(lambda: node.status.base_index > 0)


@pytest.mark.parametrize("leader_is_full", [True, False])
def test_without_a_majority_that_has_room_nobody_takes_orders_and_nothing_gets_into_the_log(leader_is_full):
    with make_cluster() as cluster:
        leader = cluster.settle()
        full = [leader, cluster.others(leader)[0]] if leader_is_full else cluster.others(leader)
        (with_room,) = cluster.others(*full)
        fill(cluster, *full)
        cluster.wait(lambda: with_room.leads and hears_that_full(with_room, *full))
        for node in cluster.nodes.values():
            with pytest.raises(StorageFullError):
                node.enter([])
        # What was on its way to the leader waits there.
        _, sequence = with_room.submit([RAW_COMMAND])
        last_index = with_room.status.last_index
        cluster.run_for(3.0)
        assert with_room.status.last_index == last_index
        assert sequence not in with_room.state.exchange.watermarks.values()
        assert all(node.is_running for node in cluster.nodes.values())

        empty(cluster, full[0])
        cluster.wait(lambda: with_room.state.exchange.watermarks.get(with_room.member.origin) == sequence)
        empty(cluster, *full)
        cluster.settle()


@pytest.mark.parametrize("comes_too_late", [False, True])
def test_a_snapshot_that_finds_no_room_is_sent_again_when_there_is_some(comes_too_late):
    """Either there is too little room for it from the beginning, or the disk fills up while it comes."""
    with make_cluster(storage_margin_bytes=300, founding_commands=(encode_command(ACME),)) as cluster:
        leader = cluster.settle()
        follower = cluster.others(leader)[0]
        follower.kill()
        leader.enter([order(number) for number in range(100)])
        cluster.wait(lambda: len(list(leader.state.exchange.orders())) == 100)
        cluster.wait_applied(propose(leader))
        leader.take_snapshot()
        cluster.wait(lambda: leader.status.base_index > follower.journal.last_index)
        snapshot_bytes = len(leader.state.to_snapshot())
        # More than the margin, so that it is not for this that the leader would send it nothing.
        spare_bytes = 350 if comes_too_late else 500
        assert snapshot_bytes > 2 * 500
        recorder = Recorder(cluster)
        if comes_too_late:

            def interfere(operation, name):
                if operation == "append" and name.startswith("incoming"):
                    follower.disk.capacity_bytes = used_bytes(follower) + spare_bytes

            follower.disk.on_operation = interfere
        else:
            follower.disk.capacity_bytes = used_bytes(follower) + spare_bytes
        follower.start()
        cluster.wait(lambda: follower.member.storage_full)
        cluster.wait(lambda: hears_that_full(leader, follower))
        sent = len(recorder.of(SnapshotChunk))
        cluster.run_for(3.0)
        assert len(recorder.of(SnapshotChunk)) == sent, "the leader does not try in vain all the time"
        assert follower.is_running
        assert follower.raft.lacks_room_bytes == snapshot_bytes

        follower.disk.on_operation = None
        empty(cluster, follower)
        cluster.settle()
        assert follower.raft.lacks_room_bytes == 0
        assert follower.restored_at != []


def test_who_had_no_room_for_a_snapshot_takes_the_entries_of_another_leader():
    """It needs room for entries then, and no more for that snapshot."""
    margin_bytes = 4_000
    with make_cluster(storage_margin_bytes=margin_bytes, retain_entries=0) as cluster:
        leader = cluster.settle()
        follower, other = cluster.others(leader)
        follower.kill()
        cluster.wait_applied(propose(leader), leader.node_id, other.node_id)
        leader.take_snapshot()
        cluster.wait(lambda: leader.status.base_index > follower.journal.last_index)

        def interfere(operation, name):
            if operation == "append" and name.startswith("incoming"):
                follower.disk.capacity_bytes = used_bytes(follower) + 50

        follower.disk.on_operation = interfere
        follower.start()
        cluster.wait(lambda: follower.raft.lacks_room_bytes > 50)
        follower.disk.on_operation = None
        cluster.wait(lambda: hears_that_full(other, follower))
        assert other.journal.base_index == 0
        leader.hand_over()
        cluster.wait(lambda: other.leads)
        cluster.wait(lambda: follower.raft.lacks_room_bytes == 0)
        file_bytes = used_bytes(follower) - follower.disk.reserve_bytes()
        follower.disk.capacity_bytes = file_bytes + 2 * margin_bytes + margin_bytes // 8 + 1_000
        cluster.wait(lambda: not follower.member.storage_full)
        empty(cluster, follower)
        cluster.settle()
        assert follower.restored_at == []


def test_a_node_that_cannot_even_vote_halts_and_comes_back_when_there_is_room():
    """Its reserve was used up: the last resort. What it has written can be read all the same."""
    with make_cluster() as cluster:
        leader = cluster.settle()
        follower = cluster.others(leader)[0]
        follower.disk.reserve(0)
        follower.disk.capacity_bytes = used_bytes(follower)
        propose(leader)
        cluster.wait(lambda: not follower.is_running)
        assert isinstance(follower.failure, StorageFullError)
        assert follower.start(), "it starts, and can be read"
        assert follower.raft.applied_index <= follower.status.last_index
        if follower.is_running:
            follower.kill()
        follower.disk.capacity_bytes = None
        follower.start()
        cluster.settle()
