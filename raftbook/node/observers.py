"""Several observers of the replicated state as one: each hears everything, in the order in which they were added."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.engine.events import Execution
    from raftbook.member.replica import ReplicaObserver
    from raftbook.state_machine import StateMachine


class Observers:
    """A ReplicaObserver."""

    def __init__(self, *observers: ReplicaObserver) -> None:
        self._observers = list(observers)

    def add(self, observer: ReplicaObserver) -> None:
        self._observers.append(observer)

    def executed(self, executions: list[Execution], watermarks: Mapping[str, int]) -> None:
        for observer in self._observers:
            observer.executed(executions, watermarks)

    def applied(self, index: int) -> None:
        for observer in self._observers:
            observer.applied(index)

    def decoded(self, state: StateMachine) -> None:
        for observer in self._observers:
            observer.decoded(state)

    def restored(self, watermarks: Mapping[str, int]) -> None:
        for observer in self._observers:
            observer.restored(watermarks)
