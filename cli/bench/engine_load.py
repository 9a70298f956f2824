"""An exchange of its own, what it is made to execute, and how long that takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cli.bench.measurement import BATCH_COMMANDS, BenchmarkFailedError, Scale
from raftbook.engine.commands import Command, Entry, Run
from raftbook.engine.events import Trade
from raftbook.engine.exchange import Exchange
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from raftbook.engine.events import Execution

SEED: Final = 1
ORIGIN: Final = "bench-1"
CHUNK_COMMANDS: Final = 100 * BATCH_COMMANDS
"""So many are made at a time, with the clock stopped; few enough to leave the memory to the book."""
START_TIME_NS: Final = 1_700_000_000_000_000_000
ENTRY_INTERVAL_NS: Final = 1_000_000

EntryT = TypeVar("EntryT", Entry, bytes)


class Chunk(NamedTuple):
    """`cpu_s`, the processor's time, is the less noisy figure where others use the machine as well."""

    elapsed_s: float
    cpu_s: float
    commands: int
    refused: int = 0
    trades: int = 0


class Engine:
    """Executes commands in entries of 100, the clock stopped while they are made."""

    def __init__(self, instruments: Iterable[Command] | None = None) -> None:
        self.exchange = Exchange()
        self._sequence = 1
        self.execute(OrderFlow(SEED).instruments() if instruments is None else instruments)

    def execute(self, commands: Iterable[Command]) -> Chunk:
        """BenchmarkFailedError where it passed over any of them."""
        commands = tuple(commands)
        entries = []
        for first in range(0, len(commands), BATCH_COMMANDS):
            batch = commands[first : first + BATCH_COMMANDS]
            entries.append(Entry(timestamp(self._sequence), (Run(ORIGIN, self._sequence, batch),)))
            self._sequence += len(batch)
        chunk = timed(self.exchange.apply, entries, self.exchange.log_index + 1)
        if chunk.commands != len(commands):
            raise BenchmarkFailedError(
                f"the engine passed over commands: it executed {chunk.commands} of {len(commands)}"
            )
        return chunk


def timed(apply: Callable[[int, EntryT], list[Execution]], entries: list[EntryT], first_index: int) -> Chunk:
    """The clock stands still while what an entry led to is counted and dropped, as a node drops it when it is told.

    Kept, the executions of a chunk would push the book out of the processor's caches.
    """
    elapsed_s = cpu_s = 0.0
    commands = refused = trades = 0
    for index, entry in enumerate(entries, first_index):
        began_at, cpu_began_at = time.perf_counter(), time.thread_time()
        executions = apply(index, entry)
        cpu_s += time.thread_time() - cpu_began_at
        elapsed_s += time.perf_counter() - began_at
        commands += len(executions)
        refused += sum(not execution.accepted for execution in executions)
        trades += sum(isinstance(event, Trade) for execution in executions for event in execution.events)
    return Chunk(elapsed_s, cpu_s, commands, refused, trades)


def timestamp(sequence: int) -> int:
    return START_TIME_NS + sequence * ENTRY_INTERVAL_NS


def rates(next_chunks: Callable[[], Sequence[Chunk]], scale: Scale) -> list[dict[str, float]]:
    """Rounds until the time is up, each with a chunk of everyone that is measured; figures of each of them.

    Those of the warm-up fill the book and do not count.
    """
    warm_up_s = elapsed_s = 0.0
    rounds = []
    while elapsed_s < scale.seconds:
        chunks = next_chunks()
        spent_s = sum(chunk.elapsed_s for chunk in chunks)
        if warm_up_s < scale.warm_up_s:
            warm_up_s += spent_s
            continue
        elapsed_s += spent_s
        rounds.append(chunks)
    return [_figures(chunks) for chunks in zip(*rounds, strict=True)]


def _figures(chunks: Sequence[Chunk]) -> dict[str, float]:
    commands = sum(chunk.commands for chunk in chunks)
    return {
        "commands_per_s": round(commands / sum(chunk.elapsed_s for chunk in chunks)),
        "cpu_us_per_command": round(1e6 * sum(chunk.cpu_s for chunk in chunks) / commands, 2),
        "trades_per_command": round(sum(chunk.trades for chunk in chunks) / commands, 2),
        "refused_percent": round(100 * sum(chunk.refused for chunk in chunks) / commands, 1),
    }
