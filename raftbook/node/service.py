"""A node put together: ordered log, intake, sequencer, replicated state, and what the gateway asks of them.

One asyncio loop runs all of it, and `_step` is its heartbeat: whenever something arrived, was synced or is due, the
Raft node ticks, the leader packs what waits into entries (any other node sends it on to the leader), and the log
writer gets what there is to write. Steps are coalesced: many messages in one turn of the loop make one step.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from structlog import get_logger

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import CancelAll, CancelOrder, NewOrder, ReplaceOrder, Tick
from raftbook.errors import NoQuorumError, NotHeldError, StorageError
from raftbook.intake import Delta, Intake, IntakeLimits
from raftbook.node.gossip import Gossip
from raftbook.node.publisher import Publisher, Report
from raftbook.node.replica import Replica
from raftbook.node.storage import LogWriter, SnapshotWriter
from raftbook.replication.messages import IntakeDelta, NodeReport, RawRunMessage
from raftbook.replication.raft_node import RaftMessage, RaftNode, RaftSettings
from raftbook.replication.sequencer import Sequencer, SequencerLimits

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from raftbook.engine.commands import Command
    from raftbook.node.config import Config
    from raftbook.node.storage_folder import StorageFolder
    from raftbook.replication.messages import Hello, Message, PeerTransport
    from raftbook.state_machine import StateMachine

_log = get_logger()

TIMER_S: Final = 0.01
REPORT_S: Final = 0.25
DEFAULT_NOT_AFTER_S: Final = 5.0
"""How long a submission may wait for its place in the log, unless the client says otherwise."""

CONFIGURATION_ORIGIN: Final = "configuration"
"""The origin of the configured instruments, which no node submits."""

READY_LAG_ENTRIES: Final = 64
"""A node this far behind what the leader had committed a moment ago still counts as caught up."""

SNAPSHOT_LOG_BYTES: Final = 64 * 1024 * 1024
RETAIN_LOG_BYTES: Final = 32 * 1024 * 1024
SNAPSHOT_RETRY_S: Final = 10.0

_NS: Final = 1_000_000_000

_OF_AN_ACCOUNT: Final = (NewOrder, CancelOrder, ReplaceOrder, CancelAll)


class NodeStatus(NamedTuple):
    """How this node stands. `digest` is the digest chain at `applied_index`."""

    node_id: str
    cluster: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    durable_index: int
    base_index: int
    digest: str
    intake_items: int
    connected_peers: tuple[str, ...]
    ready: bool
    draining: bool


class PeerStatus(NamedTuple):
    """One configured node as this one sees it; figures are None where it never heard of it."""

    id: str
    peer_address: str
    api_address: str
    reachable: bool
    role: str | None = None
    term: int | None = None
    commit_index: int | None = None
    applied_index: int | None = None
    digest_index: int | None = None
    digest: str | None = None
    heard_s_ago: float | None = None


class _Heard(NamedTuple):
    report: NodeReport
    at: float


def _account_of(command: Command) -> str:
    """Whose share of the intake a command takes; the operators' commands have none."""
    return command.account if isinstance(command, _OF_AN_ACCOUNT) else ""


class NodeService:
    """See the module's docstring. All methods belong to the node's loop."""

    def __init__(
        self,
        config: Config,
        node_id: str,
        folder: StorageFolder,
        *,
        on_failure: Callable[[BaseException], None],
        random_source: random.Random,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config
        self.node_id = node_id
        self.draining = False
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._random = random_source
        self._on_failure = on_failure
        self._folder = folder
        limits = config.limits
        self._intake = Intake(
            folder.origin,
            IntakeLimits(
                max_items=limits.intake_max_items,
                max_bytes=limits.intake_max_bytes,
                account_max_items=limits.account_max_items,
                peer_max_items=limits.intake_max_items * len(config.nodes),
                peer_max_bytes=limits.intake_max_bytes * len(config.nodes),
            ),
        )
        self._gossip = Gossip(self._intake)
        # While the last command of a full request waits, each node's origin may have as many executed as that request.
        most_at_once = limits.max_commands_per_request * len(config.nodes)
        self._publisher = Publisher(max(limits.reports_kept, most_at_once))
        self._replica = Replica(folder.state, self._intake, self._publisher)
        self._sequencer = Sequencer(
            SequencerLimits(max_in_flight=limits.max_in_flight_entries, max_entry_bytes=limits.max_entry_bytes)
        )
        self._writer = LogWriter(folder.wal, self._synced, on_failure)
        self._snapshots = SnapshotWriter(folder.snapshots)
        self._last_snapshot_index = folder.state.index
        self._snapshot_not_before = float("-inf")
        self._heard: dict[str, _Heard] = {}
        self._step_scheduled = False
        self._timers: list[asyncio.TimerHandle] = []
        self._stopped = False
        self._transport: PeerTransport
        self._raft: RaftNode

    def attach(self, transport: PeerTransport) -> None:
        """Connect the node to its peers; before `start`."""
        raft = self.config.raft
        self._transport = transport
        self._raft = RaftNode(
            node_id=self.node_id,
            members=tuple(node.id for node in self.config.nodes),
            journal=self._folder.journal,
            wal=self._folder.wal,
            snapshots=self._folder.snapshots,
            is_voter=self._folder.is_voter,
            transport=transport,
            replica=self._replica,
            clock=self._clock,
            random_source=self._random,
            settings=RaftSettings(
                heartbeat_s=raft.heartbeat_s,
                election_timeout_min_s=raft.election_timeout_min_s,
                election_timeout_max_s=raft.election_timeout_max_s,
                fallback_timeout_s=raft.fallback_timeout_s,
                # Not more: an entry goes whole, and a message that holds it must stay below the transport's bound.
                append_limit_bytes=max(1024 * 1024, self.config.limits.max_entry_bytes),
            ),
            applied_index=self._replica.state.index,
        )

    def start(self) -> None:
        self._on_timer()
        self._on_report_timer()

    async def stop(self) -> None:
        """End the timers and write what waits. The transport is stopped by its owner."""
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        self._snapshots.stop()
        await self._writer.close()

    # What the gateway asks for.

    @property
    def state(self) -> StateMachine:
        return self._replica.state

    @property
    def ready(self) -> bool:
        """There is a leader, and this node has applied what it had committed a moment ago."""
        status = self._raft.status()
        if status.leader is None or self.draining:
            return False
        if status.leader == self.node_id:
            return status.ready_to_propose
        heard = self._heard.get(status.leader) if status.leader in self._transport.connected else None
        return heard is not None and status.applied_index + READY_LAG_ENTRIES >= heard.report.commit_index

    async def submit(self, commands: Sequence[Command], *, wait_s: float) -> list[Report]:
        """Take `commands` into the intake, in order, and wait up to `wait_s` until all are executed.

        A command without `not_after` gets one, `DEFAULT_NOT_AFTER_S` from now.

        Raises:
            BusyError: the intake is full; nothing was taken.
        """
        # Log time can be ahead of this clock, where a leader's was; what is entered now must not be late already.
        now = max(self._wall_clock_ns(), self.state.exchange.time)
        not_after = now + int(DEFAULT_NOT_AFTER_S * _NS)
        submissions = [(_account_of(command), encode_command(command, not_after)) for command in commands]
        first_sequence = self._intake.submit(submissions)
        self._schedule_step()
        return await self.submission(self._intake.origin, first_sequence, len(commands), wait_s=wait_s)

    async def submission(self, origin: str, first_sequence: int, count: int, *, wait_s: float) -> list[Report]:
        """The reports of consecutive submissions of any origin; see `Publisher.wait_for_reports`.

        Raises:
            NotHeldError: a report is not held any more, or such a submission was never made.
        """
        self._check_was_made(origin, first_sequence + count - 1)
        return await self._publisher.wait_for_reports(
            origin,
            first_sequence,
            count,
            watermark=lambda: self.state.exchange.watermarks.get(origin, 0),
            wait_s=wait_s,
        )

    def _check_was_made(self, origin: str, last_sequence: int) -> None:
        """What nobody entered is never answered, so nobody should wait for it.

        Of other origins this node knows only what has come here, so their later sequences may be on their way.
        """
        if origin == self._intake.origin:
            if last_sequence > self._intake.last_sequence:
                last = self._intake.last_sequence
                raise NotHeldError(f"{origin} has made {last} submissions so far; there is no number {last_sequence}")
        elif origin.partition(".")[0] not in {node.id for node in self.config.nodes}:
            raise NotHeldError(f"{origin} is no origin of this cluster; take it from the report of the submission")

    async def wait_applied(self, index: int, *, timeout_s: float) -> None:
        """Returns when the log is applied up to `index`; NotReadyError after `timeout_s`."""
        await self._publisher.wait_for_index(index, applied_index=self._raft.applied_index, timeout_s=timeout_s)

    async def barrier(self, *, timeout_s: float) -> None:
        """Returns when all that was ordered before the call is applied here: a tick goes through the log.

        Raises:
            NoQuorumError: it did not get through in `timeout_s`.
        """
        (report,) = await self.submit([Tick()], wait_s=timeout_s)
        if report.execution is None:
            leader = self._raft.leader
            reason = f"leader {leader} did not order it" if leader else "there is no leader"
            raise NoQuorumError(
                f"no linearizable read in {timeout_s:g} s: {reason}; check that a majority of nodes runs"
            )

    def status(self) -> NodeStatus:
        status = self._raft.status()
        return NodeStatus(
            node_id=self.node_id,
            cluster=self.config.cluster.name,
            role=status.role,
            leader=status.leader,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            durable_index=status.durable_index,
            base_index=status.base_index,
            digest=self.state.chain_digest.hex(),
            intake_items=len(self._intake),
            connected_peers=self._transport.connected,
            ready=self.ready,
            draining=self.draining,
        )

    def cluster(self) -> list[PeerStatus]:
        own = self._own_report()
        now = self._clock()
        connected = self._transport.connected
        statuses: list[PeerStatus] = []
        for node in self.config.nodes:
            is_self = node.id == self.node_id
            heard = _Heard(own, now) if is_self else self._heard.get(node.id)
            status = PeerStatus(
                id=node.id,
                peer_address=node.peer_address,
                api_address=node.api_address,
                reachable=is_self or node.id in connected,
            )
            if heard is not None:
                status = status._replace(
                    role=heard.report.role,
                    term=heard.report.term,
                    commit_index=heard.report.commit_index,
                    applied_index=heard.report.applied_index,
                    digest_index=heard.report.digest_index,
                    digest=heard.report.digest,
                    heard_s_ago=round(now - heard.at, 3),
                )
            statuses.append(status)
        return statuses

    # What the transport tells. An exception in any of these halts the node: its state can no longer be trusted.

    def on_connected(self, peer: str, hello: Hello) -> None:
        self._gossip.connected(peer)
        self._raft.connected(peer, hello)
        self._schedule_step()

    def on_disconnected(self, peer: str) -> None:
        self._gossip.disconnected(peer)
        self._raft.disconnected(peer)
        self._schedule_step()

    def on_message(self, peer: str, message: Message) -> None:
        if isinstance(message, NodeReport):
            self._heard[peer] = _Heard(message, self._clock())
        elif isinstance(message, IntakeDelta):
            for run in message.runs:
                self._intake.merge(Delta(run.origin, run.first_sequence, run.raw_commands))
        else:
            assert isinstance(message, RaftMessage)
            self._raft.received(peer, message)
        self._schedule_step()

    # The loop's work.

    def _schedule_step(self) -> None:
        if not self._step_scheduled and not self._stopped:
            self._step_scheduled = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._step_scheduled = False
        if self._stopped:
            return
        try:
            self._raft.tick()
            self._move_submissions()
            self._writer.kick()
            if self._raft.is_behind:
                self._schedule_step()
        except Exception as error:  # noqa: BLE001 (whatever it is, it halts the node)
            self._on_failure(error)

    def _synced(self) -> None:
        try:
            self._raft.synced()
        except Exception as error:  # noqa: BLE001 (whatever it is, it halts the node)
            self._on_failure(error)
        self._schedule_step()

    def _move_submissions(self) -> None:
        """Into the log, where this node leads; to the leader, where another one does."""
        if self._raft.ready_to_propose:
            if self._sequencer.begin(self._raft.term, self.state.exchange.watermarks, self._intake.origin):
                self._add_configured_instruments()
            while runs := self._sequencer.pack(self._intake, self._raft.in_flight):
                self._raft.propose(encode_entry(self._wall_clock_ns(), runs))
        leader = self._raft.leader
        if leader != self.node_id:
            for peer, deltas in self._gossip.due(leader if leader in self._transport.connected else None):
                runs_message = tuple(RawRunMessage(*delta) for delta in deltas)
                self._transport.send(peer, IntakeDelta(runs_message))

    def _on_timer(self) -> None:
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > loop.time()]
        self._timers.append(loop.call_later(TIMER_S, self._on_timer))
        self._gossip.review(self._clock())
        self._step()

    def _on_report_timer(self) -> None:
        if self._stopped:
            return
        self._timers.append(asyncio.get_running_loop().call_later(REPORT_S, self._on_report_timer))
        self._transport.send_many(self._transport.connected, self._own_report())
        self._help_learners()
        self._mind_snapshots()

    def _own_report(self) -> NodeReport:
        status = self._raft.status()
        return NodeReport(
            term=status.term,
            role=status.role,
            leader=status.leader,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            digest_index=self.state.index,
            digest=self.state.chain_digest.hex(),
            ready=self.ready,
        )

    def _help_learners(self) -> None:
        reports = [self._heard[peer].report for peer in self._transport.connected if peer in self._heard]
        has_learner = any(report.role == "learner" for report in reports)
        if has_learner and self._raft.ready_to_propose and self._raft.in_flight == 0:
            # An entry that is committed without a learner's help is what lets it vote again.
            self._raft.propose(encode_entry(self._wall_clock_ns(), []))

    def _add_configured_instruments(self) -> None:
        """The first leader of a new cluster does this before anything else gets into the log.

        Not through the intake, where orders may wait already. Should its entry be lost, the next leader finds the
        state as empty as this one did; the dots are the same, so they are executed once.
        """
        if not self.state.exchange.watermarks and self.config.instruments:
            commands = tuple(encode_command(instrument.to_command()) for instrument in self.config.instruments)
            self._raft.propose(encode_entry(self._wall_clock_ns(), [RawRun(CONFIGURATION_ORIGIN, 1, commands)]))

    def _mind_snapshots(self) -> None:
        """Fork off a snapshot when the log behind the last one has grown long; compact the log when it is written."""
        try:
            self._finish_snapshot()
            self._start_snapshot()
        except StorageError as error:
            _log.error("snapshot failed; the next one is tried soon", error=str(error), retry_s=SNAPSHOT_RETRY_S)
            self._snapshot_not_before = self._clock() + SNAPSHOT_RETRY_S

    def _finish_snapshot(self) -> None:
        info = self._snapshots.poll()
        if info is not None:
            retain_entries = self.config.limits.log_retain_entries
            self._last_snapshot_index = max(self._last_snapshot_index, info.index)
            self._writer.compact(self._raft.compact(info.index, RETAIN_LOG_BYTES, retain_entries))
            _log.info("snapshot written", index=info.index, size_bytes=info.size_bytes)

    def _start_snapshot(self) -> None:
        index = self._raft.applied_index
        is_due = (
            index - self._last_snapshot_index >= self.config.limits.snapshot_entries
            or self._folder.journal.size_bytes > SNAPSHOT_LOG_BYTES + RETAIN_LOG_BYTES
        )
        may_start = not self._snapshots.is_busy and self._clock() >= self._snapshot_not_before
        if is_due and may_start and index > self._last_snapshot_index:
            term = self._folder.journal.term_at(index)
            assert term is not None
            self._snapshots.start(index, term, self.state.to_snapshot)
