"""Snapshots: whole and verified, or refused by name; made here, in a child, or from a peer's pieces."""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.errors import DataFolderError, NotHeldError, SnapshotError
from raftbook.replication.disk import FileDisk
from raftbook.replication.snapshot_store import SnapshotInfo, SnapshotReceiver, SnapshotStore, body_digest
from raftbook.replication.write_ahead_log import Identity
from raftbook.simulation.disk import PowerLossError, SimulatedDisk

N1 = Identity("local-3", "n1")
BODY = b"the whole book"
FIVE = "snapshot-0000000000000005-0000000000000002"
NINE = "snapshot-0000000000000009-0000000000000002"


def write(store: SnapshotStore, index: int, body: bytes = BODY, term: int = 2) -> SnapshotInfo:
    info = store.write(index, term, body)
    assert store.adopt(index, term) == info
    return info


def test_no_snapshot():
    assert SnapshotStore(SimulatedDisk(), N1).latest() is None


@pytest.mark.parametrize("disk", [SimulatedDisk, FileDisk])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_what_is_written_is_found_again(disk, size, tmp_path):
    disk = disk(tmp_path) if disk is FileDisk else disk()
    body = Random(size).randbytes(size)
    info = write(SnapshotStore(disk, N1), 5, body)
    assert info == SnapshotInfo(5, 2, size, body_digest(body))
    store = SnapshotStore(disk, N1)
    assert store.latest() == info
    assert store.load(info) == body
    assert store.read_chunk(info, size // 2, 1000) == body[size // 2 :][:1000]
    assert store.read_chunk(info, size, 1000) == b""


def test_the_newest_two_are_kept():
    disk = SimulatedDisk()
    store = SnapshotStore(disk, N1)
    first = write(store, 5)
    for index in (9, 100, 20_000):
        write(store, index)
    assert store.indexes() == [(100, 2), (20_000, 2)]
    assert store.latest().index == 20_000
    with pytest.raises(NotHeldError, match="entry 5 has been removed"):
        store.read_chunk(first, 0, 10)


def test_half_written_files_are_removed():
    disk = SimulatedDisk()
    disk.create(f"{FIVE}.123.tmp")
    disk.create("incoming-snapshot.tmp")
    disk.create("log.tmp")
    SnapshotStore(disk, N1)
    assert disk.names() == ["log.tmp"]


def test_a_child_writes_and_the_parent_adopts(tmp_path):
    disk = FileDisk(tmp_path)
    store = SnapshotStore(disk, N1)
    write(store, 1)
    child = os.fork()
    if child == 0:
        store.write(5, 2, BODY)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.latest().index == 1
    info = store.adopt(5, 2)
    assert store.latest() == info
    assert store.load(info) == BODY
    disk.close()


@pytest.mark.parametrize("seed", range(10))
def test_power_fails_after_every_operation_of_a_write(seed):
    for operations in range(10):
        disk = SimulatedDisk()
        old = write(SnapshotStore(disk, N1), 5)
        disk.sync_directory()
        disk.fail_after = operations
        finished = True
        try:
            store = SnapshotStore(disk, N1)
            store.write(9, 2, b"new")
            store.accept(9, 2)
            disk.sync_directory()
        except PowerLossError:
            finished = False
        disk.lose_power(Random(seed))
        store = SnapshotStore(disk, N1)
        latest = store.latest()
        assert latest in ([] if finished else [old]) + [SnapshotInfo(9, 2, 3, body_digest(b"new"))]
        assert store.load(latest) == (b"new" if latest.index == 9 else BODY)
        assert not any(name.endswith(".tmp") for name in disk.names())
    assert finished


# Damage.


def test_every_single_flipped_bit_and_every_cut_is_refused():
    disk = SimulatedDisk()
    write(SnapshotStore(disk, N1), 5)
    data = disk.contents()[FIVE]
    damaged = [data[:size] for size in range(len(data))] + [data + b"x"]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for each in damaged:
        disk.put(FIVE, each)
        with pytest.raises(SnapshotError, match=rf"/simulated/{FIVE} is damaged: .*`raftbook node rebuild .* --id n1`"):
            SnapshotStore(disk, N1).latest()


def test_a_damaged_newest_is_not_passed_over_but_the_older_is_named():
    disk = SimulatedDisk()
    store = SnapshotStore(disk, N1)
    write(store, 5)
    write(store, 9)
    disk.put(NINE, disk.contents()[NINE][:-1])
    with pytest.raises(SnapshotError, match=rf"{NINE} is damaged.*if the log reaches back to entry 5, move the file"):
        SnapshotStore(disk, N1).latest()
    disk.vanish(NINE)
    assert SnapshotStore(disk, N1).latest(log_base_index=5).index == 5


@pytest.mark.parametrize(("held", "said"), [([], "there is no snapshot"), ([5], "the newest snapshot ends at entry 5")])
def test_a_log_that_begins_behind_the_newest_snapshot_is_refused(held, said):
    store = SnapshotStore(SimulatedDisk(), N1)
    for index in held:
        write(store, index)
    with pytest.raises(SnapshotError, match=f"begins behind entry 6, but {said}; rebuild this node"):
        store.latest(log_base_index=6)


def test_damage_after_opening_is_found_on_load():
    disk = SimulatedDisk()
    store = SnapshotStore(disk, N1)
    info = write(store, 5)
    disk.put(FIVE, disk.contents()[FIVE][:-1] + b"X")
    with pytest.raises(SnapshotError, match="digest"):
        store.load(info)


def test_another_clusters_snapshot_is_refused():
    disk = SimulatedDisk()
    write(SnapshotStore(disk, N1), 5)
    with pytest.raises(DataFolderError, match="belongs to cluster local-3, not to prod"):
        SnapshotStore(disk, Identity("prod", "n1")).latest()


def test_a_snapshot_under_anothers_name_is_refused():
    disk = SimulatedDisk()
    write(SnapshotStore(disk, N1), 5)
    disk.rename(FIVE, NINE)
    with pytest.raises(SnapshotError, match="entry 5, term 2 under another's name"):
        SnapshotStore(disk, N1).latest()


# From a peer.


def finish(store: SnapshotStore, taker: SnapshotReceiver) -> SnapshotInfo:
    info = taker.finish()
    store.place_incoming(info)
    return store.accept(info.index, info.term)


def receiver(disk=None, **options) -> tuple[SnapshotStore, SnapshotReceiver]:
    store = SnapshotStore(disk or SimulatedDisk(), N1)
    return store, store.receiver(**options)


@given(
    size=st.integers(0, 60),
    pieces=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=40),
)
def test_pieces_in_any_order_with_repeats_and_gaps_make_the_whole(size, pieces):
    body = Random(size).randbytes(size)
    store, taker = receiver()
    taker.begin(5, 2, size, body_digest(body))
    needed = 0
    for offset, length in pieces:
        end = min(offset + length, size)
        if offset <= size:
            if offset <= needed:
                needed = max(needed, end)
            assert taker.add(offset, body[offset:end]) == needed
    assert taker.add(needed, body[needed:]) == size
    info = finish(store, taker)
    assert store.latest() == info == SnapshotInfo(5, 2, size, body_digest(body))
    assert store.load(info) == body


def test_a_received_snapshot_survives_a_loss_of_power():
    disk = SimulatedDisk()
    store, taker = receiver(disk)
    taker.begin(5, 2, len(BODY), body_digest(BODY))
    taker.add(0, BODY)
    finish(store, taker)
    disk.lose_power(Random(1))
    store = SnapshotStore(disk, N1)
    assert store.load(store.latest()) == BODY


def test_a_whole_with_another_digest_is_dropped():
    store, taker = receiver()
    taker.begin(5, 2, len(BODY), body_digest(b"other"))
    taker.add(0, BODY)
    with pytest.raises(SnapshotError, match="does not have the digest announced"):
        finish(store, taker)
    assert store.latest() is None
    taker.begin(5, 2, len(BODY), body_digest(BODY))
    taker.add(0, BODY)
    assert finish(store, taker) == store.latest()


def test_an_unfinished_transfer_is_no_snapshot():
    disk = SimulatedDisk()
    store, taker = receiver(disk)
    taker.begin(5, 2, len(BODY), body_digest(BODY))
    taker.add(0, BODY[:4])
    with pytest.raises(SnapshotError, match="4 of 14 bytes came"):
        finish(store, taker)
    taker.begin(5, 2, len(BODY), body_digest(BODY))
    taker.abort()
    taker.abort()
    assert store.latest() is None
    assert disk.names() == []


def test_a_new_transfer_begins_from_nothing():
    store, taker = receiver()
    taker.begin(5, 2, 100, body_digest(b""))
    taker.add(0, b"something else")
    taker.begin(9, 2, len(BODY), body_digest(BODY))
    assert taker.add(4, BODY[4:]) == 0
    assert taker.add(0, BODY) == len(BODY)
    finish(store, taker)
    assert store.latest().index == 9


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        ((5, 2, 1001, bytes(32)), "1001 bytes, and this node takes 1000 at most"),
        ((5, 2, -1, bytes(32)), "-1 bytes"),
        ((0, 2, 10, bytes(32)), "entry 0"),
        ((10**16, 2, 10, bytes(32)), "entry 1"),
        ((5, -1, 10, bytes(32)), "term -1"),
        ((5, 2, 10, bytes(31)), "digest"),
    ],
)
def test_impossible_offers_are_refused(offer, said):
    disk = SimulatedDisk()
    _, taker = receiver(disk, max_size_bytes=1000)
    with pytest.raises(SnapshotError, match=said):
        taker.begin(*offer)
    assert disk.names() == []


@pytest.mark.parametrize(("offset", "data"), [(0, bytes(15)), (14, b"x"), (10**12, b"x"), (-1, b"x")])
def test_pieces_beyond_the_announced_size_are_refused(offset, data):
    _, taker = receiver()
    taker.begin(5, 2, len(BODY), body_digest(BODY))
    with pytest.raises(SnapshotError, match="of a snapshot of 14 bytes"):
        taker.add(offset, data)


def test_one_that_was_superseded_before_it_was_adopted_changes_nothing():
    """Found by the simulator: two newer ones came from the leader while it waited to be adopted."""
    disk = SimulatedDisk()
    store = SnapshotStore(disk, N1)
    store.write(5, 1, b"own")
    for index in (6, 7):
        store.write(index, 1, b"the leader's")
        store.adopt(index, 1)
    assert store.indexes() == [(6, 1), (7, 1)]
    assert store.adopt(5, 1).index == 7
    assert store.indexes() == [(6, 1), (7, 1)]


@pytest.mark.parametrize("disk", [SimulatedDisk, FileDisk])
def test_a_removal_that_is_asked_for_again_before_it_was_made_is_made_once(disk, tmp_path):
    """The log writer's thread hangs in the disk while a node adopts its own snapshot and one from the leader."""
    store = SnapshotStore(disk(tmp_path) if disk is FileDisk else disk(), N1)
    removals = []
    for index in (5, 6, 7, 8):
        store.write(index, 1, BODY)
        store.accept(index, 1)
        removals.append(store.superseded())
    assert removals == [[], [], [(5, 1)], [(5, 1), (6, 1)]]
    for removal in removals:
        store.remove(removal)
    assert store.indexes() == [(7, 1), (8, 1)]


@pytest.mark.parametrize("disk", [SimulatedDisk, FileDisk])
def test_one_that_nobody_accepted_is_void_after_a_restart(disk, tmp_path):
    disk = disk(tmp_path) if disk is FileDisk else disk()
    store = SnapshotStore(disk, N1)
    write(store, 5)
    store.write(9, 2, b"of a state that no other member is known to have")
    assert store.indexes() == [(5, 2)]
    assert SnapshotStore(disk, N1).latest().index == 5
    assert disk.names() == [FIVE]


def test_one_that_was_overtaken_before_it_was_accepted_goes():
    disk = SimulatedDisk()
    store = SnapshotStore(disk, N1)
    store.write(5, 1, BODY)
    write(store, 9)
    assert store.accept(5, 1).index == 9
    assert disk.names() == [NINE]
