"""What nodes must never say, alone or together."""

from __future__ import annotations

import pytest

from tests.system.chaos.observer import Observer


def status(role="follower", *, leader="n1", term=3, commit=10, applied=10, base=0, digest="aa"):
    return {
        "role": role,
        "leader": leader,
        "term": term,
        "commit_index": commit,
        "applied_index": applied,
        "base_index": base,
        "digest": digest,
    }


@pytest.fixture
def observer():
    return Observer("n1")


def test_what_healthy_nodes_say(observer):
    observer.observe("n1", 1, status("leader"))
    observer.observe("n2", 1, status(commit=9, applied=8, digest="88"))
    observer.observe("n2", 1, status())
    observer.observe("n2", 2, status(commit=0, applied=0, digest="00"))
    observer.observe("n2", 2, status("leader", leader="n2", term=4))
    observer.observe("n3", 1, status(leader=None))
    assert observer.violations == []
    assert observer.observations == 6
    assert observer.leader == "n2"


def test_two_leaders_of_one_term(observer):
    observer.observe("n1", 1, status("leader"))
    observer.observe("n2", 1, status("leader"))
    assert observer.violations == ["n1 and n2 both lead term 3"]


def test_two_states_at_one_entry(observer):
    observer.observe("n1", 1, status())
    observer.observe("n2", 1, status(digest="bb"))
    assert observer.violations == ["n1 and n2 differ at entry 10: aa, bb"]


def test_two_states_of_one_node_at_one_entry_in_two_lives(observer):
    observer.observe("n2", 1, status())
    observer.observe("n2", 2, status(digest="bb"))
    assert observer.violations == ["n2 and n2 differ at entry 10: aa, bb"]


def test_an_entry_that_is_applied_and_not_committed(observer):
    observer.observe("n1", 1, status(commit=9))
    assert observer.violations == ["n1 applied entry 10, which is not committed"]


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("term", {"term": 2}),
        ("commit_index", {"commit": 9, "applied": 9, "digest": "99"}),
        ("applied_index", {"applied": 9, "digest": "99"}),
        ("base_index", {"base": 4}),
    ],
)
def test_what_never_falls_within_a_life(observer, name, later):
    observer.observe("n1", 1, status(base=5))
    observer.observe("n1", 1, status(**{"base": 5, **later}))
    assert any(violation.startswith(f"n1's {name} fell from") for violation in observer.violations)


def test_a_linearizable_read_that_is_not(observer):
    observer.read("n2", 10, 10)
    observer.read("n2", 11, 10)
    assert observer.violations == []
    observer.read("n2", 9, 10)
    assert observer.violations == ["n2 read the state of entry 9, and entry 10 had been reported before"]
    assert observer.fresh_reads == 3
