"""How fast a counter grows: from its readings, each with its moment. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

HISTORY_LENGTH: Final = 120


class Rate:
    """The growth per second over the last `window_s` of readings, and how it was at each of the last readings."""

    def __init__(self, window_s: float = 2.0, history_length: int = HISTORY_LENGTH) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, int]] = deque()
        self.history: deque[float] = deque(maxlen=history_length)

    def read(self, value: int, at_s: float) -> None:
        """A reading that is lower than the one before begins anew: the counter is another one now. O(1) amortized."""
        readings = self._readings
        if readings and value < readings[-1][1]:
            readings.clear()
        readings.append((at_s, value))
        # The first that is kept is the last one outside the window, so that the window is covered whole.
        while len(readings) > 2 and readings[1][0] <= at_s - self._window_s:
            readings.popleft()
        if len(readings) > 1:
            self.history.append(self.per_s)

    @property
    def per_s(self) -> float:
        """0 until there are two readings."""
        if len(self._readings) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._readings[0], self._readings[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0
