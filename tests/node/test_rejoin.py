"""A rebuilt node's way back, by its status: what is told of it, when it is over, and when it is given up."""

from __future__ import annotations

import pytest

from raftbook.node.rejoin import Rejoin, RejoinPhase
from raftbook.node.status import NodeStatus

TIMEOUT_S = 30.0


def status(role="learner", leader=None, peers=(), applied_index=0, base_index=0, *, ready=False):
    return NodeStatus(
        node_id="n2",
        cluster="local-3",
        role=role,
        leader=leader,
        term=3,
        commit_index=applied_index,
        applied_index=applied_index,
        last_index=applied_index,
        durable_index=applied_index,
        base_index=base_index,
        digest="",
        intake_items=0,
        connected_peers=tuple(peers),
        ready=ready,
        draining=False,
        storage_full=False,
        storage_free_bytes=1 << 30,
    )


@pytest.fixture
def told():
    return []


@pytest.fixture
def way_back(told):
    return Rejoin(3, timeout_s=TIMEOUT_S, tell=told.append)


def test_each_step_is_told_once_and_the_last_ends_it(way_back, told):
    steps = [
        status(),
        status(),
        status(peers=["n1"]),
        status(peers=["n1", "n3"]),
        status(leader="n1", peers=["n1", "n3"]),
        status(leader="n1", peers=["n1", "n3"], applied_index=400, base_index=400),
        status(leader="n1", peers=["n1", "n3"], applied_index=450, base_index=400, ready=True),
        status("follower", "n1", ["n1", "n3"], 450, 400),
        # It has compacted its own log.
        status("follower", "n1", ["n1", "n3"], 450, 440),
    ]
    for now, step in enumerate(steps):
        assert not way_back.observe(step, 500, now / 100)
    assert way_back.observe(status("follower", "n1", ["n1", "n3"], 501, 400, ready=True), 500, 1.0)
    assert (way_back.is_done, way_back.applied_index) == (True, 501)
    assert told == [
        "waiting for peers: 0 of the 2 that it takes are there",
        "waiting for a leader",
        "catching up with leader n1: at index 0 of 500",
        "took a snapshot of entry 400 from leader n1",
        "caught up at index 501, and has its vote again",
    ]


def test_it_is_told_now_and_then_how_far_it_has_come(way_back, told):
    for eighth in range(1, 50):
        way_back.observe(status(leader="n1", peers=["n1", "n3"], applied_index=eighth), None, eighth / 8)
    assert told == [f"catching up with leader n1: at index {eighth}" for eighth in (1, 17, 33, 49)]


@pytest.mark.parametrize(
    ("alone", "phase"),
    [
        (status(), RejoinPhase.WAITING_FOR_PEERS),
        (status(peers=["n1"]), RejoinPhase.WAITING_FOR_PEERS),
        (status(peers=["n1", "n3"]), RejoinPhase.WAITING_FOR_LEADER),
        (status(leader="n1"), RejoinPhase.WAITING_FOR_PEERS),
        (status("follower", "n1", ["n3"], 9), RejoinPhase.WAITING_FOR_PEERS),
    ],
)
def test_without_a_leader_it_is_given_up_after_the_timeout(way_back, alone, phase):
    assert not way_back.observe(alone, None, 100.0)
    assert not way_back.observe(alone, None, 100.0 + TIMEOUT_S - 0.1)
    assert way_back.observe(alone, None, 100.0 + TIMEOUT_S)
    assert (way_back.is_done, way_back.phase) == (False, phase)


def test_a_leader_has_all_the_time_that_a_snapshot_takes(way_back):
    helped = status(leader="n1", peers=["n1", "n3"])
    for minute in range(60):
        assert not way_back.observe(helped, 500, 60.0 * minute)
    assert not way_back.observe(status(peers=["n3"]), None, 60.0 * 59 + TIMEOUT_S - 1)
    assert way_back.observe(status(peers=["n3"]), None, 60.0 * 59 + TIMEOUT_S)


def test_a_node_that_has_its_vote_needs_no_third_one(way_back):
    assert way_back.observe(status("follower", "n3", ["n3"], 9, ready=True), 9, 0.0)


def test_it_may_even_lead_by_then(way_back):
    assert way_back.observe(status("leader", "n2", ["n3"], 9, ready=True), None, 0.0)
