"""A node in virtual time: the Member of production, with a simulated disk, network, clock and process around it.

What `NodeService`, `LogWriter` and `SnapshotWriter` do on asyncio's loop, a thread and a forked child, is done here by
scheduled actions. A process can be killed at every *crash point*: before each operation of its disk, each message
that it sends and each entry that it applies.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from typing import TYPE_CHECKING, Final

from raftbook.errors import (
    ProtocolError,
    RaftbookError,
    StateDivergedError,
    StorageError,
)
from raftbook.member.member import REPORT_S, Member, MemberSettings
from raftbook.member.storage_folder import StorageFolder
from raftbook.replication.messages import PROTOCOL_VERSION, Hello
from raftbook.simulation.disk import PowerLossError, SimulatedDisk
from raftbook.simulation.process import Observer, ProcessKilledError, SimulatedTransport, WatchedReplica
from raftbook.simulation.writers import SimulatedWriters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.intake import Intake
    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import Message
    from raftbook.replication.ordered_log import LogStatus, StateReplica
    from raftbook.replication.raft_node import RaftNode
    from raftbook.simulation.cluster import SimulatedCluster
    from raftbook.simulation.disk import Operation
    from raftbook.state_machine import StateMachine

CLUSTER_NAME: Final = "simulated"
START_TIME_NS: Final = 1_700_005_385_000_000_000
"""The wall clock at virtual time 0. Virtual time begins at 1,000 s, then 15 s before a midnight of UTC: most lives see
`day` orders expire."""
SILENT_FOR_S: Final = 2.0
"""After so long without a word from a node its peers give up its connections."""

_BYTES_BOUND: Final = 1 << 50


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
        """Crash points to come before the process is killed; only those of `crash_kinds` count, unless it is None."""
        self.crash_kinds: frozenset[str] | None = None
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
        self._transport = SimulatedTransport(cluster.network, self)
        observer = Observer(self)

        def watch(replica: StateReplica) -> StateReplica:
            return WatchedReplica(self, replica, observer)

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
        self._writers = SimulatedWriters(self, self.member, self._folder, cluster.settings, self._random)
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
            snapshot_log_bytes=settings.snapshot_log_bytes,
            retain_entries=settings.retain_entries,
            retain_log_bytes=settings.retain_log_bytes,
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
        if self.crash_in is None or (self.crash_kinds is not None and kind not in self.crash_kinds):
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
        if self.is_running:
            self.later(0.0, self._writers.finish)

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

    @property
    def has_executable_submissions(self) -> bool:
        """Some submission waits for nothing but its place in the log.

        What a process that is gone numbered after one that nobody holds will never be executed: it was only pending.
        """
        pending, watermarks = self.intake.state()
        return any(watermarks.get(origin, 0) + 1 in items for origin, items in pending.items())

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
        self._writers.mind_installation()
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
        self._writers.kick()
        if is_more_to_do:
            self.schedule_step()

    def _on_report_timer(self) -> None:
        self.member.report()
        self._writers.measure()
        self._writers.mind_snapshots()

    def take_snapshot(self) -> None:
        """As when one is due."""
        self._writers.take_snapshot()

    def note(self, line: str) -> None:
        self._cluster.note(f"{self.node_id} {line}")

    def replica_apply(self, replica: StateReplica, index: int, entry: bytes) -> None:
        """Where a test can make applying fail, or slow."""
        replica.apply(index, entry)

    def _die(self, *, silently: bool) -> None:
        assert self.is_running
        self._cluster.note(f"{self.node_id} dies")
        self.crash_in = None
        if self._is_open:
            self._writers.break_off()
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
