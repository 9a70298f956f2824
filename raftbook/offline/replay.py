"""The state at an index: a state to begin with, and the entries that lead from it to that index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine.types import NO_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.events import Execution
    from raftbook.offline.log_entry import LogEntry
    from raftbook.state_machine import StateMachine


class Replay:
    """Executes entries as a node does, with the same state machine.

    `state` is where it stands, `begin_index` where it began, `end_index` where it ends; `command_count` are the
    commands executed so far. One entry at a time is decoded, so that memory is the state's.
    """

    def __init__(self, state: StateMachine, entries: Iterator[LogEntry], end_index: int) -> None:
        self.state = state
        self.begin_index = state.index
        self.end_index = end_index
        self.command_count = 0
        self._entries = entries

    def __iter__(self) -> Iterator[tuple[LogEntry, list[Execution]]]:
        """Executes the next entry, and gives it with what its commands, and the entry itself, led to; once only."""
        for entry in self._entries:
            payload = entry.payload
            if payload is None:
                self.state.advance(entry.log_index)
                executions: list[Execution] = []
            else:
                executions = self.state.apply(entry.log_index, payload)
            self.command_count += sum(execution.origin != NO_ORIGIN for execution in executions)
            yield entry, executions
        assert self.state.index == self.end_index

    def finish(self) -> StateMachine:
        """Executes what is left; returns the state at `end_index`."""
        for _ in self:
            pass
        return self.state
