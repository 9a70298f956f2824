"""How long a node's loop stands still now and then: while it does, nothing is answered and no heartbeat goes out."""

from __future__ import annotations


class StallMeter:
    """Takes its measure from a timer of the loop that is due every `interval_s`: it comes late by as long as it stood.

    `longest_s` is the longest stall so far. Pure: the caller says what time it is, in seconds that never fall.
    """

    def __init__(self, interval_s: float) -> None:
        self.longest_s = 0.0
        self._interval_s = interval_s
        self._ticked_at: float | None = None
        self._recent_s = 0.0

    def tick(self, now: float) -> float:
        """The timer has come; returns by how much too late."""
        late_s = 0.0 if self._ticked_at is None else max(0.0, now - self._ticked_at - self._interval_s)
        self._ticked_at = now
        self.longest_s = max(self.longest_s, late_s)
        self._recent_s = max(self._recent_s, late_s)
        return late_s

    def take_recent_s(self) -> float:
        """The longest stall since this was asked last."""
        recent_s, self._recent_s = self._recent_s, 0.0
        return recent_s


def milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 1)
