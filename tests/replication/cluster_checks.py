"""What must hold at every moment of a simulated cluster's life, checked as it happens.

- **Election safety**: at most one leader a term.
- **State machine safety**: an index is applied with one entry, by whichever nodes and processes, and in order.
- **Durability**: when an entry is applied for the first time anywhere, it is on the disks of a majority.
- **Monotony**: a process' term and commit index never fall.
- **Exactly once**: a dot is executed at one index, with the bytes that were submitted.
- **One book**: two nodes that have applied the same index have the same digest chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine.events import Execution
    from raftbook.replication.journal import Journal
    from tests.replication.simulated_cluster import SimulatedCluster, SimulatedNode


class Decided(NamedTuple):
    """An entry that some node has applied; `entry` is None for a leader's no-op."""

    term: int
    entry: bytes | None


class ClusterChecks:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._leaders: dict[int, str] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._digests: dict[int, bytes] = {}
        self._dots: dict[tuple[str, int], int] = {}
        self._submitted: dict[tuple[str, int], bytes] = {}
        self._applied: dict[str, int] = {}
        self.decided: dict[int, Decided] = {}
        """By index, everything that was ever applied anywhere."""
        self.needs_durability = True
        """A test of a cluster that was told to forget may switch that check off."""

    # What happens.

    def node_started(self, node: SimulatedNode) -> None:
        self._progress[node.node_id] = (0, 0)
        self._applied[node.node_id] = node.state.index
        self.state_reached(node, node.state.index)

    def node_moved(self, node: SimulatedNode) -> None:
        raft = node.raft
        term, commit_index = self._progress[node.node_id]
        assert raft.term >= term, f"{node.node_id} went from term {term} back to {raft.term}"
        assert raft.commit_index >= commit_index, (
            f"{node.node_id} went from commit index {commit_index} back to {raft.commit_index}"
        )
        self._progress[node.node_id] = (raft.term, raft.commit_index)
        if raft.leads:
            leader = self._leaders.setdefault(raft.term, node.node_id)
            assert leader == node.node_id, f"{leader} and {node.node_id} both lead term {raft.term}"

    def entry_applied(self, node: SimulatedNode, index: int, entry: bytes | None) -> None:
        before = self._applied[node.node_id]
        assert index == before + 1, f"{node.node_id} applied {index} behind {before}"
        self._applied[node.node_id] = index
        assert node.journal is not None
        term = node.journal.term_at(index)
        assert term is not None
        known = self.decided.get(index)
        if known is None:
            self.decided[index] = Decided(term, entry)
            if self.needs_durability:
                self._check_durable(index, term)
        else:
            assert known == (term, entry), f"{node.node_id} applied another entry at {index}: {entry!r}, not {known}"

    def state_restored(self, node: SimulatedNode, index: int) -> None:
        self._applied[node.node_id] = index
        self.state_reached(node, index)

    def state_reached(self, node: SimulatedNode, index: int) -> None:
        digest = self._digests.setdefault(index, node.state.chain_digest)
        assert digest == node.state.chain_digest, f"{node.node_id} has another digest at {index}"

    def submitted(self, node: SimulatedNode, first_sequence: int, raw_commands: Sequence[bytes]) -> None:
        for sequence, raw in enumerate(raw_commands, first_sequence):
            self._submitted[node.intake.origin, sequence] = raw

    def executed(self, node: SimulatedNode, executions: Iterable[Execution]) -> None:
        index = self._applied[node.node_id]
        for execution in executions:
            dot = (execution.origin, execution.sequence)
            first = self._dots.setdefault(dot, index)
            assert first == index, f"{dot} was executed at {first} and at {index}"
            assert dot in self._submitted, f"{dot} was never submitted"

    # What must hold when all is over.

    def finished(self) -> None:
        """Every member has everything that was ever applied anywhere, and nothing else."""
        cluster = self._cluster
        last = max(self.decided, default=0)
        for node in cluster.nodes.values():
            assert node.raft.applied_index >= last, f"{node.node_id} lacks entries up to {last}"
            assert node.journal is not None
            for index in range(node.journal.base_index + 1, node.raft.applied_index + 1):
                term, entry = self.decided[index]
                assert node.journal.term_at(index) == term
                assert entry is None or node.journal.command_at(index)[1:] == entry
            assert node.intake.origin in node.state.exchange.watermarks or node.intake.last_sequence == 0
            executed = node.state.exchange.watermarks.get(node.intake.origin, 0)
            assert executed == node.intake.last_sequence, f"{node.node_id} has submissions that were not executed"
            assert len(node.intake) == 0, f"{node.node_id} has {node.intake.state()[0]} left"
            node.state.exchange.check()

    @property
    def executed_count(self) -> int:
        return len(self._dots)

    def _check_durable(self, index: int, term: int) -> None:
        nodes = self._cluster.nodes.values()
        holders = [node.node_id for node in nodes if any(_holds(journal, index, term) for journal in _journals(node))]
        assert len(holders) > len(nodes) // 2, f"entry {index} was applied, but only on the disks of {holders}"


def _journals(node: SimulatedNode) -> list[Journal]:
    return [*node.lost_journals, *([] if node.journal is None else [node.journal])]


def _holds(journal: Journal, index: int, term: int) -> bool:
    return index <= journal.base_index or (index <= journal.durable_index and journal.term_at(index) == term)
