"""The replicated state on this node, as the ordered log feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from raftbook.engine.types import NO_ORIGIN
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.engine.events import Execution
    from raftbook.intake import Intake


class ReplicaObserver(Protocol):
    """Who is told what the log does to the state."""

    def executed(self, executions: list[Execution], watermarks: Mapping[str, int]) -> None:
        """An entry has been applied; `watermarks` are the state's, the last executed sequence of each origin.

        Among the executions may be such of NO_ORIGIN, for which nobody waits.
        """
        ...

    def applied(self, index: int) -> None:
        """Everything up to `index` is applied, or came with a snapshot."""
        ...

    def decoded(self, state: StateMachine) -> None:
        """`state`, of a snapshot from a peer, is perhaps the next that is `restored`. From any thread, and before
        anything is applied to it: whatever takes long is better done now than then.
        """
        ...

    def restored(self, watermarks: Mapping[str, int]) -> None:
        """The state was replaced by a snapshot: some executions happened without being seen here."""
        ...


class Replica:
    """A StateReplica: executes entries, frees the intake of what is done, and tells the observer.

    Reports go out from here, so what they say is applied, hence committed, hence on the disks of a majority.
    """

    def __init__(self, state: StateMachine, intake: Intake, observer: ReplicaObserver) -> None:
        self.state = state
        self._intake = intake
        self._observer = observer
        self._advance_intake()

    def apply(self, index: int, entry: bytes) -> None:
        executions = self.state.apply(index, entry)
        watermarks = self.state.exchange.watermarks
        for origin in dict.fromkeys(execution.origin for execution in executions):
            if origin != NO_ORIGIN:
                self._intake.advance(origin, watermarks[origin])
        self._observer.executed(executions, watermarks)
        self._observer.applied(index)

    def advance(self, index: int) -> None:
        self.state.advance(index)
        self._observer.applied(index)

    def decode(self, body: bytes) -> StateMachine:
        state = StateMachine.from_snapshot(body)
        self._observer.decoded(state)
        return state

    def restore(self, index: int, state: object) -> None:
        assert isinstance(state, StateMachine)
        self.state = state
        assert self.state.index == index, f"the snapshot of entry {index} holds the state of {self.state.index}"
        self._advance_intake()
        self._observer.restored(self.state.exchange.watermarks)
        self._observer.applied(index)

    def _advance_intake(self) -> None:
        for origin, watermark in self.state.exchange.watermarks.items():
            self._intake.advance(origin, watermark)
