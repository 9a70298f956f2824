"""Turns: what takes seconds in a thread of its own lets the node's loop run in between.

Python gives other threads their turn by itself, machine code only where it calls Python. This file is Python also where
the engine is compiled (hatch_build.INTERPRETED): a compiled node that took in a million orders stood still for 3 s.
"""

from __future__ import annotations


def let_others_run() -> None:
    """To be called for every order, or piece of a file, by whatever goes over all of them. 50 ns.

    There is nothing to do: on the way in, the interpreter gives its lock to whoever has waited for 5 ms.
    """
