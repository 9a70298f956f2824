"""Reads a log without the engine: which submission it executes at which index, by the rule of the watermarks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.codec import split_entry
from raftbook.simulation.history import Dot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from raftbook.simulation.history import FinalNode, History

# Several checkers read the same few entries, and every node's log holds them.
_split: Final = lru_cache(maxsize=4_096)(split_entry)


class PlacedSubmission(NamedTuple):
    """A submission where the log executes it: `time` is the log time there (ns), `raw` its command's bytes."""

    dot: Dot
    raw: bytes
    log_index: int
    time: int


def placed_submissions(log: Iterable[tuple[int, bytes | None]]) -> Iterator[PlacedSubmission]:
    """What a log of (index, entry) executes, in its order: each origin's submissions once, in sequence. O(size).

    What was executed before is passed over, and so is what leaves a gap. Log time is the highest timestamp so far.
    """
    watermarks: dict[str, int] = {}
    time = 0
    for index, entry in log:
        split = None if entry is None else _split(entry)
        if split is None:
            continue
        timestamp, runs = split
        time = max(time, timestamp)
        for run in runs:
            for sequence, raw in enumerate(run.raw_commands, run.first_sequence):
                if sequence == watermarks.get(run.origin, 0) + 1:
                    watermarks[run.origin] = sequence
                    yield PlacedSubmission((run.origin, sequence), raw, index, time)


def decided_log(history: History) -> list[tuple[int, bytes | None]]:
    """(index, entry) of everything that was applied anywhere, by rising index."""
    return [(index, decided.entry) for index, decided in history.decided()]


def final_log(history: History, node: FinalNode) -> list[tuple[int, bytes | None]]:
    """(index, entry) of all that the node has executed: what its snapshot covers is what was applied there."""
    covered = [(index, entry) for index, entry in decided_log(history) if index <= node.base_index]
    return covered + [(index, entry) for index, _, entry in node.entries if index <= node.applied_index]
