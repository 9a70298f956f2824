"""What waits in the intake becomes entries of the log: the leader's part, as a pure decision.

The leader packs whatever waits as soon as fewer than `max_in_flight` entries are under way. There is no timer and
no artificial delay: alone, an order is an entry of its own; under load, entries grow while the disk is busy.

Every leader begins with the watermarks of the state that it has applied (nothing proposed by an earlier leader
can be committed after that without being seen here), and proposes the dots of each origin in sequence, each dot
once in its term. Whatever two leaders propose twice, the state machine executes once.

Log time passes with the entries, so where there is nothing to pack somebody has to see to it that what expires does so:
the leader logs an entry without submissions (`expiry_is_due`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from raftbook.codec import RawRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.intake import Intake


class SequencerLimits(NamedTuple):
    """`max_entry_bytes` must stay below the append limit of the log; a single larger command goes alone."""

    max_in_flight: int = 8
    max_entry_bytes: int = 256 * 1024
    max_entry_commands: int = 256


class Sequencer:
    """One term's worth of packing."""

    def __init__(self, limits: SequencerLimits) -> None:
        self._limits = limits
        self._term: int | None = None
        self._proposed: dict[str, int] = {}
        self._turn = ""
        self._packed_all_of = -1
        """`intake.taken` when nothing was left to pack."""

    def begin(self, term: int, watermarks: Mapping[str, int], first_origin: str) -> bool:
        """Lead `term`, having applied everything up to `watermarks`; `first_origin` comes first in the first entry.

        Returns False, and changes nothing, if the term was begun before.
        """
        if term == self._term:
            return False
        self._term = term
        self._proposed = dict(watermarks)
        self._turn = first_origin
        self._packed_all_of = -1
        return True

    def pack(self, intake: Intake, in_flight: int) -> list[RawRun]:
        """The runs of the next entry, empty if nothing waits or enough is under way.

        Origins take turns at being first, so that a busy one cannot keep the others out of a full entry. O(1) where
        nothing has come since nothing was left, as at most steps of a leader.
        """
        if in_flight >= self._limits.max_in_flight or intake.taken == self._packed_all_of:
            return []
        origins = intake.origins()
        start = next((place for place, origin in enumerate(origins) if origin >= self._turn), 0)
        runs: list[RawRun] = []
        commands_left, bytes_left = self._limits.max_entry_commands, self._limits.max_entry_bytes
        for origin in origins[start:] + origins[:start]:
            if commands_left <= 0 or bytes_left <= 0:
                break
            first_sequence = self._proposed.get(origin, 0) + 1
            commands = intake.run(origin, first_sequence, commands_left, bytes_left)
            size_bytes = sum(len(raw) for raw in commands)
            # A run holds at least one command, however large: that one waits until it is the first of its entry.
            if commands and (not runs or size_bytes <= bytes_left):
                runs.append(RawRun(origin, first_sequence, commands))
                self._proposed[origin] = first_sequence + len(commands) - 1
                commands_left -= len(commands)
                bytes_left -= size_bytes
        if runs:
            self._turn = runs[0].origin + "\0"
        else:
            self._packed_all_of = intake.taken
        return runs


def expiry_is_due(next_expiry: int | None, now: int, in_flight: int) -> bool:
    """Whether the leader, which has packed all that waits, is to log an entry without submissions.

    `next_expiry` is the earliest of a live order, in the state that the leader has applied, and `now` its wall clock
    (both ns). What is under way moves log time by itself, so nothing may be. In an applied state all has expired up to
    log time, and the next expiry lies beyond. So an entry of `now` settles it, and no second one is logged, however
    long the first one takes; and a leader whose clock is behind log time logs none before its clock gets there.
    """
    return next_expiry is not None and in_flight == 0 and now >= next_expiry
