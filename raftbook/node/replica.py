"""The replicated state on this node, as the ordered log feeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from raftbook.intake import Intake
    from raftbook.node.publisher import Publisher


class Replica:
    """A StateReplica: executes entries, frees the intake of what is done, and tells the publisher.

    Reports go out from here, so what they say is applied, hence committed, hence on the disks of a majority.
    """

    def __init__(self, state: StateMachine, intake: Intake, publisher: Publisher) -> None:
        self.state = state
        self._intake = intake
        self._publisher = publisher
        self._advance_intake()

    def apply(self, index: int, entry: bytes) -> None:
        executions = self.state.apply(index, entry)
        watermarks = self.state.exchange.watermarks
        for origin in dict.fromkeys(execution.origin for execution in executions):
            self._intake.advance(origin, watermarks[origin])
        self._publisher.executed(executions, watermarks)
        self._publisher.applied(index)

    def advance(self, index: int) -> None:
        self.state.advance(index)
        self._publisher.applied(index)

    def restore(self, index: int, body: bytes) -> None:
        self.state = StateMachine.from_snapshot(body)
        assert self.state.index == index, f"the snapshot of entry {index} holds the state of {self.state.index}"
        self._advance_intake()
        self._publisher.restored(self.state.exchange.watermarks)
        self._publisher.applied(index)

    def _advance_intake(self) -> None:
        for origin, watermark in self.state.exchange.watermarks.items():
            self._intake.advance(origin, watermark)
