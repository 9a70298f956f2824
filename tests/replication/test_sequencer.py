"""The leader's packing: each dot once in a term, in sequence, fairly, within the limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.codec import RawRun
from raftbook.intake import Delta, Intake
from raftbook.replication.sequencer import Sequencer, SequencerLimits, expiry_is_due


def offer(intake: Intake, origin: str, *raws: bytes, first: int = 1) -> None:
    intake.merge(Delta(origin, first, raws))


def leader(limits: SequencerLimits | None = None, **watermarks: int) -> Sequencer:
    sequencer = Sequencer(limits or SequencerLimits())
    assert sequencer.begin(1, watermarks, "")
    return sequencer


def test_what_waits_is_packed_into_one_entry():
    intake = Intake("me")
    offer(intake, "a", b"1", b"2")
    offer(intake, "b", b"3")
    assert leader().pack(intake, 0) == [RawRun("a", 1, (b"1", b"2")), RawRun("b", 1, (b"3",))]


def test_each_dot_is_proposed_once_in_a_term():
    intake = Intake("me")
    sequencer = leader()
    offer(intake, "a", b"1")
    assert sequencer.pack(intake, 0) == [RawRun("a", 1, (b"1",))]
    assert sequencer.pack(intake, 1) == []
    offer(intake, "a", b"2", first=2)
    assert sequencer.pack(intake, 1) == [RawRun("a", 2, (b"2",))]


def test_a_new_term_begins_behind_what_is_executed():
    intake = Intake("me")
    offer(intake, "a", b"1", b"2", b"3")
    sequencer = leader()
    sequencer.pack(intake, 0)
    assert not sequencer.begin(1, {"a": 1}, "")
    assert sequencer.pack(intake, 0) == []
    assert sequencer.begin(2, {"a": 1}, "")
    assert sequencer.pack(intake, 0) == [RawRun("a", 2, (b"2", b"3"))]


def test_what_stands_behind_a_gap_waits():
    intake = Intake("me")
    offer(intake, "a", b"2", first=2)
    sequencer = leader()
    assert sequencer.pack(intake, 0) == []
    offer(intake, "a", b"1")
    assert sequencer.pack(intake, 0) == [RawRun("a", 1, (b"1", b"2"))]


def test_nothing_is_packed_while_enough_is_under_way():
    intake = Intake("me")
    offer(intake, "a", b"1")
    sequencer = leader(SequencerLimits(max_in_flight=2))
    assert sequencer.pack(intake, 2) == []
    assert sequencer.pack(intake, 1) != []


def test_a_large_command_goes_alone():
    intake = Intake("me")
    offer(intake, "a", b"small")
    offer(intake, "b", b"x" * 1000, b"small")
    sequencer = leader(SequencerLimits(max_entry_bytes=100))
    assert sequencer.pack(intake, 0) == [RawRun("a", 1, (b"small",))]
    assert sequencer.pack(intake, 0) == [RawRun("b", 1, (b"x" * 1000,))]
    assert sequencer.pack(intake, 0) == [RawRun("b", 2, (b"small",))]


def test_a_busy_origin_keeps_nobody_out():
    intake = Intake("me")
    offer(intake, "busy", *[b"x"] * 1000)
    for origin in ("a", "c", "z"):
        offer(intake, origin, *[b"y"] * 20)
    sequencer = leader(SequencerLimits(max_entry_commands=10))
    firsts = [sequencer.pack(intake, 0)[0].origin for _ in range(8)]
    assert firsts == ["a", "busy", "c", "z", "a", "busy", "c", "z"]


def test_the_first_turn_is_the_one_that_was_asked_for():
    intake = Intake("me")
    for origin in ("a", "b", "c"):
        offer(intake, origin, b"x")
    sequencer = Sequencer(SequencerLimits())
    sequencer.begin(1, {}, "b")
    assert [run.origin for run in sequencer.pack(intake, 0)] == ["b", "c", "a"]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.binary(min_size=1, max_size=40), max_size=30)),
    st.integers(1, 20),
    st.integers(1, 100),
)
def test_everything_is_packed_in_order_and_once_within_the_limits(offered, max_commands, max_bytes):
    intake = Intake("me")
    for origin, raws in offered.items():
        offer(intake, origin, *raws)
    sequencer = leader(SequencerLimits(max_entry_commands=max_commands, max_entry_bytes=max_bytes))
    packed: dict[str, list[bytes]] = {origin: [] for origin in offered}
    while runs := sequencer.pack(intake, 0):
        commands = [raw for run in runs for raw in run.raw_commands]
        assert len(commands) <= max_commands
        assert sum(map(len, commands)) <= max_bytes or len(commands) == 1
        assert len({run.origin for run in runs}) == len(runs)
        for run in runs:
            assert run.first_sequence == len(packed[run.origin]) + 1
            packed[run.origin] += run.raw_commands
    assert packed == offered


@pytest.mark.parametrize(
    ("next_expiry", "now", "in_flight", "is_due"),
    [
        (None, 100, 0, False),
        (100, 99, 0, False),
        (100, 100, 0, True),
        (100, 900, 0, True),
        (100, 900, 1, False),
        (0, 0, 0, True),
    ],
)
def test_an_expiry_is_due_when_the_clock_has_come_to_it_and_nothing_is_under_way(next_expiry, now, in_flight, is_due):
    assert expiry_is_due(next_expiry, now, in_flight) is is_due
