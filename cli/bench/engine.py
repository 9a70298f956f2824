"""The engine alone: no network, no disk, one process."""

from __future__ import annotations

import time
import tracemalloc
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from cli.bench.measurement import BATCH_COMMANDS, Announce, BenchmarkFailedError, Measurement, Scale
from cli.bench.resting import LEVELS_PER_SIDE, resting_orders
from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine.commands import Command, Entry, Run
from raftbook.engine.exchange import Exchange
from raftbook.node.garbage_collector import tune_garbage_collector
from raftbook.simulation.workload import OrderFlow
from raftbook.state_machine import StateMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftbook.engine.events import Execution

SEED: Final = 1
ORIGIN: Final = "bench-1"
CHUNK_ENTRIES: Final = 100
"""So many are made at a time, with the clock stopped; few enough to leave the memory to the book."""

ACCOUNTS: Final = tuple(f"account-{number}" for number in range(4))
START_TIME_NS: Final = 1_700_000_000_000_000_000
ENTRY_INTERVAL_NS: Final = 1_000_000


class Chunk(NamedTuple):
    """`cpu_s`, the processor's time, is the less noisy figure where others use the machine as well."""

    elapsed_s: float
    cpu_s: float
    commands: int
    refused: int


EntryT = TypeVar("EntryT", Entry, bytes)


def measure_engine(scale: Scale, announce: Announce) -> list[Measurement]:
    tune_garbage_collector()  # As a node does.
    measured = []
    for name, step in STEPS.items():
        announce(name)
        measured.append(step(name, scale))
    return measured


def _matching(name: str, scale: Scale) -> Measurement:
    exchange = Exchange()
    flow = OrderFlow(SEED)
    batches = _batches(flow)

    def apply_chunk(first_index: int) -> Chunk:
        entries = [_entry(*batch) for batch in islice(batches, CHUNK_ENTRIES)]
        return _timed(exchange.apply, entries, first_index)

    figures = _rate(apply_chunk, scale)
    exchange.check()
    return Measurement(
        name,
        f"Exchange.apply on decoded entries of {BATCH_COMMANDS} commands of generated order flow (seed {SEED}, one "
        "symbol, 40 % cancels), every event and report built, the clock stopped while entries are made; all "
        "invariants hold at the end",
        figures,
    )


def _state_machine(name: str, scale: Scale) -> Measurement:
    state = StateMachine()
    batches = _batches(OrderFlow(SEED))

    def apply_chunk(first_index: int) -> Chunk:
        raw_entries = [_raw_entry(*batch) for batch in islice(batches, CHUNK_ENTRIES)]
        return _timed(state.apply, raw_entries, first_index)

    return Measurement(
        name,
        f"StateMachine.apply on the same flow as log bytes, {BATCH_COMMANDS} commands an entry: decoding, matching, "
        "encoding of the events, digest chain; what every node does with every entry",
        _rate(apply_chunk, scale),
    )


def _timed(apply: Callable[[int, EntryT], list[Execution]], entries: list[EntryT], first_index: int) -> Chunk:
    began_at, cpu_began_at = time.perf_counter(), time.thread_time()
    results = [apply(index, entry) for index, entry in enumerate(entries, first_index)]
    cpu_s, elapsed_s = time.thread_time() - cpu_began_at, time.perf_counter() - began_at
    accepted = [execution.accepted for executions in results for execution in executions]
    return Chunk(elapsed_s, cpu_s, len(accepted), accepted.count(False))


def _rate(apply_chunk: Callable[[int], Chunk], scale: Scale) -> dict[str, float]:
    """Chunks until the time is up; those of the warm-up fill the book and do not count."""
    index = 1
    warm_up_s = elapsed_s = cpu_s = 0.0
    count = refused = 0
    while elapsed_s < scale.seconds:
        chunk = apply_chunk(index)
        index += CHUNK_ENTRIES
        if chunk.commands < (CHUNK_ENTRIES - 1) * BATCH_COMMANDS:
            raise BenchmarkFailedError(f"the engine passed over commands: {chunk.commands} of a chunk were executed")
        if warm_up_s < scale.warm_up_s:
            warm_up_s += chunk.elapsed_s
            continue
        elapsed_s += chunk.elapsed_s
        cpu_s += chunk.cpu_s
        count += chunk.commands
        refused += chunk.refused
    return {
        "commands_per_s": round(count / elapsed_s),
        "cpu_us_per_command": round(1e6 * cpu_s / count, 2),
        "refused_percent": round(100 * refused / count, 1),
    }


def _memory(name: str, scale: Scale) -> Measurement:
    exchange = Exchange()
    exchange.apply(1, _entry(1, tuple(OrderFlow(SEED).instruments())))
    commands = resting_orders(ACCOUNTS)
    # Without this the interpreter's own caches would count.
    _apply(exchange, 2, BATCH_COMMANDS, commands)
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        _apply(exchange, 2 + BATCH_COMMANDS, scale.resting_orders, commands)
        after_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    resting = len(exchange.orders(open_only=True))
    if resting != BATCH_COMMANDS + scale.resting_orders:
        raise BenchmarkFailedError(f"{resting} orders rest where {BATCH_COMMANDS + scale.resting_orders} should")
    return Measurement(
        name,
        f"tracemalloc: what {scale.resting_orders:,} more resting orders hold, their strings and indexes included, at "
        f"{LEVELS_PER_SIDE} prices a side, of {len(ACCOUNTS)} accounts",
        {"order_bytes": round((after_bytes - before_bytes) / scale.resting_orders)},
    )


def _apply(exchange: Exchange, first_sequence: int, count: int, commands: Iterator[Command]) -> None:
    for offset in range(0, count, BATCH_COMMANDS):
        batch = tuple(islice(commands, min(BATCH_COMMANDS, count - offset)))
        exchange.apply(exchange.log_index + 1, _entry(first_sequence + offset, batch))


def _batches(flow: OrderFlow) -> Iterator[tuple[int, tuple[Command, ...]]]:
    """(sequence of the first, commands); the instruments are the first batch."""
    batch: tuple[Command, ...] = tuple(flow.instruments())
    sequence = 1
    while True:
        yield sequence, batch
        sequence += len(batch)
        batch = tuple(islice(flow, BATCH_COMMANDS))


def _entry(first_sequence: int, commands: tuple[Command, ...]) -> Entry:
    return Entry(_timestamp(first_sequence), (Run(ORIGIN, first_sequence, commands),))


def _raw_entry(first_sequence: int, commands: tuple[Command, ...]) -> bytes:
    run = RawRun(ORIGIN, first_sequence, tuple(map(encode_command, commands)))
    return encode_entry(_timestamp(first_sequence), [run])


def _timestamp(sequence: int) -> int:
    return START_TIME_NS + sequence * ENTRY_INTERVAL_NS


STEPS: Final[dict[str, Callable[[str, Scale], Measurement]]] = {
    "matching engine": _matching,
    "state machine": _state_machine,
    "memory of a resting order": _memory,
}
