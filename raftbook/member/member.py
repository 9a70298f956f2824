"""One member put together: ordered log, intake, gossip, sequencer and replicated state, without any I/O.

Whoever drives it

- hands in what arrives: `connected`, `disconnected`, `received`, `submit`;
- calls `step` after each of these, every few milliseconds, and again at once while it answers True; so an order that
  expires in a cluster with nothing else to do is at most that much late;
- calls `report` every `REPORT_S`;
- tells with `measured` how much room the disk has, now and then and after each batch;
- writes the write-ahead log's batches to disk, one at a time, and calls `synced` after each;
- prepares the `installation` of a snapshot from a peer, where there is one, and calls `install`;
- writes a snapshot when `snapshot_due` asks for one, adopts it when `may_adopt` allows, and compacts the log up to
  where `snapshot_written` says.

Production does so from one asyncio loop (`NodeService`), the simulator from its own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import CancelAll, CancelOrder, NewOrder, ReplaceOrder
from raftbook.errors import StateDivergedError
from raftbook.intake import Delta, Intake, IntakeLimits
from raftbook.member.digest_comparison import Claim, DigestComparison
from raftbook.member.gossip import Gossip
from raftbook.member.replica import Replica
from raftbook.member.room import Room
from raftbook.replication.messages import IntakeDelta, NodeReport, RawRunMessage
from raftbook.replication.raft_node import RaftNode, RaftSettings
from raftbook.replication.sequencer import Sequencer, SequencerLimits, expiry_is_due
from raftbook.replication.storage_space import DEFAULT_MARGIN_BYTES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from raftbook.engine.commands import Command
    from raftbook.member.digest_comparison import Difference
    from raftbook.member.replica import ReplicaObserver
    from raftbook.member.storage_folder import StorageFolder
    from raftbook.replication.installation import Installation
    from raftbook.replication.messages import Hello, Message, PeerTransport
    from raftbook.replication.ordered_log import LogStatus, StateReplica
    from raftbook.replication.raft_node import RaftMessage
    from raftbook.replication.storage_space import StorageFigures
    from raftbook.state_machine import StateMachine

REPORT_S: Final = 0.25
DEFAULT_NOT_AFTER_S: Final = 5.0
"""How long a submission may wait for its place in the log, unless the client says otherwise."""

CONFIGURATION_ORIGIN: Final = "configuration"
"""The origin of the configured instruments, which no node submits."""

READY_LAG_ENTRIES: Final = 64
"""A node this far behind what the leader had committed a moment ago still counts as caught up."""

_NS: Final = 1_000_000_000

_OF_AN_ACCOUNT: Final = (NewOrder, CancelOrder, ReplaceOrder, CancelAll)


class MemberSettings(NamedTuple):
    """`founding_commands`: what the first leader of a new cluster puts into the log before anything else, encoded.

    A snapshot is due after `snapshot_entries` entries, the first one sooner so that the members take turns, or when the
    commands held in memory exceed `snapshot_log_bytes`. Compaction then keeps the last entries before it, within
    `retain_entries` and `retain_log_bytes`, for followers that were away briefly.

    With less than `storage_margin_bytes` free on its disk a member is full (see room.py).
    """

    raft: RaftSettings = RaftSettings()
    intake: IntakeLimits = IntakeLimits()
    sequencer: SequencerLimits = SequencerLimits()
    founding_commands: tuple[bytes, ...] = ()
    snapshot_entries: int = 20_000
    snapshot_log_bytes: int = 96 * 1024 * 1024
    retain_entries: int = 10_000
    retain_log_bytes: int = 32 * 1024 * 1024
    storage_margin_bytes: int = DEFAULT_MARGIN_BYTES


class HeardReport(NamedTuple):
    report: NodeReport
    at: float
    """On the member's clock."""


def account_of(command: Command) -> str:
    """Whose share of the intake a command takes; the operators' commands have none."""
    return command.account if isinstance(command, _OF_AN_ACCOUNT) else ""


class Member:
    """See the module's docstring. Whatever a method raises, other than where it says so, halts the node."""

    def __init__(
        self,
        *,
        node_id: str,
        members: tuple[str, ...],
        folder: StorageFolder,
        transport: PeerTransport,
        observer: ReplicaObserver,
        clock: Callable[[], float],
        wall_clock_ns: Callable[[], int],
        random_source: random.Random,
        settings: MemberSettings,
        wrap_replica: Callable[[StateReplica], StateReplica] = lambda replica: replica,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock_ns` nanoseconds since the epoch.

        `wrap_replica` lets the simulator look on at everything that the log does to the state.
        """
        self._node_id = node_id
        self._folder = folder
        self._transport = transport
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._settings = settings
        self.intake = Intake(folder.origin, settings.intake)
        self._replica = Replica(folder.state, self.intake, observer)
        self._gossip = Gossip(self.intake)
        self._sequencer = Sequencer(settings.sequencer)
        self._digests = DigestComparison(len(members))
        self._room = Room(node_id, len(members), settings.storage_margin_bytes)
        self._last_snapshot_index = folder.state.index
        self._turn_offset = members.index(node_id) * settings.snapshot_entries // len(members)
        self.heard: dict[str, HeardReport] = {}
        """The last report of each peer, whether it is connected or not."""
        self.raft = RaftNode(
            node_id=node_id,
            members=members,
            journal=folder.journal,
            wal=folder.wal,
            snapshots=folder.snapshots,
            is_voter=folder.is_voter,
            transport=transport,
            replica=wrap_replica(self._replica),
            clock=clock,
            random_source=random_source,
            settings=settings.raft,
            applied_index=folder.state.index,
        )

    # How it stands.

    @property
    def state(self) -> StateMachine:
        return self._replica.state

    @property
    def origin(self) -> str:
        return self.intake.origin

    @property
    def status(self) -> LogStatus:
        return self.raft.status()

    @property
    def is_ready(self) -> bool:
        """There is a leader, and this member has applied what it had committed a moment ago."""
        status = self.raft.status()
        if status.leader == self._node_id:
            return status.ready_to_propose
        committed_index = self._leaders_commit_index
        return committed_index is not None and status.applied_index + READY_LAG_ENTRIES >= committed_index

    @property
    def is_behind(self) -> bool:
        """It follows a leader that has committed more, a moment ago, than this member has applied."""
        return self._leaders_commit_index is not None and not self.is_ready

    @property
    def _leaders_commit_index(self) -> int | None:
        """What another leader has said of itself, as long as there is a connection to it."""
        leader = self.raft.leader
        if leader is None or leader not in self._transport.connected or leader not in self.heard:
            return None
        return self.heard[leader].report.commit_index

    def own_report(self) -> NodeReport:
        status = self.raft.status()
        return NodeReport(
            term=status.term,
            role=status.role,
            leader=status.leader,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            digest_index=self.state.index,
            digest=self.state.chain_digest.hex(),
            ready=self.is_ready,
            storage_full=self.storage_full,
        )

    @property
    def storage_full(self) -> bool:
        """Its disk has no room for anything new."""
        return not self._room.own.has_room

    @property
    def storage_figures(self) -> StorageFigures | None:
        """What was measured last."""
        return self._room.own.figures

    # What drives it.

    def measured(self, figures: StorageFigures) -> bool:
        """How much room the disk has now; True if that makes it full, or no longer so. Then the peers hear at once."""
        changed = self._room.own.measured(figures, self.raft.lacks_room_bytes)
        if changed:
            self._transport.send_many(self._transport.connected, self.own_report())
        return changed

    def submit(self, commands: Sequence[Command]) -> int:
        """Take `commands` into the intake, in order, all or none; returns the sequence of the first.

        A command without `not_after` gets one, `DEFAULT_NOT_AFTER_S` from now.

        Raises:
            BusyError: the intake is full; nothing was taken.
            StorageFullError: the disk is, or those of so many others that nothing can be ordered; nothing was taken.
        """
        self._room.check(self._transport.connected, is_voter=self.raft.is_voter)
        # Log time can be ahead of this clock, where a leader's was; what is entered now must not be late already.
        now = max(self._wall_clock_ns(), self.state.exchange.time)
        not_after = now + int(DEFAULT_NOT_AFTER_S * _NS)
        return self.intake.submit([(account_of(command), encode_command(command, not_after)) for command in commands])

    def connected(self, peer: str, hello: Hello) -> None:
        self._gossip.connected(peer)
        self.raft.connected(peer, hello)
        if self.storage_full:
            # If it leads, before it sends much for which there is no room.
            self._transport.send(peer, self.own_report())

    def disconnected(self, peer: str) -> None:
        self._gossip.disconnected(peer)
        self._digests.forget(peer)
        self.raft.disconnected(peer)

    def received(self, peer: str, message: Message) -> None:
        """Raises:
        ProtocolError: the peer breaks the protocol; the connection is to be closed, nothing else happened.
        StateDivergedError: see `report`.
        """
        # By the very type: the messages have a metaclass for which `isinstance` asks around.
        if type(message) is NodeReport:
            self.heard[peer] = HeardReport(message, self._clock())
            self._take_room_report(peer, message)
            self._digests.claimed(peer, Claim(message.digest_index, message.digest))
            self._compare_digests()
        elif type(message) is IntakeDelta:
            for run in message.runs:
                self.intake.merge(Delta(run.origin, run.first_sequence, run.raw_commands))
        else:
            self.raft.received(peer, cast("RaftMessage", message))

    def synced(self) -> None:
        """More of the write-ahead log is on disk."""
        self.raft.synced()

    def step(self) -> bool:
        """Do what is due; True if there is more to do at once.

        The Raft node ticks; the leader packs what waits into entries, any other member sends it on to the leader. The
        leader also lets log time pass where orders are to expire and nothing else is to be ordered.
        """
        self._gossip.review(self._clock())
        self.raft.tick()
        self._move_submissions()
        return self.raft.is_behind

    def hand_over(self) -> bool:
        """Begin to give leadership away, if this member has it, if possible to one with room on its disk.

        See `RaftNode.hand_over`.
        """
        return self.raft.hand_over(among=self._room.peers_with_room(self._transport.connected) or None)

    def report(self) -> None:
        """Tell the peers how this member stands.

        Raises:
            StateDivergedError: more than half of all members have another state than this one, from the same log.
        """
        self._transport.send_many(self._transport.connected, self.own_report())
        self._compare_digests()
        self._help_learners()
        with_room = self._room.peers_with_room(self._transport.connected)
        if self.raft.leads and self.storage_full and with_room:
            self.raft.hand_over(among=with_room)

    # What it does then.

    def _take_room_report(self, peer: str, report: NodeReport) -> None:
        self._room.told(peer, storage_full=report.storage_full, is_voter=report.role != "learner")
        if report.storage_full:
            self.raft.pause(peer)
        else:
            self.raft.resume(peer)

    @property
    def _may_propose(self) -> bool:
        return self.raft.ready_to_propose and self._room.may_propose(self._transport.connected)

    def _move_submissions(self) -> None:
        """Into the log, where this member leads; to the leader, where another one does.

        A leader with nothing to move lets log time pass, where orders are to expire.
        """
        if self.raft.leads:
            self._order_submissions()
        elif len(self.intake):
            self._send_submissions()

    def _order_submissions(self) -> None:
        if self._may_propose:
            if self._sequencer.begin(self.raft.term, self.state.exchange.watermarks, self.intake.origin):
                self._found_cluster()
            while runs := self._sequencer.pack(self.intake, self.raft.in_flight):
                self.raft.propose(encode_entry(self._wall_clock_ns(), runs))
            now = self._wall_clock_ns()
            if expiry_is_due(self.state.exchange.next_expiry, now, self.raft.in_flight):
                self.raft.propose(encode_entry(now, []))

    def _send_submissions(self) -> None:
        leader = self.raft.leader
        for peer, deltas in self._gossip.due(leader if leader in self._transport.connected else None):
            runs_message = tuple(RawRunMessage(*delta) for delta in deltas)
            self._transport.send(peer, IntakeDelta(runs_message))

    def _found_cluster(self) -> None:
        """The first leader of a new cluster does this before anything else gets into the log.

        Not through the intake, where orders may wait already. Should its entry be lost, the next leader finds the
        state as empty as this one did; the dots are the same, so they are executed once.
        """
        commands = self._settings.founding_commands
        if not self.state.exchange.watermarks and commands:
            self.raft.propose(encode_entry(self._wall_clock_ns(), [RawRun(CONFIGURATION_ORIGIN, 1, commands)]))

    def _help_learners(self) -> None:
        reports = [self.heard[peer].report for peer in self._transport.connected if peer in self.heard]
        has_learner = any(report.role == "learner" for report in reports)
        if has_learner and self._may_propose and self.raft.in_flight == 0:
            # An entry that is committed without a learner's help is what lets it vote again.
            self.raft.propose(encode_entry(self._wall_clock_ns(), []))

    def _compare_digests(self) -> None:
        if self._digests.review(self.state.index, self.state.digest_at) and self._digests.is_outvoted:
            raise self._divergence()

    def _divergence(self) -> StateDivergedError:
        differences = self._digests.differences
        index = min(difference.log_index for difference in differences)
        peers = " and ".join(difference.peer for difference in differences)
        return StateDivergedError(
            f"the state of {self._node_id} is not that of {peers} at log index {index} any more, so {self._node_id} "
            f"halts and keeps the evidence; bring it back with `raftbook node rebuild --config FILE --id "
            f"{self._node_id}`"
        )

    @property
    def differences(self) -> list[Difference]:
        """Which peers have another state, as far as is known; there may be no majority yet that says who is wrong."""
        return self._digests.differences

    # Snapshots.

    @property
    def installation(self) -> Installation | None:
        """A snapshot that has come from the leader and is to be prepared, elsewhere (see installation.py)."""
        return self.raft.installation

    def install(self, installation: Installation) -> None:
        """It has been prepared."""
        self.raft.install(installation)

    def installation_failed(self, installation: Installation, *, lacks_room: bool = False) -> None:
        """It could not be; `lacks_room`: since the disk is full."""
        self.raft.installation_failed(installation, lacks_room=lacks_room)

    def snapshot_due(self) -> tuple[int, int] | None:
        """(index, term) of the snapshot of the present state that should be written now, if one should.

        None while the reserve is not whole: a snapshot must not take the room that the log needs.
        """
        index = self.raft.applied_index
        is_due = (
            self._turn_of(index) > self._turn_of(self._snapshot_index)
            or self._folder.journal.size_bytes > self._settings.snapshot_log_bytes
        )
        return self.snapshot_point() if is_due and self.has_room_for_snapshots else None

    def _turn_of(self, index: int) -> int:
        """How many snapshots are due up to `index`. The members take turns, each a part of `snapshot_entries` behind
        the one before: while one forks, and its child takes a processor, the others make a majority without it.
        """
        return (index + self._turn_offset) // self._settings.snapshot_entries

    @property
    def has_room_for_snapshots(self) -> bool:
        """Where this turns false, a snapshot that is being written should be given up."""
        return self._room.own.has_whole_reserve

    def snapshot_point(self) -> tuple[int, int] | None:
        """(index, term) of the present state; None where a snapshot of it is there already."""
        index = self.raft.applied_index
        if index <= self._snapshot_index:
            return None
        term = self._folder.journal.term_at(index)
        assert term is not None
        return index, term

    @property
    def _snapshot_index(self) -> int:
        """Of the newest snapshot: this member wrote it, or a peer sent it, and then the log begins behind it."""
        return max(self._last_snapshot_index, self._folder.journal.base_index)

    def encode_state(self) -> bytes:
        """The present state as a snapshot's body, after a look at all of it. O(size), so not on the loop.

        Raises:
            StateDivergedError: it contradicts itself, as no log can have made it.
        """
        try:
            self.state.exchange.check()
        except AssertionError as error:
            raise StateDivergedError(
                f"the state of {self._node_id} at log index {self.state.index} contradicts itself: {error}; it halts "
                f"and keeps the evidence; bring it back with `raftbook node rebuild --config FILE --id {self._node_id}`"
            ) from error
        return self.state.to_snapshot()

    def may_adopt(self, index: int) -> bool:
        """Whether a majority is known to have had this member's state at `index`.

        Until then a snapshot of it is not offered to any peer and the log behind it stays: a member whose memory
        is wrong must not make its state the truth.
        """
        return self._digests.agreed_index(self.state.index) >= index

    def snapshot_written(self, index: int) -> int:
        """A snapshot at `index` is durable and adopted; returns the index up to which the log is to be compacted."""
        self._last_snapshot_index = max(self._last_snapshot_index, index)
        return self.raft.compact(index, self._settings.retain_log_bytes, self._settings.retain_entries)
