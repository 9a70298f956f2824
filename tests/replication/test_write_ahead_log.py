"""The log on disk, record by record: what is recovered, what is refused, what `durable_index` promises."""

from __future__ import annotations

from random import Random

import pytest

from raftbook.errors import DamagedLogError, DataFolderError, StorageFullError
from raftbook.replication.disk import FileDisk
from raftbook.replication.log_records import HEADER_BYTES, LogState, Record, RecordKind, encode_record
from raftbook.replication.write_ahead_log import Identity, RecoveredLog, WriteAheadLog, inspect
from raftbook.simulation.disk import PowerLossError, SimulatedDisk

N1 = Identity("local-3", "n1")


def flush(log: WriteAheadLog) -> None:
    batch = log.take_batch()
    if batch is not None:
        log.write_batch(batch)
        log.mark_durable(batch)


def append(log: WriteAheadLog, *indexes: int, term: int = 1, command: bytes | None = None) -> None:
    for index in indexes:
        log.append(index, term, b"command %d/%d" % (index, term) if command is None else command)


def entries(*indexes: int, term: int = 1) -> list[tuple[int, int, bytes]]:
    return [(index, term, b"command %d/%d" % (index, term)) for index in indexes]


def reopen(disk) -> RecoveredLog:
    """What the node would find after a restart; on a copy, so that the test can go on."""
    return WriteAheadLog.open(disk.clone() if isinstance(disk, SimulatedDisk) else disk, N1)[1]


def log_names(disk) -> list[str]:
    return [name for name in disk.names() if name.startswith("log-")]


# What goes in comes out.


def test_new_log_is_empty_in_term_zero_and_no_voter():
    assert reopen(SimulatedDisk()) == RecoveredLog(0, None, False, 0, 0, [])


@pytest.mark.parametrize("disk", [SimulatedDisk, FileDisk])
def test_everything_that_was_flushed_is_recovered(disk, tmp_path):
    disk = disk(tmp_path) if disk is FileDisk else disk()
    log, _ = WriteAheadLog.open(disk, N1)
    log.record_voter(True)
    log.record_vote(1, "n1")
    append(log, 1, 2, 3)
    flush(log)
    log.truncate_from(3)
    log.record_vote(4, None)
    append(log, 3, 4, term=4)
    append(log, 5, term=4, command=b"")
    flush(log)
    expected = RecoveredLog(4, None, True, 0, 0, entries(1, 2) + entries(3, 4, term=4) + [(5, 4, b"")])
    found = inspect(disk)
    assert (found.identity, found.log, found.damage) == (N1, expected, None)
    assert reopen(disk) == expected
    assert reopen(disk) == expected


def test_a_recovered_log_goes_on_where_it_ended():
    disk = SimulatedDisk()
    for start in (1, 4, 7):
        log, recovered = WriteAheadLog.open(disk, N1)
        assert recovered.entries == entries(*range(1, start))
        assert log.last_index == log.durable_index == start - 1
        append(log, start, start + 1, start + 2)
        flush(log)


def test_entries_imply_their_term():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    log.record_vote(2, "n3")
    append(log, 1, term=5)
    flush(log)
    recovered = reopen(disk)
    assert (recovered.term, recovered.voted_for) == (5, None)


def test_many_segments_are_one_log():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    log.record_vote(3, "n2")
    for index in range(1, 101):
        append(log, index, term=3)
        flush(log)
    assert len(log_names(disk)) > 10
    recovered = reopen(disk)
    assert recovered.entries == entries(*range(1, 101), term=3)
    assert (recovered.term, recovered.voted_for) == (3, "n2")


def test_one_sync_per_batch():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    append(log, *range(1, 1001))
    before = disk.sync_count
    flush(log)
    assert disk.sync_count == before + 1


# What a programmer must not do.


@pytest.mark.parametrize(
    "mistake",
    [
        lambda log: append(log, 3),
        lambda log: append(log, 5),
        lambda log: append(log, 4, term=1),
        lambda log: log.truncate_from(5),
        lambda log: log.truncate_from(0),
        lambda log: log.record_vote(1, "n1"),
        lambda log: log.record_vote(2, "n2"),
        lambda log: log.record_vote(2, None),
        lambda log: log.append(4, 2**63, b""),
    ],
)
def test_what_breaks_the_log_is_an_assertion_and_changes_nothing(mistake):
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    log.record_vote(2, "n1")
    append(log, 1, 2, 3, term=2)
    position = log.position
    with pytest.raises(AssertionError):
        mistake(log)
    assert log.position == position
    flush(log)
    assert reopen(disk) == RecoveredLog(2, "n1", False, 0, 0, entries(1, 2, 3, term=2))


def test_one_batch_at_a_time():
    log, _ = WriteAheadLog.open(SimulatedDisk(), N1)
    assert log.take_batch() is None
    append(log, 1)
    batch = log.take_batch()
    append(log, 2)
    with pytest.raises(AssertionError, match="under way"):
        log.take_batch()
    log.write_batch(batch)
    log.mark_durable(batch)
    with pytest.raises(AssertionError, match="not under way"):
        log.mark_durable(batch)


def test_after_a_failed_write_nothing_more_is_written():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    append(log, 1)
    disk.fail_after = 1
    batch = log.take_batch()
    with pytest.raises(PowerLossError):
        log.write_batch(batch)
    disk.fail_after = None
    with pytest.raises(AssertionError, match="failed"):
        log.write_batch(batch)


# What is durable.


def test_positions_count_records_and_durable_position_waits_for_the_disk():
    log, _ = WriteAheadLog.open(SimulatedDisk(), N1)
    log.record_vote(1, "n1")
    append(log, 1, 2)
    assert (log.position, log.durable_position, log.durable_index) == (3, 0, 0)
    batch = log.take_batch()
    append(log, 3)
    log.write_batch(batch)
    assert (log.position, log.durable_position, log.durable_index) == (4, 0, 0)
    log.mark_durable(batch)
    assert (log.position, log.durable_position, log.durable_index) == (4, 3, 2)


def test_truncation_lowers_durable_index_at_once():
    log, _ = WriteAheadLog.open(SimulatedDisk(), N1)
    append(log, *range(1, 11))
    flush(log)
    log.truncate_from(5)
    assert log.durable_index == 4
    append(log, 5, 6, term=2)
    assert log.durable_index == 4
    flush(log)
    assert log.durable_index == 6


def test_a_batch_under_way_does_not_vouch_for_what_replaced_its_entries():
    log, _ = WriteAheadLog.open(SimulatedDisk(), N1)
    append(log, *range(1, 11))
    batch = log.take_batch()
    log.truncate_from(8)
    append(log, *range(8, 21), term=2)
    log.write_batch(batch)
    log.mark_durable(batch)
    assert log.durable_index == 7
    flush(log)
    assert log.durable_index == 20


def test_a_batch_under_way_does_not_outlive_a_reset():
    log, _ = WriteAheadLog.open(SimulatedDisk(), N1)
    append(log, *range(1, 11))
    batch = log.take_batch()
    log.reset(5, 3)
    append(log, 6, 7, term=3)
    log.write_batch(batch)
    log.mark_durable(batch)
    assert log.durable_index == 5
    flush(log)
    assert log.durable_index == 7


# Torn tails, and damage.


def small_log(segment_size_bytes: int = 500) -> tuple[SimulatedDisk, RecoveredLog]:
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=segment_size_bytes)
    log.record_voter(True)
    log.record_vote(1, "n1")
    flush(log)
    for index in range(1, 10):
        append(log, index)
        flush(log)
    log.truncate_from(9)
    log.record_vote(2, "n3")
    append(log, 9, 10, term=2)
    flush(log)
    return disk, RecoveredLog(2, "n3", True, 0, 0, entries(*range(1, 9)) + entries(9, 10, term=2))


def test_every_single_flipped_bit_is_found_or_touches_only_the_last_mark():
    disk, whole = small_log()
    names = log_names(disk)
    assert len(names) >= 3
    for name in names:
        data = disk.contents()[name]
        unvouched_from = len(data) - HEADER_BYTES if name == names[-1] else len(data)
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            disk.put(name, bytes(flipped))
            found = inspect(disk)
            if bit // 8 >= unvouched_from:
                assert (found.damage, found.log) == (None, whole)
            else:
                assert found.damage is not None
                assert found.damage.path == disk.path(name)
                assert found.damage.offset <= bit // 8
                readable = [] if found.log is None else found.log.entries
                assert readable[:8] == whole.entries[: len(readable)][:8]
        disk.put(name, data)


def test_a_damaged_log_says_where_and_what_to_do():
    disk, _ = small_log()
    name = log_names(disk)[0]
    data = bytearray(disk.contents()[name])
    data[-1] ^= 1
    disk.put(name, bytes(data))
    with pytest.raises(DamagedLogError) as refusal:
        WriteAheadLog.open(disk, N1)
    assert f"/simulated/{name} is damaged at byte {len(data) - HEADER_BYTES}" in str(refusal.value)
    assert "`raftbook node rebuild --config FILE --id n1`" in str(refusal.value)


def test_a_refused_log_is_left_as_it_is():
    disk, _ = small_log()
    name = log_names(disk)[0]
    disk.put(name, disk.contents()[name][:-1])
    before = disk.contents()
    with pytest.raises(DamagedLogError):
        WriteAheadLog.open(disk, N1)
    assert disk.contents() == before


def test_the_last_segment_cut_anywhere_gives_a_state_that_once_was():
    disk = SimulatedDisk()
    log, recovered = WriteAheadLog.open(disk, N1)
    states = [recovered]
    for record in (
        lambda: log.record_vote(1, "n1"),
        lambda: append(log, 1),
        lambda: append(log, 2),
        lambda: log.record_vote(2, "n2"),
        lambda: log.truncate_from(2),
        lambda: append(log, 2, term=3),
        lambda: log.record_voter(True),
    ):
        record()
        flush(log)
        states.append(inspect(disk).log)
    (name,) = log_names(disk)
    data = disk.contents()[name]
    refused = []
    seen = []
    for size in range(len(data) + 1):
        disk.put(name, data[:size])
        try:
            recovered = reopen(disk)
        except DamagedLogError:
            refused.append(size)
        else:
            assert recovered in states
            seen.append(states.index(recovered))
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(states)))
    # Without its header a segment never had its name.
    assert refused == list(range(len(refused)))


def test_an_earlier_segment_cut_anywhere_is_damage():
    disk, _ = small_log()
    name = log_names(disk)[1]
    data = disk.contents()[name]
    for size in range(len(data)):
        disk.put(name, data[:size])
        found = inspect(disk)
        # What is cut between two records is seen by the header that should follow.
        assert found.damage.path in (disk.path(name), disk.path(log_names(disk)[2]))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_segment_is_damage(missing):
    disk, _ = small_log()
    disk.vanish(log_names(disk)[missing])
    with pytest.raises(DamagedLogError, match="missing"):
        WriteAheadLog.open(disk, N1)


def test_segments_that_changed_places_are_damage():
    disk, _ = small_log()
    first, second, *_ = log_names(disk)
    contents = disk.contents()
    disk.put(first, contents[second])
    disk.put(second, contents[first])
    with pytest.raises(DamagedLogError):
        WriteAheadLog.open(disk, N1)


def test_a_hole_in_what_was_never_synced_is_a_torn_tail():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    append(log, 1, 2)
    flush(log)
    (name,) = log_names(disk)
    synced_bytes = disk.size(name)
    append(log, 3, 4, 5)
    disk.fail_after = 1  # The write goes through, the sync does not.
    with pytest.raises(PowerLossError):
        flush(log)
    disk.fail_after = None
    data = bytearray(disk.contents()[name])
    data[synced_bytes + 50] ^= 0xFF
    disk.put(name, bytes(data))
    log, recovered = WriteAheadLog.open(disk, N1)
    assert recovered.entries == entries(1, 2)
    # And what the cut removed does not come back behind new records.
    append(log, 3, term=2)
    flush(log)
    assert reopen(disk).entries == entries(1, 2) + entries(3, term=2)


def test_a_record_quoted_in_a_command_is_not_taken_for_one():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    (name,) = log_names(disk)
    start = disk.size(name)
    # It claims that everything before it is durable, but not that it stands where it does.
    quoted, _ = encode_record(Record(RecordKind.MARK), 0, start + HEADER_BYTES + 1, start + HEADER_BYTES)
    append(log, 1, command=quoted)
    flush(log)
    data = bytearray(disk.contents()[name][:-HEADER_BYTES])
    data[start + 20] ^= 1
    disk.put(name, bytes(data))
    assert reopen(disk).entries == []


def test_another_nodes_log_is_refused_and_says_whose_it_is():
    disk, _ = small_log()
    for stranger in (Identity("local-3", "n2"), Identity("prod", "n1")):
        with pytest.raises(DataFolderError, match=r"belongs to node n1 of cluster local-3, not to node .*--data-dir"):
            WriteAheadLog.open(disk, stranger)


def test_a_half_made_segment_is_removed():
    disk, whole = small_log()
    disk.create("log.tmp")
    disk.append("log.tmp", b"half")
    assert WriteAheadLog.open(disk, N1)[1] == whole
    assert "log.tmp" not in disk.names()


def test_a_segment_whose_name_was_not_durable_when_its_maker_was_killed_outlives_a_loss_of_power():
    for operations in range(6):
        disk = SimulatedDisk()
        disk.fail_after = operations
        with pytest.raises(PowerLossError):
            WriteAheadLog.open(disk, N1)
        disk.fail_after = None  # Only the process died.
        log, _ = WriteAheadLog.open(disk, N1)
        append(log, 1)
        flush(log)
        for seed in range(5):
            after = disk.clone()
            after.lose_power(Random(seed))
            assert reopen(after).entries == entries(1)


# Compaction and reset.


def test_compaction_removes_segments_and_keeps_vote_term_and_later_entries():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    log.record_voter(True)
    log.record_vote(7, "n2")
    for index in range(1, 51):
        append(log, index, term=3 if index < 30 else 6)
        flush(log)
    size_before = log.size_bytes
    log.compact(40)
    assert log.size_bytes < size_before / 3
    recovered = reopen(disk)
    assert recovered == RecoveredLog(7, "n2", True, 40, 6, entries(*range(41, 51), term=6))
    log.compact(20)
    assert reopen(disk) == recovered
    log.compact(50)
    assert len(log_names(disk)) == 1
    append(log, 51, term=7)
    flush(log)
    assert reopen(disk) == RecoveredLog(7, "n2", True, 50, 6, entries(51, term=7))


def test_compaction_goes_no_further_than_what_is_durable():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    append(log, 1, 2, 3)
    flush(log)
    append(log, 4, 5)
    log.compact(5)
    flush(log)
    assert reopen(disk) == RecoveredLog(1, None, False, 3, 1, entries(4, 5))


def test_compaction_after_a_truncation_into_removed_segments():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    for index in range(1, 21):
        append(log, index)
        flush(log)
    log.truncate_from(5)
    append(log, *range(5, 13), term=2)
    flush(log)
    log.compact(10)
    assert reopen(disk) == RecoveredLog(2, None, False, 10, 2, entries(11, 12, term=2))


def test_compaction_removes_segments_whose_later_entries_were_truncated():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    for index in range(1, 41):
        append(log, index)
        flush(log)
    log.truncate_from(11)
    append(log, 11, 12, term=2)
    flush(log)
    log.compact(12)
    assert len(log_names(disk)) == 1
    assert reopen(disk) == RecoveredLog(2, None, False, 12, 2, [])


def test_reset_starts_anew_and_removes_the_old_log():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    log.record_vote(9, "n1")
    for index in range(1, 31):
        append(log, index)
        flush(log)
    log.reset(100, 8)
    assert log.durable_index == log.last_index == 100
    append(log, 101, 102, term=8)
    flush(log)
    assert len(log_names(disk)) == 1
    assert reopen(disk) == RecoveredLog(9, "n1", False, 100, 8, entries(101, 102, term=8))


def test_many_truncations_do_not_make_the_files_grow_without_bound():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=1000)
    append(log, *range(1, 11))
    largest = 0
    for term in range(2, 400):
        append(log, *range(11, 16), term=term)
        flush(log)
        log.truncate_from(11)
        flush(log)
        largest = max(largest, sum(map(len, disk.contents().values())))
        assert log.size_bytes == sum(map(len, disk.contents().values()))
    assert largest < 12_000
    append(log, 11, term=400)
    flush(log)
    assert reopen(disk).entries == entries(*range(1, 11)) + entries(11, term=400)


def test_a_log_without_truncations_is_never_written_anew():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    for index in range(1, 200):
        append(log, index)
        flush(log)
    assert log_names(disk)[0] == "log-0000000000000001"


@pytest.mark.parametrize("seed", range(20))
def test_segments_whose_removal_was_undone_by_a_crash_do_no_harm(seed):
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    for index in range(1, 31):
        append(log, index)
        flush(log)
    removed = disk.clone()
    log.compact(28)
    gone = sorted(set(removed.contents()) - set(disk.contents()))
    assert len(gone) >= 5
    for name in Random(seed).sample(gone, 3):
        disk.put(name, removed.contents()[name])
    assert reopen(disk) == RecoveredLog(1, None, False, 28, 1, entries(29, 30))


def test_terms_are_found_by_index():
    state = LogState()
    terms = [1, 1, 3, 3, 3, 7]
    for index, term in enumerate(terms, start=1):
        state.apply(Record(RecordKind.ENTRY, index, term))
    assert [state.term_at(index) for index in range(7)] == [0, *terms]


def test_a_disk_without_any_room_can_be_read_and_is_written_to_again_when_there_is_some():
    """The mark behind what was recovered is left out, and nothing else."""
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1)
    log.append(1, 1, b"first")
    flush(log)
    disk.capacity_bytes = sum(len(data) for data in disk.contents().values()) + 5
    contents = disk.contents()

    log, recovered = WriteAheadLog.open(disk, N1)
    assert recovered.entries == [(1, 1, b"first")]
    assert disk.contents() == contents, "not even a part of the mark"
    log.append(2, 1, b"second")
    batch = log.take_batch()
    assert batch is not None
    with pytest.raises(StorageFullError):
        log.write_batch(batch)
    disk.capacity_bytes = None
    log, _ = WriteAheadLog.open(disk, N1)
    log.append(2, 1, b"second")
    flush(log)
    assert reopen(disk).entries == [(1, 1, b"first"), (2, 1, b"second")]


def test_what_must_be_written_on_a_full_disk_takes_its_room_from_the_reserve():
    disk = SimulatedDisk()
    log, _ = WriteAheadLog.open(disk, N1, segment_size_bytes=300)
    disk.capacity_bytes = sum(len(data) for data in disk.contents().values()) + 4096
    disk.reserve(4096)
    for index in range(1, 20):
        log.append(index, 1, b"a command")
        flush(log)
    log.record_vote(2, "n2")
    flush(log)
    assert len(disk.names()) > 2, "segments were begun"
    assert disk.reserve_bytes() == 0
    assert len(reopen(disk).entries) == 19
