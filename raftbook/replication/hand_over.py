"""How a leader gives its leadership away: the leadership transfer of Ongaro's dissertation, section 3.10.

A leader that just stops leaves the cluster without one for an election timeout. Instead it

1. proposes nothing more, and goes on replicating until the follower with the most of its log has all of it;
2. asks that follower to stand for election at once (`TimeoutNow`). The follower asks for no pre-votes, and its requests
   for votes say that they come at the leader's wish, so that those who hear the leader vote all the same.

Safety does not depend on any of it: the election is one like every other, and its votes wait for the disks as all do.
A leader that sees no other in time has asked in vain: it gives the attempt up and proposes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from raftbook.replication.replicator import Progress


@dataclass(slots=True)
class HandOver:
    """One attempt of the leader of `term`, given up at `deadline`."""

    successor: str
    term: int
    deadline: float
    has_asked: bool = False

    def is_over(self, own_id: str, term: int, leader: str | None, connected: Container[str], now: float) -> bool:
        """Whether it has led to another leader, or never will. `term` and `leader` are those that the member knows.

        Between two leaders it is not over: whoever waits for it wants to know the next one.
        """
        if now >= self.deadline:
            return True
        if leader == own_id:
            return term != self.term or self.successor not in connected
        return leader is not None


def choose_successor(followers: Mapping[str, Progress], quiet: Container[str]) -> str | None:
    """Who could lead soonest: of the voters, the one that holds most of the log, and of equals the first by name.

    Those in `quiet`, who have not answered lately, come last: a process that hangs holds no less of an idle log than
    the others. Who waits for a snapshot is not considered, nor who has not yet said that it may vote. O(followers).
    """
    able = [peer for peer, progress in followers.items() if progress.is_voter and not progress.needs_snapshot]
    return min(able, key=lambda peer: (peer in quiet, -followers[peer].match_index, peer), default=None)
