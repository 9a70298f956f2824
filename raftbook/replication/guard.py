"""What of a leader's message may reach PySyncObj's core: pure decisions over the log as it stands.

The core (0.3.17) believes too much. It truncates its log behind every append, also where nothing is in conflict; it
raises its commit index to entries that nobody compared with the leader's; it acknowledges its whole log where only a
part was verified. So each append passes through `review_append`, which states what was *verified* (the last index
up to which this log is now known to equal the leader's), and hands on only what is new or in conflict.

Rules that this file owns:
- An entry that is held with the same index and term is the same entry (Raft's log matching), so it is not touched.
- The core sees an append whose previous entry is the last one before the first new or conflicting entry. With nothing
  new it sees its own last entry and no entries, which truncates nothing.
- The commit index handed on never exceeds the verified index, and a notice of a commit verifies nothing by itself.
- An acknowledgement never claims more than the verified index.
- A conflict at or below the commit index cannot happen in Raft; it is a broken promise, and the node halts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogView(Protocol):
    """What the guard reads of the log."""

    @property
    def base_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    def term_at(self, index: int) -> int | None: ...


class Mismatch(NamedTuple):
    """The append does not fit this log. The leader should go on from `next_index`."""

    next_index: int


class Verified(NamedTuple):
    """The append fits: hand `entries` on behind `previous`, acknowledge `verified_index`, commit to `commit_index`."""

    verified_index: int
    commit_index: int
    previous: tuple[int, int]
    entries: list[tuple[bytes, int, int]]


def review_append(
    log: LogView,
    own_commit_index: int,
    previous: tuple[int, int],
    leader_commit_index: int,
    entries: Sequence[tuple[int, bytes]],
) -> Mismatch | Verified:
    """Decide what an append with `previous` (index, term) and `entries` (term, command) means for this log.

    O(entries). What lies at or below this node's commit index equals every later leader's log, so it counts as
    verified without a look; and a log that does not match is resumed right behind the commit index, in one
    round trip, whatever the length of the tail that differs.
    """
    index, term = previous
    verified_index = index + len(entries)
    if index > log.last_index:
        return Mismatch(log.last_index + 1)
    if index >= log.base_index and log.term_at(index) != term:
        assert index > own_commit_index, f"the leader's entry {index} differs from the committed one"
        return Mismatch(own_commit_index + 1)
    new = _first_new(log, own_commit_index, index, entries)
    if new == len(entries):
        last = (log.last_index, log.last_term)
        return Verified(verified_index, min(leader_commit_index, verified_index), last, [])
    first_index = index + 1 + new
    before = log.term_at(first_index - 1)
    assert before is not None
    fresh = [(command, first_index + offset, entry_term) for offset, (entry_term, command) in enumerate(entries[new:])]
    return Verified(verified_index, min(leader_commit_index, verified_index), (first_index - 1, before), fresh)


def review_commit(log: LogView, term: int, commit_index: int) -> int:
    """Up to where a notice of the leader of `term` commits this log; 0 where it is not known to be that leader's.

    Nobody else makes entries of its term, and it never takes one back. So a log that ends with one of them has been
    verified up to there (Raft's log matching).
    """
    return min(commit_index, log.last_index) if log.last_term == term else 0


def _first_new(log: LogView, own_commit_index: int, index: int, entries: Sequence[tuple[int, bytes]]) -> int:
    """Position in `entries` of the first that this log does not hold; the rest must replace whatever stands there."""
    for position, (term, _command) in enumerate(entries):
        entry_index = index + 1 + position
        if entry_index > log.last_index:
            return position
        if entry_index > log.base_index and log.term_at(entry_index) != term:
            assert entry_index > own_commit_index, f"the leader's entry {entry_index} differs from the committed one"
            return position
    return len(entries)


def log_is_current(log: LogView, last_index: int, last_term: int) -> bool:
    """Whether a candidate's log is at least as up to date as this one (Raft, section 5.4.1)."""
    return (last_term, last_index) >= (log.last_term, log.last_index)
