"""The log as the Raft core sees it: in memory for reading, written to the write-ahead log.

Invariants:
- `entries[0]` is the base: (b"", base_index, base_term), the last entry that is covered by a snapshot and no longer
  held; (b"", 0, 0) in a new log. It is never applied and never sent, it only answers "which term was there?".
- The entry with index i stands at offset i - base_index.
- What is here is in the write-ahead log too, written or waiting to be; `WriteAheadLog.durable_index` tells how far
  it is on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.replication.write_ahead_log import RecoveredLog, WriteAheadLog


class JournalEntry(NamedTuple):
    """Fields in the order in which PySyncObj reads them."""

    command: bytes
    index: int  # type: ignore[assignment]  # Hides tuple.index, which nobody calls on an entry.
    term: int


class Journal:
    """Appends, truncates and compacts the log in memory and, through the write-ahead log, on disk.

    Reading an entry or a term is O(1); appending is amortised O(1); compaction is O(entries kept).
    """

    def __init__(self, wal: WriteAheadLog, recovered: RecoveredLog) -> None:
        self._wal = wal
        self.term = recovered.term
        self.voted_for = recovered.voted_for
        self._entries = [JournalEntry(b"", recovered.base_index, recovered.base_term)]
        self._entries += [JournalEntry(command, index, term) for index, term, command in recovered.entries]
        self._size_bytes = sum(len(entry.command) for entry in self._entries)

    # What the core asks for.

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, item: int | slice) -> object:
        return self._entries[item]

    def add(self, command: bytes, index: int, term: int) -> None:
        assert index == self.last_index + 1
        self._entries.append(JournalEntry(command, index, term))
        self._size_bytes += len(command)
        self._wal.append(index, term, command)

    def delete_from_offset(self, offset: int) -> None:
        assert offset > 0
        index = self.base_index + offset
        self._size_bytes -= sum(len(entry.command) for entry in self._entries[offset:])
        del self._entries[offset:]
        self._wal.truncate_from(index)

    def record_vote(self, term: int, voted_for: str | None) -> None:
        self.term = term
        self.voted_for = voted_for
        self._wal.record_vote(term, voted_for)

    # What the rest of the node asks for.

    @property
    def base_index(self) -> int:
        return self._entries[0].index

    @property
    def last_index(self) -> int:
        return self._entries[-1].index

    @property
    def last_term(self) -> int:
        return self._entries[-1].term

    @property
    def size_bytes(self) -> int:
        """Bytes of the commands that are held in memory."""
        return self._size_bytes

    @property
    def durable_index(self) -> int:
        """Every entry up to this index is on this node's disk. Never above `last_index`."""
        return self._wal.durable_index

    @property
    def is_durable(self) -> bool:
        """All that was put into the log is on this node's disk, term and vote included."""
        return self._wal.durable_position >= self._wal.position

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; None where the journal does not hold it (any more, or yet)."""
        offset = index - self.base_index
        return self._entries[offset].term if 0 <= offset < len(self._entries) else None

    def command_at(self, index: int) -> bytes:
        return self._entries[index - self.base_index].command

    def batch_from(self, index: int, limit_bytes: int) -> Sequence[JournalEntry]:
        """Entries from `index` on, at least one if there is one, until their commands exceed `limit_bytes`.

        O(entries returned): a follower that is far behind must not make the leader copy the whole log.
        """
        start = index - self.base_index
        assert start > 0
        end = start
        size_bytes = 0
        while end < len(self._entries):
            size_bytes += len(self._entries[end].command)
            if size_bytes > limit_bytes and end > start:
                break
            end += 1
        return self._entries[start:end]

    def oldest_index_within(self, limit_bytes: int, limit_entries: int, upto: int) -> int:
        """The lowest base behind which the entries up to `upto` fit both limits: what compaction may forget.

        O(entries that fit).
        """
        index = upto
        size_bytes = 0
        while index > self.base_index and upto - index < limit_entries:
            size_bytes += len(self.command_at(index))
            if size_bytes > limit_bytes:
                break
            index -= 1
        return index

    def compact(self, index: int) -> None:
        """Forget the entries up to `index`, which a durable snapshot covers; entry `index` becomes the base."""
        offset = index - self.base_index
        assert 0 <= offset < len(self._entries)
        base = self._entries[offset]
        self._entries = [JournalEntry(b"", base.index, base.term), *self._entries[offset + 1 :]]
        self._size_bytes = sum(len(entry.command) for entry in self._entries)

    def reset(self, index: int, term: int) -> None:
        """Start anew behind an installed snapshot at (`index`, `term`)."""
        self._entries = [JournalEntry(b"", index, term)]
        self._size_bytes = 0
        self._wal.reset(index, term)
