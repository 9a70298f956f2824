"""Random lives of a cluster (chaos.py), each checked all along and to its end.

CI takes 150 seeds; RAFTBOOK_CHAOS_SEEDS sets how many there are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from raftbook.replication.elections import Standing
from raftbook.replication.outbox import Outbox
from raftbook.replication.replicator import Replicator
from tests.replication.chaos import live

if TYPE_CHECKING:
    from raftbook.replication.messages import Message

SEED_COUNT = int(os.environ.get("RAFTBOOK_CHAOS_SEEDS", "150"))
BLOCK = 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEED_COUNT + 1, BLOCK))
def test_whatever_happens_one_book_results(first):
    outcomes = [live(seed) for seed in range(first, min(first + BLOCK, SEED_COUNT + 1))]
    # A life without faults, or in which nothing is ordered, would prove nothing.
    assert sum(outcome.executed for outcome in outcomes) > 10 * len(outcomes)
    assert sum(sum(outcome.faults.values()) for outcome in outcomes) > 20 * len(outcomes)


def test_one_seed_is_one_story():
    assert live(7) == live(7)
    assert live(7).trace_digest != live(8).trace_digest


def _send_at_once(outbox: Outbox, peer: str, message: Message) -> None:
    outbox._transport.send(peer, message)


def _match_without_own_disk(replicator: Replicator, peer: str) -> int:
    progress = replicator.progress(peer)
    return progress.match_index if progress.is_voter else 0


_first_standing = Standing.__init__


def _always_voter(standing: Standing, member_count: int, *, is_voter: bool, is_empty: bool) -> None:
    _first_standing(standing, member_count, is_voter=True, is_empty=is_empty)


def _live_from_seed_to_seed(first: int, last: int) -> None:
    for seed in range(first, last + 1):
        live(seed)


BROKEN_PROMISES = {
    "promises leave before they are on disk": (Outbox, "send", _send_at_once),
    "a leader counts itself before its own disk": (Replicator, "countable_match", _match_without_own_disk),
    "a member with an empty disk votes": (Standing, "__init__", _always_voter),
}


@pytest.mark.parametrize("name", BROKEN_PROMISES)
def test_a_node_that_breaks_a_promise_is_found_out(name, monkeypatch):
    """The negative controls of the checks: some seed shows every one of these faults."""
    monkeypatch.setattr(*BROKEN_PROMISES[name])
    with pytest.raises(AssertionError, match=r"was applied|applied another|another digest|both lead term|differs"):
        _live_from_seed_to_seed(1, 60)
