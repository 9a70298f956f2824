"""What must hold at every moment of a simulated cluster's life, checked as it happens, and written down in a History.

- **Election safety**: at most one leader a term.
- **State machine safety**: an index is applied with one entry, by whichever nodes and processes, and in order.
- **Durability**: when an entry is applied for the first time anywhere, it is on the disks of a majority.
- **Nothing durable is forgotten**: what a process knew to be on its disk, entries, term and vote, the next one finds.
- **Monotony**: a process' term and commit index never fall.
- **Exactly once**: a dot is executed at one index, and it was submitted.
- **One book**: two nodes that have applied the same index have the same digest chain.
- **A leader has a majority**: one that has heard from no majority for longer than it may does not lead.
- **Nobody is unseated needlessly**: a member that reaches no majority does not raise its term.

An InvariantError ends the life at the moment of the fault, where its cause is still to be seen; the checkers
(checkers/) judge the history of the whole afterwards, by other means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import NO_ORIGIN
from raftbook.simulation.history import Decided, FinalNode, History, LogEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine.events import Execution
    from raftbook.errors import RaftbookError
    from raftbook.replication.journal import Journal
    from raftbook.simulation.cluster import SimulatedCluster
    from raftbook.simulation.node import SimulatedNode

STEP_DOWN_SLACK_S: Final = 0.6
"""How much later than its fallback timeout a leader without a majority may be seen to lead: it ticks now and then."""


class InvariantError(AssertionError):
    """Something that must always hold does not."""


def require(holds: object, message: str) -> None:
    if not holds:
        raise InvariantError(message)


class Invariants:
    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._progress: dict[str, tuple[int, int]] = {}
        self._dots: dict[tuple[str, int], int] = {}
        self._submitted: dict[tuple[str, int], bytes] = {}
        self._applied: dict[str, int] = {}
        self._heard: dict[str, dict[str, float]] = {}
        """By node: when it last heard from each member, or could be sure to."""
        self._durable_ballots: dict[str, tuple[int, str | None]] = {}
        """By node: term and vote when last all of its log was on its disk."""
        self._highest_term = 0
        self.checks_made = 0
        self.halts: dict[str, int] = {}
        """By code, how often a process ended by itself or would not start."""
        self.history = History(cluster.member_ids)
        self.decided: dict[int, Decided] = {}
        """By index, everything that was ever applied anywhere."""
        self.needs_durability = True
        """A test of a cluster that was told to forget may switch that check off."""
        self.tainted: set[str] = set()
        """Nodes whose memory was damaged on purpose; their states are not compared until they start anew."""

    # What happens.

    def node_started(self, node: SimulatedNode) -> None:
        self._progress[node.node_id] = (0, 0)
        self._applied[node.node_id] = node.state.index
        self._heard[node.node_id] = self._all_now(node)
        self.tainted.discard(node.node_id)
        assert node.journal is not None
        self._durable_ballots[node.node_id] = (node.journal.term, node.journal.voted_for)
        self._state_reached(node, node.state.index)

    def files_opened(self, node: SimulatedNode, before: Journal, now: Journal, all_was_durable: bool) -> None:
        """A process has read what the one before it left. `all_was_durable`: nothing waited for the disk then."""
        name, index = node.node_id, before.durable_index
        require(now.last_index >= index, f"{name} forgot what was on its disk: entries {now.last_index + 1} to {index}")
        term = before.term_at(index)
        same = now.term_at(index) in (None, term) or index <= now.base_index
        require(same, f"{name} finds another entry {index} on its disk than it wrote")
        if all_was_durable:
            found, written = (now.term, now.voted_for), (before.term, before.voted_for)
            require(found == written, f"{name} finds term and vote {found} on its disk, where it wrote {written}")
        # What waited may have got there, so the term may be a later one, and where there was no vote there may be one.
        term, vote = self._durable_ballots.get(name, (0, None))
        kept = now.term > term or (now.term == term and vote in (None, now.voted_for))
        require(kept, f"{name} forgot term {term} and its vote for {vote}: it finds {now.term} and {now.voted_for}")

    def node_halted(self, node: SimulatedNode, error: RaftbookError) -> None:
        self.halts[error.code] = self.halts.get(error.code, 0) + 1
        self._cluster.note(f"{node.node_id}: {error}")

    def node_moved(self, node: SimulatedNode) -> None:
        raft, name = node.raft, node.node_id
        self.checks_made += 1
        now = (raft.term, raft.commit_index)
        before = self._progress[name]
        if now != before:
            require(now[0] >= before[0], f"{name} went from term {before[0]} back to {now[0]}")
            require(now[1] >= before[1], f"{name} went from commit index {before[1]} back to {now[1]}")
            self._progress[name] = now
            self.history.commit_index_seen(name, node.life, now[1])
        journal = node.journal
        assert journal is not None
        if journal.is_durable:
            self._durable_ballots[name] = (journal.term, journal.voted_for)
        if raft.leads:
            self.history.leads(now[0], name)
            leaders = self.history.leaders[now[0]]
            require(leaders == {name}, f"{' and '.join(sorted(leaders))} both lead term {now[0]}")
        if now[0] > self._highest_term:
            self._highest_term = now[0]
            # A leader may give its leadership to any follower, also to one that has lost the others.
            reached = self._cluster.network.reaching(name)
            if self._is_alone(node) and not any(self._cluster.nodes[peer].leads for peer in reached):
                raise InvariantError(f"{name} reaches no majority, and yet begins term {now[0]}")

    def node_ticked(self, node: SimulatedNode) -> None:
        """Time has passed."""
        now = self._cluster.scheduler.now
        for peer in self._cluster.network.reaching(node.node_id):
            self._heard[node.node_id][peer] = now
        if node.raft.leads and self._is_alone(node):
            raise InvariantError(f"{node.node_id} has heard from no majority for long and still leads")

    def _is_alone(self, node: SimulatedNode) -> bool:
        """For longer than a leader may go without a majority, it has not heard from one."""
        now = self._cluster.scheduler.now
        majority = len(self._cluster.nodes) // 2 + 1
        times = [now, *sorted(self._heard[node.node_id].values(), reverse=True)]
        fallback_s = self._cluster.settings.raft.fallback_timeout_s / node.clock_rate
        return now - times[majority - 1] > fallback_s + STEP_DOWN_SLACK_S

    def message_received(self, node: SimulatedNode, peer: str) -> None:
        self._heard[node.node_id][peer] = self._cluster.scheduler.now

    def node_resumed(self, node: SimulatedNode) -> None:
        """It could do nothing while it was stopped."""
        self._heard[node.node_id] = self._all_now(node)

    def _all_now(self, node: SimulatedNode) -> dict[str, float]:
        peers = (peer for peer in self._cluster.member_ids if peer != node.node_id)
        return dict.fromkeys(peers, self._cluster.scheduler.now)

    def entry_comes(self, node: SimulatedNode, index: int, entry: bytes | None) -> None:
        """Before an entry is applied."""
        before = self._applied[node.node_id]
        require(index == before + 1, f"{node.node_id} applied {index} behind {before}")
        self._applied[node.node_id] = index
        assert node.journal is not None
        term = node.journal.term_at(index)
        assert term is not None
        known = self.decided.get(index)
        if known is None:
            self.decided[index] = Decided(term, entry)
            if self.needs_durability:
                holders = self._holders(index, term)
                majority = 2 * len(holders) > len(self._cluster.nodes)
                require(majority, f"entry {index} was applied, but only on the disks of {holders}")
        else:
            require(known == (term, entry), f"{node.node_id} applied another entry at {index}: {entry!r}, not {known}")

    def entry_applied(
        self, node: SimulatedNode, index: int, entry: bytes | None, executions: Sequence[Execution]
    ) -> None:
        """Behind it."""
        if node.node_id in self.tainted:
            return
        decided = self.decided[index]
        holders = [] if index in self.history.applied else self._holders(index, decided.term)
        self.history.entry_applied(
            node.node_id, node.life, index, Decided(decided.term, entry), executions, node.state.chain_digest, holders
        )
        self._check_digest(node, index)
        for execution in executions:
            if execution.origin == NO_ORIGIN:
                continue
            dot = (execution.origin, execution.sequence)
            first = self._dots.setdefault(dot, index)
            require(first == index, f"{dot} was executed at {first} and at {index}")
            known = dot in self._submitted or execution.origin == "configuration"
            require(known, f"{dot} was never submitted")

    def state_restored(self, node: SimulatedNode, index: int) -> None:
        self._applied[node.node_id] = index
        self.tainted.discard(node.node_id)
        self._state_reached(node, index)

    def _state_reached(self, node: SimulatedNode, index: int) -> None:
        self.history.state_reached(node.node_id, index, node.state.chain_digest)
        self._check_digest(node, index)

    def _check_digest(self, node: SimulatedNode, index: int) -> None:
        digests = self.history.digests[index]
        require(len(digests) == 1, f"{node.node_id} has another digest at {index}")

    def submitted(self, node: SimulatedNode, first_sequence: int, raw_commands: Iterable[bytes]) -> None:
        for sequence, raw in enumerate(raw_commands, first_sequence):
            self._submitted[node.member.origin, sequence] = raw

    # What must hold when all is over.

    def finished(self) -> None:
        """Every member has everything that was ever applied anywhere, and nothing else."""
        last = max(self.decided, default=0)
        for node in self._cluster.nodes.values():
            require(node.raft.applied_index >= last, f"{node.node_id} lacks entries up to {last}")
            assert node.journal is not None
            for index in range(node.journal.base_index + 1, node.raft.applied_index + 1):
                term, entry = self.decided[index]
                require(node.journal.term_at(index) == term, f"{node.node_id}: another term at {index}")
                same = entry is None or node.journal.command_at(index)[1:] == entry
                require(same, f"{node.node_id}: another entry at {index}")
            executed = node.state.exchange.watermarks.get(node.member.origin, 0)
            require(executed == node.intake.last_sequence, f"{node.node_id} has submissions that were not executed")
            require(not node.has_executable_submissions, f"{node.node_id} has {node.intake.state()[0]} left")
            node.state.exchange.check()
            self.history.final_nodes.append(_final(node))

    @property
    def executed_count(self) -> int:
        return len(self._dots)

    def _holders(self, index: int, term: int) -> list[str]:
        nodes = self._cluster.nodes.values()
        return [node.node_id for node in nodes if any(_holds(journal, index, term) for journal in _journals(node))]


def _final(node: SimulatedNode) -> FinalNode:
    journal = node.journal
    assert journal is not None
    entries: list[LogEntry] = []
    for index in range(journal.base_index + 1, journal.last_index + 1):
        term = journal.term_at(index)
        command = journal.command_at(index)
        assert term is not None
        entries.append(LogEntry(index, term, command[1:] if command[:1] == b"\x00" else None))
    return FinalNode(
        node.node_id,
        journal.base_index,
        entries,
        node.raft.commit_index,
        node.raft.applied_index,
        node.state.chain_digest,
        node.state,
    )


def _journals(node: SimulatedNode) -> list[Journal]:
    return [*node.lost_journals, *([] if node.journal is None else [node.journal])]


def _holds(journal: Journal, index: int, term: int) -> bool:
    return index <= journal.base_index or (index <= journal.durable_index and journal.term_at(index) == term)
