"""What one seed of chaos came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """The counts are by kind of fault; `lacking` is what this machine could not do."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Faults for which there was no target just then, for instance a pause of a node that was down."""
    lacking: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Why nodes ended by themselves, where that was right."""
    submissions: int = 0
    """Commands of clients that were held to the logs."""
    observations: int = 0
    """Statuses that nodes gave of themselves."""
    fresh_reads: int = 0
    """Linearizable reads that were answered."""
    longest_gap_s: float = 0.0
    """Without any definite answer to any client."""
    liveness_s: float = 0.0
    """From the healing to an execution at every node."""
    duration_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
