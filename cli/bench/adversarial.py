"""The engine under attack: the time that each attack takes, at its full size and at half of it."""

from __future__ import annotations

import gc
import inspect
import time
from typing import Final, NamedTuple

from cli.bench.attack import Case, Ground
from cli.bench.attacks import FLAT, GROWING
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale
from raftbook.engine.events import Execution
from raftbook.node.garbage_collector import tune_garbage_collector

SMALLEST_SIZE: Final = 100
"""An iceberg has as many tips."""


class Blow(NamedTuple):
    """The processor's time, the less noisy figure where others use the machine as well."""

    cpu_s: float
    longest_s: float
    entries: int


def count_steps() -> int:
    return len(GROWING) + len(FLAT)


def measure_attacks(scale: Scale, announce: Announce) -> list[Measurement]:
    """The growing ones first; `us each` is the cost of one order of a growing attack, of one entry of a flat one."""
    tune_garbage_collector()  # As a node does.
    measured = []
    for case in (*GROWING, *FLAT):
        name = case.attack_of_size.__name__.replace("_", " ")
        announce(name)
        measured.append(_measure(name, case, scale))
    return measured


def _measure(name: str, case: Case, scale: Scale) -> Measurement:
    size = max(SMALLEST_SIZE, int(case.full_size * scale.attack_share))
    half, whole = _strike(name, case, size // 2), _strike(name, case, size)
    grows = case in GROWING
    return Measurement(
        name,
        f"{name}: {(inspect.getdoc(case.attack_of_size) or '').removesuffix('.')}",
        {
            "size": size,
            "cpu_ms": round(1e3 * whole.cpu_s, 2),
            "longest_entry_cpu_ms": round(1e3 * whole.longest_s, 2),
            "each_cpu_us": round(1e6 * whole.cpu_s / (size if grows else whole.entries), 2),
            "each_at_half_the_size_cpu_us": round(1e6 * half.cpu_s / (size // 2 if grows else half.entries), 2),
        },
    )


def _strike(name: str, case: Case, size: int) -> Blow:
    ground = Ground(case.attack_of_size(size))
    executions: list[Execution] = []
    longest_s = total_s = 0.0
    for index, entry in ground.entries:
        began_s = time.thread_time()
        latest = ground.exchange.apply(index, entry)
        took_s = time.thread_time() - began_s
        total_s += took_s
        longest_s = max(longest_s, took_s)
        executions += latest
    missing = ground.missing(executions)
    if missing is not None:
        raise BenchmarkFailedError(f"{name} led to {missing}")
    entries = len(ground.entries)
    # The orders of a queue know each other: reference counts alone would keep every book of before.
    del ground, executions
    gc.collect()
    return Blow(total_s, longest_s, entries)
