"""What becomes of a command, and of who waits for it, in stock PySyncObj 0.3.17: schedules in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from pysyncobj import replicated
from pysyncobj.config import FAIL_REASON

from tests.replication.pysyncobj_faults.stock_cluster import (
    CLOCK,
    NETWORK,
    StockCluster,
    StockNode,
    tick_as_the_library_does,
)

Outcome = dict[str, Any]

ANSWERS = {code: name for name, code in vars(FAIL_REASON).items() if name.isupper()}


class Answers:
    """What the callback of a command was told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, _result: object, error: int) -> None:
        self.names.append(ANSWERS[error])


class FailingNode(StockNode):
    @replicated
    def fail(self) -> None:
        self.applied.append("fail")
        raise ValueError("a command that cannot be executed")

    @replicated
    def slow(self) -> None:
        self.applied.append("slow")
        CLOCK.now += 0.003


# Exceptions.


def raising_callback() -> Outcome:
    """Whoever waits for a command raises: the command is executed once more."""
    random.seed(2)
    node = StockNode("A", "A")
    for _ in range(60):
        tick_as_the_library_does(node)

    def raise_error(_result: object, _error: int) -> None:
        raise RuntimeError("the client has gone")

    node.put("pay 100", callback=raise_error)
    errors = [tick_as_the_library_does(node) for _ in range(60)]
    return {"errors": [type(error).__name__ for error in errors if error], "executed": node.applied}


def raising_command() -> Outcome:
    """A command raises: it is executed at every tick, for ever, and no command behind it."""
    random.seed(2)
    node = FailingNode("A", "A")
    for _ in range(60):
        tick_as_the_library_does(node)
    node.fail()
    node.put("behind it")
    for _ in range(60):
        tick_as_the_library_does(node)
    return {"executed": Counter(node.applied)}


def long_replay() -> Outcome:
    """All that is committed is executed in one tick, however long that takes; meanwhile nothing else is done."""
    random.seed(2)
    node = FailingNode("A", "A")
    for _ in range(60):
        tick_as_the_library_does(node)
    for _ in range(1000):
        node.slow()
    longest = 0.0
    while len(node.applied) < 1000:
        before = CLOCK.now
        node.doTick(0)
        longest = max(longest, CLOCK.now - before)
        CLOCK.now += 0.01
    return {"longest_tick_s": longest, "election_timeout_s": node.conf.raftMinTimeout}


# Answers.


def late_reply() -> Outcome:
    """A process numbers its requests from 1: an answer to its predecessor is taken for one to itself."""
    random.seed(5)
    cluster = StockCluster("ABC")
    leader = cluster.settle()
    submitter, _other = cluster.others(leader)
    submitter.put("order of the old process", callback=lambda _result, _error: None)
    submitter.doTick(0)
    NETWORK.deliver(submitter.node_id, leader.node_id)
    # The leader has it, and has not looked at it yet; the submitter is killed and restarted.
    submitter = StockNode(submitter.node_id, "ABC")
    cluster.nodes[submitter.node_id] = submitter
    cluster.refresh()
    submitter.never_campaign()
    submitter._SyncObj__raftLeader = next(node for node in submitter.otherNodes if node.id == leader.node_id)
    answers = Answers()
    submitter.put("order of the new process", callback=answers)
    submitter.doTick(0)
    lost = NETWORK.lose(submitter.node_id, leader.node_id, "apply_command")
    cluster.run(60)
    executed = {key for node in cluster.nodes.values() for key in node.applied}
    return {"lost_on_the_way": lost, "answers": answers.names, "executed": sorted(executed)}


def callback_lost_over_snapshot() -> Outcome:
    """A command is executed while its node is away and comes back by snapshot: nobody ever answers."""
    random.seed(9)
    cluster = StockCluster("ABC", logCompactionMinEntries=20)
    leader = cluster.settle()
    submitter, other = cluster.others(leader)
    answers = Answers()
    submitter.put("order", callback=answers)
    submitter.doTick(0)
    NETWORK.deliver(submitter.node_id, leader.node_id)
    leader.doTick(0)
    NETWORK.deliver(leader.node_id, submitter.node_id)
    cluster.cut_off(submitter)
    cluster.run(5)
    for number in range(100):
        leader.put(f"later order {number}")
        for node in (leader, other):
            node.doTick(0)
    for _ in range(40):
        cluster.step()
    NETWORK.cut.clear()
    cluster.run(400)
    return {"executed": ["order" in node.applied for node in cluster.nodes.values()], "answers": answers.names}


def failure_of_what_is_executed() -> Outcome:
    """A command whose leader dies is said to have failed, and is executed: who repeats it has it executed twice."""
    random.seed(1)
    cluster = StockCluster("ABC")
    leader = cluster.settle()
    submitter, other = cluster.others(leader)
    submitter.never_campaign()
    answers = Answers()
    submitter.put("pay 100", callback=answers)
    submitter.doTick(0)
    NETWORK.deliver(submitter.node_id, leader.node_id)
    leader.doTick(0)
    CLOCK.now += 0.2
    leader.doTick(0)
    # It reaches the other follower; the answer to the submitter does not.
    NETWORK.deliver(leader.node_id, other.node_id)
    cluster.kill(leader)
    NETWORK.under_way.clear()
    cluster.run(100)
    if answers.names and answers.names != ["SUCCESS"]:
        submitter.put("pay 100")
    cluster.run(40)
    return {"answers": answers.names, "executed": [node.applied for node in (submitter, other)]}


def failed_send() -> Outcome:
    """The connection to the leader is gone, `send` says so, and nobody listens: no answer, no order."""
    random.seed(1)
    cluster = StockCluster("ABC")
    leader = cluster.settle()
    submitter, _other = cluster.others(leader)
    link = (leader.node_id, submitter.node_id)
    NETWORK.cut.add(link)
    cluster.refresh()
    answers = Answers()
    submitter.put("order", callback=answers)
    submitter.doTick(0)
    NETWORK.cut.clear()
    cluster.run(2000)
    executed = {key for node in cluster.nodes.values() for key in node.applied}
    return {"answers": answers.names, "executed": sorted(executed), "leads": leader._isLeader()}
