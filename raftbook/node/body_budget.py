"""How many bytes of requests clients may have in a node's memory at a time: in all, and of one address. Pure.

What a single request may have is bounded where it is read (`max_body_bytes`); this bounds what very many have together.
"""

from __future__ import annotations

from collections import Counter


class BodyBudget:
    """Of all connections; each gets a share of it by `share_of`."""

    def __init__(self, *, max_bytes: int, max_bytes_per_source: int) -> None:
        self._max_bytes = max_bytes
        self._max_bytes_per_source = max_bytes_per_source
        self._by_source: Counter[str] = Counter()
        self.held_bytes = 0
        self.refused = 0
        """How often something did not fit in, since the start."""

    def share_of(self, source: str) -> BodyShare:
        """Of a connection from `source`, which holds nothing yet."""
        return BodyShare(self, source)

    def take(self, source: str, size_bytes: int) -> str | None:
        """Counts so many for `source`; or says why it is too much, and what to do. O(1)."""
        if self.held_bytes + size_bytes > self._max_bytes:
            fault = (
                f"requests of {self._max_bytes} bytes are under way at this node, which is its limit; try again in a "
                "moment or at another node, or raise max_held_body_bytes in [limits]"
            )
        elif self._by_source[source] + size_bytes > self._max_bytes_per_source:
            fault = (
                f"requests of {source} with {self._max_bytes_per_source} bytes are under way, the limit for one "
                "address; wait for answers, or raise max_held_body_bytes_per_address in [limits]"
            )
        else:
            self._by_source[source] += size_bytes
            self.held_bytes += size_bytes
            return None
        self.refused += 1
        return f"{fault}. Nothing was taken"

    def release(self, source: str, size_bytes: int) -> None:
        assert self._by_source[source] >= size_bytes, "only what was taken is released"
        self.held_bytes -= size_bytes
        self._by_source[source] -= size_bytes
        if not self._by_source[source]:
            del self._by_source[source]


class BodyShare:
    """What one connection holds of a budget."""

    __slots__ = ("_budget", "_source", "held_bytes")

    def __init__(self, budget: BodyBudget, source: str) -> None:
        self._budget = budget
        self._source = source
        self.held_bytes = 0

    def take(self, size_bytes: int) -> str | None:
        """As BodyBudget's."""
        fault = self._budget.take(self._source, size_bytes)
        if fault is None:
            self.held_bytes += size_bytes
        return fault

    def release(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes
        self._budget.release(self._source, size_bytes)

    def release_all(self) -> None:
        """May be called again."""
        self.release(self.held_bytes)
