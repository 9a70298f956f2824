"""Which nodes have room, and what a member makes of it."""

from __future__ import annotations

import pytest

from raftbook.errors import StorageFullError
from raftbook.member.room import Room
from raftbook.replication.storage_space import StorageFigures

MIB = 1 << 20
MARGIN_BYTES = 256 * MIB
RESERVE_BYTES = 64 * MIB
OTHERS = ("n2", "n3")


@pytest.fixture
def room():
    return Room("n1", 3, MARGIN_BYTES)


def fill(room, free_bytes=10 * MIB, reserve_bytes=RESERVE_BYTES):
    room.own.measured(StorageFigures(free_bytes, reserve_bytes))


def test_everybody_has_room_until_something_else_is_known(room):
    room.check(OTHERS, is_voter=True)
    assert room.may_propose(OTHERS)
    assert room.peers_with_room(OTHERS) == ["n2", "n3"]


def test_one_full_peer_of_two_changes_nothing_for_the_others(room):
    room.told("n2", storage_full=True, is_voter=True)
    room.check(OTHERS, is_voter=True)
    assert room.may_propose(OTHERS)
    assert room.peers_with_room(OTHERS) == ["n3"]


def test_a_member_whose_own_disk_is_full_says_how_full_and_sends_clients_on(room):
    fill(room)
    assert not room.may_propose(OTHERS)
    with pytest.raises(StorageFullError) as refused:
        room.check(OTHERS, is_voter=True)
    assert str(refused.value) == (
        "the disk of n1 has 10 MiB free, less than its margin of 256 MiB (storage_reserve_bytes), so it orders nothing "
        "new; free some space there, or submit to another node"
    )
    assert refused.value.retry_after_s > 0


def test_a_member_whose_reserve_was_broken_into_says_so(room):
    fill(room, free_bytes=300 * MIB, reserve_bytes=RESERVE_BYTES - 1)
    with pytest.raises(StorageFullError, match="n1 has just been full, and its reserve is not restored yet"):
        room.check(OTHERS, is_voter=True)


def test_without_a_majority_that_has_room_nobody_takes_anything(room):
    room.told("n2", storage_full=True, is_voter=True)
    room.told("n3", storage_full=True, is_voter=True)
    assert not room.may_propose(OTHERS)
    with pytest.raises(StorageFullError) as refused:
        room.check(OTHERS, is_voter=True)
    assert str(refused.value) == (
        "too little room is left for n2 and n3, so no majority can order anything; free some space there"
    )
    room.told("n3", storage_full=False, is_voter=True)
    room.check(OTHERS, is_voter=True)
    assert room.may_propose(OTHERS)


def test_a_full_member_without_a_majority_elsewhere_sends_nobody_on(room):
    fill(room)
    room.told("n2", storage_full=True, is_voter=True)
    with pytest.raises(StorageFullError, match=r"free some space there$"):
        room.check(OTHERS, is_voter=True)


def test_who_is_not_connected_is_not_counted(room):
    room.told("n2", storage_full=True, is_voter=True)
    with pytest.raises(StorageFullError):
        room.check(("n2",), is_voter=True)  # n3 does not answer: with n2 there would be a majority, if it had room.
    room.check((), is_voter=True)  # Nobody answers: that is no matter of room.
    room.check(("n3",), is_voter=True)


def test_a_learner_with_room_makes_no_majority():
    """What it acknowledges does not count, so with the only other voter full nothing can be ordered."""
    room = Room("n1", 3, MARGIN_BYTES)
    room.told("n2", storage_full=True, is_voter=True)
    room.told("n3", storage_full=False, is_voter=False)
    assert not room.may_propose(["n2", "n3"])
    with pytest.raises(StorageFullError, match="too little room is left for n2"):
        room.check(["n2", "n3"], is_voter=True)
    room.told("n3", storage_full=False, is_voter=True)
    assert room.may_propose(["n2", "n3"])


def test_a_learner_counts_itself_as_little():
    room = Room("n3", 3, MARGIN_BYTES)
    room.told("n1", storage_full=False, is_voter=True)
    room.told("n2", storage_full=True, is_voter=True)
    with pytest.raises(StorageFullError):
        room.check(["n1", "n2"], is_voter=False)
    room.check(["n1", "n2"], is_voter=True)
