"""What a measurement is, and how large a run is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from raftbook.errors import RaftbookError

BATCH_COMMANDS: Final = 100
QUICK_S: Final = 1.0
QUICK_RESTING_ORDERS: Final = 10_000
RESTING_ORDERS: Final = 100_000
QUICK_BACKLOG: Final = 5_000
BACKLOG: Final = 100_000
QUICK_ATTACK_SHARE: Final = 0.01
QUICK_LARGEST_BOOK: Final = 4_000
LARGEST_BOOK: Final = 1_000_000


class BenchmarkFailedError(RaftbookError):
    """Something that is needed for a figure did not work, so there is none."""

    code = "benchmark_failed"


class Scale(NamedTuple):
    """`seconds` for each measurement, after `warm_up_s` that does not count; `repetitions` of each failover.

    `backlog` is how many commands a node has missed that catches up, and a log holds that is replayed; so many orders
    rest while a snapshot is taken. `attack_share` of its full size has every attack; the book that doubles comes to
    `largest_book` orders, or more.
    """

    seconds: float
    warm_up_s: float
    repetitions: int
    resting_orders: int
    backlog: int
    attack_share: float
    largest_book: int


class Measurement(NamedTuple):
    """`how` it was measured, in words; the names of `figures` end in their units."""

    name: str
    how: str
    figures: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "how": self.how, "figures": self.figures}


Announce = Callable[[str], None]
"""Hears the name of each step as it begins."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed (nearest rank). O(n log n)."""
    if not values:
        raise BenchmarkFailedError("nothing was answered while it was measured; try again with more --seconds")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 3)
