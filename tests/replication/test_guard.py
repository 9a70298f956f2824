"""What of a leader's message reaches the core, against Raft's own rule on plain lists."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raftbook.replication.guard import Mismatch, Verified, log_is_current, review_append, review_commit


@dataclass
class Log:
    """Terms of the entries behind `base_index`; the base itself has `base_term`."""

    terms: list[int]
    base_index: int = 0
    base_term: int = 0

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.terms)

    @property
    def last_term(self) -> int:
        return self.terms[-1] if self.terms else self.base_term

    def term_at(self, index: int) -> int | None:
        if index == self.base_index:
            return self.base_term
        offset = index - self.base_index - 1
        return self.terms[offset] if 0 <= offset < len(self.terms) else None


def entries(*terms: int) -> list[tuple[int, bytes]]:
    return [(term, b"command") for term in terms]


def test_new_entries_are_handed_on_behind_the_last():
    review = review_append(Log([1, 1]), 0, (2, 1), 1, entries(1, 2))
    assert review == Verified(4, 1, (2, 1), [(b"command", 3, 1), (b"command", 4, 2)])


def test_entries_that_are_held_are_not_touched():
    log = Log([1, 1, 1, 1, 1])
    assert review_append(log, 0, (1, 1), 5, entries(1, 1)) == Verified(3, 3, (5, 1), [])


def test_only_what_follows_the_entries_that_are_held_is_new():
    log = Log([1, 1, 1])
    assert review_append(log, 0, (1, 1), 0, entries(1, 1, 1)) == Verified(4, 0, (3, 1), [(b"command", 4, 1)])


def test_a_conflict_replaces_everything_from_there_on():
    log = Log([1, 1, 2, 2, 2])
    review = review_append(log, 2, (2, 1), 2, entries(3))
    assert review == Verified(3, 2, (2, 1), [(b"command", 3, 3)])


def test_a_heartbeat_verifies_its_previous_entry_and_no_more():
    assert review_append(Log([1, 1, 1]), 0, (1, 1), 3, ()) == Verified(1, 1, (3, 1), [])


def test_an_append_behind_the_end_is_resumed_at_the_end():
    assert review_append(Log([1, 1]), 0, (5, 1), 5, entries(1)) == Mismatch(3)


def test_a_tail_that_differs_is_resumed_behind_the_commit_index_in_one_round_trip():
    assert review_append(Log([1, 1, *[2] * 1000]), 2, (900, 3), 900, ()) == Mismatch(3)


def test_what_a_snapshot_covers_counts_as_verified():
    log = Log([3, 3], base_index=10, base_term=2)
    assert review_append(log, 10, (4, 1), 11, entries(1, 1)) == Verified(6, 6, (12, 3), [])
    review = review_append(log, 10, (9, 2), 13, entries(2, 3, 3, 4))
    assert review == Verified(13, 13, (12, 3), [(b"command", 13, 4)])
    assert review_append(log, 10, (0, 0), 12, ()) == Verified(0, 0, (12, 3), [])


@pytest.mark.parametrize(("previous", "terms"), [((2, 3), ()), ((1, 1), (3,))])
def test_a_conflict_with_what_is_committed_halts_the_node(previous, terms):
    with pytest.raises(AssertionError, match="differs from the committed one"):
        review_append(Log([1, 1]), 2, previous, 2, entries(*terms))


@given(
    st.lists(st.integers(1, 4), max_size=8).map(sorted),
    st.lists(st.integers(1, 4), max_size=8).map(sorted),
    st.data(),
)
def test_the_guard_does_what_raft_says(own_terms, leader_terms, data):
    """Two logs of one history: entries of one index and term are the same, and so is all before them."""
    agreed = 0
    while agreed < min(len(own_terms), len(leader_terms)) and own_terms[agreed] == leader_terms[agreed]:
        agreed += 1
    assume(all(own != leader for own, leader in zip(own_terms[agreed:], leader_terms[agreed:], strict=False)))
    commit_index = data.draw(st.integers(0, agreed))
    base_index = data.draw(st.integers(0, commit_index))
    log = Log(own_terms[base_index:], base_index, own_terms[base_index - 1] if base_index else 0)
    index = data.draw(st.integers(0, len(leader_terms)))
    count = data.draw(st.integers(0, len(leader_terms) - index))
    leader_commit_index = data.draw(st.integers(commit_index, len(leader_terms)))
    previous = (index, leader_terms[index - 1] if index else 0)
    sent = leader_terms[index : index + count]
    review = review_append(log, commit_index, previous, leader_commit_index, entries(*sent))

    fits = index <= len(own_terms) and own_terms[:index] == leader_terms[:index]
    assert isinstance(review, Verified) == fits
    if isinstance(review, Mismatch):
        assert commit_index < review.next_index <= len(own_terms) + 1
        assert review.next_index <= index
        return
    after = own_terms[: review.previous[0]] + [term for _command, _index, term in review.entries]
    assert log.term_at(review.previous[0]) == review.previous[1]
    assert review.previous[0] >= commit_index
    assert [i for _command, i, _term in review.entries] == list(range(review.previous[0] + 1, len(after) + 1))
    assert after[: review.verified_index] == leader_terms[: review.verified_index]
    assert review.verified_index == index + count
    assert review.commit_index == min(leader_commit_index, review.verified_index)
    # Nothing is lost without a conflict.
    if own_terms[: index + count] == leader_terms[: index + count]:
        assert after == own_terms


def test_a_commit_is_taken_as_far_as_the_log_goes_where_it_ends_with_an_entry_of_that_term():
    assert review_commit(Log([1, 2, 2]), 2, 2) == 2
    assert review_commit(Log([1, 2, 2]), 2, 9) == 3
    assert review_commit(Log([], base_index=7, base_term=2), 2, 9) == 7


@pytest.mark.parametrize("terms", [[], [1, 1, 1], [1, 3]])
def test_a_commit_says_nothing_of_a_log_that_ends_in_another_term(terms):
    assert review_commit(Log(terms), 2, 3) == 0


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=8).map(sorted),
    st.lists(st.integers(1, 4), max_size=8).map(sorted),
    st.integers(0, 8),
)
def test_a_commit_is_taken_where_the_logs_agree_and_no_further(leader_terms, own_terms, commit_index):
    """Two logs of one history; the leader has made an entry of its term, or could not commit anything."""
    agreed = 0
    while agreed < min(len(own_terms), len(leader_terms)) and own_terms[agreed] == leader_terms[agreed]:
        agreed += 1
    term = leader_terms[-1]
    assume(all(own != leader for own, leader in zip(own_terms[agreed:], leader_terms[agreed:], strict=False)))
    assume(all(own < term for own in own_terms[agreed:]))
    taken = review_commit(Log(own_terms), term, min(commit_index, len(leader_terms)))
    assert own_terms[:taken] == leader_terms[:taken]
    assert taken <= commit_index
    if own_terms == leader_terms:
        assert taken == min(commit_index, len(leader_terms))


@pytest.mark.parametrize(
    ("last_index", "last_term", "is_current"),
    [(3, 2, True), (4, 2, True), (2, 2, False), (1, 3, True), (9, 1, False)],
)
def test_a_candidates_log_is_compared_by_term_and_then_by_length(last_index, last_term, is_current):
    assert log_is_current(Log([1, 2, 2]), last_index, last_term) is is_current
