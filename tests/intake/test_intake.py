"""The laws of the intake: a state-based CRDT with bounds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.errors import BusyError
from raftbook.intake import Delta, Intake, IntakeLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDE = IntakeLimits()
ORIGINS = ("a", "b", "c")


def raw_of(origin: str, sequence: int) -> bytes:
    """What a dot stands for never varies: its origin made it."""
    return f"{origin}/{sequence}".encode()


def delta_of(origin: str, first: int, last: int) -> Delta:
    return Delta(origin, first, tuple(raw_of(origin, sequence) for sequence in range(first, last + 1)))


deltas = st.builds(
    lambda origin, first, count: delta_of(origin, first, first + count),
    st.sampled_from(ORIGINS),
    st.integers(1, 12),
    st.integers(0, 5),
)
watermarks = st.tuples(st.sampled_from(ORIGINS), st.integers(1, 15))
histories = st.lists(deltas | watermarks, max_size=25)


def replica(history: list[Delta | tuple[str, int]]) -> Intake:
    """A node's intake that has seen this. Its own origin is another one than theirs."""
    intake = Intake("me", WIDE)
    for event in history:
        if isinstance(event, Delta):
            intake.merge(event)
        else:
            intake.advance(*event)
    return intake


def absorb(intake: Intake, other: Intake) -> Intake:
    """Merge the whole state of `other` in: its vector and its submissions."""
    pending, vector = other.state()
    for origin, watermark in vector.items():
        intake.advance(origin, watermark)
    for origin, items in pending.items():
        for sequence, raw in items.items():
            intake.merge(Delta(origin, sequence, (raw,)))
    return intake


def check(intake: Intake) -> None:
    """Counts and sizes are those of what is held."""
    pending, vector = intake.state()
    raws = [raw for items in pending.values() for raw in items.values()]
    assert len(intake) == len(raws)
    assert intake.size_bytes == sum(map(len, raws))
    assert all(sequence > vector.get(origin, 0) for origin, items in pending.items() for sequence in items)
    assert intake.origins() == sorted(pending)
    assert intake.oldest() == {origin: min(items) for origin, items in pending.items()}


class TestLaws:
    @given(histories, histories)
    def test_merging_is_commutative(self, one, other):
        forth = absorb(replica(one), replica(other))
        assert forth.state() == absorb(replica(other), replica(one)).state()
        check(forth)

    @given(histories, histories, histories)
    def test_merging_is_associative(self, one, two, three):
        left = absorb(absorb(replica(one), replica(two)), replica(three))
        right = absorb(replica(one), absorb(replica(two), replica(three)))
        assert left.state() == right.state()

    @given(histories)
    def test_merging_is_idempotent(self, history):
        intake = replica(history)
        before = intake.state()
        assert absorb(intake, replica(history)).state() == before
        assert absorb(intake, intake).state() == before

    @given(histories, st.randoms(use_true_random=False))
    def test_what_is_seen_counts_and_not_in_which_order_or_how_often(self, history, random):
        shuffled = history + random.choices(history, k=3) if history else []
        random.shuffle(shuffled)
        assert replica(shuffled).state() == replica(history).state()

    @given(histories, histories, st.integers(1, 4), st.integers(1, 40))
    def test_deltas_carry_the_state_in_pieces(self, ours, theirs, max_items, max_bytes):
        sender, whole, in_pieces = replica(theirs), replica(ours), replica(ours)
        _, vector = sender.state()
        for receiver in (whole, in_pieces):
            for origin, watermark in vector.items():
                receiver.advance(origin, watermark)
        absorb(whole, sender)
        known: dict[str, int] = {}
        while pieces := sender.delta(known, max_items, max_bytes):
            assert sum(len(piece.raw_commands) for piece in pieces) <= max_items
            for piece in pieces:
                in_pieces.merge(piece)
                known[piece.origin] = piece.first_sequence + len(piece.raw_commands) - 1
        assert in_pieces.state() == whole.state()

    @given(histories, watermarks, histories)
    def test_what_is_done_never_comes_back(self, before, done, after):
        intake = replica(before)
        origin, watermark = done
        intake.advance(origin, watermark)
        for event in after:
            intake.merge(event) if isinstance(event, Delta) else intake.advance(*event)
        pending, vector = intake.state()
        assert vector[origin] >= watermark
        assert all(sequence > watermark for sequence in pending.get(origin, ()))
        check(intake)

    @given(histories)
    def test_its_own_submissions_are_nobody_elses_to_tell(self, history):
        intake = Intake("a", WIDE)
        intake.submit([("account", raw_of("a", sequence)) for sequence in (1, 2)])
        for event in history:
            if isinstance(event, Delta):
                intake.merge(event)
        assert intake.state()[0]["a"] == {1: raw_of("a", 1), 2: raw_of("a", 2)}


class TestOwnSubmissions:
    @given(st.lists(st.integers(0, 5), max_size=10))
    def test_they_are_numbered_without_gaps_in_the_order_in_which_they_came(self, counts):
        intake = Intake("a", WIDE)
        expected: list[bytes] = []
        for count in counts:
            raws = [b"%d" % (len(expected) + number) for number in range(count)]
            assert intake.submit([("account", raw) for raw in raws]) == len(expected) + 1
            expected += raws
        assert intake.last_sequence == len(expected)
        assert list(intake.run("a", 1, 10**6, 10**6)) == expected

    @given(
        st.lists(
            st.tuples(
                st.lists(st.tuples(st.sampled_from("xyz"), st.binary(max_size=8)), max_size=6), st.integers(0, 20)
            ),
            max_size=20,
        )
    )
    def test_all_are_taken_or_none_and_the_bounds_hold(self, rounds):
        limits = IntakeLimits(max_items=8, max_bytes=20, account_max_items=4)
        intake = Intake("a", limits)
        held: dict[int, tuple[str, bytes]] = {}
        for submissions, watermark in rounds:
            items = [*held.values(), *submissions]
            accounts = Counter(account for account, _raw in items)
            fits = (
                len(items) <= 8
                and sum(len(raw) for _account, raw in items) <= 20
                and all(accounts[account] <= 4 for account, _raw in submissions)
            )
            before = intake.state()
            if fits:
                first = intake.submit(submissions)
                held.update(enumerate(submissions, first))
            else:
                with pytest.raises(BusyError):
                    intake.submit(submissions)
                assert intake.state() == before
            intake.advance("a", min(watermark, intake.last_sequence))
            held = {sequence: item for sequence, item in held.items() if sequence > watermark}
            assert intake.state()[0].get("a", {}) == {sequence: raw for sequence, (_account, raw) in held.items()}
            check(intake)

    def test_a_full_intake_says_what_is_full(self):
        intake = Intake("a", IntakeLimits(max_items=2, max_bytes=100, account_max_items=1))
        intake.submit([("x", b"1")])
        with pytest.raises(BusyError, match="account x"):
            intake.submit([("x", b"2")])
        with pytest.raises(BusyError, match="1 submissions wait"):
            intake.submit([("y", b"2"), ("z", b"3")])
        with pytest.raises(BusyError, match="1 bytes wait"):
            intake.submit([("y", b"2" * 100)])


class TestPeersSubmissions:
    @given(st.lists(deltas, max_size=30))
    def test_the_bounds_hold_and_what_is_left_out_may_come_again(self, offered):
        limits = IntakeLimits(peer_max_items=6, peer_max_bytes=20)
        intake = Intake("me", limits)
        for delta in offered:
            before, _ = intake.state()
            taken = intake.merge(delta)
            after, _ = intake.state()
            new = after.get(delta.origin, {}).keys() - before.get(delta.origin, {}).keys()
            offered_now = range(delta.first_sequence, delta.first_sequence + len(delta.raw_commands))
            # One may have made room for another, and have been taken again.
            assert taken >= len(new)
            assert new <= set(offered_now)
            assert len(intake) <= 6
            assert intake.size_bytes <= 20
            check(intake)
        for origin in ORIGINS:
            intake.advance(origin, 100)
        assert (len(intake), intake.size_bytes) == (0, 0)
        assert intake.merge(delta_of("a", 101, 102)) == 2

    def test_its_own_clients_have_room_though_peers_fill_theirs(self):
        intake = Intake("me", IntakeLimits(max_items=1, peer_max_items=1))
        assert intake.merge(delta_of("a", 1, 5)) == 1
        intake.submit([("x", b"1")])
        assert len(intake) == 2


class TestReading:
    def test_a_run_stops_at_a_gap_and_at_the_limits(self):
        intake = replica([delta_of("a", 1, 3), delta_of("a", 5, 6)])
        assert len(intake.run("a", 1, 100, 1000)) == 3
        assert len(intake.run("a", 1, 2, 1000)) == 2
        assert len(intake.run("a", 1, 100, 7)) == 2
        assert len(intake.run("a", 1, 100, 1)) == 1
        assert intake.run("a", 4, 100, 1000) == ()
        assert intake.run("z", 1, 100, 1000) == ()

    def test_a_delta_goes_on_behind_a_gap(self):
        intake = replica([delta_of("a", 5, 6)])
        assert intake.delta({}, 10, 1000) == [delta_of("a", 5, 6)]
        assert intake.delta({"a": 6}, 10, 1000) == []

    def test_what_the_receiver_has_is_not_looked_through(self):
        """`delta` is asked for at every step of a node, whatever waits to be executed."""

        class LookedThrough(dict[int, bytes]):
            def __iter__(self) -> Iterator[int]:
                raise AssertionError("O(pending)")

        intake = Intake("n1")
        intake.submit([("", b"own")] * 5)
        intake.merge(delta_of("a", 1, 5))
        intake._pending = {origin: LookedThrough(pending) for origin, pending in intake._pending.items()}
        assert intake.delta({"n1": 5, "a": 5}, 10, 1000) == []
        assert intake.delta({"n1": 5, "a": 4}, 10, 1000) == [delta_of("a", 5, 5)]


class TestFullOfWhatCannotBeExecuted:
    """Found by the simulator: the leader's intake was full of later submissions, and never took the one before them."""

    def test_an_earlier_submission_takes_the_place_of_later_ones_of_its_origin(self):
        intake = Intake("me", IntakeLimits(peer_max_items=4))
        intake.merge(delta_of("a", 3, 6))
        assert intake.merge(delta_of("a", 1, 2)) == 2
        held, _ = intake.state()
        assert sorted(held["a"]) == [1, 2, 3, 4]
        assert intake.run("a", 1, 10, 1000) == tuple(raw_of("a", sequence) for sequence in (1, 2, 3, 4))
        assert intake.delta({"a": 4}, 10, 1000) == [], "what was left out is not there to be passed on"

    def test_what_waits_behind_a_gap_makes_room_for_another_origin(self):
        intake = Intake("me", IntakeLimits(peer_max_items=4))
        intake.merge(delta_of("a", 3, 6))
        assert intake.merge(delta_of("b", 1, 2)) == 2
        held, _ = intake.state()
        assert sorted(held["b"]) == [1, 2]
        assert sorted(held["a"]) == [3, 4]
        assert [delta.first_sequence for delta in intake.delta({}, 10, 1000)] == [3, 1]

    def test_what_can_be_executed_is_kept_and_what_comes_later_waits(self):
        intake = Intake("me", IntakeLimits(peer_max_items=4))
        intake.merge(delta_of("a", 1, 4))
        assert intake.merge(delta_of("b", 1, 2)) == 0
        assert intake.merge(delta_of("a", 5, 6)) == 0
        held, _ = intake.state()
        assert sorted(held["a"]) == [1, 2, 3, 4]
        intake.advance("a", 2)
        assert intake.merge(delta_of("b", 1, 2)) == 2

    def test_the_same_where_bytes_are_short(self):
        intake = Intake("me", IntakeLimits(peer_max_bytes=12))
        intake.merge(delta_of("a", 3, 6))
        assert intake.size_bytes == 12
        assert intake.merge(delta_of("a", 2, 2)) == 1
        assert intake.size_bytes <= 12
        assert 2 in intake.state()[0]["a"]

    @given(st.lists(deltas | watermarks, max_size=40))
    def test_its_counts_stay_right(self, history):
        intake = Intake("me", IntakeLimits(peer_max_items=5))
        for step in history:
            if isinstance(step, Delta):
                intake.merge(step)
            else:
                intake.advance(*step)
            held, _ = intake.state()
            items = [raw for pending in held.values() for raw in pending.values()]
            assert len(intake) == len(items) <= 5
            assert intake.size_bytes == sum(map(len, items))
            intake.delta({}, 100, 10_000)

    @given(st.lists(deltas | watermarks | st.integers(1, 3), max_size=40))
    def test_whoever_remembers_how_much_it_took_learns_that_something_has_come(self, history):
        intake = Intake("me", IntakeLimits(peer_max_items=5))
        taken, dots = intake.taken, set()
        for step in history:
            if isinstance(step, Delta):
                intake.merge(step)
            elif isinstance(step, int):
                intake.submit([("x", b"")] * step)
            else:
                intake.advance(*step)
            held, _ = intake.state()
            before, dots = dots, {(origin, sequence) for origin, items in held.items() for sequence in items}
            assert intake.taken > taken or dots <= before
            taken = intake.taken
