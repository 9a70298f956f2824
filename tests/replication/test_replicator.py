"""What a leader sends to a follower that has no room: nothing that it would have to write, and that it leads."""

from __future__ import annotations

import pytest

from raftbook.replication.journal import Journal
from raftbook.replication.messages import AppendReply
from raftbook.replication.replicator import Replicator
from raftbook.replication.write_ahead_log import Identity, WriteAheadLog
from raftbook.simulation.disk import SimulatedDisk

HEARTBEAT_S = 0.05
WINDOW_BYTES = 1000


class Leader:
    """Leads term 1 with `entry_count` entries; `sent` is what went to the follower n2, as (previous index, entries)."""

    def __init__(self, entry_count: int = 10) -> None:
        self.journal = Journal(*WriteAheadLog.open(SimulatedDisk(), Identity("local-3", "n1")))
        self.sent: list[tuple[int, int]] = []
        self.now = 0.0
        self.replicator = Replicator(
            self.journal, self._send, heartbeat_s=HEARTBEAT_S, append_limit_bytes=100, window_bytes=WINDOW_BYTES
        )
        self.replicator.lead(1, ("n2", "n3"), 1)
        for _ in range(entry_count):
            self.add()

    def _send(self, _peer, append):
        self.sent.append((append.previous_index, len(append.entries)))
        return True

    def add(self):
        self.journal.add(bytes(40), self.journal.last_index + 1, 1)

    def replicate(self):
        """What this turn sends."""
        self.sent.clear()
        self.now += HEARTBEAT_S
        self.replicator.replicate("n2", 0, self.now)
        return list(self.sent)

    def acknowledge(self, match_index):
        return self.replicator.answered("n2", AppendReply(1, match_index, match_index + 1, True, True))

    def refuse(self, index, next_index):
        return self.replicator.answered("n2", AppendReply(1, index, next_index, False, True))


@pytest.fixture
def leader():
    leader = Leader()
    assert leader.replicate() == [(0, 2)]
    leader.acknowledge(2)
    assert leader.replicate() == [(2, 2), (4, 2), (6, 2), (8, 2)]
    leader.acknowledge(10)
    return leader


def test_a_paused_follower_gets_heartbeats_and_no_entries(leader):
    leader.replicator.pause("n2")
    leader.add()
    assert [leader.replicate() for _ in range(3)] == [[(10, 0)]] * 3
    assert leader.replicator.is_paused("n2")
    assert not leader.replicator.is_paused("n3")


def test_a_resumed_follower_gets_what_it_missed(leader):
    leader.replicator.pause("n2")
    for _ in range(3):
        leader.add()
    leader.replicate()
    leader.replicator.resume("n2")
    assert leader.replicate() == [(10, 2), (12, 1)]


def test_acknowledgements_of_what_was_on_its_way_send_nothing_more_to_a_paused_follower():
    leader = Leader(entry_count=60)
    leader.replicate()
    leader.acknowledge(2)
    sent = leader.replicate()
    assert sum(count * 40 for _, count in sent) >= WINDOW_BYTES, "the window is full"
    leader.replicator.pause("n2")
    assert not leader.acknowledge(4), "though the window is open again"
    assert leader.replicator.progress("n2").match_index == 4
    leader.replicator.resume("n2")
    assert leader.replicate() == [(28, 2)], "until it is full again"


def test_a_new_leader_finds_out_with_heartbeats_where_a_paused_follower_stands(leader):
    leader.replicator.pause("n2")
    leader.replicator.lead(2, ("n2", "n3"), 11)
    leader.add()
    assert leader.replicate() == [(10, 0)]
    assert leader.refuse(10, 5)
    assert leader.replicate() == [(4, 0)]
    assert not leader.acknowledge(4), "nothing is to be sent to it now"
    assert leader.replicate() == [(4, 0)]
    leader.replicator.resume("n2")
    assert leader.replicate()[0] == (4, 2)


def test_a_follower_that_is_resumed_while_it_is_probed_gets_on(leader):
    leader.replicator.pause("n2")
    leader.replicator.lead(2, ("n2", "n3"), 11)
    leader.add()
    assert leader.replicate() == [(10, 0)]
    leader.replicator.resume("n2")
    assert leader.acknowledge(10), "the heartbeat was answered: there is something to send to it"
    assert leader.replicate() == [(10, 1)]


def test_followers_at_the_same_place_are_sent_the_very_same_append():
    sent = []
    leader = Leader(0)
    replicator = Replicator(
        leader.journal,
        lambda peer, append: sent.append((peer, append)) is None,
        heartbeat_s=HEARTBEAT_S,
        append_limit_bytes=100,
        window_bytes=WINDOW_BYTES,
    )
    replicator.lead(1, ("n2", "n3"), 1)
    for peer in ("n2", "n3"):
        replicator.replicate(peer, 0, 0.0)
        replicator.answered(peer, AppendReply(1, 0, 1, True, True))
    for commit_index in (0, 1, 1):
        leader.add()
        sent.clear()
        for peer in ("n2", "n3"):
            replicator.replicate(peer, commit_index, 1.0)
        (_, first), (_, second) = sent
        assert first is second
        entry = leader.journal.last_index
        assert (first.previous_index, len(first.entries), first.commit_index) == (entry - 1, 1, commit_index)
    leader.add()
    sent.clear()
    for commit_index, peer in ((1, "n2"), (2, "n3")):
        replicator.replicate(peer, commit_index, 1.0)
    assert [append.commit_index for _peer, append in sent] == [1, 2]
