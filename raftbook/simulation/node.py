"""A node in virtual time: the Member of production, with a simulated disk, network, clock and process around it.

What `NodeService`, `LogWriter` and `SnapshotWriter` do on asyncio's loop, a thread and a forked child, is done here by
scheduled actions. A process can be killed at every *crash point*: before each operation of its disk, each message
that it sends and each entry that it applies.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import deque
from typing import TYPE_CHECKING, Final

from raftbook.errors import (
    ProtocolError,
    RaftbookError,
    SnapshotError,
    StateDivergedError,
    StorageError,
    StorageFullError,
)
from raftbook.member.member import REPORT_S, Member, MemberSettings
from raftbook.member.storage_folder import StorageFolder
from raftbook.replication.messages import PROTOCOL_VERSION, Hello
from raftbook.replication.storage_space import keep_reserve
from raftbook.simulation.disk import PowerLossError, SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.intake import Intake
    from raftbook.replication.installation import Installation
    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import Message
    from raftbook.replication.ordered_log import LogStatus, StateReplica
    from raftbook.replication.raft_node import RaftNode
    from raftbook.replication.write_ahead_log import Batch
    from raftbook.simulation.cluster import SimulatedCluster
    from raftbook.simulation.disk import Operation
    from raftbook.simulation.network import SimulatedNetwork
    from raftbook.state_machine import StateMachine

CLUSTER_NAME: Final = "simulated"
START_TIME_NS: Final = 1_700_000_000_000_000_000
SILENT_FOR_S: Final = 2.0
"""After so long without a word from a node its peers give up its connections."""

_BYTES_BOUND: Final = 1 << 50


class ProcessKilledError(Exception):
    """The process came to the crash point at which it is killed."""


class _Transport:
    """A node's PeerTransport."""

    def __init__(self, network: SimulatedNetwork, node: SimulatedNode) -> None:
        self._network = network
        self._node = node

    @property
    def connected(self) -> tuple[str, ...]:
        return self._network.connected(self._node.node_id)

    def send(self, peer: str, message: Message) -> bool:
        self._node.crash_point("send")
        return self._network.send(self._node.node_id, peer, message)

    def send_many(self, peers: Sequence[str], message: Message) -> tuple[str, ...]:
        return tuple(peer for peer in peers if self.send(peer, message))


class _Observer:
    """Tells the checks, and the clients that wait, what was executed."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self.executions: list[Execution] = []
        """Of the entry that was applied last."""

    def executed(self, executions: list[Execution], watermarks: Mapping[str, int]) -> None:  # noqa: ARG002 (ReplicaObserver)
        self.executions = executions

    def applied(self, index: int) -> None:
        """The replica around tells the checks."""

    def restored(self, watermarks: Mapping[str, int]) -> None:
        """Reports of what happened behind a snapshot are lost here: clients ask again, under the same ids."""


class _WatchedReplica:
    """The member's replica, with the checks looking on."""

    def __init__(self, node: SimulatedNode, replica: StateReplica, observer: _Observer) -> None:
        self._node = node
        self._replica = replica
        self._observer = observer

    def apply(self, index: int, entry: bytes) -> None:
        node = self._node
        node.crash_point("apply")
        node.checks.entry_comes(node, index, entry)
        self._observer.executions = []
        node.replica_apply(self._replica, index, entry)
        node.applied.append((index, entry))
        node.checks.entry_applied(node, index, entry, self._observer.executions)
        for execution in self._observer.executions:
            answer = node.waiting.pop((execution.origin, execution.sequence), None)
            if answer is not None:
                answer(execution)

    def advance(self, index: int) -> None:
        node = self._node
        node.checks.entry_comes(node, index, None)
        self._replica.advance(index)
        node.checks.entry_applied(node, index, None, [])

    def decode(self, body: bytes) -> object:
        return self._replica.decode(body)

    def restore(self, index: int, state: object) -> None:
        self._replica.restore(index, state)
        self._node.restored_at.append(index)
        self._node.checks.state_restored(self._node, index)


class SimulatedNode:
    """One member: a disk that outlives it, and while it runs a process. `life` numbers its processes."""

    def __init__(self, cluster: SimulatedCluster, node_id: str) -> None:
        self.node_id = node_id
        self.is_running = False
        self.is_paused = False
        self.life = 0
        self.sync_s = cluster.settings.sync_s
        self.is_disk_stalled = False
        self.disk_is_full_at: int | None = None
        self.applied: list[tuple[int, bytes]] = []
        """What the present process applied one by one; earlier entries came with its files or a snapshot."""
        self.restored_at: list[int] = []
        """Indexes of the snapshots that the present process took from a peer."""
        self.lost_journals: list[Journal] = []
        """Logs of wiped disks."""
        self.journal: Journal | None = None
        """Of the present process or, where none runs, of the last one, as it stood when that died."""
        self.failure: RaftbookError | None = None
        """Why the last process ended by itself, or would not start."""
        self.waiting: dict[tuple[str, int], Callable[[Execution], None]] = {}
        """Clients that wait for the execution of a dot at the present process."""
        self.crash_in: int | None = None
        """Crash points to come before the process is killed."""
        self.crash_loses_power = False
        self.member: Member
        self.checks = cluster.checks
        self._cluster = cluster
        self._random = random.Random(f"{cluster.seed}/{node_id}")  # noqa: S311 (repeatable numbers are wanted)
        self.wall_clock_ahead_ns = self._random.randrange(-50_000_000, 50_000_000)
        drift = cluster.settings.clock_drift
        self.clock_rate = 1.0 + self._random.uniform(-drift, drift)
        self._backlog: deque[Callable[[], None]] = deque()
        self._step_scheduled = False
        self._is_open = False
        self._all_was_durable = False
        self._renew_disk()

    def _renew_disk(self) -> None:
        self.disk = SimulatedDisk()
        self.disk.on_operation = self._on_disk_operation

    # Its process.

    def start(self) -> bool:
        """Start a process on what the disk holds; False if it would not start, and `failure` says why."""
        assert not self.is_running
        self.life += 1
        self.is_running = True
        self.is_paused = False
        self.failure = None
        self.waiting = {}
        self._backlog.clear()
        self.applied = []
        self.restored_at = []
        self._step_scheduled = False
        self._batch: Batch | None = None
        self._writing = False
        self._compact_to: int | None = None
        self._snapshot_under_way: tuple[int, int] | None = None
        self._installing: Installation | None = None
        self._is_open = False
        self._guard(self._open)
        return self.is_running

    def _open(self) -> None:
        cluster = self._cluster
        # A start takes a moment, so no two have the same time.
        self._start_ns = self.wall_clock_ns() + self.life
        self._folder = StorageFolder(
            self.disk,
            CLUSTER_NAME,
            self.node_id,
            self._start_ns,
            segment_size_bytes=cluster.settings.segment_size_bytes,
        )
        if self.journal is not None:
            self.checks.files_opened(self, self.journal, self._folder.journal, self._all_was_durable)
        self.journal = self._folder.journal
        self._transport = _Transport(cluster.network, self)
        observer = _Observer(self)

        def watch(replica: StateReplica) -> StateReplica:
            return _WatchedReplica(self, replica, observer)

        self.member = Member(
            node_id=self.node_id,
            members=cluster.member_ids,
            folder=self._folder,
            transport=self._transport,
            observer=observer,
            clock=self.clock,
            wall_clock_ns=self.wall_clock_ns,
            random_source=self._random,
            settings=self._member_settings(),
            wrap_replica=watch,
        )
        self._is_open = True
        self.checks.node_started(self)
        self._every(cluster.settings.tick_s, self._step)
        self._every(REPORT_S, self._on_report_timer)
        self.schedule_step()

    def _member_settings(self) -> MemberSettings:
        settings = self._cluster.settings
        return MemberSettings(
            raft=settings.raft,
            intake=settings.intake,
            sequencer=settings.sequencer,
            founding_commands=settings.founding_commands,
            snapshot_entries=settings.snapshot_entries,
            snapshot_log_bytes=_BYTES_BOUND,
            retain_entries=settings.retain_entries,
            retain_log_bytes=_BYTES_BOUND,
            storage_margin_bytes=settings.storage_margin_bytes,
        )

    def kill(self) -> None:
        """SIGKILL: the process is gone, what it wrote stays."""
        self._die(silently=False)

    def lose_power(self) -> None:
        """What was not synced is lost, torn or kept, as the seed says."""
        self._die(silently=True)
        self.disk.lose_power(self._random)

    def halt(self, error: RaftbookError) -> None:
        """The process ends by itself, and says why."""
        self.failure = error
        self._cluster.note(f"{self.node_id} halts: {error.code}")
        self.checks.node_halted(self, error)
        if isinstance(error, StateDivergedError) and self._is_open:
            with contextlib.suppress(StorageError, ProcessKilledError, PowerLossError):
                self._folder.keep_evidence(str(error), self.member.differences, self.state)
        self._end(silently=False)

    def wipe(self) -> None:
        """A new, empty disk."""
        assert not self.is_running
        if self.journal is not None:
            self.lost_journals.append(self.journal)
            self.journal = None
        self._renew_disk()
        self.disk.capacity_bytes = None

    def restart(self) -> None:
        """Killed and started at once."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = True
        life = self.life

        def give_up() -> None:
            if self.is_paused and self.life == life:
                self._cluster.network.silence(self.node_id)

        self._cluster.scheduler.after(SILENT_FOR_S, give_up)

    def resume(self) -> None:
        """SIGCONT: whatever came meanwhile is waiting."""
        self.is_paused = False
        self.checks.node_resumed(self)
        while self._backlog and not self.is_paused:
            self._guard(self._backlog.popleft())

    def run(self, action: Callable[[], None]) -> None:
        """Something happens to the process, now or when it is resumed."""
        if not self.is_running:
            return
        if self.is_paused:
            self._backlog.append(action)
        else:
            self._guard(action)

    def _guard(self, action: Callable[[], None]) -> None:
        """The boundary of the process: an operating failure ends it. A bug, which is all else, ends the simulation."""
        if not self.is_running:
            return
        outer = self._cluster.enter(self)
        try:
            action()
        except (ProcessKilledError, PowerLossError):
            if self.crash_loses_power:
                self.lose_power()
            else:
                self.kill()
        except RaftbookError as error:
            self.halt(error)
        finally:
            self._cluster.leave(outer)

    def crash_point(self, kind: str) -> None:
        """ProcessKilledError where this is the point at which the process is to be killed."""
        if self.crash_in is None:
            return
        if self.crash_in <= 0:
            self.crash_in = None
            self._cluster.crash_points[kind] += 1
            self._cluster.note(f"{self.node_id} is killed before {kind}")
            raise ProcessKilledError
        self.crash_in -= 1

    def _on_disk_operation(self, operation: Operation, _name: str) -> None:
        if self.is_running:
            self.crash_point(operation)

    def stall_disk(self) -> None:
        """No batch is finished until `resume_disk`."""
        self.is_disk_stalled = True

    def resume_disk(self) -> None:
        self.is_disk_stalled = False
        if self.is_running and self._writing:
            self.later(0.0, self._finish_work)

    # How it stands.

    @property
    def raft(self) -> RaftNode:
        return self.member.raft

    @property
    def intake(self) -> Intake:
        return self.member.intake

    @property
    def status(self) -> LogStatus:
        return self.member.status

    @property
    def state(self) -> StateMachine:
        return self.member.state

    @property
    def leads(self) -> bool:
        return self.is_running and self.raft.leads

    @property
    def is_voter(self) -> bool:
        return self.status.role != "learner"

    @property
    def is_durably_voter(self) -> bool:
        """It may vote, has a log, and would still after a loss of power."""
        wal = self._folder.wal
        return self.is_voter and wal.durable_index > 0 and wal.durable_position >= wal.position

    def hello(self) -> Hello:
        return Hello(PROTOCOL_VERSION, CLUSTER_NAME, self.node_id, self._start_ns, self.raft.is_fresh, 1)

    def clock(self) -> float:
        """Its monotonic clock, which may run too fast or too slow."""
        return self._cluster.scheduler.now * self.clock_rate

    def wall_clock_ns(self) -> int:
        return START_TIME_NS + int(self._cluster.scheduler.now * 1e9) + self.wall_clock_ahead_ns

    # What a client, a test or the network does to it.

    def enter(self, commands: Sequence[Command]) -> int:
        """A client's commands; returns the sequence of the first. BusyError as in `Member.submit`."""
        first_sequence = self.member.submit(commands)
        last = first_sequence + len(commands)
        raw_commands = [
            self.intake.run(self.member.origin, sequence, 1, 1)[0] for sequence in range(first_sequence, last)
        ]
        self.checks.submitted(self, first_sequence, raw_commands)
        self.schedule_step()
        return first_sequence

    def submit(self, raw_commands: Sequence[bytes]) -> tuple[str, int]:
        """Encoded commands straight into the intake; returns the first dot."""
        first_sequence = self.intake.submit([("account", raw) for raw in raw_commands])
        self.checks.submitted(self, first_sequence, raw_commands)
        self.schedule_step()
        return self.member.origin, first_sequence

    def propose(self, entry: bytes) -> int:
        """Straight into the log, past intake and sequencer."""
        index = self.raft.propose(entry)
        self.schedule_step()
        return index

    def hand_over(self) -> None:
        """As on SIGTERM, before the process ends."""
        self.member.hand_over()
        self.schedule_step()

    def on_connected(self, peer: str, hello: Hello) -> None:
        self._cluster.note(f"{self.node_id} connected to {peer}, fresh {hello.fresh}")
        self.member.connected(peer, hello)
        self.schedule_step()

    def on_disconnected(self, peer: str) -> None:
        self._cluster.note(f"{self.node_id} disconnected from {peer}")
        self.member.disconnected(peer)
        self.schedule_step()

    def on_message(self, peer: str, message: Message) -> None:
        self._cluster.note_message(self.node_id, peer, message)
        self.checks.message_received(self, peer)
        try:
            self.member.received(peer, message)
        except ProtocolError as error:
            self._cluster.note(f"{self.node_id} ends the connection to {peer}: {error}")
            self._cluster.protocol_errors += 1
            self._cluster.network.break_connection(self.node_id, peer)
        self._mind_installation()
        self.checks.node_moved(self)
        self.schedule_step()

    # What NodeService does on its loop.

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """An action of the present process."""
        life = self.life

        def act() -> None:
            if self.life == life:
                self.run(action)

        self._cluster.scheduler.after(delay_s, act)

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self.later(period_s / self.clock_rate, act)

        self.later(self._random.uniform(0.0, period_s), act)

    def schedule_step(self) -> None:
        if not self._step_scheduled:
            self._step_scheduled = True
            self.later(0.0, self._step)

    def _step(self) -> None:
        self._step_scheduled = False
        is_more_to_do = self.member.step()
        self.checks.node_moved(self)
        self.checks.node_ticked(self)
        self._kick_writer()
        if is_more_to_do:
            self.schedule_step()

    def _on_report_timer(self) -> None:
        self.member.report()
        self._measure_storage()
        self._mind_snapshots()

    def _measure_storage(self) -> None:
        figures = keep_reserve(self.disk, self._cluster.settings.storage_margin_bytes)
        if self.member.measured(figures):
            self._cluster.note(f"{self.node_id} has {'no room' if self.member.storage_full else 'room'}: {figures}")

    def replica_apply(self, replica: StateReplica, index: int, entry: bytes) -> None:
        """Where a test can make applying fail, or slow."""
        replica.apply(index, entry)

    # What SnapshotInstaller does with a thread.

    def _mind_installation(self) -> None:
        installation = self.member.installation
        if installation is not None and installation is not self._installing:
            self._installing = installation
            longest_s = self._cluster.settings.longest_installation_s
            if longest_s == 0:
                self._install(installation)
            else:
                self.later(self._random.uniform(0.0, longest_s), lambda: self._install(installation))

    def _install(self, installation: Installation) -> None:
        try:
            installation.prepare()
        except (SnapshotError, StorageFullError) as error:
            if installation.is_placed:
                raise
            self._cluster.note(f"{self.node_id} could not install a snapshot: {error.code}")
            self.member.installation_failed(installation, lacks_room=isinstance(error, StorageFullError))
        else:
            self.member.install(installation)
            self._folder.snapshots.remove(self._folder.snapshots.superseded())
        self.checks.node_moved(self)
        self.schedule_step()

    # What SnapshotWriter does with a child.

    def _mind_snapshots(self) -> None:
        if self._snapshot_under_way is not None:
            self._adopt_snapshot()
        elif self.member.snapshot_due() is not None:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """As a forked child would: the state of now, written a little later."""
        point = self.member.snapshot_point()
        if self._snapshot_under_way is not None or point is None:
            return
        body = self.state.to_snapshot()
        self._snapshot_under_way = point
        self._snapshot_is_written = False
        self.later(self._random.uniform(0.01, 0.2), lambda: self._write_snapshot(*point, body))

    def _write_snapshot(self, index: int, term: int, body: bytes) -> None:
        if not self.member.has_room_for_snapshots:
            self._snapshot_under_way = None
            return
        try:
            self._folder.snapshots.write(index, term, body)
        except StorageError as error:
            # The child failed; the node goes on and tries again, as long as its own writes succeed.
            self._cluster.note(f"{self.node_id} could not write a snapshot: {error.code}")
            self._folder.snapshots.drop_unfinished(index, term, os.getpid())
            self._snapshot_under_way = None
            return
        self._snapshot_is_written = True
        self._adopt_snapshot()

    def _adopt_snapshot(self) -> None:
        assert self._snapshot_under_way is not None
        index, term = self._snapshot_under_way
        if self._snapshot_is_written and self.member.may_adopt(index):
            self._snapshot_under_way = None
            self._folder.snapshots.adopt(index, term)
            self._compact_to = self.member.snapshot_written(index)
            self._kick_writer()

    # What LogWriter does with a thread.

    def _kick_writer(self) -> None:
        if self._writing:
            return
        self._batch = self._folder.wal.take_batch()
        if self._batch is not None or self._compact_to is not None:
            self._writing = True
            self.later(self._random.uniform(*self.sync_s), self._finish_work)

    def _finish_work(self) -> None:
        if self.is_disk_stalled or not self._writing:
            return
        self._writing = False
        if self._batch is not None:
            batch, self._batch = self._batch, None
            self._folder.wal.write_batch(batch)
            self._folder.wal.mark_durable(batch)
            self._measure_storage()
            self.member.synced()
            self.checks.node_moved(self)
        elif self._compact_to is not None:
            index, self._compact_to = self._compact_to, None
            self._folder.wal.compact(index)
        self._kick_writer()
        self.schedule_step()

    def _die(self, *, silently: bool) -> None:
        assert self.is_running
        self._cluster.note(f"{self.node_id} dies")
        self.crash_in = None
        if self._writing and self._batch is not None and self._random.random() < 0.7:
            # The thread was in the middle of a batch.
            self.disk.fail_after = self._random.randrange(4)
            with contextlib.suppress(PowerLossError, StorageError):
                self._folder.wal.write_batch(self._batch)
        self.disk.fail_after = None
        self._end(silently=silently)

    def _end(self, *, silently: bool) -> None:
        if self._is_open:
            wal = self._folder.wal
            self._all_was_durable = wal.durable_position >= wal.position
        self.is_running = False
        self.is_paused = False
        self.is_disk_stalled = False
        self.crash_in = None
        self._backlog.clear()
        self.waiting = {}
        self._cluster.network.node_died(self.node_id, silently=silently)
