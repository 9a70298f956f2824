"""The log in memory: what is read from it, and what it hands to the write-ahead log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftbook.replication.journal import Journal
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from raftbook.simulation.disk import SimulatedDisk

IDENTITY = Identity("c", "n1")


class Storage:
    def __init__(self) -> None:
        self.disk = SimulatedDisk()
        self.reopen()

    def reopen(self) -> None:
        self.wal, recovered = WriteAheadLog.open(self.disk, IDENTITY)
        self.journal = Journal(self.wal, recovered)

    def sync(self) -> None:
        batch = self.wal.take_batch()
        if batch is not None:
            self.wal.write_batch(batch)
            self.wal.mark_durable(batch)

    def fill(self, *commands: bytes, term: int = 1) -> None:
        for command in commands:
            self.journal.add(command, self.journal.last_index + 1, term)


def contents(journal: Journal) -> list[tuple[bytes, int, int]]:
    return [tuple(entry) for entry in journal[:]]


def test_a_new_log_holds_its_base_alone():
    journal = Storage().journal
    assert contents(journal) == [(b"", 0, 0)]
    assert (journal.base_index, journal.last_index, journal.last_term, journal.durable_index) == (0, 0, 0, 0)


def test_entries_are_durable_when_they_are_synced():
    storage = Storage()
    storage.fill(b"a", b"b")
    assert (storage.journal.last_index, storage.journal.durable_index) == (2, 0)
    storage.sync()
    assert storage.journal.durable_index == 2


def test_what_was_synced_is_there_after_a_restart():
    storage = Storage()
    storage.journal.record_vote(3, "n2")
    storage.fill(b"a", b"b", term=3)
    storage.sync()
    before = contents(storage.journal)
    storage.reopen()
    assert contents(storage.journal) == before
    assert (storage.journal.term, storage.journal.voted_for) == (3, "n2")


def test_truncation_takes_back_what_was_durable():
    storage = Storage()
    storage.fill(b"a", b"b", b"c")
    storage.sync()
    storage.journal.delete_from_offset(2)
    assert (storage.journal.last_index, storage.journal.durable_index, storage.journal.size_bytes) == (1, 1, 1)
    storage.fill(b"other", term=2)
    assert storage.journal.durable_index == 1
    storage.sync()
    assert storage.journal.durable_index == 2
    storage.reopen()
    assert contents(storage.journal) == [(b"", 0, 0), (b"a", 1, 1), (b"other", 2, 2)]


def test_what_is_compacted_is_gone_but_its_term():
    storage = Storage()
    storage.fill(b"a", b"bb", b"ccc")
    storage.journal.compact(2)
    journal = storage.journal
    assert contents(journal) == [(b"", 2, 1), (b"ccc", 3, 1)]
    assert [journal.term_at(index) for index in (1, 2, 3, 4)] == [None, 1, 1, None]
    assert journal.size_bytes == 3


def test_a_reset_begins_behind_the_snapshot():
    storage = Storage()
    storage.fill(b"a", b"b")
    storage.sync()
    storage.journal.reset(10, 4)
    assert contents(storage.journal) == [(b"", 10, 4)]
    assert storage.journal.size_bytes == 0
    storage.fill(b"c", term=4)
    storage.sync()
    storage.reopen()
    assert contents(storage.journal) == [(b"", 10, 4), (b"c", 11, 4)]


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=20), st.integers(0, 60), st.data())
def test_a_batch_is_as_long_as_its_limit_allows_and_never_empty(commands, limit_bytes, data):
    storage = Storage()
    storage.fill(*commands)
    start = data.draw(st.integers(1, len(commands)))
    batch = storage.journal.batch_from(start, limit_bytes)
    assert [entry.command for entry in batch] == commands[start - 1 : start - 1 + len(batch)]
    size_bytes = sum(len(entry.command) for entry in batch)
    assert len(batch) == 1 or size_bytes <= limit_bytes
    if start - 1 + len(batch) < len(commands):
        assert size_bytes + len(commands[start - 1 + len(batch)]) > limit_bytes


@given(st.lists(st.binary(max_size=10), max_size=20), st.integers(0, 60), st.integers(0, 25), st.data())
def test_compaction_may_keep_what_fits_both_limits(commands, limit_bytes, limit_entries, data):
    storage = Storage()
    storage.fill(*commands)
    upto = data.draw(st.integers(0, len(commands)))
    index = storage.journal.oldest_index_within(limit_bytes, limit_entries, upto)
    kept = commands[index:upto]
    assert len(kept) <= limit_entries
    assert sum(map(len, kept)) <= limit_bytes
    if index > 0:
        assert len(kept) == limit_entries or sum(map(len, kept)) + len(commands[index - 1]) > limit_bytes
