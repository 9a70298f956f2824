"""How often Python looks for cycles in a node."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 1_000
"""So many more than before, and there is a look at the young: it takes half a millisecond, since many of the objects
that they name are cold. With 10,000 it took 5 to 29 ms, and all looks together as much of the processor's time."""

MIDDLE_AGED: Final = 1
"""So many looks at the young before one at those that outlived a look: it must not become a stall."""

NEVER: Final = 1 << 30


def tune_garbage_collector() -> None:
    """Look rarely, never at what is there now, and never again at what has outlived two looks.

    That is the book above all, and a look at a million resting orders would hold up the node for 0.5 to 0.9 s, where no
    look now takes 5 ms (`raftbook bench engine --pauses` shows both). Cycles that come about among the old are not
    found, so nothing that a node drops may be one: what connections, requests and entries leave behind is freed by its
    reference counts. (Where there is no uvloop, asyncio's own transports are cycles: two kilobytes are lost with each
    connection that was open for long.)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_AGED, NEVER)
