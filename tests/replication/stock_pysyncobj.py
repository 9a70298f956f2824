"""Stock PySyncObj 0.3.17 in virtual time, and schedules on which it breaks its word: the negative controls.

Run in a process of its own (`python -m tests.replication.stock_pysyncobj SCENARIO`), since raft_core patches the
module. Prints what came of it as JSON.
"""

from __future__ import annotations

import json
import logging
import pickle
import random
import sys
import tempfile
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

Link = tuple[str, str]


class Clock:
    """Every look at it costs a little, as in the world; PySyncObj's loops wait for that."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 2e-5
        return self.now


CLOCK = Clock()
pysyncobj.syncobj.monotonicTime = CLOCK


class Network:
    def __init__(self) -> None:
        self.transports: dict[str, StockTransport] = {}
        self.under_way: defaultdict[Link, deque[bytes]] = defaultdict(deque)
        self.cut: set[Link] = set()

    def is_linked(self, first: str, second: str) -> bool:
        return not {(first, second), (second, first)} & self.cut and {first, second} <= self.transports.keys()

    def deliver(self, sender: str, receiver: str, count: int = 10**9) -> None:
        waiting = self.under_way[sender, receiver]
        for _ in range(min(count, len(waiting))):
            message = pickle.loads(waiting.popleft())
            if self.is_linked(sender, receiver):
                self.transports[receiver].receive(sender, message)


class StockTransport(Transport):
    ready = True

    def __init__(self, _syncobj: SyncObj, own: Node, others: set[Node]) -> None:
        super().__init__(_syncobj, own, others)
        self._own = own.id
        self._nodes = {node.id: node for node in others}
        self._connected: set[str] = set()

    def tryGetReady(self) -> None:  # noqa: N802 (PySyncObj's name)
        pass

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        if node.id not in self._connected:
            return False
        NETWORK.under_way[self._own, node.id].append(pickle.dumps(message))
        return True

    def receive(self, sender: str, message: dict[str, Any]) -> None:
        self._onMessageReceived(self._nodes[sender], message)

    def refresh(self) -> None:
        for node_id, node in self._nodes.items():
            is_linked = NETWORK.is_linked(self._own, node_id)
            if is_linked and node_id not in self._connected:
                self._connected.add(node_id)
                self._onNodeConnected(node)
            elif not is_linked and node_id in self._connected:
                self._connected.discard(node_id)
                NETWORK.under_way[self._own, node_id].clear()
                self._onNodeDisconnected(node)


NETWORK = Network()


class StockNode(SyncObj):
    def __init__(self, node_id: str, others: str, **settings: Any) -> None:
        conf = SyncObjConf(
            autoTick=False, raftMinTimeout=0.4, raftMaxTimeout=1.4, leaderFallbackTimeout=1e3, **settings
        )
        nodes = [Node(other) for other in others if other != node_id]
        super().__init__(Node(node_id), nodes, conf, nodeClass=Node, transportClass=StockTransport)
        self.node_id = node_id
        self.applied: list[str] = []
        NETWORK.transports[node_id] = self._SyncObj__transport

    @replicated
    def put(self, key: str, _filling: bytes = b"") -> str:
        self.applied.append(key)
        return key

    def put_for_client(self, key: str, acknowledged: list[str], filling: bytes = b"") -> None:
        self.put(key, filling, callback=lambda _result, error: acknowledged.append(key) if error == 0 else None)

    def never_campaign(self) -> None:
        self._SyncObj__raftElectionDeadline = 1e12
        self.conf.raftMinTimeout, self.conf.raftMaxTimeout = 1e9, 2e9

    def may_campaign(self) -> None:
        self.conf.raftMinTimeout, self.conf.raftMaxTimeout = 0.4, 1.4
        self._SyncObj__raftElectionDeadline = CLOCK.now + random.random()

    @property
    def last_index(self) -> int:
        return self._SyncObj__raftLog[-1][1]

    def receive(self, sender: str, message: dict[str, Any]) -> None:
        self._SyncObj__onMessageReceived(Node(sender), message)


class StockCluster:
    def __init__(self, node_ids: str, **settings: Any) -> None:
        self.nodes = {node_id: StockNode(node_id, node_ids, **settings) for node_id in node_ids}
        self.held_back: set[Link] = set()
        self.per_step: dict[Link, int] = {}

    def step(self, dt: float = 0.05) -> None:
        CLOCK.now += dt
        for node in self.nodes.values():
            NETWORK.transports[node.node_id].refresh()
        for node in self.nodes.values():
            node.doTick(0)
        for link in list(NETWORK.under_way):
            if link not in self.held_back:
                NETWORK.deliver(*link, self.per_step.get(link, 10**9))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def leader(self) -> StockNode:
        leaders = [node for node in self.nodes.values() if node._isLeader()]
        return max(leaders, key=lambda node: node.raftCurrentTerm)

    def others(self, node: StockNode) -> list[StockNode]:
        return [other for other in self.nodes.values() if other is not node]

    def cut_off(self, node: StockNode) -> None:
        NETWORK.cut |= {(node.node_id, other.node_id) for other in self.others(node)}

    def kill(self, node: StockNode) -> None:
        del self.nodes[node.node_id], NETWORK.transports[node.node_id]


def pipelined_acknowledgements() -> dict[str, Any]:
    """Acks of pipelined batches set the leader's next index back; its re-send makes the follower truncate."""
    random.seed(7)
    cluster = StockCluster("abc", appendEntriesUseBatch=False, logCompactionMinEntries=10**9, logCompactionMinTime=1e9)
    cluster.run(60)
    leader = cluster.leader()
    follower, slow = cluster.others(leader)
    to, back = (leader.node_id, follower.node_id), (follower.node_id, leader.node_id)
    acknowledged: list[str] = []

    def tick(node: StockNode) -> None:
        CLOCK.now += 0.001
        node.doTick(0)

    for number in range(12):
        leader.put_for_client(f"order {number}", acknowledged, bytes(20_000))
        tick(leader)
    NETWORK.deliver(*to)
    tick(follower)
    NETWORK.deliver(*back, 1)
    leader.put("another")
    tick(leader)
    NETWORK.deliver(*back)
    tick(leader)
    cluster.kill(leader)
    NETWORK.under_way[leader.node_id, slow.node_id].clear()
    waiting = NETWORK.under_way[to]
    for _ in range(min(1, len(waiting))):
        NETWORK.transports[follower.node_id].receive(leader.node_id, pickle.loads(waiting.popleft()))
    waiting.clear()
    cluster.run(200)
    cluster.leader().put("after")
    cluster.run(40)
    return {"acknowledged": acknowledged, "kept": sorted({key for n in cluster.nodes.values() for key in n.applied})}


def slow_round_trip() -> dict[str, Any]:
    """The round trip is longer than the heartbeat: what is re-sent truncates what was acknowledged."""
    random.seed(4)
    cluster = StockCluster("ABC", appendEntriesBatchSizeBytes=100)
    cluster.run(60)
    leader = cluster.leader()
    follower, other = cluster.others(leader)
    for node in (follower, other):
        node.never_campaign()
        cluster.cut_off(node)
    cluster.run(2)
    acknowledged: list[str] = []
    for number in range(40):
        leader.put_for_client(f"order {number}", acknowledged)
    cluster.run(5)
    to, back = (leader.node_id, follower.node_id), (follower.node_id, leader.node_id)
    NETWORK.cut = {link for link in NETWORK.cut if set(link) != set(to)}
    cluster.held_back = {back}
    cluster.run(12)
    cluster.held_back = set()
    cluster.per_step = {to: 1, back: 1}
    truncations: list[int] = []
    journal = follower._SyncObj__raftLog
    delete_from = journal.deleteEntriesFrom
    journal.deleteEntriesFrom = lambda offset: (delete_from(offset), truncations.append(offset))
    for _ in range(400):
        cluster.step()
        if truncations and len(acknowledged) == 40:
            break
    cluster.kill(leader)
    NETWORK.cut.clear()
    NETWORK.under_way.clear()
    cluster.per_step = {}
    for node in (follower, other):
        node.may_campaign()
    cluster.run(100)
    return {"acknowledged": acknowledged, "kept": sorted(other.applied)}


def snapshot_path() -> dict[str, Any]:
    """A message of the snapshot path raises the commit index over a tail that nobody compared."""
    random.seed(1)
    cluster = StockCluster(
        "ABC", logCompactionMinEntries=20, logCompactionBatchSize=64, appendEntriesBatchSizeBytes=200
    )
    cluster.run(60)
    old = cluster.leader()
    cluster.cut_off(old)
    cluster.run(2)
    acknowledged: list[str] = []
    for number in range(5):
        old.put_for_client(f"lost {number}", acknowledged)
    cluster.run(65)
    new = cluster.leader()
    for number in range(100):
        new.put(f"kept {number}")
        cluster.run(2)
    cluster.run(20)
    NETWORK.cut.clear()
    cluster.per_step = {(new.node_id, old.node_id): 1}
    for _ in range(40):
        cluster.step()
        if acknowledged:
            break
    return {"acknowledged": acknowledged, "kept": sorted(new.applied)}


def stale_acknowledgements() -> dict[str, Any]:
    """Acks carry no term: those of an earlier leadership count in the present one."""
    random.seed(6)
    cluster = StockCluster("ABCDE")
    cluster.run(80)
    leader = cluster.leader()
    cluster.cut_off(leader)
    acknowledged: list[str] = []
    leader.put_for_client("order", acknowledged)
    cluster.step()
    for follower in cluster.others(leader)[:2]:
        stale = {"type": "next_node_idx", "next_node_idx": leader.last_index + 1, "reset": False, "success": True}
        leader.receive(follower.node_id, stale)
    cluster.step()
    cluster.step()
    in_other_logs = [n.node_id for n in cluster.others(leader) if any(b"order" in e[0] for e in n._SyncObj__raftLog[:])]
    return {"acknowledged": acknowledged, "kept": in_other_logs}


def commit_index_past_log() -> dict[str, Any]:
    """The journal's tail is lost with the power, the commit index beyond it is not."""
    random.seed(3)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "journal"))
        journal = FileJournal(file)
        journal.add(b"\x01", 1, 0)
        for index in range(2, 6):
            journal.add(b"\x00" + pickle.dumps((0, (f"old {index}",))), index, 1)
        journal.setCurrentTerm(1, None)
        journal.setRaftCommitIndex(12)
        journal.onOneSecondTimer()
        journal._destroy()
        cluster = StockCluster("BC")
        cluster.nodes = {"A": StockNode("A", "ABC", journalFile=file)}
        cluster.nodes |= {node_id: StockNode(node_id, "ABC") for node_id in "BC"}
        for node_id in "BC":
            cluster.nodes[node_id].never_campaign()
        cluster.run(40)
        leader = cluster.leader()
        cluster.cut_off(leader)
        acknowledged: list[str] = []
        leader.put_for_client("order", acknowledged)
        cluster.run(3)
        kept = [n.node_id for n in cluster.others(leader) if any(b"order" in e[0] for e in n._SyncObj__raftLog[:])]
        return {"acknowledged": acknowledged, "kept": kept}


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        pipelined_acknowledgements,
        slow_round_trip,
        snapshot_path,
        stale_acknowledgements,
        commit_index_past_log,
    )
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
