"""One member of the ordered log: messages in, messages out, committed entries applied.

It does no I/O of its own and knows no event loop. Whoever drives it

- hands in what arrives: `connected`, `disconnected`, `received`;
- calls `tick` every few milliseconds, and at once while `is_behind`;
- writes the write-ahead log's batches to disk, elsewhere and as often as there is one, and calls `synced` after each,
  then `tick`;
- prepares an `installation` where there is one, elsewhere, and calls `install`.

Production drives it from one asyncio loop, the simulator from its own clock; the code is the same.

**Nothing that promises durability leaves before its bytes are on disk.** Acknowledgements, votes and requests for
votes wait in the `Outbox` until the write-ahead log is durable up to where it stood when they were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from raftbook.errors import ProtocolError, SnapshotError, StorageFullError
from raftbook.replication.elections import Ballot, Standing
from raftbook.replication.guard import Mismatch, log_is_current, review_append, review_commit
from raftbook.replication.hand_over import HandOver, choose_successor
from raftbook.replication.installation import Installation
from raftbook.replication.messages import (
    AppendEntries,
    AppendReply,
    CommitNotice,
    SnapshotChunk,
    SnapshotReply,
    TermNotice,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftbook.replication.ordered_log import LogStatus, Role
from raftbook.replication.outbox import Outbox
from raftbook.replication.raft_core import CANDIDATE, FOLLOWER, LEADER, REGULAR_COMMAND, RaftCore
from raftbook.replication.replicator import Replicator
from raftbook.replication.snapshot_transfer import SnapshotCollector, SnapshotSender

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import Hello, PeerTransport
    from raftbook.replication.ordered_log import StateReplica
    from raftbook.replication.snapshot_store import SnapshotStore
    from raftbook.replication.write_ahead_log import WriteAheadLog

RaftMessage = (
    AppendEntries
    | AppendReply
    | VoteRequest
    | VoteReply
    | SnapshotChunk
    | SnapshotReply
    | TermNotice
    | TimeoutNow
    | CommitNotice
)


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
        self.lacks_room_bytes = 0
        """How large a snapshot from the leader was, for which the disk had no room."""
        self._announced_index = 0
        self._synced_position = wal.durable_position
        self._synced_at = clock()
        self._leader_heard_at = float("-inf")
        self._hand_over: HandOver | None = None
        self._handed_over_term = 0
        """The last term for which this member stood at its leader's wish."""
        self._replicator = Replicator(
            journal,
            transport.send,
            heartbeat_s=settings.heartbeat_s,
            append_limit_bytes=settings.append_limit_bytes,
            window_bytes=settings.window_bytes,
        )
        self._sender = SnapshotSender(snapshots, transport.send)
        self._collector = SnapshotCollector(snapshots.receiver())
        self._installation: Installation | None = None
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
            CommitNotice: self._on_commit_notice,
            VoteRequest: self._on_vote_request,
            VoteReply: self._on_vote_reply,
            SnapshotChunk: self._on_snapshot_chunk,
            SnapshotReply: self._on_snapshot_reply,
            TermNotice: self._on_term_notice,
            TimeoutNow: self._on_timeout_now,
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
    def is_voter(self) -> bool:
        """Its vote and its acknowledgements count."""
        return self._standing.is_voter

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
        """It leads, means to stay, and has applied its term's no-op, so all that any earlier leader committed."""
        noop_index = self._core.noop_index
        has_applied = noop_index is not None and self._core.applied_index >= noop_index
        return self.leads and has_applied and not self.is_handing_over

    @property
    def is_handing_over(self) -> bool:
        """From `hand_over` until it knows another leader or, for want of one, has given the attempt up."""
        return self._hand_over is not None

    @property
    def successor(self) -> str | None:
        """The member to which leadership is being handed over."""
        return None if self._hand_over is None else self._hand_over.successor

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
        self._watch_disk()
        if self.leads:
            if len(self._members) > 1 and self._disk_stalls:
                # Its followers would wait for its disk for ever: a commit needs the leader's own.
                self._core.step_down()
                self._postpone_election()
        elif self._clock() >= self._election_deadline:
            self._postpone_election()
            self._core.forget_leader()
            self._ask_for_pre_votes()
        self._core.tick()
        if self._hand_over is not None:
            self._mind_hand_over()

    def hand_over(self, among: Sequence[str] | None = None) -> bool:
        """Begin to give leadership away, to the follower that can take it soonest (see hand_over.py).

        `among`, where given, are the only ones that are wanted.

        From now on nothing can be proposed here, until another member leads or, after `election_timeout_max_s` at
        most, the attempt is given up; `is_handing_over` tells, and then it may be tried again.

        Returns True if an attempt is under way, False if this member does not lead or nobody could take over.
        """
        self._mind_hand_over()
        if not self.leads:
            return False
        if self._hand_over is None:
            answered_since = self._clock() - self._settings.election_timeout_min_s
            wanted = [peer for peer in self._transport.connected if among is None or peer in among]
            quiet = [peer for peer in wanted if self._core.answered_at(peer) < answered_since]
            successor = choose_successor({peer: self._replicator.progress(peer) for peer in wanted}, quiet)
            if successor is None:
                return False
            deadline = self._clock() + self._settings.election_timeout_max_s
            self._hand_over = HandOver(successor, self._core.term, deadline)
            self._mind_hand_over()
        return True

    def pause(self, peer: str) -> None:
        """`peer` has no room for more: whenever this member leads, it sends it heartbeats alone."""
        if not self._replicator.is_paused(peer):
            self._replicator.pause(peer)
            self._sender.forget(peer)

    def resume(self, peer: str) -> None:
        """`peer` has room again."""
        self._replicator.resume(peer)

    def synced(self) -> None:
        """More of the write-ahead log is on disk: release what waited for it. The next `tick` does the rest."""
        self._outbox.release()
        if self.leads:
            for peer in self._transport.connected:
                self._core.set_match_index(peer, self._replicator.countable_match(peer))

    def connected(self, peer: str, hello: Hello) -> None:
        self._standing.greeted(peer, peer_is_fresh=hello.fresh)
        self._replicator.connected(peer)
        self._core.set_match_index(peer, 0)
        self._sender.forget(peer)
        self._core.connected(peer)

    def disconnected(self, peer: str) -> None:
        self._outbox.forget(peer)
        self._sender.forget(peer)
        self._core.disconnected(peer)
        if peer == self._core.leader:
            # A connection that breaks is a better witness of a dead leader than a missing heartbeat. If it was
            # only the connection, the others, who still hear the leader, will not grant the pre-vote.
            self._leader_heard_at = float("-inf")
            self._standing.leader_lost()
            soon = self._clock() + self._random.uniform(0.0, self._settings.election_timeout_min_s / 2)
            self._election_deadline = min(self._election_deadline, soon)

    def received(self, peer: str, message: RaftMessage) -> None:
        self._handlers[type(message)](peer, message)

    def compact(self, snapshot_index: int, keep_bytes: int, keep_entries: int) -> int:
        """A snapshot at `snapshot_index` is durable: forget older entries, but keep some for followers that lag.

        A leader keeps twice as many bytes if it has to for a follower that takes long to catch up: by the time that
        this has installed a large snapshot, it would need the next one, again and again.

        Returns the new base index. The caller compacts the write-ahead log to it when no batch is under way.
        """
        if snapshot_index <= self._journal.base_index:
            # Meanwhile a later snapshot came from the leader.
            return self._journal.base_index
        index = self._journal.oldest_index_within(keep_bytes, keep_entries, snapshot_index)
        needed_index = self._needed_index()
        if needed_index < index:
            needed_entries = snapshot_index - needed_index
            index = self._journal.oldest_index_within(2 * keep_bytes, needed_entries, snapshot_index)
        self._journal.compact(index)
        return index

    def _needed_index(self) -> int:
        """Behind it stand the entries that the connected followers still need, as far as is known."""
        needed_index = self._journal.last_index
        if self.leads and self._replicator.term == self._core.term:
            for peer in self._transport.connected:
                if not self._replicator.is_paused(peer):
                    held_index = max(self._replicator.progress(peer).match_index, self._sender.index_sent_to(peer))
                    needed_index = min(needed_index, max(held_index, self._journal.base_index))
        return needed_index

    def _watch_disk(self) -> None:
        synced_position = self._wal.durable_position
        if synced_position != self._synced_position or synced_position >= self._wal.position:
            self._synced_position = synced_position
            self._synced_at = self._clock()

    @property
    def _disk_stalls(self) -> bool:
        """Something waits for the disk, and nothing got there for longer than a leader may go without a majority."""
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
        if not self._standing.is_voter or self._disk_stalls:
            return
        self._pre_ballot.open(self._core.term + 1, self._node_id)
        last = (self._journal.last_index, self._journal.last_term)
        request = VoteRequest(self._core.term + 1, *last, pre_vote=True, handed_over=False)
        self._transport.send_many(self._transport.connected, request)
        self._campaign_if_wanted()

    def _campaign_if_wanted(self) -> None:
        # The term may have moved on while the answers came, by a vote, or by an election won with late votes.
        if self._pre_ballot.is_won and self._pre_ballot.term == self._core.term + 1 and self._core.role != LEADER:
            self._campaign()

    def _campaign(self) -> None:
        self._pre_ballot.close()
        self._ballot.open(self._core.term + 1, self._node_id)
        self._core.campaign()

    def _hears_a_leader(self) -> bool:
        """Whether this member has a leader, or is one that a majority answers: no reason to elect another."""
        since = self._clock() - self._settings.election_timeout_min_s
        if self.leads:
            answered = [peer for peer in self._transport.connected if self._core.answered_at(peer) >= since]
            return self._is_majority(1 + len(answered))
        return self._leader_heard_at >= since

    def _on_vote_request(self, peer: str, request: VoteRequest) -> None:
        if not self._standing.is_voter:
            return
        is_by_wish = request.handed_over and not request.pre_vote
        if self._hears_a_leader() and not is_by_wish:
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

    def _on_timeout_now(self, peer: str, wish: TimeoutNow) -> None:
        """Stand for election at once, without pre-votes, which nobody who hears the leader would give."""
        if wish.term < self._core.term:
            self._transport.send(peer, TermNotice(self._core.term))
            return
        follows = wish.term == self._core.term and peer == self._core.leader and self._core.role == FOLLOWER
        if follows and self._standing.is_voter and not self._disk_stalls:
            self._handed_over_term = self._core.term + 1
            self._postpone_election()
            self._campaign()

    def send_vote_request(self, peer: str, message: Mapping[str, object]) -> None:
        term, index, last_term = message["term"], message["last_log_index"], message["last_log_term"]
        assert isinstance(term, int)
        assert isinstance(index, int)
        assert isinstance(last_term, int)
        handed_over = term == self._handed_over_term
        self._outbox.send(peer, VoteRequest(term, index, last_term, pre_vote=False, handed_over=handed_over))

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

    def _on_commit_notice(self, peer: str, notice: CommitNotice) -> None:
        if self._accept_leader(peer, notice.term) and notice.term == self._core.term:
            self._core.raise_commit_index(review_commit(self._journal, notice.term, notice.commit_index))

    def _answer_append(self, peer: str, index: int, next_index: int, *, success: bool) -> None:
        """`index` is the last that agrees with the leader's log or, without success, the one that does not."""
        is_voter = self._standing.is_voter
        self._outbox.send(peer, AppendReply(self._core.term, index, next_index, success=success, is_voter=is_voter))

    def _accept_leader(self, peer: str, term: int) -> bool:
        if term < self._core.term:
            self._transport.send(peer, TermNotice(self._core.term))
            return False
        assert not (self.leads and term == self._core.term), f"{peer} leads term {term} too"
        if peer != self._core.leader:
            # It may hold the entries for which another leader had to send a snapshot.
            self.lacks_room_bytes = 0
        self._leader_heard_at = self._clock()
        self._pre_ballot.close()
        self._postpone_election()
        return True

    def _on_snapshot_chunk(self, peer: str, chunk: SnapshotChunk) -> None:
        if not self._accept_leader(peer, chunk.term):
            return
        self._core.follow(peer, chunk.term)
        if self._holds(chunk.index, chunk.snapshot_term):
            # Of the snapshot, and maybe acknowledged entries behind it: keep them.
            self._core.raise_commit_index(min(chunk.index, self._journal.last_index))
            self._answer_append(peer, chunk.index, chunk.index + 1, success=True)
            return
        if self._installation is not None:
            whole = self._installation.info
            if (chunk.index, chunk.snapshot_term, chunk.digest) == (whole.index, whole.term, whole.digest):
                self._transport.send(peer, SnapshotReply(chunk.term, chunk.index, whole.size_bytes))
            # Another one has to wait, and its leader sends it again after a while.
            return
        try:
            received_bytes, info = self._collector.add(chunk)
        except SnapshotError as error:
            message = f"{peer} sent a snapshot that is not what it announced: {error}"
            raise ProtocolError(message) from error
        except StorageFullError:
            # The leader is not answered; it begins anew after a while, or when this member has said that it has room.
            self._collector.abort()
            self.lacks_room_bytes = chunk.size_bytes
            return
        self.lacks_room_bytes = 0
        self._transport.send(peer, SnapshotReply(chunk.term, chunk.index, received_bytes))
        if info is not None:
            self._installation = Installation(info, self._snapshots, self._replica.decode)

    def _holds(self, index: int, term: int) -> bool:
        """The log holds all that a snapshot at `index` covers."""
        return self._journal.term_at(index) == term or index <= self._core.commit_index

    @property
    def installation(self) -> Installation | None:
        """A snapshot that has come from the leader and is to be prepared (see installation.py)."""
        return self._installation

    def install(self, installation: Installation) -> None:
        """It has been prepared: its state is this member's, unless the log has come as far in the meantime."""
        assert installation is self._installation
        self._installation = None
        info = installation.info
        self._snapshots.accept(info.index, info.term)
        if not self._holds(info.index, info.term):
            self._journal.reset(info.index, info.term)
            self._replica.restore(info.index, installation.state)
            self._core.installed(info.index)
        leader = self._core.leader
        if leader is not None and leader != self._node_id:
            # Whoever leads this term: what a snapshot covers is committed.
            self._answer_append(leader, info.index, info.index + 1, success=True)

    def installation_failed(self, installation: Installation, *, lacks_room: bool) -> None:
        """It could not be prepared: the leader has to send one from the beginning."""
        assert installation is self._installation
        self._installation = None
        self._snapshots.drop_incoming()
        info = installation.info
        if lacks_room:
            self.lacks_room_bytes = info.size_bytes
        if self._core.leader is not None:
            self._transport.send(self._core.leader, SnapshotReply(self._core.term, info.index, 0))

    def apply_committed(self) -> bool:
        """Apply what is committed and on this node's disk, for at most a slice of time.

        A leader tells its followers first, so that all nodes apply at the same time.
        Returns False always: the core need not send anything for it.
        """
        limit = self.commit_index
        if self._core.applied_index >= limit:
            return False
        if self.leads and self._announced_index < limit:
            self._announced_index = limit
            self._transport.send_many(self._transport.connected, CommitNotice(self._core.term, limit))
            self._transport.flush()
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
        """Called by the core whenever there is something to send: an entry, a heartbeat."""
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
        if self._replicator.progress(peer).needs_snapshot and not self._replicator.is_paused(peer):
            self._sender.offer(peer, self._core.term, self._clock())

    def _on_append_reply(self, peer: str, reply: AppendReply) -> None:
        self._adopt_term(reply.term)
        if not self.leads or reply.term != self._core.term:
            return
        if reply.is_voter:
            # Nothing can be committed with the help of learners alone, so their answers keep no leader in office.
            self._core.heard_from(peer)
        send_more = self._replicator.answered(peer, reply)
        self._core.set_match_index(peer, self._replicator.countable_match(peer))
        if not self._replicator.progress(peer).needs_snapshot:
            self._sender.forget(peer)
        elif reply.success:
            self._sender.acknowledged(peer, reply.match_index)
        if send_more:
            self._replicate_to(peer)

    def _on_snapshot_reply(self, peer: str, reply: SnapshotReply) -> None:
        if self.leads and reply.term == self._core.term:
            if self._replicator.progress(peer).is_voter:
                self._core.heard_from(peer)
            self._sender.answered(peer, reply, self._core.term, self._clock())

    def _mind_hand_over(self) -> None:
        """Ask the successor to stand as soon as it holds the whole log, and end an attempt that is over."""
        attempt = self._hand_over
        if attempt is None:
            return
        connected = self._transport.connected
        if attempt.is_over(self._node_id, self._core.term, self._core.leader, connected, self._clock()):
            self._hand_over = None
        elif self.leads and not attempt.has_asked and self._holds_whole_log(attempt.successor):
            attempt.has_asked = self._transport.send(attempt.successor, TimeoutNow(attempt.term))

    def _holds_whole_log(self, peer: str) -> bool:
        return self._replicator.progress(peer).match_index == self._journal.last_index
