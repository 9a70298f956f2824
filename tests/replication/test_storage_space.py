"""When a node has room, when it has none, and how it comes by its reserve again."""

from __future__ import annotations

import pytest

from raftbook.replication.disk import RESERVE_STEP_BYTES
from raftbook.replication.storage_space import (
    DEFAULT_MARGIN_BYTES,
    MAX_RESERVE_FILE_BYTES,
    DiskWatch,
    StorageFigures,
    StorageSpace,
    keep_reserve,
    majority_lacks_room,
    reserve_file_bytes,
)
from raftbook.simulation.disk import SimulatedDisk

MIB = 1 << 20
MARGIN = 16 * MIB


def test_a_node_is_full_below_its_margin_and_has_room_again_an_eighth_above_it():
    space = StorageSpace(MARGIN)
    assert space.has_room
    for free_bytes, changes, has_room in [
        (100 * MIB, False, True),
        (MARGIN, False, True),
        (MARGIN - 1, True, False),
        (MARGIN, False, False),
        (MARGIN + MARGIN // 8 - 1, False, False),
        (MARGIN + MARGIN // 8, True, True),
        (MARGIN, False, True),
        (0, True, False),
    ]:
        assert space.measured(StorageFigures(free_bytes, MARGIN)) is changes
        assert space.has_room is has_room


def test_a_node_whose_reserve_was_broken_into_is_full_however_much_is_free():
    space = StorageSpace(MARGIN)
    assert space.has_whole_reserve
    assert space.measured(StorageFigures(1000 * MIB, MARGIN - 1))
    assert not space.has_room
    assert not space.has_whole_reserve
    assert space.measured(StorageFigures(1000 * MIB, MARGIN))
    assert space.has_room


def test_the_reserve_file_is_as_large_as_the_margin_up_to_a_bound():
    assert reserve_file_bytes(MIB) == MIB
    assert reserve_file_bytes(DEFAULT_MARGIN_BYTES) == MAX_RESERVE_FILE_BYTES


class TestDiskWatch:
    def make(self) -> tuple[SimulatedDisk, DiskWatch]:
        disk = SimulatedDisk()
        disk.capacity_bytes = 100 * MIB
        watch = DiskWatch(disk, MARGIN)
        assert watch.measure() == StorageFigures(84 * MIB, 16 * MIB)
        return disk, watch

    def test_small_writes_are_measured_behind_once_they_are_a_good_part_of_the_margin(self):
        _disk, watch = self.make()
        step_bytes = MARGIN // 64
        measured = [log_bytes for log_bytes in range(0, 3 * step_bytes + 1, 1024) if watch.written(log_bytes)]
        assert measured == [step_bytes, 2 * step_bytes, 3 * step_bytes]

    def test_a_large_write_is(self):
        _disk, watch = self.make()
        assert watch.written(MIB) == StorageFigures(84 * MIB, 16 * MIB)

    def test_a_log_that_was_compacted_is(self):
        _disk, watch = self.make()
        watch.written(MIB)
        assert watch.written(1024)

    def test_a_write_that_needed_the_reserve_is_however_small(self):
        disk, watch = self.make()
        disk.reserve(15 * MIB)
        disk.capacity_bytes = 15 * MIB
        assert watch.written(1024) == StorageFigures(0, 15 * MIB)
        assert watch.written(1024) is None

    def test_the_next_write_is_where_somebody_asked_for_it(self):
        _disk, watch = self.make()
        watch.is_due = True
        assert watch.written(1024)
        assert watch.written(1024) is None


def test_the_reserve_is_taken_at_once_where_there_is_room():
    disk = SimulatedDisk()
    disk.capacity_bytes = 100 * MIB
    assert keep_reserve(disk, MARGIN) == StorageFigures(84 * MIB, 16 * MIB)
    assert keep_reserve(disk, MARGIN) == StorageFigures(84 * MIB, 16 * MIB)


@pytest.mark.parametrize(
    ("free_bytes", "taken_bytes"),
    [
        (0, 0),
        (2 * RESERVE_STEP_BYTES - 1, 0),
        (2 * RESERVE_STEP_BYTES, RESERVE_STEP_BYTES),
        (20 * MIB, 10 * MIB),
        (32 * MIB - 2, 16 * MIB - 1),
        (32 * MIB, 16 * MIB),
    ],
)
def test_of_little_room_the_reserve_takes_half_in_steps(free_bytes, taken_bytes):
    disk = SimulatedDisk()
    disk.capacity_bytes = free_bytes
    assert keep_reserve(disk, MARGIN) == StorageFigures(free_bytes - taken_bytes, taken_bytes)


def test_what_is_left_of_a_small_lack_is_taken_whatever_the_step():
    disk = SimulatedDisk()
    disk.reserve(MARGIN - 100)
    assert keep_reserve(disk, MARGIN).reserve_bytes == MARGIN


def test_a_node_does_not_change_its_mind_by_taking_its_reserve_back():
    """Room comes byte by byte: full, full, full, then room, and nothing after that."""
    disk = SimulatedDisk()
    space = StorageSpace(MARGIN)
    space.measured(keep_reserve(disk, MARGIN))
    disk.capacity_bytes = 0
    disk.reserve(0)
    space.measured(keep_reserve(disk, MARGIN))
    changes = []
    for capacity_bytes in range(0, 64 * MIB, MIB // 4):
        disk.capacity_bytes = capacity_bytes
        if space.measured(keep_reserve(disk, MARGIN)):
            changes.append((capacity_bytes, space.has_room))
    assert changes == [(2 * MARGIN + MARGIN // 8, True)]


@pytest.mark.parametrize(
    ("have_room", "lacks"),
    [
        ([True, True, True], False),
        ([True, True, False], False),
        ([True, False, False], True),
        ([True, True], False),
        ([True, False], True),
        ([True], False),  # Nobody else can be reached: that is no matter of room.
        ([False], False),
    ],
)
def test_a_majority_lacks_room(have_room, lacks):
    assert majority_lacks_room(3, have_room) is lacks
    assert majority_lacks_room(1, [False])
    assert not majority_lacks_room(1, [True])
