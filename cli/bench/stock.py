"""Stock PySyncObj with the same payload, in the same run.

Its figures are not those of an exchange: it neither syncs what it acknowledges nor matches orders, and its load comes
from within its leader, without HTTP. They say what the ordered log costs as the library has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cli.bench.cluster import CONNECTIONS
from cli.bench.flow import order_flow
from cli.bench.measurement import (
    BATCH_COMMANDS,
    Announce,
    BenchmarkFailedError,
    Measurement,
    Scale,
    milliseconds,
    percentile,
)
from cli.local_cluster import free_ports
from raftbook.codec import encode_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCRIPT: Final = Path(__file__).with_name("stock_node.py")
VERSION: Final = "0.3.17"
PAYLOAD_COMMANDS: Final = 20_000
NODES: Final = 3
START_DEADLINE_S: Final = 30.0
ANSWER_DEADLINE_S: Final = 90.0
POLL_INTERVAL_S: Final = 0.05
MAX_LINE_BYTES: Final = 64 << 20
NOT_AFTER_NS: Final = 1_700_000_005_000_000_000


class Scenario(NamedTuple):
    name: str
    sends_at_once: bool
    batch_commands: int
    outstanding: int


SCENARIOS: Final = (
    Scenario("stock, batches", True, BATCH_COMMANDS, CONNECTIONS),
    Scenario("stock, one at a time", True, 1, 1),
    Scenario("stock by default, batches", False, BATCH_COMMANDS, CONNECTIONS),
    Scenario("stock by default, one at a time", False, 1, 1),
)


async def measure_stock(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    payload = folder / "payload"
    commands = [
        command._replace(not_after=NOT_AFTER_NS) for command in islice(order_flow(CONNECTIONS), PAYLOAD_COMMANDS)
    ]
    raw_commands = [encode_command(command) for command in commands]
    payload.write_text("\n".join(raw.hex() for raw in raw_commands))
    mean_bytes = sum(map(len, raw_commands)) / len(raw_commands)
    measured = []
    for number, scenario in enumerate(SCENARIOS):
        announce(scenario.name)
        journals = folder / f"stock-{number}"
        journals.mkdir()
        async with _nodes(journals, payload, scenario) as nodes:
            leader = await _leader(nodes)
            plan = {
                "batch_commands": scenario.batch_commands,
                "outstanding": scenario.outstanding,
                "seconds": scale.seconds,
                "warm_up_s": scale.warm_up_s,
            }
            result = await _ask(leader, json.dumps(plan), ANSWER_DEADLINE_S + scale.warm_up_s + scale.seconds)
        if result["failure"]:
            raise BenchmarkFailedError(f"stock PySyncObj failed: {result['failure']}")
        measured.append(_measurement(scenario, result, mean_bytes))
    return measured


def _measurement(scenario: Scenario, result: dict[str, Any], mean_bytes: float) -> Measurement:
    times_s = result["request_times_s"]
    calls = f"{scenario.outstanding} replicated calls" if scenario.outstanding > 1 else "one replicated call"
    content = f"{scenario.batch_commands} commands" if scenario.batch_commands > 1 else "one command"
    sending = (
        "appendEntriesUseBatch=False, so it sends at once"
        if scenario.sends_at_once
        else "default settings, so it sends every 100 ms"
    )
    return Measurement(
        scenario.name,
        f"PySyncObj {VERSION} as it comes, three processes on loopback, journal file on, {sending}; "
        f"{calls} of {content} (encoded, {mean_bytes:.0f} bytes each) under way, made within its leader. It neither "
        "syncs nor matches, and has no HTTP in front",
        {
            "orders_per_s": round(len(times_s) * scenario.batch_commands / result["elapsed_s"]),
            "p50_ms": milliseconds(percentile(times_s, 0.5)),
            "p99_ms": milliseconds(percentile(times_s, 0.99)),
        },
    )


@contextlib.asynccontextmanager
async def _nodes(folder: Path, payload: Path, scenario: Scenario) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(NODES)]
    processes: list[asyncio.subprocess.Process] = []
    with (folder / "log").open("wb") as log:
        try:
            for own in addresses:
                others = [address for address in addresses if address != own]
                journal = folder / own.replace(":", "-")
                arguments = [own, *others, "--journal", str(journal), "--payload", str(payload)]
                arguments += ["--send-at-once"] * scenario.sends_at_once
                # Isolated from our paths, so that it cannot but import PySyncObj as it is installed.
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    str(SCRIPT),
                    *arguments,
                    cwd=folder,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=MAX_LINE_BYTES,
                )
                processes.append(process)
            yield processes
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
            for process in processes:
                await process.wait()


async def _leader(nodes: list[asyncio.subprocess.Process]) -> asyncio.subprocess.Process:
    async with asyncio.timeout(START_DEADLINE_S):
        while True:
            for node in nodes:
                if (await _ask(node, "role", START_DEADLINE_S))["leads"]:
                    return node
            await asyncio.sleep(POLL_INTERVAL_S)


async def _ask(node: asyncio.subprocess.Process, question: str, deadline_s: float) -> dict[str, Any]:
    assert node.stdin is not None
    assert node.stdout is not None
    try:
        node.stdin.write(question.encode() + b"\n")
        line = await asyncio.wait_for(node.stdout.readline(), deadline_s)
    except (TimeoutError, OSError) as error:
        raise BenchmarkFailedError(f"a node of stock PySyncObj gave no answer in {deadline_s:g} s") from error
    if not line:
        raise BenchmarkFailedError("a node of stock PySyncObj ended by itself; is pysyncobj installed?")
    answer: dict[str, Any] = json.loads(line)
    return answer
