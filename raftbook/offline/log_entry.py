"""One entry of a log, as it is stored and as what it means."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from raftbook.codec import decode_entry
from raftbook.engine.commands import Run, Tick
from raftbook.replication.raft_core import REGULAR_COMMAND


class EntryKind(StrEnum):
    COMMANDS = "commands"
    """Submissions, in runs of one origin each."""
    TICK = "tick"
    """Nothing but ticks: barriers of linearizable reads."""
    EMPTY = "empty"
    """No submissions: log time passes, for orders that expire, or a learner becomes a voter by it."""
    NO_OP = "no_op"
    """The Raft core's own: a new leader's first entry."""
    UNREADABLE = "unreadable"
    """Bytes that are no entry; every node passes over them."""


class DecodedEntry(NamedTuple):
    """`timestamp`: the leader's time in nanoseconds since the epoch, None where the kind has none."""

    kind: EntryKind
    timestamp: int | None
    runs: tuple[Run, ...]

    @property
    def command_count(self) -> int:
        return sum(len(run.commands) for run in self.runs)


class LogEntry(NamedTuple):
    """`raw` is what the log holds, with the byte in front that tells whose it is."""

    log_index: int
    term: int
    raw: bytes

    @property
    def payload(self) -> bytes | None:
        """What the state machine is given; None where the entry is the Raft core's own."""
        return self.raw[1:] if self.raw[:1] == REGULAR_COMMAND else None

    def decode(self) -> DecodedEntry:
        """Never raises, whatever the bytes are. O(size)."""
        payload = self.payload
        if payload is None:
            return DecodedEntry(EntryKind.NO_OP, None, ())
        entry = decode_entry(payload)
        if entry is None:
            return DecodedEntry(EntryKind.UNREADABLE, None, ())
        timestamp, runs = entry
        if not any(run.commands for run in runs):
            return DecodedEntry(EntryKind.EMPTY, timestamp, runs)
        only_ticks = all(isinstance(command, Tick) for run in runs for command in run.commands)
        return DecodedEntry(EntryKind.TICK if only_ticks else EntryKind.COMMANDS, timestamp, runs)
