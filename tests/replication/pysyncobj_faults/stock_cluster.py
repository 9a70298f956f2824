"""Stock PySyncObj 0.3.17 in virtual time: nodes, and a network whose links a schedule cuts, holds back or slows down.

To be imported in a process of its own (`scenarios.run`), since raftbook patches the same modules.
"""

from __future__ import annotations

import pickle
import random
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import pysyncobj.syncobj
from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

Link = tuple[str, str]

NEVER_S = 1e9
PER_LOOK_S = 2e-5


class Clock:
    """Every look at it costs a little, as in the world; PySyncObj's loops wait for that."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += PER_LOOK_S
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

    def messages(self, sender: str, receiver: str) -> list[dict[str, Any]]:
        """What is under way on a link."""
        return [pickle.loads(message) for message in self.under_way[sender, receiver]]

    def lose(self, sender: str, receiver: str, kind: str) -> int:
        """Drop the messages of a kind that are under way; returns how many they were."""
        waiting = self.under_way[sender, receiver]
        kept = [message for message in waiting if pickle.loads(message)["type"] != kind]
        lost = len(waiting) - len(kept)
        self.under_way[sender, receiver] = deque(kept)
        return lost


class StockTransport(Transport):
    ready = True

    def __init__(self, _syncobj: SyncObj, own: Node, others: set[Node]) -> None:
        super().__init__(_syncobj, own, others)
        self._own = own.id
        self._nodes = {node.id: node for node in others}
        self._connected: set[str] = set()
        self.before_receiving: Callable[[dict[str, Any]], dict[str, Any]] = lambda message: message

    def tryGetReady(self) -> None:  # noqa: N802 (PySyncObj's name)
        pass

    def addNode(self, node: Node) -> None:  # noqa: N802 (PySyncObj's name)
        self._nodes[node.id] = node

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        if node.id not in self._connected:
            return False
        NETWORK.under_way[self._own, node.id].append(pickle.dumps(message))
        return True

    def receive(self, sender: str, message: dict[str, Any]) -> None:
        self._onMessageReceived(self._nodes[sender], self.before_receiving(message))

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
    def __init__(self, node_id: str, members: str, **settings: Any) -> None:
        defaults = {"raftMinTimeout": 0.4, "raftMaxTimeout": 1.4, "leaderFallbackTimeout": 1e3}
        conf = SyncObjConf(autoTick=False, **(defaults | settings))
        nodes = [Node(other) for other in members if other != node_id]
        super().__init__(Node(node_id), nodes, conf, nodeClass=Node, transportClass=StockTransport)
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
        self.conf.raftMinTimeout, self.conf.raftMaxTimeout = NEVER_S, 2 * NEVER_S

    def may_campaign(self) -> None:
        self.conf.raftMinTimeout, self.conf.raftMaxTimeout = 0.4, 1.4
        self._SyncObj__raftElectionDeadline = CLOCK.now + random.random()

    @property
    def node_id(self) -> str:
        return self.selfNode.id

    @property
    def log(self) -> Any:
        return self._SyncObj__raftLog

    @property
    def last_index(self) -> int:
        return self.log[-1][1]

    def holds(self, key: str) -> bool:
        return any(key.encode() in entry[0] for entry in self.log[:])

    def receive(self, sender: str, message: dict[str, Any]) -> None:
        self._SyncObj__onMessageReceived(Node(sender), message)


class StockCluster:
    def __init__(self, node_ids: str, **settings: Any) -> None:
        self.nodes = {node_id: StockNode(node_id, node_ids, **settings) for node_id in node_ids}
        self.held_back: set[Link] = set()
        self.per_step: dict[Link, int] = {}

    def refresh(self) -> None:
        for node in self.nodes.values():
            NETWORK.transports[node.node_id].refresh()

    def step(self, dt: float = 0.05) -> None:
        CLOCK.now += dt
        self.refresh()
        for node in self.nodes.values():
            node.doTick(0)
        for link in list(NETWORK.under_way):
            if link not in self.held_back:
                NETWORK.deliver(*link, self.per_step.get(link, 10**9))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def settle(self) -> StockNode:
        self.run(60)
        return self.leader()

    def leader(self) -> StockNode:
        leaders = [node for node in self.nodes.values() if node._isLeader()]
        return max(leaders, key=lambda node: node.raftCurrentTerm)

    def others(self, *nodes: StockNode) -> list[StockNode]:
        return [other for other in self.nodes.values() if other not in nodes]

    def cut_off(self, *nodes: StockNode) -> None:
        """From all the others; those that are named together still reach one another."""
        NETWORK.cut |= {(node.node_id, other.node_id) for node in nodes for other in self.others(*nodes)}

    def kill(self, node: StockNode) -> None:
        del self.nodes[node.node_id], NETWORK.transports[node.node_id]


def tick_as_the_library_does(node: StockNode) -> Exception | None:
    """PySyncObj's own thread (`_autoTickThread`) logs whatever a tick raises, and goes on."""
    CLOCK.now += 0.05
    try:
        node.doTick(0)
    except Exception as error:  # noqa: BLE001 (so does PySyncObj)
        return error
    return None
