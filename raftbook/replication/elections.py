"""Who may vote, who is asked, and whose answer counts.

PySyncObj campaigns whenever its deadline passes, counts one voter's answers as often as they arrive, and follows any
later term at once. Around it stand three rules:

- **Pre-vote** (Ongaro's dissertation, section 9.6): a member asks whether it would win before it raises its term, so a
  node that was cut off comes back without unseating a healthy leader.
- **Leader stickiness** (section 6 of the Raft paper): who hears from a leader ignores candidates, unless they stand at
  that leader's wish (hand_over.py).
- **Standing**: a member with an empty disk may have forgotten votes that it gave and entries that it acknowledged.
  Unless the whole cluster is new, it is a *learner*: it follows, but it neither votes nor campaigns, and what it
  acknowledges counts neither towards a commit nor as the answer that keeps a leader in office, until it holds
  everything that may have been committed with its forgotten help. The proof of that is an entry that its leader
  proposed, and committed without its help, after it came back: then a majority still followed that leader, so no later
  one can have committed anything with the help of the lost disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Ballot:
    """Votes for one term, each voter counted once. A majority is of all `member_count` members."""

    member_count: int
    term: int = 0
    voters: set[str] = field(default_factory=set)

    def open(self, term: int, own_id: str) -> None:
        self.term = term
        self.voters = {own_id}

    def close(self) -> None:
        self.term = 0

    def count(self, voter: str, term: int) -> bool:
        """Note a vote; False if it is for another term or was counted before."""
        if term != self.term or voter in self.voters:
            return False
        self.voters.add(voter)
        return True

    @property
    def is_won(self) -> bool:
        return self.term > 0 and len(self.voters) > self.member_count // 2


class Standing:
    """Whether this member may vote: `is_voter` once and for all, kept in the write-ahead log by the caller."""

    def __init__(self, member_count: int, *, is_voter: bool, is_empty: bool) -> None:
        """`is_empty`: the log holds nothing, so that the member may be one of a cluster that is wholly new."""
        self._member_count = member_count
        self.is_voter = is_voter
        self._may_be_new = is_empty and not is_voter
        self._new_peers: set[str] = set()
        self._leader: tuple[str, int] | None = None
        self._bound_index = 0

    def greeted(self, peer: str, *, peer_is_fresh: bool) -> None:
        """A peer that has decided something proves that the cluster is not new."""
        if peer_is_fresh:
            self._new_peers.add(peer)
        else:
            self._may_be_new = False

    @property
    def founds_cluster(self) -> bool:
        """A majority of the members, this one among them, have never decided anything: the cluster is new."""
        return self._may_be_new and len(self._new_peers) + 1 > self._member_count // 2

    def leader_heard(self, leader: str, term: int, last_index: int) -> None:
        """An append of the leader of `term`, with entries up to `last_index`.

        The first one on a connection begins at the leader's last entry, or behind it, so no entry beyond it was
        proposed before this member came back. Another leader, or the same in another term, is a new beginning.
        """
        self._may_be_new = False
        if self._leader != (leader, term):
            self._leader = (leader, term)
            self._bound_index = last_index

    def leader_lost(self) -> None:
        self._leader = None

    def caught_up_with(self, durable_commit_index: int, commit_term: int | None, term: int) -> str | None:
        """The leader of `term`, if what it committed and is on this disk goes beyond the bound, in an own entry."""
        if self._leader is None or self._leader[1] != term or commit_term != term:
            return None
        return self._leader[0] if durable_commit_index > self._bound_index else None

    def become_voter(self) -> None:
        self.is_voter = True
        self._may_be_new = False
