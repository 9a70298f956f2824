"""How long Python's garbage collector holds up a node with a large book, and how long it would as Python comes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from cli.bench.collected_process import LENGTH_BYTES, Pauses, Setting
from cli.bench.measurement import (
    BATCH_COMMANDS,
    Announce,
    BenchmarkFailedError,
    Measurement,
    Scale,
    milliseconds,
    percentile,
)
from cli.bench.resting import resting_orders
from cli.local_cluster import PROJECT_FOLDER
from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from raftbook.engine.commands import Command

FILLING: Final = "filling the book"
TRADING: Final = "trading in the full book"
STEPS: Final = (FILLING, TRADING)

SEED: Final = 1
ACCOUNTS: Final = tuple(f"account-{number}" for number in range(4))
ORDERS_TO_ONE_TRADING: Final = 2
"""So many rest for each command of order flow that follows."""
CHUNK_ENTRIES: Final = 100
START_TIME_NS: Final = 1_700_000_000_000_000_000
ENTRY_INTERVAL_NS: Final = 1_000_000
ANSWER_BYTES: Final = 1 << 26
DEADLINE_S: Final = 600.0


async def measure_pauses(scale: Scale, announce: Announce) -> list[Measurement]:
    """Two processes get the same entries at the same time, one tuned as a node is, one with what Python comes with."""
    orders = scale.largest_book
    measured = []
    async with contextlib.AsyncExitStack() as opened:
        processes = {setting: await opened.enter_async_context(_process(setting)) for setting in Setting}
        flow = OrderFlow(SEED)
        commands: dict[str, Iterable[Command]] = {
            FILLING: (*flow.instruments(), *islice(resting_orders(ACCOUNTS), orders)),
            TRADING: islice(flow, orders // ORDERS_TO_ONE_TRADING),
        }
        sequence = 1
        for step, of_step in commands.items():
            announce(step)
            for raw_entries, count in _chunks(of_step, sequence):
                sequence += count
                for process in processes.values():
                    assert process.stdin is not None
                    process.stdin.write(raw_entries)
                    await asyncio.wait_for(process.stdin.drain(), DEADLINE_S)
            measured += [_measurement(step, setting, await _ask(process)) for setting, process in processes.items()]
    return measured


def _chunks(commands: Iterable[Command], first_sequence: int) -> Iterator[tuple[bytes, int]]:
    """(entries, each behind its length; how many commands they hold)."""
    rest = iter(commands)
    while chunk := list(islice(rest, CHUNK_ENTRIES * BATCH_COMMANDS)):
        parts = []
        for offset in range(0, len(chunk), BATCH_COMMANDS):
            sequence = first_sequence + offset
            raw_commands = tuple(map(encode_command, chunk[offset : offset + BATCH_COMMANDS]))
            timestamp = START_TIME_NS + sequence * ENTRY_INTERVAL_NS
            entry = encode_entry(timestamp, [RawRun("bench-1", sequence, raw_commands)])
            parts += [len(entry).to_bytes(LENGTH_BYTES, "big"), entry]
        yield b"".join(parts), len(chunk)
        first_sequence += len(chunk)


def _measurement(step: str, setting: Setting, pauses: Pauses) -> Measurement:
    times_s = [time_s for generation in pauses.cpu_s for time_s in generation] or [0.0]
    return Measurement(
        f"{step}, {setting.value}",
        f"A process applies entries of {BATCH_COMMANDS} commands with the state machine, as a node does; the other "
        "gets the same at the same time. Looks: of the garbage collector at the young, the middle-aged and the old "
        "objects. Pauses: the processor's time of each look of any kind (gc.callbacks); share: of all that the "
        "process used",
        {
            "orders": pauses.resting_orders,
            "young_looks": len(pauses.cpu_s[0]),
            "middle_looks": len(pauses.cpu_s[1]),
            "old_looks": len(pauses.cpu_s[2]),
            "pause_p50_ms": milliseconds(percentile(times_s, 0.5)),
            "pause_p99_ms": milliseconds(percentile(times_s, 0.99)),
            "pause_max_ms": milliseconds(max(times_s)),
            "share_percent": round(100 * sum(times_s) / pauses.process_cpu_s, 1),
            "cpu_us_per_command": round(1e6 * pauses.process_cpu_s / pauses.commands, 2),
        },
    )


@contextlib.asynccontextmanager
async def _process(setting: Setting) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.bench.collected_process",
        setting.name,
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask(process: asyncio.subprocess.Process) -> Pauses:
    """What there was since it was asked last, once it has applied all that it was sent."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes(LENGTH_BYTES))
    line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
    if not line:
        raise BenchmarkFailedError("a process that was to apply entries failed; see above")
    return msgspec.json.decode(line, type=Pauses)
