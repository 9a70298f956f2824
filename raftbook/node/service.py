"""A node put together: ordered log, intake, sequencer, replicated state, and what the gateway asks of them.

One asyncio loop runs all of it, and `_step` is its heartbeat: whenever something arrived, was synced or is due, the
Raft node ticks, the leader packs what waits into entries (any other node sends it on to the leader), and the log
writer gets what there is to write. Steps are coalesced: many messages in one turn of the loop make one step.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from structlog import get_logger

from raftbook.engine.commands import Tick
from raftbook.errors import NoQuorumError, NotHeldError, NotReadyError, RaftbookError, StateDivergedError, StorageError
from raftbook.member.member import REPORT_S, HeardReport, Member
from raftbook.node.feed_keeper import FeedKeeper
from raftbook.node.forked_child import computed_by_child
from raftbook.node.measurements import Measurements, NodeFigures
from raftbook.node.observers import Observers
from raftbook.node.publisher import Publisher, Report
from raftbook.node.settings import member_settings
from raftbook.node.snapshots import NodeSnapshots
from raftbook.node.stall_meter import StallMeter, milliseconds
from raftbook.node.status import NodeStatus, PeerStatus, peer_status
from raftbook.node.storage import LogWriter
from raftbook.node.submission_log import SubmissionLog
from raftbook.replication.storage_space import DiskWatch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from raftbook.engine.commands import Command
    from raftbook.feed import Feed
    from raftbook.member.digest_comparison import Difference
    from raftbook.member.storage_folder import StorageFolder
    from raftbook.node.config import Config
    from raftbook.replication.messages import Hello, Message, PeerTransport
    from raftbook.replication.storage_space import StorageFigures
    from raftbook.state_machine import StateMachine

_log = get_logger()

TIMER_S: Final = 0.01
STATE_DIGEST_TIMEOUT_S: Final = 60.0
FIND_LEADER_S: Final = 2.0
"""For a node that has just started, until it takes orders that wait until there is one."""


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
        # While the last command of a full request waits, each node's origin may have as many executed as that request.
        most_at_once = limits.max_commands_per_request * len(config.nodes)
        self._publisher = Publisher(max(limits.reports_kept, most_at_once))
        self._measurements = Measurements()
        self._submission_log = SubmissionLog()
        self._disk_watch = DiskWatch(folder.disk, limits.storage_reserve_bytes)
        self._writer = LogWriter(
            folder.wal,
            watch=self._disk_watch,
            on_synced=self._synced,
            on_measured=self._measured,
            on_written=self._measurements.sync_s.observe,
            on_failure=on_failure,
        )
        self._digesting = asyncio.Lock()
        self._stalls = StallMeter(TIMER_S)
        self._started_at = float("inf")
        self._has_joined = False
        self._told_differences: set[Difference] = set()
        self._step_scheduled = False
        self._timers: list[asyncio.TimerHandle] = []
        self._stopped = False
        self._transport: PeerTransport
        self._member: Member
        self._feed_keeper: FeedKeeper
        self._snapshots: NodeSnapshots

    def attach(self, transport: PeerTransport) -> None:
        """Connect the node to its peers; before `start`."""
        self._transport = transport
        observers = Observers(self._publisher, self._measurements, self._submission_log)
        self._member = Member(
            node_id=self.node_id,
            members=tuple(node.id for node in self.config.nodes),
            folder=self._folder,
            transport=transport,
            observer=observers,
            clock=self._clock,
            wall_clock_ns=self._wall_clock_ns,
            random_source=self._random,
            settings=member_settings(self.config),
        )
        self._feed_keeper = FeedKeeper(
            lambda: self._member.state, events_kept=self.config.limits.feed_events_kept, run=self._run_guarded
        )
        observers.add(self._feed_keeper)
        self._snapshots = NodeSnapshots(
            self._member,
            self._folder.snapshots,
            self._writer,
            stalls=self._stalls,
            clock=self._clock,
            run=self._run,
        )
        # Before anybody can submit anything. From now on the log writer's thread measures.
        self._measured(self._disk_watch.measure())

    def start(self) -> None:
        self._started_at = self._clock()
        self._on_timer()
        self._on_report_timer()

    async def hand_over(self, *, timeout_s: float) -> None:
        """Prepare to leave, so that nobody notices: give leadership away. Clients are still served.

        Returns when another node leads, or nobody could, or after `timeout_s`.
        """
        self.draining = True
        deadline = self._clock() + timeout_s
        while self._clock() < deadline:
            is_handing_over = self._member.hand_over() or self._member.raft.is_handing_over
            self._schedule_step()
            if not is_handing_over:
                return
            await asyncio.sleep(TIMER_S)

    async def settle(self, *, timeout_s: float) -> None:
        """Returns when all that was entered here is executed, or after `timeout_s`; when nothing more can be."""
        deadline = self._clock() + timeout_s
        while self._member.intake.holds_own and self._clock() < deadline:  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(TIMER_S)

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
        return self._member.state

    @property
    def origin(self) -> str:
        return self._member.origin

    @property
    def feed(self) -> Feed:
        """The market data of what is applied now, and the latest updates of it."""
        return self._feed_keeper.feed

    def listen_to_feed(self, listener: Callable[[], None]) -> None:
        """`listener` is called whenever there is something new in it, once for a turn of the loop."""
        self._feed_keeper.listen(listener)

    @property
    def ready(self) -> bool:
        """There is a leader, this node has applied what it had committed a moment ago, and it is not leaving."""
        return not self.draining and self._member.is_ready

    @property
    def has_joined(self) -> bool:
        """Whether this node takes what clients enter, or says at once that it does not; else `wait_joined`."""
        return self._has_joined or self._member.storage_full

    async def wait_joined(self, *, timeout_s: float) -> None:
        """Returns when this node should take what clients enter: it has caught up once since its start, or has looked
        for a leader in vain, for as long as a client would wait. What it took before would be answered late, though
        others could do so at once.

        Raises:
            NotReadyError: it is behind its leader.
        """
        deadline = self._clock() + timeout_s
        while not self.has_joined:
            has_looked = self._clock() - self._started_at >= FIND_LEADER_S
            self._has_joined = self._member.is_ready or (has_looked and self._member.raft.leader is None)
            if self._member.is_behind:
                raise NotReadyError(
                    f"this node has just started and applied the log up to {self.state.index}; use another node, or "
                    "this one when /readyz says so"
                )
            if self._clock() >= deadline:
                return
            await asyncio.sleep(TIMER_S)

    async def submit(self, commands: Sequence[Command], *, wait_s: float) -> list[Report]:
        """Take `commands` into the intake, in order, and wait up to `wait_s` until all are executed.

        A command without `not_after` gets one (see `Member.submit`).

        Raises:
            BusyError: the intake is full; nothing was taken.
            StorageFullError: the disks are, here or at so many nodes that nothing can be ordered; nothing was taken.
        """
        began_at = self._clock()
        first_sequence = self._take(commands)
        reports = await self.submission(self._member.origin, first_sequence, len(commands), wait_s=wait_s)
        took_s = self._clock() - began_at
        self._submission_log.answered(reports, took_s)
        if reports[-1].execution is not None:
            self._measurements.submit_to_report_s.observe(took_s, len(reports))
        return reports

    def enter(self, commands: Sequence[Command], on_reports: Callable[[Sequence[Report]], None]) -> int:
        """As `submit`, for those who wait for many: returns the sequence of the first, and `on_reports` is called
        later, with the reports of those that are executed at a time; see `Publisher.listen`.
        """
        began_at = self._clock()
        first_sequence = self._take(commands)

        def reported(reports: Sequence[Report]) -> None:
            took_s = self._clock() - began_at
            self._submission_log.answered(reports, took_s)
            self._measurements.submit_to_report_s.observe(took_s, len(reports))
            on_reports(reports)

        self._publisher.listen(self._member.origin, first_sequence, len(commands), reported)
        return first_sequence

    def stop_waiting(self, sequence: int) -> None:
        """Nobody waits any more for the report of this submission of this node."""
        self._publisher.stop_listening(self._member.origin, sequence)

    def _take(self, commands: Sequence[Command]) -> int:
        try:
            first_sequence = self._member.submit(commands)
        except RaftbookError as error:
            self._submission_log.refused(commands, error)
            raise
        self._submission_log.taken(self._member.origin, first_sequence, commands)
        self._schedule_step()
        return first_sequence

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
        if origin == self._member.origin:
            if last_sequence > self._member.intake.last_sequence:
                last = self._member.intake.last_sequence
                raise NotHeldError(f"{origin} has made {last} submissions so far; there is no number {last_sequence}")
        elif origin.partition(".")[0] not in {node.id for node in self.config.nodes}:
            raise NotHeldError(f"{origin} is no origin of this cluster; take it from the report of the submission")

    async def wait_applied(self, index: int, *, timeout_s: float) -> None:
        """Returns when the log is applied up to `index`; NotReadyError after `timeout_s`."""
        await self._publisher.wait_for_index(index, applied_index=self._member.raft.applied_index, timeout_s=timeout_s)

    async def barrier(self, *, timeout_s: float) -> None:
        """Returns when all that was ordered before the call is applied here: a tick goes through the log.

        Raises:
            NoQuorumError: it did not get through in `timeout_s`.
            StorageFullError: as in `submit`.
        """
        (report,) = await self.submit([Tick()], wait_s=timeout_s)
        if report.execution is None:
            leader = self._member.raft.leader
            reason = f"leader {leader} did not order it" if leader else "there is no leader"
            raise NoQuorumError(
                f"no linearizable read in {timeout_s:g} s: {reason}; check that a majority of nodes runs"
            )

    async def state_digest(self) -> tuple[int, str]:
        """(index, digest) of the whole state as it is now; computed beside the loop, which goes on. O(state).

        Raises:
            NotReadyError: it took too long.
        """
        async with self._digesting:
            index, state = self.state.index, self.state
            digest = await computed_by_child(lambda: state.state_digest().encode(), timeout_s=STATE_DIGEST_TIMEOUT_S)
            return index, digest.decode()

    def status(self) -> NodeStatus:
        status = self._member.status
        figures = self._member.storage_figures
        assert figures is not None, "measured in `attach`"
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
            intake_items=len(self._member.intake),
            connected_peers=self._transport.connected,
            ready=self.ready,
            draining=self.draining,
            storage_full=self._member.storage_full,
            storage_free_bytes=figures.free_bytes,
            longest_stall_ms=milliseconds(self._stalls.longest_s),
        )

    def collect_metrics(self) -> Iterator[Metric]:
        """For Prometheus."""
        figures = NodeFigures(
            status=self.status(),
            in_flight=self._member.raft.in_flight if self._member.raft.leads else 0,
            snapshot_s=self._snapshots.writer.took_s,
            differing_peers=len({difference.peer for difference in self._member.differences}),
            submissions_executed=sum(self.state.exchange.watermarks.values()),
        )
        return self._measurements.collect(figures)

    def cluster(self) -> list[PeerStatus]:
        now = self._clock()
        heard = {**self._member.heard, self.node_id: HeardReport(self._member.own_report(), now)}
        reachable = {self.node_id, *self._transport.connected}
        return [peer_status(node, heard.get(node.id), node.id in reachable, now) for node in self.config.nodes]

    # What the transport tells. An exception in any of these halts the node: its state can no longer be trusted.

    def on_connected(self, peer: str, hello: Hello) -> None:
        self._member.connected(peer, hello)
        self._schedule_step()

    def on_disconnected(self, peer: str) -> None:
        self._member.disconnected(peer)
        self._schedule_step()

    def on_message(self, peer: str, message: Message) -> None:
        """Raises ProtocolError where the connection is to be closed."""
        try:
            self._member.received(peer, message)
        except StateDivergedError as error:
            self._fail(error)
        self._schedule_step()

    # The loop's work.

    def _schedule_step(self) -> None:
        if not self._step_scheduled and not self._stopped:
            self._step_scheduled = True
            asyncio.get_running_loop().call_soon(self._scheduled_step)

    def _scheduled_step(self) -> None:
        # Another one may have come before, and left nothing to do.
        if self._step_scheduled:
            self._step()

    def _synced(self) -> None:
        """What waited for the disk is on its way in this very turn: on every node, an order waits for it."""
        self._run_guarded(self._member.synced)
        self._step()

    def _step(self) -> None:
        self._step_scheduled = False
        if self._stopped:
            return
        try:
            is_more_to_do = self._member.step()
            # Before the log writer's thread begins, which would make this one wait for the interpreter.
            self._transport.flush()
            self._writer.kick()
            if is_more_to_do:
                self._schedule_step()
        except Exception as error:  # noqa: BLE001 (whatever it is, it halts the node)
            self._fail(error)

    def _run(self, action: Callable[[], None]) -> None:
        self._run_guarded(action)
        self._schedule_step()

    def _run_guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (whatever it is, it halts the node)
            self._fail(error)

    def _on_timer(self) -> None:
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > loop.time()]
        self._timers.append(loop.call_later(TIMER_S, self._on_timer))
        late_s = self._stalls.tick(self._clock())
        if late_s >= self.config.raft.election_timeout_min_s:
            _log.warning("the node stood still, long enough for others to elect a leader", ms=milliseconds(late_s))
        self._measurements.leads(self._member.raft.leader)
        self._snapshots.tell()
        self._run_guarded(self._snapshots.install_if_due)
        self._step()

    def _on_report_timer(self) -> None:
        if self._stopped:
            return
        self._timers.append(asyncio.get_running_loop().call_later(REPORT_S, self._on_report_timer))
        self._writer.measure()
        try:
            self._member.report()
            self._tell_differences()
            self._snapshots.review()
        except StateDivergedError as error:
            self._fail(error)

    def _tell_differences(self) -> None:
        """Once for each peer: somebody has to look, if it is not this node that halts."""
        for difference in self._member.differences:
            if difference not in self._told_differences:
                self._told_differences.add(difference)
                _log.error("a peer has another state; one that most others differ from halts", **difference._asdict())

    def _measured(self, figures: StorageFigures) -> None:
        if self._member.measured(figures):
            if self._member.storage_full:
                _log.warning("storage is full: nothing new is taken until there is room", **figures._asdict())
            else:
                _log.info("storage has room again", **figures._asdict())
        self._snapshots.give_up_if_room_is_needed()

    def _fail(self, error: Exception) -> None:
        """Halt the node; where its state is the fault, with what shows that beside its other files."""
        if isinstance(error, StateDivergedError):
            try:
                self._folder.keep_evidence(str(error), self._member.differences, self.state)
            except StorageError as storage_error:
                _log.error("the evidence could not be kept", error=str(storage_error))
        self._on_failure(error)
