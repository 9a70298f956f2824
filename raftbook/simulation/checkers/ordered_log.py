"""The ordered log's own promises: those of Raft (Ongaro and Ousterhout 2014, figure 3), and that disks hold it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from raftbook.simulation.checkers.violation import Finding, checker, node_names
from raftbook.simulation.history import Decided, LogEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.simulation.history import History


@checker
def check_one_leader_per_term(history: History) -> Iterator[Finding]:
    """Election safety. O(terms)."""
    for term, node_ids in sorted(history.leaders.items()):
        if len(node_ids) > 1:
            yield Finding(f"term {term} had {len(node_ids)} leaders: {node_names(node_ids)}")


class _LogPlace(NamedTuple):
    """An entry in the log of `owner`; `previous_term` is None where that log does not hold the entry before."""

    owner: str
    entry: bytes | None
    previous_term: int | None


@checker
def check_log_matching(history: History) -> Iterator[Finding]:
    """Two logs that have an entry of the same index and term are the same up to there. O(all logs).

    By induction it is enough that such entries are equal and have predecessors of the same term. What was applied
    counts as a log of its own, so what has been compacted is held to it too.
    """
    known: dict[tuple[int, int], _LogPlace] = {}
    for owner, entries in _logs(history):
        previous: LogEntry | None = None
        for entry in entries:
            if previous is not None and entry.index != previous.index + 1:
                yield Finding(f"{owner} has index {entry.index} right behind {previous.index}")
            place = _LogPlace(owner, entry.entry, None if previous is None else previous.term)
            previous = entry
            other = known.setdefault((entry.index, entry.term), place)
            terms = {place.previous_term, other.previous_term} - {None}
            if place.entry != other.entry or len(terms) > 1:
                what = "entries" if place.entry != other.entry else "predecessors"
                where = f"at index {entry.index} of term {entry.term}"
                yield Finding(f"{other.owner} and {owner} have different {what} {where}", (other, place))
            elif other.previous_term is None:
                known[entry.index, entry.term] = place


def _logs(history: History) -> Iterator[tuple[str, list[LogEntry]]]:
    yield "what was applied", [LogEntry(index, decided.term, decided.entry) for index, decided in history.decided()]
    for node in history.final_nodes:
        yield f"the log of {node.node_id}", node.entries


@checker
def check_one_entry_per_index(history: History) -> Iterator[Finding]:
    """State machine safety and leader completeness: what was applied at an index is never another entry. O(all logs).

    Neither has another node applied another one, nor does a node in the end hold another one as committed, or lack it.
    """
    for index, alternatives in sorted(history.applied.items()):
        if len(alternatives) > 1:
            nodes = " and by ".join(node_names(node_ids) for node_ids in alternatives.values())
            yield Finding(f"{len(alternatives)} entries were applied at index {index}, by {nodes}", (*alternatives,))
    last_applied = max(history.applied, default=0)
    for node in history.final_nodes:
        entries = {entry.index: entry for entry in node.entries}
        for index in range(node.base_index + 1, last_applied + 1):
            entry = entries.get(index)
            if entry is None or index > node.commit_index:
                yield Finding(f"{node.node_id} does not hold index {index} as committed, but it was applied")
                break
            alternatives = history.applied.get(index, {})
            if alternatives and Decided(entry.term, entry.entry) not in alternatives:
                sentence = f"{node.node_id} holds another entry at index {index} than was applied there"
                yield Finding(sentence, (entry, *alternatives))


@checker
def check_commit_index_never_falls(history: History) -> Iterator[Finding]:
    """As long as a process lives; a new one begins with what its disk says. O(changes)."""
    for (node_id, life), values in history.commit_indexes.items():
        for before, after in pairwise(values):
            if after < before:
                yield Finding(f"the commit index of {node_id} went from {before} back to {after} in its life {life}")


@checker
def check_durable_on_majority(history: History) -> Iterator[Finding]:
    """An entry is for good on a majority's disks before anybody applies it, hence before it is reported. O(log)."""
    majority = len(history.members) // 2 + 1
    reported = {attempt.execution.log_index for attempt in history.attempts if attempt.execution is not None}
    for index in sorted(history.applied):
        holders = history.holders.get(index, frozenset()).intersection(history.members)
        if len(holders) < majority:
            what = "applied and reported" if index in reported else "applied"
            disks = f"the disks of {node_names(holders)}" if holders else "no disk"
            yield Finding(f"index {index} was {what} when it was on {disks}; a majority is {majority}")
