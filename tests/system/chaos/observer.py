"""What must hold at every moment, held to what the nodes say while everything goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NEVER_FALLING: Final = ("term", "commit_index", "applied_index", "base_index")
"""Within one life of a process."""


@dataclass(slots=True)
class Observer:
    """Is told each status of each node, with the number of the life in which it was given; keeps what was wrong."""

    leader: str
    """Whom the last status named that named anybody."""
    violations: list[str] = field(default_factory=list)
    observations: int = 0
    fresh_reads: int = 0
    _leaders: dict[int, str] = field(default_factory=dict)
    _digests: dict[int, tuple[str, str]] = field(default_factory=dict)
    _last: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)

    def observe(self, node_id: str, life: int, status: Mapping[str, Any]) -> None:
        self.observations += 1
        self.leader = status["leader"] or self.leader
        if status["role"] == "leader":
            known = self._leaders.setdefault(status["term"], node_id)
            self._hold(known == node_id, f"{known} and {node_id} both lead term {status['term']}")
        index, digest = status["applied_index"], status["digest"]
        first, known_digest = self._digests.setdefault(index, (node_id, digest))
        self._hold(known_digest == digest, f"{first} and {node_id} differ at entry {index}: {known_digest}, {digest}")
        self._hold(index <= status["commit_index"], f"{node_id} applied entry {index}, which is not committed")
        last = self._last.get((node_id, life), status)
        for name in NEVER_FALLING:
            self._hold(last[name] <= status[name], f"{node_id}'s {name} fell from {last[name]} to {status[name]}")
        self._last[node_id, life] = status

    def read(self, node_id: str, index: int, reported_index: int) -> None:
        """A linearizable read said that it is of entry `index`; `reported_index` was known when it was sent."""
        self.fresh_reads += 1
        stale = f"{node_id} read the state of entry {index}, and entry {reported_index} had been reported before"
        self._hold(index >= reported_index, stale)

    def _hold(self, condition: bool, violation: str) -> None:
        if not condition:
            self.violations.append(violation)
