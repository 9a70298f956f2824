"""How stock PySyncObj 0.3.17 chooses leaders and members: schedules in virtual time."""

from __future__ import annotations

import random
from typing import Any

from pysyncobj.node import Node

from tests.replication.pysyncobj_faults.stock_cluster import NETWORK, StockCluster

Outcome = dict[str, Any]


def four_adds_at_once() -> Outcome:
    """The check for one change of members at a time reads a field that nobody sets: four are taken at once, before any
    is committed, and a cluster whose three members are all well has no majority any more."""
    random.seed(3)
    cluster = StockCluster("ABC", dynamicMembershipChange=True)
    leader = cluster.settle()
    cluster.cut_off(leader)
    cluster.step()
    commit_index = leader.raftCommitIndex
    answers: list[int] = []
    for node_id in "DEFG":
        leader.addNodeToCluster(Node(node_id), callback=lambda _result, error: answers.append(error))
    cluster.run(3)
    counted = leader.getStatus()["partner_nodes_count"] + 1
    uncommitted = leader.raftCommitIndex == commit_index
    NETWORK.cut.clear()
    acknowledged: list[str] = []
    leader.put_for_client("order", acknowledged)
    cluster.run(400)
    return {"denied": answers, "members": counted, "before_any_commit": uncommitted, "acknowledged": acknowledged}


def vote_counted_twice() -> Outcome:
    """One of five votes for a candidate, its answer comes three times, and the candidate leads by two votes of five."""
    random.seed(1)
    cluster = StockCluster("ABCDE")
    candidate, voter = cluster.nodes["A"], cluster.nodes["B"]
    cluster.refresh()
    candidate._SyncObj__raftElectionDeadline = 0
    candidate.doTick(0)
    NETWORK.deliver("A", "B")
    vote = NETWORK.messages("B", "A")[0]
    led = []
    for _ in range(3):
        candidate.receive("B", vote)
        led.append(candidate._isLeader())
    return {"vote": vote["type"], "voters": [voter.node_id], "leads_after_each": led}


def rejoining_minority() -> Outcome:
    """Two of five are cut off and stand for election over and over: when they are back, their term unseats a leader
    whose majority was never in doubt."""
    random.seed(4)
    cluster = StockCluster("ABCDE")
    leader = cluster.settle()
    term = leader.raftCurrentTerm
    strays = cluster.others(leader)[:2]
    cluster.cut_off(*strays)
    acknowledged: list[str] = []
    for number in range(10):
        leader.put_for_client(f"order {number}", acknowledged)
        cluster.run(40)
    led_all_along = leader._isLeader() and leader.raftCurrentTerm == term
    terms_of_strays = [stray.raftCurrentTerm for stray in strays]
    NETWORK.cut.clear()
    unseated = False
    for _ in range(200):
        cluster.step()
        unseated |= not leader._isLeader()
    return {
        "acknowledged": len(acknowledged),
        "led_all_along": led_all_along,
        "terms_gained_meanwhile": max(terms_of_strays) - term,
        "unseated": unseated,
    }


def two_leaders() -> Outcome:
    """A leader that is cut off goes on calling itself one, for half a minute; what is read there is out of date."""
    random.seed(1)
    cluster = StockCluster("ABC", leaderFallbackTimeout=30.0)
    old = cluster.settle()
    cluster.cut_off(old)
    cluster.run(60)
    new = cluster.leader()
    acknowledged: list[str] = []
    new.put_for_client("order", acknowledged)
    seconds = 0.0
    while old._isLeader() and seconds < 60:
        cluster.step()
        seconds += 0.05
    return {
        "is_another": new is not old,
        "acknowledged": acknowledged,
        "read_at_old_leader": old.applied,
        "seconds": round(seconds, 2),
    }
