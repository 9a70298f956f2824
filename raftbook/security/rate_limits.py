"""How often somebody may ask: token buckets, one for each name, in a bounded table.

Kept as the virtual time of the generic cell rate algorithm (ITU-T I.371), which needs one number for a bucket: the
moment at which it will be full again. Pure: the clock is handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST_BUCKETS: Final = 20_000
_ROUNDING_S: Final = 1e-6


class RateLimiter:
    """`rate_per_s` requests a second for each name, and a second's worth at once. 0 limits nothing.

    Who has something left may spend more than that, and then waits until it has come in: so a batch is not refused for
    its size, and the average holds all the same. With `most_buckets` names under way, the one first seen starts anew.
    """

    __slots__ = ("_full_at_s", "_most_buckets", "rate_per_s")

    def __init__(self, rate_per_s: int, most_buckets: int = MOST_BUCKETS) -> None:
        self.rate_per_s = rate_per_s
        self._most_buckets = most_buckets
        self._full_at_s: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at_s)

    def take(self, name: Hashable, now_s: float) -> float:
        """0.0 where one was taken; else none was, and the seconds until one may be. Amortized O(1)."""
        if self.rate_per_s == 0:
            return 0.0
        wait_s = self._full_at_s.get(name, now_s) - now_s + 1 / self.rate_per_s - 1.0
        if wait_s > _ROUNDING_S:
            return wait_s
        self.charge(name, now_s, 1)
        return 0.0

    def charge(self, name: Hashable, now_s: float, count: int) -> None:
        """Take `count`, whether there are so many or not. Amortized O(1)."""
        if self.rate_per_s == 0:
            return
        if name not in self._full_at_s and len(self._full_at_s) >= self._most_buckets:
            self._make_room(now_s)
        self._full_at_s[name] = max(self._full_at_s.get(name, now_s), now_s) + count / self.rate_per_s

    def _make_room(self, now_s: float) -> None:
        """Forget the buckets that are full, which says no more than to know nothing of them."""
        self._full_at_s = {name: full_at_s for name, full_at_s in self._full_at_s.items() if full_at_s > now_s}
        if len(self._full_at_s) >= self._most_buckets:
            del self._full_at_s[next(iter(self._full_at_s))]
