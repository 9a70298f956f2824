"""When Python looks for cycles in a node: often, and never at what is old."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

YOUNG_OBJECTS: Final = 1_000
"""So many more than before, and there is a look at the young. It takes half a millisecond, since what they name is cold
memory; with 10,000 it took 5 to 29 ms, and all looks together as much of the processor's time."""

MIDDLE_AGED: Final = 1
"""So many looks at the young before one at those that outlived a look: it must not become a stall."""

NEVER: Final = 1 << 30

LOOK_INTERVAL_S: Final = 0.01


def tune_garbage_collector() -> None:
    """Never look at what is there now, and never again at what has outlived two looks.

    That is the book above all, and a look at a million resting orders would hold up the node for 0.5 to 0.9 s, where no
    look now takes 5 ms (`raftbook bench engine --pauses` shows both). Cycles that come about among the old are not
    found, so nothing that a node drops may be one: what connections, requests and entries leave behind is freed by its
    reference counts. (Where there is no uvloop, asyncio's own transports are cycles: two kilobytes are lost with each
    connection that was open for long.)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_AGED, NEVER)


@contextlib.contextmanager
def without_looks() -> Iterator[None]:
    """Nothing that is made meanwhile is ever looked at: a large state takes a tenth less time to restore."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class RegularLooks:
    """Looks every `LOOK_INTERVAL_S`, besides those that Python decides on.

    Python looks when a thousand objects more have come than gone. In a full book old orders go as new ones come: then
    it hardly ever looks, the young become many, and in the end a look at 45,000 of them took 42 ms. What comes in ten
    milliseconds is few, and where it is nothing a look costs a microsecond or two.
    """

    def __init__(self) -> None:
        self._generation = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """On the running loop, until `stop`."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self.start)

    def look(self) -> None:
        """At the young, or at them and those that outlived a look, in turn."""
        gc.collect(self._generation)
        self._generation = 1 - self._generation

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
