"""Which submissions are sent to whom, and when again."""

from __future__ import annotations

import pytest

from raftbook.intake import Delta, Intake, IntakeLimits
from raftbook.member.gossip import DELTA_ITEMS, DELTAS_AT_ONCE, REPEAT_AFTER_S, SPREAD_AFTER_S, Gossip


class Node:
    def __init__(self, *peers: str) -> None:
        self.intake = Intake("a", IntakeLimits(max_items=10**6, account_max_items=10**6))
        self.gossip = Gossip(self.intake)
        self.now = 100.0
        for peer in peers:
            self.gossip.connected(peer)

    def submit(self, *raw: bytes) -> None:
        self.intake.submit([("account", item) for item in raw])

    def sends(self, leader: str | None) -> dict[str, list[bytes]]:
        sent: dict[str, list[bytes]] = {}
        for peer, deltas in self.gossip.due(leader):
            sent.setdefault(peer, []).extend(raw for delta in deltas for raw in delta.raw_commands)
        return sent

    def pass_time(self, duration_s: float) -> None:
        end = self.now + duration_s
        while self.now < end:
            self.now += 0.01
            self.gossip.review(self.now)


@pytest.fixture
def node() -> Node:
    return Node("b", "c")


def test_submissions_go_to_the_leader_at_once_and_once(node):
    node.submit(b"1", b"2")
    assert node.sends("b") == {"b": [b"1", b"2"]}
    assert node.sends("b") == {}
    node.submit(b"3")
    assert node.sends("b") == {"b": [b"3"]}


def test_without_a_leader_they_go_to_everyone(node):
    node.submit(b"1")
    assert node.sends(None) == {"b": [b"1"], "c": [b"1"]}


def test_a_new_leader_gets_what_is_still_pending(node):
    node.submit(b"1", b"2")
    node.sends("b")
    node.intake.advance("a", 1)
    assert node.sends("c") == {"c": [b"2"]}


def test_what_is_overdue_spreads_to_everyone(node):
    node.submit(b"1")
    node.sends("b")
    node.pass_time(2 * SPREAD_AFTER_S + 0.05)
    assert node.sends("b") == {"c": [b"1"]}


def test_what_stays_overdue_is_sent_again(node):
    node.submit(b"1")
    node.pass_time(2 * SPREAD_AFTER_S + 0.05)
    node.sends("b")
    node.pass_time(REPEAT_AFTER_S + SPREAD_AFTER_S)
    assert node.sends("b") == {"b": [b"1"], "c": [b"1"]}


def test_what_gets_through_is_neither_spread_nor_repeated(node):
    for number in range(100):
        node.submit(b"%d" % number)
        assert node.sends("b") == {"b": [b"%d" % number]}
        node.pass_time(0.05)
        node.intake.advance("a", number + 1)


def test_what_others_submitted_is_passed_on(node):
    node.intake.merge(Delta("z", 1, (b"of z",)))
    assert node.sends("b") == {"b": [b"of z"]}


def test_a_new_connection_knows_nothing(node):
    node.submit(b"1")
    node.sends("b")
    node.gossip.disconnected("b")
    assert node.sends("b") == {}
    node.gossip.connected("b")
    assert node.sends("b") == {"b": [b"1"]}


def test_a_backlog_goes_in_pieces_and_a_bounded_number_at_a_time(node):
    count = DELTA_ITEMS * (DELTAS_AT_ONCE + 2)
    node.submit(*[b"%d" % number for number in range(count)])
    pieces = list(node.gossip.due("b"))
    assert len(pieces) == DELTAS_AT_ONCE
    assert all(sum(len(delta.raw_commands) for delta in deltas) <= DELTA_ITEMS for _peer, deltas in pieces)
    assert len(node.sends("b")["b"]) == count - DELTAS_AT_ONCE * DELTA_ITEMS
