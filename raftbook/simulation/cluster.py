"""A cluster of nodes in one thread and virtual time, over a simulated network and simulated disks.

    with SimulatedCluster(seed=7) as cluster:
        leader = cluster.wait_for_leader()
        cluster.network.cut_off(leader.node_id)
        cluster.run_for(3.0)

One seed decides everything, also under another hash seed, so a seed is a whole bug report.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

from raftbook.intake import IntakeLimits
from raftbook.replication.messages import encode
from raftbook.replication.raft_core import use_clock
from raftbook.replication.raft_node import RaftSettings
from raftbook.replication.sequencer import SequencerLimits
from raftbook.replication.write_ahead_log import SEGMENT_SIZE_BYTES
from raftbook.simulation.invariants import Invariants
from raftbook.simulation.network import SimulatedNetwork
from raftbook.simulation.node import SimulatedNode
from raftbook.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.replication.messages import Message


class ClusterSettings(NamedTuple):
    member_count: int = 3
    raft: RaftSettings = RaftSettings()
    delay_s: tuple[float, float] = (0.0005, 0.003)
    """Of a message, from one node to another."""
    sync_s: tuple[float, float] = (0.001, 0.006)
    """Of writing and syncing a batch."""
    longest_installation_s: float = 0.0
    """Of a snapshot from a peer, which takes up to so long to be prepared."""
    snapshot_entries: int = 10**9
    retain_entries: int = 5
    snapshot_log_bytes: int = 1 << 50
    retain_log_bytes: int = 1 << 50
    tick_s: float = 0.01
    sequencer: SequencerLimits = SequencerLimits()
    intake: IntakeLimits = IntakeLimits()
    founding_commands: tuple[bytes, ...] = ()
    segment_size_bytes: int = SEGMENT_SIZE_BYTES
    storage_margin_bytes: int = 4_000
    clock_drift: float = 0.0
    """Monotonic clocks run too fast or too slow by up to this share."""


class SimulatedCluster:
    """Members n1, n2, …; all are started on entering the context, unless `start` is False."""

    def __init__(self, *, seed: int, settings: ClusterSettings | None = None, start: bool = True) -> None:
        self.seed = seed
        self.settings = settings or ClusterSettings()
        self.scheduler = Scheduler()
        self.started_at = self.scheduler.now
        self.member_ids = tuple(f"n{number}" for number in range(1, self.settings.member_count + 1))
        self.checks = Invariants(self)
        self.random = random.Random(f"{seed}/cluster")  # noqa: S311 (repeatable numbers are wanted, not secret ones)
        network_random = random.Random(f"{seed}/network")  # noqa: S311
        self.network = SimulatedNetwork(self.scheduler, network_random, self.settings.delay_s)
        self.crash_points: Counter[str] = Counter()
        """By kind, how often a process was killed just before such a thing."""
        self.protocol_errors = 0
        self._entered: SimulatedNode | None = None
        self.nodes = {node_id: SimulatedNode(self, node_id) for node_id in self.member_ids}
        self._start = start
        self._trace = hashlib.blake2b(digest_size=16)
        self.story: list[str] | None = None
        """What happened, in words, where a test sets this to a list."""
        for node in self.nodes.values():
            self.network.add(node)

    def __enter__(self) -> Self:
        self._clock_before = use_clock(self._clock)
        if self._start:
            for node in self.nodes.values():
                node.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        use_clock(self._clock_before)

    # Whose turn it is.

    def enter(self, node: SimulatedNode) -> SimulatedNode | None:
        """From here on it is the turn of this node's process; returns whose it was before, for `leave`."""
        outer, self._entered = self._entered, node
        return outer

    def leave(self, outer: SimulatedNode | None) -> None:
        self._entered = outer

    def _clock(self) -> float:
        """PySyncObj has one clock for the whole process, so it is the clock of the node whose turn it is."""
        return self.scheduler.now if self._entered is None else self._entered.clock()

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
