"""What a measurement is, and how large a run is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from raftbook.errors import RaftbookError

if TYPE_CHECKING:
    from cli.bench.latencies import Latencies

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
    """`seconds` for each measurement, after `warm_up_s` that does not count; `repetitions` of each failover, `runs` of
    everything that is told as a median.

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
    runs: int = 1


_NO_SPREAD: Final[Mapping[str, tuple[float, float]]] = MappingProxyType({})


class Measurement(NamedTuple):
    """`how` it was measured, in words; the names of `figures` end in their units.

    Where it was repeated, figures are medians, and `spread` has the least and the greatest of each. Measurements of one
    `group`, such as all orders that enter at the leader, are told together, each as its `kind`.
    """

    name: str
    how: str
    figures: dict[str, float]
    group: str = ""
    kind: str = ""
    latencies: Latencies | None = None
    spread: Mapping[str, tuple[float, float]] = _NO_SPREAD

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"name": self.name, "how": self.how, "figures": self.figures}
        if self.spread:
            document["spread"] = {name: {"least": low, "most": high} for name, (low, high) in self.spread.items()}
        if self.latencies is not None:
            document["latencies_us_hdrhistogram"] = self.latencies.encoded()
        return document


def medians(repetitions: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """Of runs that measured the same, one after the other: each measurement once, its latencies those of all runs."""
    if len(repetitions) == 1:
        return list(repetitions[0])
    return [_median(alike) for alike in zip(*repetitions, strict=True)]


def _median(alike: Sequence[Measurement]) -> Measurement:
    first = alike[0]
    values = {name: sorted(one.figures[name] for one in alike) for name in first.figures}
    several = [one.latencies for one in alike if one.latencies is not None]
    return first._replace(
        figures={name: round(statistics.median(found), 3) for name, found in values.items()},
        spread={name: (found[0], found[-1]) for name, found in values.items()},
        latencies=several[0].merged(several) if several else None,
    )


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
