"""What the ordered log tells the rest of the node: how it stands, and the committed entries in order.

Nothing outside `replication` knows which consensus library works behind it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Role = Literal["leader", "follower", "candidate", "learner"]


class LogStatus(NamedTuple):
    """How one member stands. `ready_to_propose`: it leads, and has applied all that came before its term."""

    role: Role
    leader: str | None
    term: int
    base_index: int
    last_index: int
    durable_index: int
    commit_index: int
    applied_index: int
    ready_to_propose: bool
    has_quorum: bool


class StateReplica(Protocol):
    """The state that the log feeds. Its methods never raise for anything that a log may hold."""

    def apply(self, index: int, entry: bytes) -> None:
        """Execute one committed entry. Indexes rise, not always by one."""
        ...

    def advance(self, index: int) -> None:
        """Entry `index` holds nothing for the state."""
        ...

    def decode(self, body: bytes) -> object:
        """The state in a snapshot. O(bytes). From any thread: it touches nothing of the present state.

        SnapshotError: there is none in it.
        """
        ...

    def restore(self, index: int, state: object) -> None:
        """Become the state that `decode` made of a snapshot which was taken at `index`."""
        ...
