"""A cluster of real nodes in one thread and virtual time: RaftNode, intake, gossip, sequencer and state machine as in
production, over a simulated network and simulated disks. One seed decides everything, so a seed is a whole bug report.

    with SimulatedCluster(seed=7) as cluster:
        leader = cluster.wait_for_leader()
        cluster.network.cut_off(leader.node_id)
        cluster.run_for(3.0)

What `NodeService` does on asyncio's loop is done here by `SimulatedNode`; the parts that decide are the same objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from raftbook.codec import encode_entry
from raftbook.intake import Delta, Intake, IntakeLimits
from raftbook.member.gossip import Gossip
from raftbook.node.publisher import Publisher
from raftbook.member.replica import Replica
from raftbook.member.storage_folder import StorageFolder
from raftbook.replication.messages import PROTOCOL_VERSION, Hello, IntakeDelta, NodeReport, RawRunMessage, encode
from raftbook.replication.raft_core import use_clock
from raftbook.replication.raft_node import RaftMessage, RaftNode, RaftSettings
from raftbook.replication.sequencer import Sequencer, SequencerLimits
from raftbook.simulation.disk import PowerLossError, SimulatedDisk
from tests.replication.cluster_checks import ClusterChecks
from tests.replication.simulated_network import IDLE_TIMEOUT_S, Scheduler, SimulatedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftbook.engine.events import Execution
    from raftbook.replication.journal import Journal
    from raftbook.replication.messages import Message
    from raftbook.replication.ordered_log import LogStatus
    from raftbook.replication.write_ahead_log import Batch
    from raftbook.state_machine import StateMachine

REPORT_S: Final = 0.25
CLUSTER_NAME: Final = "simulated"
START_TIME_NS: Final = 1_700_000_000_000_000_000
NEVER: Final = float("inf")


class ClusterSettings(NamedTuple):
    member_count: int = 3
    raft: RaftSettings = RaftSettings()
    delay_s: tuple[float, float] = (0.0005, 0.003)
    """Of a message, from one node to another."""
    sync_s: tuple[float, float] = (0.001, 0.006)
    """Of writing and syncing a batch."""
    snapshot_entries: int = 10**9
    retain_entries: int = 5
    tick_s: float = 0.01
    sequencer: SequencerLimits = SequencerLimits()
    intake: IntakeLimits = IntakeLimits()


class _Transport:
    """A node's PeerTransport."""

    def __init__(self, network: SimulatedNetwork, node_id: str) -> None:
        self._network = network
        self._node_id = node_id

    @property
    def connected(self) -> tuple[str, ...]:
        return self._network.connected(self._node_id)

    def send(self, peer: str, message: Message) -> bool:
        return self._network.send(self._node_id, peer, message)

    def send_many(self, peers: Sequence[str], message: Message) -> tuple[str, ...]:
        return tuple(peer for peer in peers if self.send(peer, message))


class _RecordingPublisher(Publisher):
    """The publisher of a node to which nobody listens but the checks."""

    def __init__(self, record: Callable[[list[Execution]], None]) -> None:
        super().__init__(reports_kept=10)
        self._record = record

    def executed(self, executions: list[Execution], watermarks: object) -> None:
        self._record(executions)
        super().executed(executions, watermarks)  # type: ignore[arg-type]


class _RecordingReplica:
    """The node's Replica, with the checks looking on."""

    def __init__(self, node: SimulatedNode, replica: Replica) -> None:
        self._node = node
        self._replica = replica

    def apply(self, index: int, entry: bytes) -> None:
        self._node.checks.entry_applied(self._node, index, entry)
        self._replica.apply(index, entry)
        self._node.applied.append((index, entry))
        self._node.checks.state_reached(self._node, index)

    def advance(self, index: int) -> None:
        self._node.checks.entry_applied(self._node, index, None)
        self._replica.advance(index)
        self._node.checks.state_reached(self._node, index)

    def restore(self, index: int, body: bytes) -> None:
        self._replica.restore(index, body)
        self._node.restored_at.append(index)
        self._node.checks.state_restored(self._node, index)


class SimulatedNode:
    """One member: a disk that outlives it, and while it runs a process. `life` numbers its processes."""

    def __init__(self, cluster: SimulatedCluster, node_id: str) -> None:
        self.node_id = node_id
        self.disk = SimulatedDisk()
        self.is_running = False
        self.is_paused = False
        self.life = 0
        self.sync_s = cluster.settings.sync_s
        self.is_disk_stalled = False
        self.applied: list[tuple[int, bytes]] = []
        """What the present process applied one by one; earlier entries came with its files or a snapshot."""
        self.restored_at: list[int] = []
        """Indexes of the snapshots that the present process took from a peer."""
        self.lost_journals: list[Journal] = []
        """Logs of wiped disks."""
        self.journal: Journal | None = None
        """Of the present process or, where none runs, of the last one, as it stood when that died."""
        self.raft: RaftNode
        self.intake: Intake
        self.checks = cluster.checks
        self._cluster = cluster
        self._random = random.Random(f"{cluster.seed}/{node_id}")
        self._backlog: deque[Callable[[], None]] = deque()
        self._clock_skew_ns = self._random.randrange(-50_000_000, 50_000_000)

    # Its process.

    def start(self) -> None:
        assert not self.is_running
        cluster = self._cluster
        self.life += 1
        self.is_running = True
        self.is_paused = False
        self._backlog.clear()
        self.applied = []
        self.restored_at = []
        self._step_scheduled = False
        self._batch: Batch | None = None
        self._writing = False
        self._compact_to: int | None = None
        self._snapshot_under_way = False
        self._reports: dict[str, NodeReport] = {}
        self._start_ns = self._wall_clock_ns()
        self._folder = StorageFolder(self.disk, CLUSTER_NAME, self.node_id, self._start_ns)
        self._last_snapshot_index = self._folder.state.index
        self.journal = self._folder.journal
        self.intake = Intake(self._folder.origin, cluster.settings.intake)
        self._gossip = Gossip(self.intake)
        self._sequencer = Sequencer(cluster.settings.sequencer)
        publisher = _RecordingPublisher(lambda executions: self.checks.executed(self, executions))
        self._replica = Replica(self._folder.state, self.intake, publisher)
        self._transport = _Transport(cluster.network, self.node_id)
        self.checks.node_started(self)
        self.raft = RaftNode(
            node_id=self.node_id,
            members=cluster.member_ids,
            journal=self.journal,
            wal=self._folder.wal,
            snapshots=self._folder.snapshots,
            is_voter=self._folder.is_voter,
            transport=self._transport,
            replica=_RecordingReplica(self, self._replica),
            clock=cluster.scheduler.clock,
            random_source=self._random,
            settings=cluster.settings.raft,
            applied_index=self._folder.state.index,
        )
        self._every(cluster.settings.tick_s, self._on_timer)
        self._every(REPORT_S, self._on_report_timer)
        self._schedule_step()

    def kill(self) -> None:
        """SIGKILL: the process is gone, what it wrote stays."""
        self._die(silently=False)
        self.disk.fail_after = None

    def lose_power(self) -> None:
        """What was not synced is lost, torn or kept, as the seed says."""
        self._die(silently=True)
        self.disk.lose_power(self._random)

    def wipe(self) -> None:
        """A new, empty disk."""
        assert not self.is_running
        if self.journal is not None:
            self.lost_journals.append(self.journal)
            self.journal = None
        self.disk = SimulatedDisk()

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

        self._cluster.scheduler.after(IDLE_TIMEOUT_S, give_up)

    def resume(self) -> None:
        """SIGCONT: whatever came meanwhile is waiting."""
        self.is_paused = False
        while self._backlog and not self.is_paused:
            self._backlog.popleft()()

    def run(self, action: Callable[[], None]) -> None:
        """Something happens to the process, now or when it is resumed."""
        if not self.is_running:
            return
        if self.is_paused:
            self._backlog.append(action)
        else:
            action()

    def stall_disk(self) -> None:
        """No batch is finished until `resume_disk`."""
        self.is_disk_stalled = True

    def resume_disk(self) -> None:
        self.is_disk_stalled = False
        if self.is_running and self._writing:
            self._later(0.0, self._finish_work)

    # How it stands.

    @property
    def status(self) -> LogStatus:
        return self.raft.status()

    @property
    def state(self) -> StateMachine:
        return self._replica.state

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

    # What a test or the network does to it.

    def submit(self, raw_commands: Sequence[bytes]) -> tuple[str, int]:
        """Into the intake, as a client's; returns the first dot."""
        first_sequence = self.intake.submit([("account", raw) for raw in raw_commands])
        self.checks.submitted(self, first_sequence, raw_commands)
        self._schedule_step()
        return self.intake.origin, first_sequence

    def propose(self, entry: bytes) -> int:
        """Straight into the log, past intake and sequencer."""
        index = self.raft.propose(entry)
        self._schedule_step()
        return index

    def on_connected(self, peer: str, hello: Hello) -> None:
        self._cluster.note(f"{self.node_id} connected to {peer}, fresh {hello.fresh}")
        self._gossip.connected(peer)
        self.raft.connected(peer, hello)
        self._schedule_step()

    def on_disconnected(self, peer: str) -> None:
        self._cluster.note(f"{self.node_id} disconnected from {peer}")
        self._gossip.disconnected(peer)
        self._reports.pop(peer, None)
        self.raft.disconnected(peer)
        self._schedule_step()

    def on_message(self, peer: str, message: Message) -> None:
        self._cluster.note_message(self.node_id, peer, message)
        if isinstance(message, NodeReport):
            self._reports[peer] = message
        elif isinstance(message, IntakeDelta):
            for run in message.runs:
                self.intake.merge(Delta(run.origin, run.first_sequence, run.raw_commands))
        else:
            assert isinstance(message, RaftMessage)
            self.raft.received(peer, message)
            self.checks.node_moved(self)
        self._schedule_step()

    # What NodeService does on its loop.

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """An action of the present process."""
        life = self.life

        def act() -> None:
            if self.life == life and self.is_running:
                self.run(action)

        self._cluster.scheduler.after(delay_s, act)

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self._later(period_s, act)

        self._later(self._random.uniform(0.0, period_s), act)

    def _schedule_step(self) -> None:
        if not self._step_scheduled:
            self._step_scheduled = True
            self._later(0.0, self._step)

    def _step(self) -> None:
        self._step_scheduled = False
        self.raft.tick()
        self.checks.node_moved(self)
        self._move_submissions()
        self._kick_writer()
        if self.raft.is_behind:
            self._schedule_step()

    def _move_submissions(self) -> None:
        if self.raft.ready_to_propose:
            self._sequencer.begin(self.raft.term, self.state.exchange.watermarks, self.intake.origin)
            while runs := self._sequencer.pack(self.intake, self.raft.in_flight):
                self.raft.propose(encode_entry(self._wall_clock_ns(), runs))
        leader = self.raft.leader
        if leader != self.node_id:
            for peer, deltas in self._gossip.due(leader if leader in self._transport.connected else None):
                self._transport.send(peer, IntakeDelta(tuple(RawRunMessage(*delta) for delta in deltas)))

    def _on_timer(self) -> None:
        self._gossip.review(self._cluster.scheduler.now)
        self._step()

    def _on_report_timer(self) -> None:
        status = self.status
        report = NodeReport(
            term=status.term,
            role=status.role,
            leader=status.leader,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            digest_index=self.state.index,
            digest=self.state.chain_digest.hex(),
            ready=True,
        )
        self._transport.send_many(self._transport.connected, report)
        has_learner = any(report.role == "learner" for report in self._reports.values())
        if has_learner and self.raft.ready_to_propose and self.raft.in_flight == 0:
            self.raft.propose(encode_entry(self._wall_clock_ns(), []))
        self._mind_snapshots()

    def _mind_snapshots(self) -> None:
        index = self.raft.applied_index
        if index - self._last_snapshot_index >= self._cluster.settings.snapshot_entries:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """As a forked child would: the state of now, written a little later."""
        index = self.raft.applied_index
        if self._snapshot_under_way or index <= self._last_snapshot_index:
            return
        assert self.journal is not None
        term = self.journal.term_at(index)
        assert term is not None
        body = self.state.to_snapshot()
        self._snapshot_under_way = True

        def finish() -> None:
            self._snapshot_under_way = False
            self._folder.snapshots.write(index, term, body)
            self._folder.snapshots.adopt(index, term)
            self._last_snapshot_index = max(self._last_snapshot_index, index)
            self._compact_to = self.raft.compact(index, 10**9, self._cluster.settings.retain_entries)
            self._kick_writer()

        self._later(self._random.uniform(0.01, 0.2), finish)

    # What LogWriter does with a thread.

    def _kick_writer(self) -> None:
        if self._writing:
            return
        self._batch = self._folder.wal.take_batch()
        if self._batch is not None or self._compact_to is not None:
            self._writing = True
            self._later(self._random.uniform(*self.sync_s), self._finish_work)

    def _finish_work(self) -> None:
        if self.is_disk_stalled or not self._writing:
            return
        self._writing = False
        if self._batch is not None:
            batch, self._batch = self._batch, None
            self._folder.wal.write_batch(batch)
            self._folder.wal.mark_durable(batch)
            self.raft.synced()
            self.checks.node_moved(self)
        elif self._compact_to is not None:
            index, self._compact_to = self._compact_to, None
            self._folder.wal.compact(index)
        self._kick_writer()
        self._schedule_step()

    def _die(self, *, silently: bool) -> None:
        assert self.is_running
        self._cluster.note(f"{self.node_id} dies")
        if self._writing and self._batch is not None and self._random.random() < 0.7:
            self.disk.fail_after = self._random.randrange(4)
            with contextlib.suppress(PowerLossError):
                self._folder.wal.write_batch(self._batch)
        self.is_running = False
        self.is_paused = False
        self.is_disk_stalled = False
        self._backlog.clear()
        self._cluster.network.node_died(self.node_id, silently=silently)

    def _wall_clock_ns(self) -> int:
        return START_TIME_NS + int(self._cluster.scheduler.now * 1e9) + self._clock_skew_ns


class SimulatedCluster:
    """Members n1, n2, …; all are started on entering the context, unless `start` is False."""

    def __init__(self, *, seed: int, settings: ClusterSettings | None = None, start: bool = True) -> None:
        self.seed = seed
        self.settings = settings or ClusterSettings()
        self.scheduler = Scheduler()
        self.checks = ClusterChecks(self)
        self.random = random.Random(f"{seed}/cluster")
        self.network = SimulatedNetwork(self.scheduler, random.Random(f"{seed}/network"), self.settings.delay_s)
        self.member_ids = tuple(f"n{number}" for number in range(1, self.settings.member_count + 1))
        self.nodes = {node_id: SimulatedNode(self, node_id) for node_id in self.member_ids}
        self._start = start
        self._trace = hashlib.blake2b(digest_size=16)
        self.story: list[str] | None = None
        """What happened, in words, where a test sets this to a list."""
        for node in self.nodes.values():
            self.network.add(node)

    def __enter__(self) -> Self:
        self._clock_before = use_clock(self.scheduler.clock)
        if self._start:
            for node in self.nodes.values():
                node.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        use_clock(self._clock_before)

    # Time.

    def run_for(self, duration_s: float) -> None:
        self.scheduler.run_for(duration_s)

    def wait(self, condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Run until `condition` holds; AssertionError with how everyone stands if it does not in time."""
        if not self.scheduler.run_until(condition, self.scheduler.now + timeout_s):
            raise AssertionError(f"not within {timeout_s} virtual seconds (seed {self.seed}):\n{self.describe()}")

    def wait_for_leader(self, *among: str, timeout_s: float = 10.0) -> SimulatedNode:
        """A leader, among those named if any are, that is ready to propose."""
        candidates = [self.nodes[node_id] for node_id in among or self.member_ids]

        def ready() -> list[SimulatedNode]:
            return [node for node in candidates if node.is_running and node.raft.ready_to_propose]

        self.wait(lambda: bool(ready()), timeout_s=timeout_s)
        return max(ready(), key=lambda node: node.raft.term)

    def wait_applied(self, index: int, *node_ids: str, timeout_s: float = 10.0) -> None:
        """Until these nodes (all that run, if none is named) have applied `index`."""
        nodes = [self.nodes[node_id] for node_id in node_ids] or self.running
        self.wait(lambda: all(node.raft.applied_index >= index for node in nodes), timeout_s=timeout_s)

    def settle(self) -> SimulatedNode:
        """All are voters, connected, and have applied the same; returns the leader."""
        self.wait(lambda: self.is_healthy, timeout_s=20.0)
        return self.wait_for_leader()

    # How everyone stands.

    @property
    def running(self) -> list[SimulatedNode]:
        return [node for node in self.nodes.values() if node.is_running]

    @property
    def leaders(self) -> list[SimulatedNode]:
        return [node for node in self.nodes.values() if node.leads]

    def others(self, *nodes: SimulatedNode) -> list[SimulatedNode]:
        return [node for node in self.nodes.values() if node not in nodes]

    @property
    def is_healthy(self) -> bool:
        """Every member runs as a voter, connected to all, with the same log applied to its end."""
        nodes = self.running
        if len(nodes) < len(self.nodes) or not self.network.is_whole:
            return False
        if any(node.raft.in_flight or node.is_paused or node.is_disk_stalled for node in nodes):
            return False
        if sum(node.raft.ready_to_propose for node in nodes) != 1:
            return False
        statuses = [node.status for node in nodes]
        return (
            all(len(self.network.connected(node_id)) == len(nodes) - 1 for node_id in self.member_ids)
            and all(status.role != "learner" for status in statuses)
            and len({(status.applied_index, status.last_index, status.term) for status in statuses}) == 1
            and all(status.applied_index == status.durable_index == status.last_index for status in statuses)
        )

    def describe(self) -> str:
        lines = [f"at {self.scheduler.now:.3f}"]
        for node in self.nodes.values():
            if node.is_running:
                state = "paused" if node.is_paused else "runs"
                lines.append(f"{node.node_id} {state} {node.status} connected {self.network.connected(node.node_id)}")
            else:
                lines.append(f"{node.node_id} is down")
        return "\n".join(lines)

    # What happened.

    def note(self, line: str) -> None:
        self._trace.update(f"{self.scheduler.now:.9f} {line}\n".encode())
        if self.story is not None:
            self.story.append(f"{self.scheduler.now:.4f} {line}")

    def note_message(self, receiver: str, sender: str, message: Message) -> None:
        self._trace.update(f"{self.scheduler.now:.9f} {sender} {receiver} ".encode() + encode(message))
        if self.story is not None:
            self.story.append(f"{self.scheduler.now:.4f} {sender} to {receiver}: {message!r:.200}")

    @property
    def trace_digest(self) -> str:
        """Of every message and event so far, with its time."""
        return self._trace.hexdigest()
