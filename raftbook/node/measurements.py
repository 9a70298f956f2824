"""What a node counts and times of itself, for Prometheus: plain integers on the way, everything else when it is asked.

Names and units: https://prometheus.io/docs/practices/naming/. All belongs to the node's loop, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from raftbook.node.status import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from raftbook.engine.events import Execution
    from raftbook.state_machine import StateMachine

SYNC_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ANSWER_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SUBMISSIONS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """How often a value fell at or below each of `bounds`, which rise; what is above all of them is counted too."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """O(log bounds)."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self.counts), strict=True))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self.total)


class NodeFigures(NamedTuple):
    """What is read off the node at the moment it is asked."""

    status: NodeStatus
    in_flight: int
    snapshot_s: float
    differing_peers: int
    submissions_executed: int


class Measurements:
    """An observer of the replicated state among other things: see ReplicaObserver."""

    def __init__(self) -> None:
        self.sync_s = Histogram(SYNC_SECONDS)
        self.entry_submissions = Histogram(SUBMISSIONS)
        self.submit_to_report_s = Histogram(ANSWER_SECONDS)
        self.leader_changes = 0
        self._leader: str | None = None

    def leads(self, leader: str | None) -> None:
        """Who leads now, to be told every few milliseconds."""
        if leader is not None and leader != self._leader:
            self.leader_changes += 1
            self._leader = leader

    def executed(self, executions: list[Execution], _watermarks: Mapping[str, int]) -> None:
        self.entry_submissions.observe(len(executions))

    def applied(self, index: int) -> None: ...

    def decoded(self, state: StateMachine) -> None: ...

    def restored(self, watermarks: Mapping[str, int]) -> None: ...

    def collect(self, figures: NodeFigures) -> Iterator[Metric]:
        status = figures.status
        info = GaugeMetricFamily("raftbook_node_info", "Which node this is.", labels=("cluster", "node"))
        info.add_metric((status.cluster, status.node_id), 1)
        yield info
        for name, documentation, value in (
            ("has_leader", "1 while the node knows of a leader.", status.leader is not None),
            ("is_leader", "1 while the node leads.", status.leader == status.node_id),
            ("ready", "1 while the node serves, is caught up, and there is a leader.", status.ready),
            ("draining", "1 while the node is on its way out.", status.draining),
            ("storage_full", "1 while the disk lacks room and nothing new is taken.", status.storage_full),
            ("connected_peers", "Peers that the node has a connection to.", len(status.connected_peers)),
            ("differing_peers", "Peers whose state is another, from the same log.", figures.differing_peers),
            ("term", "Raft's term.", status.term),
            ("commit_index", "The last entry that a majority has.", status.commit_index),
            ("applied_index", "The last entry that is executed.", status.applied_index),
            ("digest_index", "The entry at which the node's digest is; peers compare theirs.", status.applied_index),
            ("last_index", "The last entry that the node has.", status.last_index),
            ("durable_index", "The last entry that the node's disk has.", status.durable_index),
            ("proposals_pending", "Entries that the leader has proposed and are not committed.", figures.in_flight),
            ("intake_submissions", "Submissions known here that the log does not hold yet.", status.intake_items),
            ("disk_free_bytes", "Room on the disk of the node's files.", status.storage_free_bytes),
            (
                "longest_stall_seconds",
                "The longest that the loop stood still since start.",
                status.longest_stall_ms / 1e3,
            ),
            ("snapshot_seconds", "How long the last snapshot took to write.", figures.snapshot_s),
            ("log_base_index", "Up to where the log is compacted, and a snapshot stands for it.", status.base_index),
        ):
            yield GaugeMetricFamily(f"raftbook_{name}", documentation, value=float(value))
        yield CounterMetricFamily(
            "raftbook_leader_changes", "How often another node than before became leader.", value=self.leader_changes
        )
        yield CounterMetricFamily(
            "raftbook_submissions_executed",
            "Submissions that the log holds, since the cluster began.",
            value=figures.submissions_executed,
        )
        yield self.sync_s.family("raftbook_log_sync_seconds", "Writing a batch of the log and syncing it.")
        yield self.entry_submissions.family("raftbook_entry_submissions", "Submissions in an entry of the log.")
        yield self.submit_to_report_s.family(
            "raftbook_submit_to_report_seconds", "From taking a submission to its report, of those that waited for it."
        )
