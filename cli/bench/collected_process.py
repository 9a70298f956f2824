"""A process that applies the entries that it reads, and writes down every look of the garbage collector.

`python -m cli.bench.collected_process SETTING` reads entries, each behind its length, from standard input; a length of
zero asks for what there was since the last time, and is answered by a line of JSON.
"""

from __future__ import annotations

import gc
import sys
import time
from enum import Enum
from typing import Final

import msgspec

from raftbook.node.garbage_collector import LOOK_INTERVAL_S, RegularLooks, tune_garbage_collector
from raftbook.state_machine import StateMachine

LENGTH_BYTES: Final = 4


class Setting(Enum):
    """Of the garbage collector."""

    TUNED = "as a node is tuned"
    DEFAULT = "Python's defaults"


class Pauses(msgspec.Struct, frozen=True):
    """`cpu_s`: for each generation, youngest first, how long each look took, in seconds of this thread's processor."""

    cpu_s: list[list[float]]
    process_cpu_s: float
    commands: int
    resting_orders: int


class _Meter:
    """Called by the garbage collector before and after each look (gc.callbacks)."""

    def __init__(self) -> None:
        self.cpu_s: list[list[float]] = [[], [], []]
        self._began_s = 0.0

    def __call__(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
        else:
            self.cpu_s[about["generation"]].append(time.thread_time() - self._began_s)


def main() -> None:
    is_tuned = Setting[sys.argv[1]] is Setting.TUNED
    if is_tuned:
        tune_garbage_collector()
    looks, looked_at_s = RegularLooks(), time.monotonic()
    state = StateMachine()
    meter = _Meter()
    gc.callbacks.append(meter)
    commands, began_s = 0, time.process_time()
    while length := sys.stdin.buffer.read(LENGTH_BYTES):
        size_bytes = int.from_bytes(length, "big")
        if size_bytes:
            commands += len(state.apply(state.index + 1, sys.stdin.buffer.read(size_bytes)))
            if is_tuned and time.monotonic() - looked_at_s >= LOOK_INTERVAL_S:
                # As the timer of a node's loop does.
                looks.look()
                looked_at_s = time.monotonic()
            continue
        cpu_s = time.process_time() - began_s
        resting = sum(len(account.open_orders) for account in state.exchange.registry.accounts.values())
        pauses = Pauses(meter.cpu_s, cpu_s, commands, resting)
        sys.stdout.buffer.write(msgspec.json.encode(pauses) + b"\n")
        sys.stdout.buffer.flush()
        meter.cpu_s = [[], [], []]
        commands, began_s = 0, time.process_time()


if __name__ == "__main__":
    main()
