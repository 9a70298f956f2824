"""A network in virtual time that delays, stalls, breaks and loses as TCP does.

A link of two nodes carries one connection at a time. Messages of one direction arrive in order. A *cut* direction
stalls: what is under way waits and arrives after the heal, unless the connection breaks before, which it does when an
end has heard nothing for `IDLE_TIMEOUT_S`. A *broken* connection loses what is under way; each end learns of it in its
own time, and may send into the void until then. Afterwards the nodes connect anew, with new greetings. A direction on
which too many messages wait breaks the connection: the receiver reads too slowly.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from raftbook.replication.messages import Hello, Message
    from raftbook.simulation.node import SimulatedNode
    from raftbook.simulation.scheduler import Scheduler

IDLE_TIMEOUT_S: Final = 2.0
REDIAL_S: Final = (0.05, 0.5)


@dataclass(slots=True, eq=False)
class _Connection:
    """`up` holds the ends that were told of it and not yet of its end."""

    ends: tuple[str, str]
    up: set[str] = field(default_factory=set)
    is_broken: bool = False
    waiting: dict[str, deque[tuple[float, Message]]] = field(default_factory=dict)
    """By receiver: (arrival, message), in the order of sending."""


class SimulatedNetwork:
    def __init__(self, scheduler: Scheduler, random_source: random.Random, delay_s: tuple[float, float]) -> None:
        self.delay_s = delay_s
        self.link_delay_s: dict[tuple[str, str], tuple[float, float]] = {}
        """By (sender, receiver), where a direction is slower than the rest."""
        self.max_waiting_messages = 10_000
        """On the way in one direction; one more, and the connection breaks."""
        self.messages_sent = 0
        self.overflows = 0
        self.message_filter: Callable[[str, str, Message], bool] | None = None
        """(sender, receiver, message) -> whether to let it pass; for tests that lose single messages."""
        self._scheduler = scheduler
        self._random = random_source
        self._nodes: dict[str, SimulatedNode] = {}
        self._connections: dict[tuple[str, str], _Connection] = {}
        self._connected: dict[str, tuple[str, ...]] = {}
        """By node: the peers that it can send to, sorted."""
        self._cut: set[tuple[str, str]] = set()

    def add(self, node: SimulatedNode) -> None:
        for other in self._nodes:
            self._redial(_pair(node.node_id, other))
        self._nodes[node.node_id] = node
        self._connected[node.node_id] = ()

    # What a node asks for.

    def connected(self, node_id: str) -> tuple[str, ...]:
        return self._connected[node_id]

    def send(self, sender: str, receiver: str, message: Message) -> bool:
        connection = self._connections.get(_pair(sender, receiver))
        if connection is None or sender not in connection.up:
            return False
        self.messages_sent += 1
        if self.message_filter is not None and not self.message_filter(sender, receiver, message):
            return True
        waiting = connection.waiting[receiver]
        if len(waiting) >= self.max_waiting_messages:
            self.overflows += 1
            self._break(connection, 0.05)
            return False
        delay_s = self.link_delay_s.get((sender, receiver), self.delay_s)
        arrival = self._scheduler.now + self._random.uniform(*delay_s)
        if waiting:
            arrival = max(arrival, waiting[-1][0])
        waiting.append((arrival, message))
        self._scheduler.after(arrival - self._scheduler.now, lambda: self._deliver(connection, sender, receiver))
        return True

    def reaching(self, node_id: str) -> list[str]:
        """The peers that can hear this node and be heard by it."""
        reached: list[str] = []
        for peer in self._connected[node_id]:
            connection = self._connections[_pair(node_id, peer)]
            is_cut = (node_id, peer) in self._cut or (peer, node_id) in self._cut
            node = self._nodes[peer]
            if node.is_running and not node.is_paused and not is_cut and len(connection.up) == len(connection.ends):
                reached.append(peer)
        return reached

    # What a test does.

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing passes from `sender` to `receiver`, until `heal`."""
        if (sender, receiver) not in self._cut:
            self._cut.add((sender, receiver))
            connection = self._connections.get(_pair(sender, receiver))
            timeout_s = IDLE_TIMEOUT_S + self._random.uniform(0.0, 0.5)
            if connection is not None:
                self._scheduler.after(timeout_s, lambda: self._time_out(connection, sender, receiver))

    def heal(self, sender: str, receiver: str) -> None:
        if (sender, receiver) in self._cut:
            self._cut.discard((sender, receiver))
            connection = self._connections.get(_pair(sender, receiver))
            if connection is not None:
                self._deliver(connection, sender, receiver)

    def cut_off(self, node_id: str, *others: str) -> None:
        """Cut both directions between `node_id` and `others`, without which all."""
        for other in others or [other for other in self._nodes if other != node_id]:
            self.cut(node_id, other)
            self.cut(other, node_id)

    def heal_all(self) -> None:
        for sender, receiver in sorted(self._cut):
            self.heal(sender, receiver)

    @property
    def is_whole(self) -> bool:
        return not self._cut

    def break_connection(self, first: str, second: str, *, within_s: float = 0.5) -> None:
        """What is under way is lost but for a part; the ends learn of it within `within_s`."""
        connection = self._connections.get(_pair(first, second))
        if connection is not None:
            self._break(connection, within_s)

    def node_died(self, node_id: str, *, silently: bool) -> None:
        """Peers learn at once that a process died, but of a machine only because it is silent."""
        for pair, connection in list(self._connections.items()):
            if node_id in pair:
                self._set_down(connection, node_id)
                self._break(connection, 0.02, after_s=IDLE_TIMEOUT_S if silently else 0.0)

    # What the network does.

    def _redial(self, pair: tuple[str, str]) -> None:
        self._scheduler.after(self._random.uniform(*REDIAL_S), lambda: self._dial(pair))

    def _dial(self, pair: tuple[str, str]) -> None:
        nodes = [self._nodes[node_id] for node_id in pair]
        is_reachable = pair not in self._cut and pair[::-1] not in self._cut
        if pair in self._connections:
            return
        if not is_reachable or not all(node.is_running and not node.is_paused for node in nodes):
            self._redial(pair)
            return
        connection = _Connection(pair)
        connection.waiting = {node_id: deque() for node_id in pair}
        self._connections[pair] = connection
        for node, other in (nodes, nodes[::-1]):
            hello = other.hello()
            self._scheduler.after(
                self._random.uniform(*self.delay_s),
                lambda node=node, hello=hello: self._connect(connection, node, hello),  # type: ignore[misc]
            )

    def _connect(self, connection: _Connection, node: SimulatedNode, hello: Hello) -> None:
        def connect() -> None:
            if not connection.is_broken:
                connection.up.add(node.node_id)
                self._connected[node.node_id] = tuple(sorted({*self._connected[node.node_id], hello.node_id}))
                node.on_connected(hello.node_id, hello)
                self._deliver(connection, hello.node_id, node.node_id)

        node.run(connect)

    def _deliver(self, connection: _Connection, sender: str, receiver: str) -> None:
        """Hand over what has arrived."""
        if (sender, receiver) in self._cut or receiver not in connection.up:
            return
        waiting = connection.waiting[receiver]
        while waiting and waiting[0][0] <= self._scheduler.now:
            message = waiting.popleft()[1]

            def receive(message: Message = message) -> None:
                if receiver in connection.up:
                    self._nodes[receiver].on_message(sender, message)

            self._nodes[receiver].run(receive)

    def _time_out(self, connection: _Connection, sender: str, receiver: str) -> None:
        if (sender, receiver) in self._cut and not connection.is_broken:
            self._break(connection, 0.5)

    def silence(self, node_id: str) -> None:
        """The node has said nothing for a while: whoever is connected to it gives up."""
        for pair, connection in list(self._connections.items()):
            if node_id in pair:
                self._break(connection, 0.1)

    def _break(self, connection: _Connection, within_s: float, *, after_s: float = 0.0) -> None:
        if connection.is_broken:
            return
        connection.is_broken = True
        for node_id in connection.ends:
            delay_s = after_s + self._random.uniform(0.0, within_s)
            self._scheduler.after(delay_s, lambda node_id=node_id: self._end(connection, node_id))  # type: ignore[misc]
        self._scheduler.after(after_s + within_s, lambda: self._forget(connection))

    def _end(self, connection: _Connection, node_id: str) -> None:
        def end() -> None:
            if node_id in connection.up:
                self._set_down(connection, node_id)
                self._nodes[node_id].on_disconnected(_other(connection.ends, node_id))

        self._nodes[node_id].run(end)

    def _set_down(self, connection: _Connection, node_id: str) -> None:
        if node_id in connection.up:
            connection.up.discard(node_id)
            peer = _other(connection.ends, node_id)
            self._connected[node_id] = tuple(other for other in self._connected[node_id] if other != peer)

    def _forget(self, connection: _Connection) -> None:
        if connection.up:
            self._scheduler.after(REDIAL_S[0], lambda: self._forget(connection))
            return
        del self._connections[connection.ends]
        self._redial(connection.ends)


def _pair(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first < second else (second, first)


def _other(pair: tuple[str, str], node_id: str) -> str:
    return pair[1] if pair[0] == node_id else pair[0]
