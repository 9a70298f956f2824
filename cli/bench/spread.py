"""How times that were measured one by one lie: as many percentiles as there are times to say them of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cli.bench.measurement import milliseconds, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

ENOUGH_FOR: Final = {"p99": (0.99, 100), "p99_9": (0.999, 1000)}
"""A percentile, and of how many values: below that it would be the greatest under another name."""


def spread_ms(times_s: Sequence[float], name: str = "") -> dict[str, float]:
    """`NAMEp50_ms`, where there are enough values `NAMEp99_ms` and `NAMEp99_9_ms`, and `NAMEmax_ms`."""
    found = {f"{name}p50_ms": milliseconds(percentile(times_s, 0.5))}
    for share_name, (share, enough) in ENOUGH_FOR.items():
        if len(times_s) >= enough:
            found[f"{name}{share_name}_ms"] = milliseconds(percentile(times_s, share))
    found[f"{name}max_ms"] = milliseconds(max(times_s))
    return found
