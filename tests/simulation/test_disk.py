"""The simulated disk: that it does what a real one does, and fails as a real one fails."""

from __future__ import annotations

import random

import pytest

from raftbook.errors import DamagedLogError, SnapshotError, StorageError, StorageFullError
from raftbook.replication.disk import RESERVE_STEP_BYTES, FileDisk
from raftbook.replication.snapshot_store import SnapshotStore
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from raftbook.simulation.disk import PowerLossError, SimulatedDisk

N1 = Identity("local-3", "n1")
MIB = 1 << 20


@pytest.fixture
def disk():
    return SimulatedDisk()


def durable_file(disk, name, data):
    disk.create(name)
    disk.append(name, data)
    disk.sync(name)
    disk.sync_directory()


def after_power_loss(disk, seed):
    twin = disk.clone()
    twin.lose_power(random.Random(seed))
    return twin.contents()


def test_any_operations_leave_what_a_real_folder_holds(tmp_path):
    """3,000 operations in any order, on both disks."""
    rng = random.Random(7)
    simulated, real = SimulatedDisk(), FileDisk(tmp_path)
    for _ in range(3000):
        names = simulated.names()
        new = f"f{rng.randrange(12)}"
        operation = rng.choice(["create", "append", "append", "append", "truncate", "rename", "remove", "sync"])
        if operation == "create":
            if new in names:
                continue
            arguments = (new,)
        elif not names:
            continue
        else:
            name = rng.choice(names)
            arguments = {
                "append": (name, rng.randbytes(rng.randrange(50))),
                "truncate": (name, rng.randrange(simulated.size(name) + 1)),
                "rename": (name, new),
                "remove": (name,),
                "sync": (name,),
            }[operation]
            if operation == "rename" and name == new:
                continue
        for disk in (simulated, real):
            getattr(disk, operation)(*arguments)
        assert simulated.names() == real.names()
    simulated.sync_directory()
    for name in simulated.names():
        assert simulated.read(name) == real.read(name)
        assert simulated.read(name, 3, 5) == real.read(name, 3, 5)
        simulated.sync(name)
    real.close()
    assert after_power_loss(simulated, 1) == simulated.contents(), "all of it is durable now"


# ---------------------------------------------------------------- the power


def test_what_was_synced_survives_a_loss_of_power_and_the_rest_may(disk):
    durable_file(disk, "a", b"synced.")
    disk.append("a", b"written")
    found = {after_power_loss(disk, seed)["a"] for seed in range(200)}
    assert all(data.startswith(b"synced.") for data in found)
    assert {b"synced.", b"synced.written"} < found, "none of it, or all of it"
    assert any(b"synced." < data < b"synced.written" and b"\0" not in data for data in found), "its beginning"
    assert any(b"\0" in data for data in found), "or parts of it, and holes"


def test_names_survive_when_the_folder_was_synced_and_may_otherwise(disk):
    durable_file(disk, "a", b"1")
    disk.create("b")
    disk.rename("a", "c")
    found = {tuple(sorted(after_power_loss(disk, seed))) for seed in range(100)}
    assert found == {("a",), ("a", "b"), ("b", "c"), ("c",)}
    disk.sync_directory()
    assert {tuple(sorted(after_power_loss(disk, seed))) for seed in range(100)} == {("b", "c")}


def test_the_power_goes_after_so_many_changes(disk):
    disk.create("a")
    disk.fail_after = 2
    disk.append("a", b"1")
    disk.append("a", b"2")
    with pytest.raises(PowerLossError):
        disk.append("a", b"3")
    assert disk.read("a") == b"123", "done, but not durable"
    disk.lose_power(random.Random(1))
    assert disk.fail_after is None


def test_one_seed_tears_one_way(disk):
    for name in "abc":
        disk.create(name)
        disk.append(name, bytes(range(100)))
    assert after_power_loss(disk, 5) == after_power_loss(disk, 5)
    assert len({repr(after_power_loss(disk, seed)) for seed in range(20)}) > 10


# ---------------------------------------------------------------- no room


def test_a_write_beyond_the_capacity_is_refused_as_by_a_real_disk(disk):
    disk.capacity_bytes = 10
    disk.create("a")
    disk.append("a", b"123456")
    assert disk.free_bytes() == 4
    with pytest.raises(StorageFullError, match=r"cannot write /simulated/a: No space left on device; free some space"):
        disk.append("a", b"7890!")
    assert (disk.read("a"), disk.free_bytes()) == (b"123456", 4), "nothing of it was written"
    disk.append("a", b"7890")
    assert disk.free_bytes() == 0
    with pytest.raises(StorageFullError, match="cannot create /simulated/b: No space left"):
        disk.create("b")


def test_part_of_what_found_no_room_may_be_found_after_a_loss_of_power(disk):
    durable_file(disk, "a", b"1234")
    disk.capacity_bytes = 7
    with pytest.raises(StorageFullError):
        disk.append("a", b"567890")
    found = {after_power_loss(disk, seed)["a"] for seed in range(100)}
    assert {b"1234", b"1234567"} <= found
    assert max(map(len, found)) == 7, "no more than there was room for"


def test_room_comes_back_by_removing_cutting_and_replacing_files(disk):
    disk.capacity_bytes = 100
    for name in ("a", "b", "c"):
        disk.create(name)
        disk.append(name, bytes(30))
    assert disk.free_bytes() == 10
    disk.remove("a")
    assert disk.free_bytes() == 40
    disk.truncate("b", 5)
    assert disk.free_bytes() == 65
    disk.rename("b", "c")
    assert disk.free_bytes() == 95
    disk.capacity_bytes = 3
    assert disk.free_bytes() == 0, "others have filled it"


def test_the_reserve_gives_up_what_is_missing_to_those_who_may_use_it(disk):
    disk.capacity_bytes = 4 * MIB
    disk.reserve(3 * MIB)
    assert (disk.reserve_bytes(), disk.free_bytes()) == (3 * MIB, MIB)
    disk.reserve(5 * MIB)
    assert disk.reserve_bytes() == 3 * MIB, "there is no room for that"
    disk.create("a")
    disk.append("a", bytes(MIB))
    with pytest.raises(StorageFullError):
        disk.append("a", b"1")
    with pytest.raises(StorageFullError):
        disk.create("b")
    assert disk.reserve_bytes() == 3 * MIB

    disk.append("a", b"1", may_use_reserve=True)
    assert (disk.reserve_bytes(), disk.free_bytes()) == (3 * MIB - RESERVE_STEP_BYTES, RESERVE_STEP_BYTES - 1)
    disk.append("a", bytes(2 * MIB - 1), may_use_reserve=True)
    disk.append("a", bytes(MIB), may_use_reserve=True)
    assert (disk.reserve_bytes(), disk.free_bytes(), disk.size("a")) == (0, 0, 4 * MIB)
    with pytest.raises(StorageFullError):
        disk.append("a", b"1", may_use_reserve=True)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create", ("new",)),
        ("append", ("a", b"more")),
        ("sync", ("a",)),
        ("truncate", ("a", 1)),
        ("rename", ("a", "b")),
        ("remove", ("a",)),
        ("sync_directory", ()),
    ],
)
def test_the_nth_operation_of_a_kind_fails_once(disk, operation, arguments):
    durable_file(disk, "a", b"data")
    before = disk.operation_counts[operation]
    disk.error_after[operation] = 1
    twin = disk.clone()
    getattr(twin, operation)(*arguments)
    # As before, so that the same can be done again.
    twin.put("a", b"data")
    if operation == "create":
        twin.vanish("new")
    with pytest.raises(StorageError, match=r"Input/output error; that disk is failing") as refused:
        getattr(twin, operation)(*arguments)
    assert not isinstance(refused.value, StorageFullError)
    getattr(twin, operation)(*arguments)
    assert twin.operation_counts[operation] == before + 3
    assert disk.error_after == {operation: 1}, "a clone has switches of its own"


def test_what_a_failed_sync_should_have_written_is_gone_though_the_next_sync_succeeds(disk):
    durable_file(disk, "a", b"old.")
    disk.append("a", b"lost")
    disk.error_after["sync"] = 0
    with pytest.raises(StorageError, match="cannot sync /simulated/a"):
        disk.sync("a")
    disk.append("a", b".new")
    disk.sync("a")
    assert disk.read("a") == b"old.lost.new", "the cache has it still"
    assert after_power_loss(disk, 1)["a"] == b"old.\0\0\0\0.new"
    disk.drop_caches()
    assert disk.read("a") == b"old.\0\0\0\0.new"


def test_dropped_caches_show_only_after_a_failed_sync(disk):
    durable_file(disk, "a", b"0123456789")
    disk.truncate("a", 4)
    disk.append("a", b"x")
    disk.drop_caches()
    assert disk.read("a") == b"0123x"


def test_names_whose_sync_failed_get_to_the_disk_with_the_next_one(disk):
    durable_file(disk, "a", b"1")
    disk.rename("a", "b")
    disk.error_after["sync_directory"] = 0
    with pytest.raises(StorageError, match="cannot sync the folder"):
        disk.sync_directory()
    disk.sync_directory()
    assert disk.names() == ["b"]
    assert {tuple(after_power_loss(disk, seed)) for seed in range(50)} == {("b",)}


def test_a_write_that_fails_may_have_been_done_in_part(disk):
    disk.create("a")
    disk.error_after["append"] = 0
    with pytest.raises(StorageError):
        disk.append("a", b"0123456789")
    assert disk.read("a") == b"01234"


# ---------------------------------------------------------------- bits


def test_a_bit_flips_in_one_of_the_files_and_stays_flipped(disk):
    durable_file(disk, "a", bytes(1000))
    durable_file(disk, "b", bytes(1000))
    disk.create("c")
    disk.append("c", b"not durable")
    flipped = disk.rot(random.Random(3), ["b", "c", "gone"])
    assert flipped is not None
    assert disk.read("a") == bytes(1000)
    data = disk.read("b")
    (position,) = [position for position in range(1000) if data[position]]
    assert data[position].bit_count() == 1
    assert flipped == f"bit {data[position].bit_length() - 1} of byte {position} of /simulated/b flipped"
    disk.drop_caches()
    assert disk.read("b") == data
    assert after_power_loss(disk, 1)["b"] == data
    assert disk.clone().rot(random.Random(3), ["c", "gone"]) is None


def test_a_log_with_a_flipped_bit_is_refused_and_so_is_a_snapshot():
    """Every bit counts; only in the last segment may damage look like a torn tail, so it is left out here."""
    original = SimulatedDisk()
    log, _ = WriteAheadLog.open(original, N1, segment_size_bytes=2000)
    for index in range(1, 60):
        log.append(index, 1, b"command %d" % index)
        batch = log.take_batch()
        log.write_batch(batch)
        log.mark_durable(batch)
    store = SnapshotStore(original, N1)
    store.write(30, 1, bytes(range(256)) * 10)
    store.adopt(30, 1)
    segments = [name for name in original.names() if name.startswith("log-")]
    assert len(segments) > 2
    for seed in range(100):
        disk = original.clone()
        disk.rot(random.Random(seed), segments[:-1])
        with pytest.raises(DamagedLogError, match="rebuild it from its peers"):
            WriteAheadLog.open(disk, N1)
        disk = original.clone()
        disk.rot(random.Random(seed), ["snapshot-0000000000000030-0000000000000001"])
        with pytest.raises(SnapshotError):
            SnapshotStore(disk, N1).latest()


# ---------------------------------------------------------------- those who look on


class KilledError(Exception):
    pass


def test_a_watcher_sees_every_operation_before_it_is_done_and_may_prevent_it(disk):
    seen = []

    def watch(operation, name):
        seen.append((operation, name, disk.contents()))
        if operation == "remove":
            raise KilledError

    disk.on_operation = watch
    disk.create("a")
    disk.append("a", b"1")
    disk.sync("a")
    disk.truncate("a", 0)
    disk.rename("a", "b")
    disk.sync_directory()
    with pytest.raises(KilledError):
        disk.remove("b")
    assert seen == [
        ("create", "a", {}),
        ("append", "a", {"a": b""}),
        ("sync", "a", {"a": b"1"}),
        ("truncate", "a", {"a": b"1"}),
        ("rename", "a", {"a": b""}),
        ("sync_directory", "", {"b": b""}),
        ("remove", "b", {"b": b""}),
    ]
    assert disk.contents() == {"b": b""}
    assert set(disk.operation_counts.values()) == {1}
    twin = disk.clone()
    twin.remove("b")
    assert len(seen) == 7, "nobody watches a clone"
