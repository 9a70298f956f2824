"""Many lives: on all cores, added up, and judged as one."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from raftbook.simulation.life import Outcome, live

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEEDS_AT_ONCE = 5
"""Handed to a process together, so that starting them costs little and progress is seen often."""


class Violation(NamedTuple):
    """A life that broke the promise: what was seen first, in one line, and in full."""

    seed: int
    summary: str
    detail: str


@dataclass(slots=True)
class Summary:
    """Lives added up; counters are by name."""

    lives: int = 0
    virtual_s: float = 0.0
    entries: int = 0
    executed: int = 0
    attempts: int = 0
    answered: int = 0
    terms: int = 0
    messages: int = 0
    checks: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    convergences_s: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    crash_points: Counter[str] = field(default_factory=Counter)
    halts: Counter[str] = field(default_factory=Counter)
    disk_operations: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def add(self, outcome: Outcome | Violation) -> None:
        self.lives += 1
        if isinstance(outcome, Violation):
            self.violations.append(outcome)
            return
        self.virtual_s += outcome.virtual_s
        self.entries += outcome.entries
        self.executed += outcome.executed
        self.attempts += outcome.attempts
        self.answered += outcome.answered
        self.terms += outcome.terms
        self.messages += outcome.messages
        self.checks += outcome.checks
        self.recoveries_s.append(outcome.recovery_s)
        self.convergences_s.append(outcome.convergence_s)
        self.faults.update(outcome.faults)
        self.crash_points.update(outcome.crash_points)
        self.halts.update(outcome.halts)
        self.disk_operations.update(outcome.disk_operations)
        self.events.update(outcome.events)


def live_or_tell(seed: int, steps: int, member_count: int | None) -> Outcome | Violation:
    """As `live`, but a broken promise is a value; so is a bug of the simulator, which is no less of a failure."""
    try:
        return live(seed, steps=steps, member_count=member_count)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what a campaign looks for)
        lines = str(error).splitlines() or [""]
        place = _innermost(error)
        return Violation(seed, f"{type(error).__name__}: {lines[0]} ({place})", str(error))


def _innermost(error: Exception) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "nowhere"
    code = traceback.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}"


def run_campaign(
    seeds: Sequence[int],
    *,
    steps: int,
    member_count: int | None,
    processes: int,
    on_life: Callable[[Outcome | Violation], None] = lambda _outcome: None,
) -> Summary:
    """Live all `seeds`, on `processes` processes at once; `on_life` is called after each, in no certain order."""
    summary = Summary()

    def take(outcomes: list[Outcome | Violation]) -> None:
        for outcome in outcomes:
            summary.add(outcome)
            on_life(outcome)

    if processes == 1:
        for seed in seeds:
            take([live_or_tell(seed, steps, member_count)])
    else:
        # Spawned, since a fork would share the caller's threads and open files.
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            parts = [seeds[start : start + SEEDS_AT_ONCE] for start in range(0, len(seeds), SEEDS_AT_ONCE)]
            for future in as_completed([pool.submit(_live_all, part, steps, member_count) for part in parts]):
                take(future.result())
    summary.violations.sort()
    return summary


def _live_all(seeds: Sequence[int], steps: int, member_count: int | None) -> list[Outcome | Violation]:
    outcomes: list[Outcome | Violation] = []
    # A life is one large knot of objects, of which nothing can be freed before it ends.
    gc.disable()
    for seed in seeds:
        outcomes.append(live_or_tell(seed, steps, member_count))
        gc.collect()
    return outcomes
