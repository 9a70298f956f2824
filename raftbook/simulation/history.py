"""What was seen of one cluster's life: the clients' attempts, what the nodes did, and what they had in the end.

Whoever runs a cluster writes this down as it happens, and the checkers (checkers/) judge it when all is over. It is
plain data: nothing here decides anything, and nothing is left out because it looks wrong; a contradiction, such as
two digests at one index, is kept with the nodes that caused it.

Times of clients are seconds of virtual time; times within commands and entries are log time, in nanoseconds. A `life`
numbers the processes of a node from 0 on: a restart begins the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from raftbook.engine.commands import NewOrder
from raftbook.engine.types import NO_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from raftbook.engine.commands import Command
    from raftbook.engine.events import Execution
    from raftbook.state_machine import StateMachine

Dot = tuple[str, int]
"""(origin, sequence) of a submission."""


@dataclass(slots=True)
class Attempt:
    """One sending of one command to one node.

    `command` is as the client sent it; where it has no `not_after`, the node fills one in. `origin` and `sequence` are
    what the node's intake gave it, None while no intake has taken it. `execution` is what the client was told, None if
    it never was, or got only `pending`. `refused` is the answer that nothing was taken (busy, draining, malformed).

    A submission that no client made, such as a configured instrument or the tick of a linearizable read, is an attempt
    too, whose `client` says where it comes from.
    """

    client: str
    node_id: str
    command: Command
    sent_at: float
    origin: str | None = None
    sequence: int | None = None
    answered_at: float | None = None
    execution: Execution | None = None
    refused: bool = False

    @property
    def dot(self) -> Dot | None:
        return None if self.origin is None or self.sequence is None else (self.origin, self.sequence)

    @property
    def key(self) -> tuple[str, str] | None:
        """(account, client order id) of a new order: its copies at other nodes have the same."""
        command = self.command
        return (command.account, command.client_order_id) if isinstance(command, NewOrder) else None


class Decided(NamedTuple):
    """An entry that was applied; `entry` is None for a leader's no-op."""

    term: int
    entry: bytes | None


class LogEntry(NamedTuple):
    """An entry as it stands in a node's log; `entry` is None for a leader's no-op."""

    index: int  # type: ignore[assignment]  # Hides tuple.index, which nobody calls on an entry.
    term: int
    entry: bytes | None


@dataclass(slots=True)
class SeenExecution:
    """`execution`, and for each time that it happened the (node id, life) in which it did."""

    execution: Execution
    seen_in: list[tuple[str, int]]


@dataclass(slots=True)
class SeenEffects:
    """What an entry did by itself, without any submission, as executions of NO_ORIGIN; and who saw it, as above.

    Most entries do nothing by themselves, and that is written down too.
    """

    executions: tuple[Execution, ...]
    seen_in: list[tuple[str, int]]


@dataclass(slots=True)
class FinalNode:
    """A node when all was over: its log behind `base_index`, which a snapshot covers, and its state.

    `entries` go on to the end of its log, committed or not. `chain_digest` (32 bytes) is that of `state`, which has
    come to `applied_index`.
    """

    node_id: str
    base_index: int
    entries: list[LogEntry]
    commit_index: int
    applied_index: int
    chain_digest: bytes
    state: StateMachine


@dataclass(slots=True)
class History:
    """`members` are the node ids that vote; a majority of them is what an acceptance rests on."""

    members: tuple[str, ...]
    attempts: list[Attempt] = field(default_factory=list)
    """In the order in which they were sent."""
    applied: dict[int, dict[Decided, set[str]]] = field(default_factory=dict)
    """By index, what was applied there, first seen first, and the ids of the nodes that did so."""
    executions: dict[Dot, list[SeenExecution]] = field(default_factory=dict)
    """By dot, every different execution, first seen first."""
    effects: dict[int, list[SeenEffects]] = field(default_factory=dict)
    """By index, every different effect of the entry itself, first seen first."""
    digests: dict[int, dict[bytes, set[str]]] = field(default_factory=dict)
    """By index, the chain digests that states had there, first seen first, and the ids of the nodes that had them."""
    leaders: dict[int, set[str]] = field(default_factory=dict)
    """By term, the ids of the nodes that led it."""
    commit_indexes: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """By (node id, life), each value that the commit index took, in their order."""
    holders: dict[int, frozenset[str]] = field(default_factory=dict)
    """By index, the ids of the nodes on whose disks the entry was for good, at the moment at which it was applied
    for the first time anywhere (before which nobody can have been told of it)."""
    final_nodes: list[FinalNode] = field(default_factory=list)

    def submitted(self, attempt: Attempt) -> Attempt:
        self.attempts.append(attempt)
        return attempt

    def entry_applied(
        self,
        node_id: str,
        life: int,
        index: int,
        decided: Decided,
        executions: Iterable[Execution],
        chain_digest: bytes,
        holders: Iterable[str],
    ) -> None:
        """A node has applied the entry at `index`, or passed over a no-op there.

        `chain_digest` is its state's behind the entry; `holders` count where the index is applied for the first time.
        """
        if index not in self.applied:
            self.applied[index] = {}
            self.holders[index] = frozenset(holders)
        self.applied[index].setdefault(decided, set()).add(node_id)
        own: list[Execution] = []
        for execution in executions:
            if execution.origin == NO_ORIGIN:
                own.append(execution)
            else:
                self._executed(node_id, life, execution)
        self._had_effects(node_id, life, index, tuple(own))
        self.state_reached(node_id, index, chain_digest)

    def _executed(self, node_id: str, life: int, execution: Execution) -> None:
        alternatives = self.executions.setdefault((execution.origin, execution.sequence), [])
        for seen in alternatives:
            if seen.execution == execution:
                seen.seen_in.append((node_id, life))
                return
        alternatives.append(SeenExecution(execution, [(node_id, life)]))

    def _had_effects(self, node_id: str, life: int, index: int, executions: tuple[Execution, ...]) -> None:
        alternatives = self.effects.setdefault(index, [])
        for seen in alternatives:
            if seen.executions == executions:
                seen.seen_in.append((node_id, life))
                return
        alternatives.append(SeenEffects(executions, [(node_id, life)]))

    def state_reached(self, node_id: str, index: int, chain_digest: bytes) -> None:
        """A node's state stands at `index`, also by a snapshot or a restart."""
        self.digests.setdefault(index, {}).setdefault(chain_digest, set()).add(node_id)

    def leads(self, term: int, node_id: str) -> None:
        self.leaders.setdefault(term, set()).add(node_id)

    def commit_index_seen(self, node_id: str, life: int, commit_index: int) -> None:
        """May be told after every step; only changes are kept."""
        values = self.commit_indexes.setdefault((node_id, life), [])
        if not values or values[-1] != commit_index:
            values.append(commit_index)

    def first_executions(self) -> Iterator[Execution]:
        """What every submission, and every entry by itself, led to, as it was seen first; in no certain order."""
        for results in self.executions.values():
            yield results[0].execution
        for effects in self.effects.values():
            yield from effects[0].executions

    def decided(self) -> list[tuple[int, Decided]]:
        """(index, what was applied there first), by rising index. O(n log n)."""
        return [(index, next(iter(alternatives))) for index, alternatives in sorted(self.applied.items())]
