"""What stands between a Member and the simulation around it: every message and every applied entry passes here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raftbook.engine.events import Execution
    from raftbook.replication.messages import Message
    from raftbook.replication.ordered_log import StateReplica
    from raftbook.simulation.network import SimulatedNetwork
    from raftbook.simulation.node import SimulatedNode
    from raftbook.state_machine import StateMachine


class ProcessKilledError(Exception):
    """The process came to the crash point at which it is killed."""


class SimulatedTransport:
    """A node's PeerTransport."""

    def __init__(self, network: SimulatedNetwork, node: SimulatedNode) -> None:
        self._network = network
        self._node = node

    @property
    def connected(self) -> tuple[str, ...]:
        return self._network.connected(self._node.node_id)

    def send(self, peer: str, message: Message) -> bool:
        self._node.crash_point("send")
        return self._network.send(self._node.node_id, peer, message)

    def send_many(self, peers: Sequence[str], message: Message) -> tuple[str, ...]:
        return tuple(peer for peer in peers if self.send(peer, message))

    def flush(self) -> None:
        """What is sent leaves at once."""


class Observer:
    """Tells the checks, and the clients that wait, what was executed."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self.executions: list[Execution] = []
        """Of the entry that was applied last."""

    def executed(self, executions: list[Execution], watermarks: Mapping[str, int]) -> None:  # noqa: ARG002 (ReplicaObserver)
        self.executions = executions

    def applied(self, index: int) -> None:
        """The replica around tells the checks."""

    def decoded(self, state: StateMachine) -> None:
        """Nothing here takes long."""

    def restored(self, watermarks: Mapping[str, int]) -> None:
        """Reports of what happened behind a snapshot are lost here: clients ask again, under the same ids."""


class WatchedReplica:
    """The member's replica, with the checks looking on."""

    def __init__(self, node: SimulatedNode, replica: StateReplica, observer: Observer) -> None:
        self._node = node
        self._replica = replica
        self._observer = observer

    def apply(self, index: int, entry: bytes) -> None:
        node = self._node
        node.crash_point("apply")
        node.checks.entry_comes(node, index, entry)
        self._observer.executions = []
        node.replica_apply(self._replica, index, entry)
        node.applied.append((index, entry))
        node.checks.entry_applied(node, index, entry, self._observer.executions)
        for execution in self._observer.executions:
            answer = node.waiting.pop((execution.origin, execution.sequence), None)
            if answer is not None:
                answer(execution)

    def advance(self, index: int) -> None:
        node = self._node
        node.checks.entry_comes(node, index, None)
        self._replica.advance(index)
        node.checks.entry_applied(node, index, None, [])

    def decode(self, body: bytes) -> object:
        return self._replica.decode(body)

    def restore(self, index: int, state: object) -> None:
        self._replica.restore(index, state)
        self._node.restored_at.append(index)
        self._node.checks.state_restored(self._node, index)
