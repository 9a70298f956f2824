"""A node whose memory is damaged is found out by the others' digests, halts, keeps the evidence and can be rebuilt."""

from __future__ import annotations

import json

import pytest

from raftbook.codec import decode_snapshot, encode_command
from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce
from raftbook.errors import StateDivergedError
from raftbook.member.storage_folder import EVIDENCE_NAME, EVIDENCE_STATE_NAME
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster

INSTRUMENT = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))


def order(name: str, side: Side, quantity: int) -> NewOrder:
    return NewOrder("ACME", "alice", name, side, OrderType.LIMIT, TimeInForce.GTC, Number(100, 0), Number(quantity, 0))


def make_cluster(**settings: object) -> SimulatedCluster:
    return SimulatedCluster(
        seed=5, settings=ClusterSettings(founding_commands=(encode_command(INSTRUMENT),), **settings)
    )


def enter(cluster, node, *commands) -> None:
    sequence = node.enter(commands) + len(commands) - 1
    origin = node.member.origin
    cluster.wait(lambda: any(n.state.exchange.watermarks.get(origin, 0) >= sequence for n in cluster.running))


def flip_a_bit(cluster, node) -> None:
    """One bit of a resting order's quantity, in this node's memory alone."""
    resting = node.state.exchange.registry.find("alice", "resting")
    resting.leaves_quantity ^= 1 << 3
    cluster.checks.tainted.add(node.node_id)


def enlarge(cluster, node) -> None:
    """A resting order by a few units, in this node's memory alone, in all the places that a look at it compares."""
    resting = node.state.exchange.registry.find("alice", "resting")
    resting.quantity += 8
    resting.leaves_quantity += 8
    resting.level.quantity += 8
    node.state.exchange.check()
    cluster.checks.tainted.add(node.node_id)


def with_resting_order(cluster):
    leader = cluster.settle()
    enter(cluster, leader, order("resting", Side.SELL, 20))
    cluster.settle()
    return cluster.wait_for_leader()


@pytest.mark.parametrize("member_count", [3, 5])
@pytest.mark.parametrize("is_leader", [True, False])
def test_the_odd_one_halts_as_soon_as_an_event_shows_it(member_count, is_leader):
    with make_cluster(member_count=member_count) as cluster:
        leader = with_resting_order(cluster)
        odd = leader if is_leader else cluster.others(leader)[0]
        sound = cluster.others(odd)
        flip_a_bit(cluster, odd)
        cluster.run_for(1.0)
        assert odd.is_running, "nothing has shown it yet"
        enter(cluster, sound[0], order("taker", Side.BUY, 25))
        cluster.wait(lambda: not odd.is_running, timeout_s=1.0)
        assert isinstance(odd.failure, StateDivergedError)
        assert f"raftbook node rebuild --config FILE --id {odd.node_id}" in str(odd.failure)
        assert all(node.is_running for node in sound)
        enter(cluster, sound[0], order("later", Side.BUY, 1))

        evidence = json.loads(odd.disk.read(EVIDENCE_NAME))
        assert {difference["peer"] for difference in evidence["differences"]} <= {node.node_id for node in sound}
        assert len(evidence["differences"]) > member_count // 2
        _version, index, chain_digest, *_rest = decode_snapshot(odd.disk.read(EVIDENCE_STATE_NAME))
        assert (index, chain_digest.hex()) == (evidence["log_index"], evidence["digest"])


def test_it_does_not_start_again_before_it_is_rebuilt_and_then_agrees():
    with make_cluster() as cluster:
        leader = with_resting_order(cluster)
        odd = cluster.others(leader)[0]
        flip_a_bit(cluster, odd)
        enter(cluster, leader, order("taker", Side.BUY, 25))
        cluster.wait(lambda: not odd.is_running, timeout_s=1.0)
        assert not odd.start()
        assert isinstance(odd.failure, StateDivergedError)
        assert "state-diverged.json" in str(odd.failure)
        odd.wipe()
        assert odd.start()
        cluster.settle()
        cluster.checks.finished()


def test_two_that_differ_go_on_until_the_third_says_who_is_wrong():
    with make_cluster() as cluster:
        leader = with_resting_order(cluster)
        odd, away = cluster.others(leader)
        away.kill()
        flip_a_bit(cluster, odd)
        enter(cluster, leader, order("taker", Side.BUY, 25))
        cluster.run_for(2.0)
        assert odd.is_running
        assert leader.is_running
        assert [difference.peer for difference in odd.member.differences] == [leader.node_id]
        away.start()
        cluster.wait(lambda: not odd.is_running, timeout_s=3.0)
        assert isinstance(odd.failure, StateDivergedError)
        cluster.run_for(1.0)
        assert leader.is_running
        assert away.is_running


def test_a_wrong_state_never_becomes_a_snapshot_for_others():
    with make_cluster() as cluster:
        leader = with_resting_order(cluster)
        other, away = cluster.others(leader)
        away.kill()
        enlarge(cluster, leader)
        enter(cluster, leader, order("taker", Side.BUY, 25))
        index = leader.raft.applied_index
        leader.take_snapshot()
        cluster.run_for(2.0)
        assert leader.is_running, "there is nobody yet to outvote it"
        assert leader.journal.base_index == 0
        away.start()
        cluster.wait(lambda: not leader.is_running, timeout_s=3.0)
        cluster.wait_applied(index, other.node_id, away.node_id)
        assert away.restored_at == []


def test_a_restart_makes_no_wrong_state_the_truth():
    """The odd one has written a snapshot that nobody agreed to; the third member comes back empty, and needs one."""
    with make_cluster(retain_entries=0) as cluster:
        odd = with_resting_order(cluster)
        _other, away = cluster.others(odd)
        for node in cluster.nodes.values():
            node.run(node.take_snapshot)
        cluster.wait(lambda: all(node.journal.base_index > 0 for node in cluster.nodes.values()))
        away.kill()
        away.wipe()
        enlarge(cluster, odd)
        enter(cluster, odd, order("taker", Side.BUY, 25))
        odd.take_snapshot()
        cluster.run_for(2.0)
        assert odd.member.differences
        odd.restart()
        away.start()
        cluster.settle()
        assert away.restored_at, "it came back with a snapshot"
        assert not any(node.member.differences for node in cluster.nodes.values())
        cluster.checks.finished()


def test_a_state_that_contradicts_itself_is_found_out_before_it_becomes_a_snapshot():
    """No event has shown it yet, and the digests are the same everywhere."""
    with make_cluster() as cluster:
        leader = with_resting_order(cluster)
        flip_a_bit(cluster, leader)
        leader.run(leader.take_snapshot)
        assert not leader.is_running
        assert isinstance(leader.failure, StateDivergedError)
        assert "quantity = filled + leaves + canceled" in str(leader.failure)
        assert f"raftbook node rebuild --config FILE --id {leader.node_id}" in str(leader.failure)
        assert [name for name in leader.disk.names() if name.startswith("snapshot")] == []
        assert not leader.start(), "it is to be rebuilt"
        leader.wipe()
        leader.start()
        cluster.settle()
        cluster.checks.finished()
