"""Orders that expire in a simulated cluster with nothing else to do: who logs it, when, and what the others see."""

from __future__ import annotations

import pytest

from raftbook.codec import encode_command, split_entry
from raftbook.engine.commands import AddInstrument, NewOrder
from raftbook.engine.types import NO_ORIGIN, EventKind, Number, OrderStatus, OrderType, Side, TimeInForce
from raftbook.simulation.checkers import check_all
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from raftbook.simulation.history import Attempt

SECOND_NS = 1_000_000_000
ACME = AddInstrument("ACME", 2, 0, Number(1, 2), Number(1, 0))


def make_cluster(seed=1, **settings):
    return SimulatedCluster(seed=seed, settings=ClusterSettings(founding_commands=(encode_command(ACME),), **settings))


def enter(cluster, node, name, expire_in_s):
    """A buy that rests; it expires so many seconds from now on this node's clock. Everybody has it then."""
    expire_time = node.wall_clock_ns() + round(expire_in_s * SECOND_NS)
    terms = (Side.BUY, OrderType.LIMIT, TimeInForce.GTD, Number(100, 0), Number(1, 0))
    command = NewOrder("ACME", "alice", name, *terms, expire_time=expire_time)
    sequence = node.enter([command])
    origin = node.member.origin
    cluster.checks.history.submitted(Attempt("alice", node.node_id, command, 0.0, origin, sequence))
    wait_executed(cluster, origin, sequence)
    return expire_time


def wait_executed(cluster, origin, sequence):
    cluster.wait(lambda: all(n.state.exchange.watermarks.get(origin, 0) >= sequence for n in cluster.running))


def status_at(node, name):
    return node.state.exchange.order_by_client_id("alice", name).status


def is_expired_at_all(cluster, name):
    return all(status_at(node, name) is OrderStatus.EXPIRED for node in cluster.running)


def settled(cluster):
    """All are at rest, with the instrument there and their clocks right; returns the leader."""
    cluster.wait(lambda: all(node.state.exchange.instruments for node in cluster.running))
    for node in cluster.nodes.values():
        node.wall_clock_ahead_ns = 0
    return cluster.settle()


def assert_true_to_the_end(cluster):
    for sequence, command in enumerate((ACME,), 1):
        cluster.checks.history.submitted(Attempt("configuration", "", command, 0.0, "configuration", sequence))
    cluster.settle()
    cluster.checks.finished()
    assert check_all(cluster.checks.history) == []


@pytest.mark.parametrize("member_count", [1, 3, 5])
def test_an_order_expires_in_an_idle_cluster_by_one_empty_entry_of_the_leader(member_count):
    with make_cluster(member_count=member_count) as cluster:
        leader = settled(cluster)
        expire_time = enter(cluster, leader, "gtd", 3.0)
        index = leader.status.last_index
        cluster.run_for(2.9)
        assert {node.status.last_index for node in cluster.running} == {index}
        cluster.wait(lambda: is_expired_at_all(cluster, "gtd"), timeout_s=0.2)
        cluster.run_for(5.0)
        assert {node.status.last_index for node in cluster.running} == {index + 1}
        timestamp, runs = split_entry(cluster.checks.decided[index + 1].entry)
        assert runs == ()
        assert expire_time <= timestamp <= expire_time + 50_000_000
        [effects] = cluster.checks.history.effects[index + 1]
        assert {node_id for node_id, _ in effects.seen_in} == set(cluster.member_ids)
        [event] = [event for execution in effects.executions for event in execution.events]
        assert (event.kind, event.order.client_order_id) == (EventKind.ORDER_CANCELED, "gtd")
        assert all(execution.origin == NO_ORIGIN for execution in effects.executions)
        assert_true_to_the_end(cluster)


def test_when_the_leader_dies_just_before_the_next_one_logs_it():
    with make_cluster() as cluster:
        leader = settled(cluster)
        expire_time = enter(cluster, leader, "gtd", 1.0)
        cluster.wait(lambda: leader.wall_clock_ns() > expire_time - SECOND_NS // 100)
        index = leader.status.last_index
        leader.kill()
        cluster.run_for(0.02)
        assert [node.status.last_index for node in cluster.running] == [index, index], "nobody leads, so nobody may"
        cluster.wait_for_leader()
        cluster.wait(lambda: is_expired_at_all(cluster, "gtd"), timeout_s=0.2)
        leader.start()
        assert_true_to_the_end(cluster)


def test_an_expiry_that_dies_with_its_leader_is_logged_again():
    """It is in the leader's memory alone when that dies; had it survived, the order would still expire once."""
    with make_cluster() as cluster:
        leader = settled(cluster)
        enter(cluster, leader, "gtd", 1.0)
        cluster.network.cut_off(leader.node_id)
        cluster.wait(lambda: leader.raft.in_flight > 0)
        leader.kill()
        cluster.network.heal_all()
        cluster.wait_for_leader()
        cluster.wait(lambda: is_expired_at_all(cluster, "gtd"), timeout_s=1.0)
        leader.start()
        assert_true_to_the_end(cluster)


def test_a_new_leader_whose_clock_is_behind_logs_it_when_its_clock_gets_there():
    with make_cluster() as cluster:
        leader = settled(cluster)
        enter(cluster, leader, "gtd", 1.0)
        for node in cluster.others(leader):
            node.wall_clock_ahead_ns = -10 * SECOND_NS
        leader.kill()
        second = cluster.wait_for_leader()
        index = second.status.last_index
        cluster.run_for(8.0)
        assert second.leads
        assert second.status.last_index == index
        assert status_at(second, "gtd") is OrderStatus.OPEN
        cluster.wait(lambda: is_expired_at_all(cluster, "gtd"), timeout_s=4.0)
        assert second.status.last_index == index + 1
        leader.start()
        assert_true_to_the_end(cluster)


def test_a_follower_whose_clock_is_ahead_logs_nothing():
    with make_cluster() as cluster:
        leader = settled(cluster)
        enter(cluster, leader, "gtd", 30.0)
        for node in cluster.others(leader):
            node.wall_clock_ahead_ns = 60 * SECOND_NS
        index = leader.status.last_index
        cluster.run_for(10.0)
        assert {node.status.last_index for node in cluster.running} == {index}
        assert {status_at(node, "gtd") for node in cluster.running} == {OrderStatus.OPEN}


def test_orders_that_do_not_expire_leave_an_idle_cluster_idle():
    with make_cluster() as cluster:
        leader = settled(cluster)
        terms = (Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(100, 0), Number(1, 0))
        wait_executed(cluster, leader.member.origin, leader.enter([NewOrder("ACME", "alice", "gtc", *terms)]))
        index = leader.status.last_index
        cluster.run_for(60.0)
        assert {node.status.last_index for node in cluster.running} == {index}


def test_a_member_without_a_majority_logs_an_expiry_once_for_all_the_time_that_it_waits():
    with make_cluster() as cluster:
        leader = settled(cluster)
        enter(cluster, leader, "gtd", 0.2)
        index = leader.status.last_index
        for node in cluster.others(leader):
            node.kill()
        cluster.wait(lambda: leader.status.last_index > index)
        cluster.run_for(1.0)
        assert leader.status.last_index == index + 1
        assert status_at(leader, "gtd") is OrderStatus.OPEN
