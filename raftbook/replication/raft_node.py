"""One member of the ordered log: messages in, messages out, committed entries applied.

It does no I/O of its own and knows no event loop. Whoever drives it

- hands in what arrives: `connected`, `disconnected`, `received`;
- calls `tick` every few milliseconds, and at once while `is_behind`;
- writes the write-ahead log's batches to disk, elsewhere and as often as there is one, and calls `synced` after each.

Production drives it from one asyncio loop, the simulator from its own clock; the code is the same.

**Nothing that promises durability leaves before its bytes are on disk.** Acknowledgements, votes and requests for
votes wait in the `Outbox` until the write-ahead log is durable up to where it stood when they were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from raftbook.errors import ProtocolError, SnapshotError
from raftbook.replication.elections import Ballot, Standing
from raftbook.replication.guard import Mismatch, log_is_current, review_append
from raftbook.replication.messages import (
    AppendEntries,
    AppendReply,
    SnapshotChunk,
    SnapshotReply,
    TermNotice,
    VoteReply,
    VoteRequest,
)
from raftbook.replication.ordered_log import LogStatus, Role
from raftbook.replication.outbox import Outbox
from raftbook.replication.raft_core import CANDIDATE, LEADER, REGULAR_COMMAND, RaftCore
from raftbook.replication.replicator import Replicator
from raftbook.replication.snapshot_transfer import SnapshotCollector, SnapshotSender

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import Hello, PeerTransport
    from raftbook.replication.ordered_log import StateReplica
    from raftbook.replication.snapshot_store import SnapshotStore
    from raftbook.replication.write_ahead_log import WriteAheadLog

RaftMessage = AppendEntries | AppendReply | VoteRequest | VoteReply | SnapshotChunk | SnapshotReply | TermNotice


class RaftSettings(NamedTuple):
    heartbeat_s: float = 0.05
    election_timeout_min_s: float = 0.4
    election_timeout_max_s: float = 0.8
    fallback_timeout_s: float = 1.5
    append_limit_bytes: int = 1024 * 1024
    window_bytes: int = 8 * 1024 * 1024
    apply_slice_s: float = 0.005
    """Longest time that one tick spends on committed entries, so that heartbeats go out during a long replay."""


class RaftNode:
    """See the module's docstring. Every method is quick, except that `tick` applies for up to `apply_slice_s`."""

    def __init__(
        self,
        *,
        node_id: str,
        members: tuple[str, ...],
        journal: Journal,
        wal: WriteAheadLog,
        snapshots: SnapshotStore,
        is_voter: bool,
        transport: PeerTransport,
        replica: StateReplica,
        clock: Callable[[], float],
        random_source: random.Random,
        settings: RaftSettings,
        applied_index: int,
    ) -> None:
        """`applied_index`: the last entry that `replica` holds already, from a snapshot on this node's disk."""
        self._node_id = node_id
        self._members = members
        self._journal = journal
        self._wal = wal
        self._snapshots = snapshots
        self._transport = transport
        self._replica = replica
        self._clock = clock
        self._random = random_source
        self._settings = settings
        self._outbox = Outbox(wal, transport)
        self._pre_ballot = Ballot(len(members))
        self._ballot = Ballot(len(members))
        self._standing = Standing(len(members), is_voter=is_voter, is_empty=self.is_fresh)
        self._election_deadline = self._draw_election_deadline()
        self._announced_index = 0
        self._synced_position = wal.durable_position
        self._synced_at = clock()
        self._heard_at: dict[str, float] = {}
        self._leader_heard_at = float("-inf")
        self._replicator = Replicator(
            journal,
            transport.send,
            heartbeat_s=settings.heartbeat_s,
            append_limit_bytes=settings.append_limit_bytes,
            window_bytes=settings.window_bytes,
        )
        self._sender = SnapshotSender(snapshots, transport.send)
        self._collector = SnapshotCollector(snapshots.receiver())
        self._core = RaftCore(
            node_id=node_id,
            members=members,
            journal=journal,
            callbacks=self,
            clock=clock,
            heartbeat_s=settings.heartbeat_s,
            election_timeout_min_s=settings.election_timeout_min_s,
            election_timeout_max_s=settings.election_timeout_max_s,
            fallback_timeout_s=settings.fallback_timeout_s,
        )
        self._core.installed(applied_index)
        self._handlers: Mapping[type, Callable[..., None]] = {
            AppendEntries: self._on_append,
            AppendReply: self._on_append_reply,
            VoteRequest: self._on_vote_request,
            VoteReply: self._on_vote_reply,
            SnapshotChunk: self._on_snapshot_chunk,
            SnapshotReply: self._on_snapshot_reply,
            TermNotice: self._on_term_notice,
        }

    # How it stands.

    @property
    def is_fresh(self) -> bool:
        """For the greeting: this member's log is empty, so it is new or has lost its disk."""
        return self._journal.last_index == 0

    @property
    def is_behind(self) -> bool:
        """Committed and durable entries wait to be applied."""
        return self._core.applied_index < self.commit_index

    @property
    def leads(self) -> bool:
        return self._core.role == LEADER

    @property
    def leader(self) -> str | None:
        return self._core.leader

    @property
    def commit_index(self) -> int:
        """Up to here entries are committed and on this disk: a single node commits in memory before it has synced."""
        return min(self._core.commit_index, self._journal.durable_index)

    @property
    def applied_index(self) -> int:
        return self._core.applied_index

    @property
    def term(self) -> int:
        return self._core.term

    @property
    def in_flight(self) -> int:
        """Entries of the log that are not applied here yet."""
        return self._journal.last_index - self._core.applied_index

    @property
    def ready_to_propose(self) -> bool:
        """It leads and has applied its term's no-op: its state holds all that any earlier leader committed."""
        noop_index = self._core.noop_index
        return self.leads and noop_index is not None and self._core.applied_index >= noop_index

    def status(self) -> LogStatus:
        return LogStatus(
            role=self._role(),
            leader=self._core.leader,
            term=self._core.term,
            base_index=self._journal.base_index,
            last_index=self._journal.last_index,
            durable_index=self._journal.durable_index,
            commit_index=self.commit_index,
            applied_index=self._core.applied_index,
            ready_to_propose=self.ready_to_propose,
            has_quorum=self._core.leader is not None and self._is_majority(1 + len(self._transport.connected)),
        )

    def _role(self) -> Role:
        if not self._standing.is_voter:
            return "learner"
        if self.leads:
            return "leader"
        return "candidate" if self._core.role == CANDIDATE else "follower"

    def _is_majority(self, count: int) -> bool:
        return count > len(self._members) // 2

    # What the driver calls.

    def propose(self, entry: bytes) -> int:
        """Append `entry` to the log of the leader that this node is; returns its index."""
        assert self.ready_to_propose
        return self._core.propose(entry)

    def tick(self) -> None:
        if not self._standing.is_voter:
            self._review_standing()
        if self.leads and len(self._members) > 1 and self._disk_stalls():
            # Its followers would wait for its disk for ever: a commit needs the leader's own.
            self._core.step_down()
            self._postpone_election()
        if self._core.role != LEADER and self._clock() >= self._election_deadline:
            self._postpone_election()
            self._core.forget_leader()
            self._ask_for_pre_votes()
        self._core.tick()

    def synced(self) -> None:
        """More of the write-ahead log is on disk: release what waited for it."""
        self._outbox.release()
        if self.leads:
            for peer in self._transport.connected:
                self._core.set_match_index(peer, self._replicator.countable_match(peer))
        self.tick()

    def connected(self, peer: str, hello: Hello) -> None:
        self._standing.greeted(peer, peer_is_fresh=hello.fresh)
        self._replicator.connected(peer)
        self._core.set_match_index(peer, 0)
        self._sender.forget(peer)
        self._core.connected(peer)

    def disconnected(self, peer: str) -> None:
        self._outbox.forget(peer)
        self._sender.forget(peer)
        self._heard_at.pop(peer, None)
        self._core.disconnected(peer)
        if peer == self._core.leader:
            # A connection that breaks is a better witness of a dead leader than a missing heartbeat. If it was
            # only the connection, the others, who still hear the leader, will not grant the pre-vote.
            self._leader_heard_at = float("-inf")
            self._standing.leader_lost()
            soon = self._clock() + self._random.uniform(0.0, self._settings.election_timeout_min_s / 2)
            self._election_deadline = min(self._election_deadline, soon)

    def received(self, peer: str, message: RaftMessage) -> None:
        self._heard_at[peer] = self._clock()
        self._handlers[type(message)](peer, message)

    def compact(self, snapshot_index: int, keep_bytes: int, keep_entries: int) -> int:
        """A snapshot at `snapshot_index` is durable: forget older entries, but keep some for followers that lag.

        Returns the new base index. The caller compacts the write-ahead log to it when no batch is under way.
        """
        if snapshot_index <= self._journal.base_index:
            # Meanwhile a later snapshot came from the leader.
            return self._journal.base_index
        index = self._journal.oldest_index_within(keep_bytes, keep_entries, snapshot_index)
        self._journal.compact(index)
        return index

    def _disk_stalls(self) -> bool:
        """Something waits for the disk, and nothing got there for longer than a leader may go without a majority."""
        synced_position = self._wal.durable_position
        if synced_position != self._synced_position or synced_position >= self._wal.position:
            self._synced_position = synced_position
            self._synced_at = self._clock()
        return self._clock() - self._synced_at > self._settings.fallback_timeout_s

    # Standing and elections.

    def _review_standing(self) -> None:
        commit_index = self.commit_index
        commit_term = self._journal.term_at(commit_index)
        caught_up_with = self._standing.caught_up_with(commit_index, commit_term, self._core.term)
        if caught_up_with is not None or self._standing.founds_cluster:
            self._standing.become_voter()
            self._wal.record_voter(voter=True)
            if caught_up_with is not None:
                self._core.vote_for(caught_up_with)
            self._postpone_election()

    def _draw_election_deadline(self) -> float:
        timeout_s = self._random.uniform(self._settings.election_timeout_min_s, self._settings.election_timeout_max_s)
        return self._clock() + timeout_s

    def _postpone_election(self) -> None:
        self._election_deadline = self._draw_election_deadline()

    def _adopt_term(self, term: int) -> None:
        if term > self._core.term:
            self._core.adopt_term(term)
            self._postpone_election()

    def _ask_for_pre_votes(self) -> None:
        if not self._standing.is_voter or self._disk_stalls():
            return
        self._pre_ballot.open(self._core.term + 1, self._node_id)
        request = VoteRequest(self._core.term + 1, self._journal.last_index, self._journal.last_term, pre_vote=True)
        self._transport.send_many(self._transport.connected, request)
        self._campaign_if_wanted()

    def _campaign_if_wanted(self) -> None:
        # The term may have moved on while the answers came, by a vote, or by an election won with late votes.
        if self._pre_ballot.is_won and self._pre_ballot.term == self._core.term + 1 and self._core.role != LEADER:
            self._pre_ballot.close()
            self._ballot.open(self._core.term + 1, self._node_id)
            self._core.campaign()

    def _hears_a_leader(self) -> bool:
        """Whether this member has a leader, or is one that a majority answers: no reason to elect another."""
        since = self._clock() - self._settings.election_timeout_min_s
        if self.leads:
            return self._is_majority(1 + sum(heard_at >= since for heard_at in self._heard_at.values()))
        return self._leader_heard_at >= since

    def _on_vote_request(self, peer: str, request: VoteRequest) -> None:
        if not self._standing.is_voter or self._hears_a_leader():
            return
        if request.pre_vote:
            is_current = log_is_current(self._journal, request.last_index, request.last_term)
            granted = is_current and request.term > self._core.term
            term = request.term if granted else self._core.term
            self._transport.send(peer, VoteReply(term, granted=granted, pre_vote=True))
        elif request.term < self._core.term:
            # Tells the term, so that a candidate with the better log is not held back by its older term for ever.
            self._transport.send(peer, VoteReply(self._core.term, granted=False, pre_vote=False))
        else:
            self._core.vote_requested(peer, request.term, request.last_index, request.last_term)

    def _on_vote_reply(self, peer: str, reply: VoteReply) -> None:
        if not reply.granted:
            self._adopt_term(reply.term)
        elif reply.pre_vote:
            if self._pre_ballot.count(peer, reply.term):
                self._campaign_if_wanted()
        elif reply.term == self._core.term and self._core.role == CANDIDATE and self._ballot.count(peer, reply.term):
            self._core.vote_received(peer, reply.term)

    def _on_term_notice(self, _peer: str, notice: TermNotice) -> None:
        self._adopt_term(notice.term)

    def send_vote_request(self, peer: str, message: Mapping[str, object]) -> None:
        term, index, last_term = message["term"], message["last_log_index"], message["last_log_term"]
        assert isinstance(term, int)
        assert isinstance(index, int)
        assert isinstance(last_term, int)
        self._outbox.send(peer, VoteRequest(term, index, last_term, pre_vote=False))

    def send_vote_reply(self, peer: str, message: Mapping[str, object]) -> None:
        term = message["term"]
        assert isinstance(term, int)
        self._postpone_election()
        self._outbox.send(peer, VoteReply(term, granted=True, pre_vote=False))

    # The follower's side.

    def _on_append(self, peer: str, append: AppendEntries) -> None:
        if not self._accept_leader(peer, append.term):
            return
        self._standing.leader_heard(peer, append.term, append.previous_index + len(append.entries))
        previous = (append.previous_index, append.previous_term)
        review = review_append(self._journal, self._core.commit_index, previous, append.commit_index, append.entries)
        if isinstance(review, Mismatch):
            self._core.follow(peer, append.term)
            self._answer_append(peer, append.previous_index, review.next_index, success=False)
            return
        self._core.append(peer, append.term, review.previous, review.commit_index, review.entries)
        self._answer_append(peer, review.verified_index, review.verified_index + 1, success=True)

    def _answer_append(self, peer: str, index: int, next_index: int, *, success: bool) -> None:
        """`index` is the last that agrees with the leader's log or, without success, the one that does not."""
        is_voter = self._standing.is_voter
        self._outbox.send(peer, AppendReply(self._core.term, index, next_index, success=success, is_voter=is_voter))

    def _accept_leader(self, peer: str, term: int) -> bool:
        if term < self._core.term:
            self._transport.send(peer, TermNotice(self._core.term))
            return False
        assert not (self.leads and term == self._core.term), f"{peer} leads term {term} too"
        self._leader_heard_at = self._clock()
        self._pre_ballot.close()
        self._postpone_election()
        return True

    def _on_snapshot_chunk(self, peer: str, chunk: SnapshotChunk) -> None:
        if not self._accept_leader(peer, chunk.term):
            return
        self._core.follow(peer, chunk.term)
        if self._journal.term_at(chunk.index) == chunk.snapshot_term or chunk.index <= self._core.commit_index:
            # The log holds all that the snapshot covers, and maybe acknowledged entries behind it: keep it.
            self._core.raise_commit_index(min(chunk.index, self._journal.last_index))
            self._answer_append(peer, chunk.index, chunk.index + 1, success=True)
            return
        try:
            received_bytes, info = self._collector.add(chunk)
        except SnapshotError as error:
            message = f"{peer} sent a snapshot that is not what it announced: {error}"
            raise ProtocolError(message) from error
        if info is None:
            self._transport.send(peer, SnapshotReply(chunk.term, chunk.index, received_bytes))
            return
        self._journal.reset(info.index, info.term)
        self._replica.restore(info.index, self._snapshots.load(info))
        self._core.installed(info.index)
        self._transport.send(peer, SnapshotReply(chunk.term, chunk.index, received_bytes))
        self._answer_append(peer, info.index, info.index + 1, success=True)

    def apply_committed(self) -> bool:
        """Apply what is committed and on this node's disk, for at most a slice of time.

        A leader tells its followers first and applies in the next turn, so that all nodes apply at the same time.
        Returns False always: the core need not send anything for it.
        """
        limit = self.commit_index
        if self._core.applied_index >= limit:
            return False
        if self.leads and self._announced_index < limit and self._transport.connected:
            self._announced_index = limit
            self.replicate()
            return False
        slice_end = self._clock() + self._settings.apply_slice_s
        while self._core.applied_index < limit:
            index = self._core.applied_index + 1
            command = self._journal.command_at(index)
            if command[:1] == REGULAR_COMMAND:
                self._replica.apply(index, command[1:])
            else:
                self._replica.advance(index)
            self._core.applied_index = index
            if self._clock() >= slice_end:
                break
        return False

    # The leader's side.

    def replicate(self) -> None:
        """Called by the core whenever there is something to send: an entry, a commit index, a heartbeat."""
        self._core.heartbeat_sent()
        if self._replicator.term != self._core.term:
            noop_index = self._core.noop_index
            assert noop_index is not None
            self._pre_ballot.close()
            self._ballot.close()
            self._sender.forget_all()
            self._collector.abort()
            self._replicator.lead(self._core.term, self._core.peers, noop_index)
            self._announced_index = 0
        for peer in self._transport.connected:
            self._replicate_to(peer)

    def _replicate_to(self, peer: str) -> None:
        self._replicator.replicate(peer, self._core.commit_index, self._clock())
        if self._replicator.progress(peer).needs_snapshot:
            self._sender.offer(peer, self._core.term)

    def _on_append_reply(self, peer: str, reply: AppendReply) -> None:
        self._adopt_term(reply.term)
        if not self.leads or reply.term != self._core.term:
            return
        self._core.heard_from(peer)
        send_more = self._replicator.answered(peer, reply)
        self._core.set_match_index(peer, self._replicator.countable_match(peer))
        if reply.success:
            self._sender.acknowledged(peer, reply.match_index)
        if not self._replicator.progress(peer).needs_snapshot:
            self._sender.forget(peer)
        if send_more:
            self._replicate_to(peer)

    def _on_snapshot_reply(self, peer: str, reply: SnapshotReply) -> None:
        if self.leads and reply.term == self._core.term:
            self._core.heard_from(peer)
            self._sender.answered(peer, reply, self._core.term)
