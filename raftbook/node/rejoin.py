"""The way back of a node that was rebuilt: when it has its vote and its state again, and when nobody helps it.

A node that comes back with nothing is a learner: it takes a snapshot and the log from the leader, and votes again when
it holds all that may have been committed with its forgotten help. That takes a leader, so a majority of all nodes
must run without it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.node.service import NodeService
    from raftbook.node.status import NodeStatus

TELL_INTERVAL_S: Final = 2.0
"""How often it is told how far the node has come."""


class RejoinPhase(StrEnum):
    WAITING_FOR_PEERS = "waiting for peers"
    WAITING_FOR_LEADER = "waiting for a leader"
    CATCHING_UP = "catching up"
    CAUGHT_UP = "caught up"


class Rejoin:
    """Follows a node on its way back, and says when to stop watching; `tell` gets a sentence for each step.

    It gives up after `timeout_s` without a leader. While there is one it is patient: how long a snapshot takes depends
    on its size, and a leader that has lost its majority steps down by itself.
    """

    def __init__(self, node_count: int, *, timeout_s: float, tell: Callable[[str], None]) -> None:
        self.phase = RejoinPhase.WAITING_FOR_PEERS
        self.applied_index = 0
        self._majority = node_count // 2 + 1
        self._timeout_s = timeout_s
        self._tell = tell
        self._helped_at: float | None = None
        self._told_at = float("-inf")
        self._told: RejoinPhase | None = None

    @property
    def is_done(self) -> bool:
        return self.phase is RejoinPhase.CAUGHT_UP

    def watch(self, service: NodeService, now: float) -> bool:
        """As `observe`, of a running node."""
        status = service.status()
        leaders = [peer for peer in service.cluster() if peer.id == status.leader]
        return self.observe(status, leaders[0].commit_index if leaders else None, now)

    def observe(self, status: NodeStatus, leader_commit_index: int | None, now: float) -> bool:
        """Whether the node may leave: it has caught up, or has waited in vain. `now` in seconds, never falling."""
        if status.base_index > self.applied_index:
            # Its own snapshots never reach beyond what it has applied.
            self._tell(f"took a snapshot of entry {status.base_index} from leader {status.leader}")
        self.phase = self._phase_of(status)
        self.applied_index = status.applied_index
        if self._helped_at is None or self.phase in (RejoinPhase.CATCHING_UP, RejoinPhase.CAUGHT_UP):
            self._helped_at = now
        self._tell_progress(status, leader_commit_index, now)
        return self.is_done or now - self._helped_at >= self._timeout_s

    def _phase_of(self, status: NodeStatus) -> RejoinPhase:
        if status.role != "learner" and status.ready:
            return RejoinPhase.CAUGHT_UP
        if status.leader in status.connected_peers:
            return RejoinPhase.CATCHING_UP
        # The node counts for nothing before it has its vote, so its peers must be a majority on their own.
        if len(status.connected_peers) < self._majority:
            return RejoinPhase.WAITING_FOR_PEERS
        return RejoinPhase.WAITING_FOR_LEADER

    def _tell_progress(self, status: NodeStatus, leader_commit_index: int | None, now: float) -> None:
        is_repeated = self.phase is self._told
        if is_repeated and not (self.phase is RejoinPhase.CATCHING_UP and now - self._told_at >= TELL_INTERVAL_S):
            return
        self._told, self._told_at = self.phase, now
        self._tell(self._sentence(status, leader_commit_index))

    def _sentence(self, status: NodeStatus, leader_commit_index: int | None) -> str:
        if self.phase is RejoinPhase.WAITING_FOR_PEERS:
            return f"waiting for peers: {len(status.connected_peers)} of the {self._majority} that it takes are there"
        if self.phase is RejoinPhase.WAITING_FOR_LEADER:
            return "waiting for a leader"
        if self.phase is RejoinPhase.CATCHING_UP:
            goal = "" if leader_commit_index is None else f" of {leader_commit_index}"
            return f"catching up with leader {status.leader}: at index {status.applied_index}{goal}"
        return f"caught up at index {status.applied_index}, and has its vote again"
