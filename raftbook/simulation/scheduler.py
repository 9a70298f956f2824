"""Virtual time: actions at moments, in one thread."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Scheduler:
    """Actions at virtual times (seconds); those of one moment run in the order in which they were scheduled."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = count()

    def clock(self) -> float:
        return self.now

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay_s, next(self._tickets), action))

    def run_for(self, duration_s: float) -> None:
        self.run_until(lambda: False, self.now + duration_s)

    def run_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Run until `condition` holds (True) or `deadline` has come (False)."""
        while not condition():
            if not self._queue or self._queue[0][0] > deadline:
                self.now = max(self.now, deadline)
                return condition()
            self.now, _ticket, action = heapq.heappop(self._queue)
            action()
        return True
