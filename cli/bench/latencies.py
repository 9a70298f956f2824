"""How long requests took: an HdrHistogram of microseconds, from which percentiles, merged runs and curves come.

The histogram keeps three significant digits of every value from 1 µs to ten minutes, in the space of some kilobytes
whatever is recorded, and its encoded form is the one that all HdrHistogram tools read (http://hdrhistogram.org).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from cli.bench.measurement import BenchmarkFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOWEST_US: Final = 1
HIGHEST_US: Final = 600_000_000
SIGNIFICANT_DIGITS: Final = 3
NINES: Final = 5
"""A curve goes up to the percentile with so many of them, as far as there are values enough to say."""
STEPS_PER_NINE: Final = 12


def require_histograms() -> None:
    """BenchmarkFailedError, with what to do, where they are not installed."""
    _histogram_type()


class Latencies:
    """An HdrHistogram of microseconds."""

    def __init__(self) -> None:
        self._histogram = _histogram_type()(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)

    @classmethod
    def of(cls, times_s: Iterable[float]) -> Latencies:
        """What lies beyond the bounds counts as the bound itself. O(values)."""
        found = cls()
        rounded = Counter(min(max(round(1e6 * time_s), LOWEST_US), HIGHEST_US) for time_s in times_s)
        for time_us, count in rounded.items():
            found._histogram.record_value(time_us, count)
        return found

    @classmethod
    def merged(cls, several: Iterable[Latencies]) -> Latencies:
        """All values of all of them."""
        found = cls()
        for one in several:
            found._histogram.add(one._histogram)  # noqa: SLF001 (its own kind)
        return found

    @property
    def count(self) -> int:
        return int(self._histogram.total_count)

    def milliseconds(self, share: float) -> float:
        """The value that so great a share (0 to 1) of all do not exceed, in ms. Its rank is rounded, as is usual there.

        BenchmarkFailedError of nothing.
        """
        if not self.count:
            raise BenchmarkFailedError("nothing was answered while it was measured; try again with more --seconds")
        return float(self._histogram.get_value_at_percentile(100 * share)) / 1e3

    def figures(self) -> dict[str, float]:
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p99_9_ms": 0.999}
        return {name: round(self.milliseconds(share), 3) for name, share in shares.items()}

    def curve(self) -> list[tuple[float, float]]:
        """(share, ms), rising, ever closer together towards the slowest, as far as there is a value to tell."""
        shares = [1 - 10 ** (-step / STEPS_PER_NINE) for step in range(NINES * STEPS_PER_NINE + 1)]
        told = [100 * share for share in shares if (1 - share) * self.count >= 1]
        values_us = self._histogram.get_percentile_to_value_dict(told)
        return [(percent / 100, values_us[percent] / 1e3) for percent in told]

    def encoded(self) -> str:
        """Compressed and in base64, as HdrHistogram's tools write and read it."""
        return bytes(self._histogram.encode()).decode("ascii")


def _histogram_type() -> Any:
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as error:
        raise BenchmarkFailedError(
            'latencies are kept in HdrHistograms, which are not installed; run: pip install "raftbook[bench]"'
        ) from error
    return HdrHistogram
