"""The life of one simulated cluster, from a seed: it trades, things go wrong, everything heals, and all is checked.

The seed decides the size of the cluster, its limits, which faults it meets and when, what its clients want, and every
delay. The same seed gives the same trace, byte for byte.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from raftbook.codec import encode_command
from raftbook.engine.commands import CancelAll
from raftbook.errors import BusyError, StorageFullError
from raftbook.intake import IntakeLimits
from raftbook.member.member import CONFIGURATION_ORIGIN
from raftbook.replication.raft_node import RaftSettings
from raftbook.replication.sequencer import SequencerLimits
from raftbook.simulation.checkers import check_all
from raftbook.simulation.clients import ClientSettings, SimulatedClient, flood
from raftbook.simulation.cluster import ClusterSettings, SimulatedCluster
from raftbook.simulation.faults import Nemesis
from raftbook.simulation.history import Attempt
from raftbook.simulation.invariants import require
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from raftbook.engine.events import Event
    from raftbook.simulation.node import SimulatedNode

DEFAULT_STEPS: Final = 150
CONVERGENCE_S: Final = 20.0
"""Within this time after everything has healed all nodes must stand at the same, with nothing left in their intakes."""
COMMIT_AGAIN_S: Final = 5.0
"""Within this time after everything has healed, whatever came before, some order must be executed."""
PROBE_AGAIN_S: Final = 0.1
COMMIT_S: Final = 3.0
"""Within this time a healthy cluster must execute an order, wherever it is entered."""
NEVER: Final = 10**9


@dataclass(slots=True)
class Outcome:
    """What one life held, and how it ended."""

    seed: int
    virtual_s: float = 0.0
    entries: int = 0
    executed: int = 0
    attempts: int = 0
    answered: int = 0
    terms: int = 0
    messages: int = 0
    checks: int = 0
    recovery_s: float = 0.0
    convergence_s: float = 0.0
    trace_digest: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    crash_points: Counter[str] = field(default_factory=Counter)
    halts: Counter[str] = field(default_factory=Counter)
    disk_operations: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    """By kind, and by reason where there is one, what the exchange told."""


class ViolationError(AssertionError):
    """The checkers found the history of a life to be wrong."""


def draw_settings(seed: int, member_count: int | None) -> ClusterSettings:
    """The cluster of that seed; `member_count` wins over its own, which is 1, 3 or 5."""
    draw = random.Random(f"{seed}/settings")  # noqa: S311 (repeatable numbers are wanted, not secret ones)
    flow = OrderFlow(seed, exotic_share=draw_exotic_share(seed))
    peers_draw = random.Random(f"{seed}/peers")  # noqa: S311
    return ClusterSettings(
        member_count=member_count or draw.choice((3, 3, 3, 5, 5, 1)),
        raft=RaftSettings(
            append_limit_bytes=draw.choice((600, 1 << 20)),
            window_bytes=draw.choice((2_000, 8 << 20)),
            # Nothing takes any time here, so a slice is one entry or all of them.
            apply_slice_s=draw.choice((0.0, 0.005)),
        ),
        snapshot_entries=draw.choice((20, 100, NEVER)),
        retain_entries=draw.randrange(7),
        tick_s=draw.choice((0.01, 0.02, 0.05)),
        sequencer=SequencerLimits(
            max_in_flight=draw.choice((1, 3, 8)), max_entry_commands=draw.choice((3, 256)), max_entry_bytes=64 * 1024
        ),
        intake=IntakeLimits(
            max_items=draw.choice((60, 100_000)),
            account_max_items=draw.choice((40, 50_000)),
            peer_max_items=peers_draw.choice((20, 400_000, 400_000, 400_000)),
        ),
        founding_commands=tuple(encode_command(command) for command in flow.instruments()),
        segment_size_bytes=draw.choice((2_000, 20_000, 1 << 26)),
        longest_installation_s=draw.choice((0.0, 0.0, 0.5)),
        snapshot_log_bytes=draw.choice((NEVER, NEVER, 10_000)),
        retain_log_bytes=draw.choice((NEVER, 2_000)),
        clock_drift=draw.choice((0.0, 0.0, 0.001, 0.1)),
    )


def draw_exotic_share(seed: int) -> float:
    """How much of what that seed's clients want is not limit and market orders; where it is 0, nothing expires."""
    return random.Random(f"{seed}/orders").choice((0.0, 0.2, 0.5, 0.8))  # noqa: S311 (repeatable numbers are wanted)


def live(
    seed: int, *, steps: int = DEFAULT_STEPS, member_count: int | None = None, story: list[str] | None = None
) -> Outcome:
    """One life of a cluster. What happened, in words, is appended to `story`.

    Raises:
        AssertionError: a promise was broken (InvariantError, ViolationError), or the code's own assertion failed.
    """
    with SimulatedCluster(seed=seed, settings=draw_settings(seed, member_count)) as cluster:
        cluster.story = story
        life = _Life(cluster)
        life.run(steps)
        return life.judged()


class _Life:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._random = cluster.random
        self._nemesis = Nemesis(cluster, self._flood)
        self._floods = 0
        self._exotic_share = draw_exotic_share(cluster.seed)
        self._convergence_s = 0.0
        self._recovery_s = 0.0
        settings = ClientSettings(
            pause_s=self._nemesis.pace_s * self._random.choice((1, 4, 12)),
            sets_not_after=self._random.random() < 0.5,
            exotic_share=self._exotic_share,
        )
        count = self._random.randint(1, 4)
        self._clients = [SimulatedClient(cluster, f"client-{number}", settings) for number in range(1, count + 1)]
        for sequence, command in enumerate(OrderFlow(cluster.seed, exotic_share=self._exotic_share).instruments(), 1):
            founding = Attempt("configuration", "", command, 0.0, CONFIGURATION_ORIGIN, sequence)
            cluster.checks.history.submitted(founding)

    def run(self, steps: int) -> None:
        cluster = self._cluster
        cluster.note(f"faults: {', '.join(self._nemesis.names)}")
        if self._random.random() < 0.8:
            cluster.settle()
        for client in self._clients:
            client.start()
        self._nemesis.act(steps)
        for client in self._clients:
            client.stop()
        self._nemesis.heal_everything()
        healed_at = cluster.scheduler.now
        executed_before = cluster.checks.executed_count
        for node in cluster.running:
            self._probe(node)
        cluster.wait(lambda: cluster.checks.executed_count > executed_before, timeout_s=COMMIT_AGAIN_S)
        self._recovery_s = cluster.scheduler.now - healed_at
        cluster.wait(self._is_at_rest, timeout_s=CONVERGENCE_S)
        self._convergence_s = cluster.scheduler.now - healed_at
        for node in cluster.nodes.values():
            self._commit_at(node)
        cluster.settle()
        cluster.checks.finished()

    def _flood(self, node: SimulatedNode) -> None:
        self._floods += 1
        flood(self._cluster, node, self._random.choice((50, 300)), self._floods, self._exotic_share)

    def _is_at_rest(self) -> bool:
        cluster = self._cluster
        return (
            cluster.is_healthy
            and not any(node.member.storage_full for node in cluster.nodes.values())
            and all(client.is_idle for client in self._clients)
            and all(
                not node.has_executable_submissions
                and node.state.exchange.watermarks.get(node.member.origin, 0) == node.intake.last_sequence
                for node in cluster.nodes.values()
            )
        )

    def _commit_at(self, node: SimulatedNode) -> None:
        """Liveness: what is entered at this node is executed on all nodes soon."""
        cluster = self._cluster
        sequence = self._enter_at(node)
        assert sequence is not None
        cluster.wait(
            lambda: all(n.state.exchange.watermarks.get(node.member.origin, 0) >= sequence for n in cluster.running),
            timeout_s=COMMIT_S,
        )

    def _probe(self, node: SimulatedNode) -> None:
        """An order, entered again while it is refused: a node learns only after a moment that its disk has room."""

        def enter() -> None:
            if self._enter_at(node) is None:
                self._cluster.scheduler.after(PROBE_AGAIN_S, lambda: self._probe(node))

        node.run(enter)

    def _enter_at(self, node: SimulatedNode) -> int | None:
        """A probe; its sequence, or None where the node has no room for it."""
        attempt = Attempt("liveness", node.node_id, CancelAll("client-1"), self._cluster.scheduler.now)
        self._cluster.checks.history.submitted(attempt)
        try:
            sequence = node.enter([attempt.command])
        except (BusyError, StorageFullError):
            attempt.refused = True
            return None
        attempt.origin, attempt.sequence = node.member.origin, sequence
        return sequence

    def judged(self) -> Outcome:
        cluster = self._cluster
        history = cluster.checks.history
        violations = check_all(history)
        if violations:
            raise ViolationError("\n".join(f"{violation}" for violation in violations[:10]))
        require(not cluster.protocol_errors or self._nemesis.counts["flip a bit"], "nodes broke their own protocol")
        operations: Counter[str] = Counter()
        for node in cluster.nodes.values():
            operations.update(node.disk.operation_counts)
        return Outcome(
            seed=cluster.seed,
            virtual_s=cluster.scheduler.now - cluster.started_at,
            entries=len(cluster.checks.decided),
            executed=cluster.checks.executed_count,
            attempts=len(history.attempts),
            answered=sum(attempt.execution is not None for attempt in history.attempts),
            terms=max(node.raft.term for node in cluster.nodes.values()),
            messages=cluster.network.messages_sent,
            checks=cluster.checks.checks_made,
            recovery_s=self._recovery_s,
            convergence_s=self._convergence_s,
            trace_digest=cluster.trace_digest,
            faults=self._nemesis.counts,
            crash_points=cluster.crash_points,
            halts=Counter(cluster.checks.halts),
            disk_operations=operations,
            events=Counter(
                _event_name(event) for execution in history.first_executions() for event in execution.events
            ),
        )


def _event_name(event: Event) -> str:
    reason = getattr(event, "reason", None)
    return event.kind.label if reason is None else f"{event.kind.label}: {reason}"
