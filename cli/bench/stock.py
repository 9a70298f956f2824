"""Stock PySyncObj with the same payload, in the same run.

Its figures are not those of an exchange: it neither syncs what it acknowledges nor matches orders, and its load comes
from within its leader, without HTTP. They say what the ordered log costs as the library has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cli.bench.cluster import CONNECTIONS
from cli.bench.flow import write_payload
from cli.bench.latencies import Latencies
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale
from cli.local_cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

SCRIPT: Final = Path(__file__).with_name("stock_node.py")
VERSION: Final = "0.3.17"
NODES: Final = 3
START_DEADLINE_S: Final = 30.0
ANSWER_DEADLINE_S: Final = 90.0
POLL_INTERVAL_S: Final = 0.05
MAX_LINE_BYTES: Final = 64 << 20


class Sending(NamedTuple):
    """When PySyncObj sends what it was given."""

    name: str
    words: str
    arguments: tuple[str, ...]


AT_ONCE: Final = Sending("at once", "appendEntriesUseBatch=False, so it sends at once", ("--send-at-once",))
EVERY_5_MS: Final = Sending(
    "every 5 ms",
    "appendEntriesUseBatch=True, appendEntriesPeriod=0.005, so it sends every 5 ms",
    ("--period-s", "0.005"),
)
BY_DEFAULT: Final = Sending("by default", "default settings, so it sends every 100 ms", ())


class Scenario(NamedTuple):
    sending: Sending
    kind: str
    batch_commands: int
    outstanding: int

    @property
    def name(self) -> str:
        return f"stock {self.sending.name}, {self.kind}"


SCENARIOS: Final = (
    Scenario(AT_ONCE, "one at a time", 1, 1),
    Scenario(AT_ONCE, "64 outstanding", 1, 64),
    Scenario(AT_ONCE, "512 outstanding", 1, 512),
    Scenario(AT_ONCE, "batches of 100", 100, CONNECTIONS),
    Scenario(EVERY_5_MS, "one at a time", 1, 1),
    Scenario(EVERY_5_MS, "512 outstanding", 1, 512),
    Scenario(EVERY_5_MS, "batches of 100", 100, CONNECTIONS),
    Scenario(BY_DEFAULT, "one at a time", 1, 1),
    Scenario(BY_DEFAULT, "512 outstanding", 1, 512),
)


def scenarios(kinds: Collection[str]) -> list[Scenario]:
    """Those of these kinds."""
    return [scenario for scenario in SCENARIOS if scenario.kind in kinds]


async def measure_stock(
    chosen: Sequence[Scenario], scale: Scale, folder: Path, announce: Announce
) -> list[Measurement]:
    """Each on a cluster of its own, as its settings are those of the processes."""
    payload, mean_bytes = await asyncio.to_thread(write_payload, folder)
    measured = []
    for number, scenario in enumerate(chosen):
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
                "process_ids": [leader.pid, *(node.pid for node in nodes if node is not leader)],
            }
            result = await _ask(leader, json.dumps(plan), ANSWER_DEADLINE_S + scale.warm_up_s + scale.seconds)
        if result["failure"]:
            raise BenchmarkFailedError(f"stock PySyncObj failed: {result['failure']}")
        measured.append(_measurement(scenario, result, mean_bytes))
    return measured


def _measurement(scenario: Scenario, result: dict[str, Any], mean_bytes: float) -> Measurement:
    latencies = Latencies.of(result["request_times_s"])
    orders = max(1, latencies.count * scenario.batch_commands)
    elapsed_s = result["elapsed_s"]
    leader_cpu_s, *followers_cpu_s = result["cpu_s"]
    return Measurement(
        scenario.name,
        f"PySyncObj {VERSION} as it comes, three processes on loopback, journal file on, {scenario.sending.words}; "
        f"replicated calls of one command or a batch (encoded, {mean_bytes:.0f} bytes a command) under way, made "
        "within its leader. It neither syncs nor matches, and has no network in front; its leader's processor time is "
        "the load's as well",
        {
            "orders_per_s": round(latencies.count * scenario.batch_commands / elapsed_s),
            **latencies.figures(),
            "leader_cpu_us_per_order": round(1e6 * leader_cpu_s / orders, 1),
            "follower_cpu_us_per_order": round(1e6 * max(followers_cpu_s) / orders, 1),
            "all_nodes_cpu_us_per_order": round(1e6 * sum(result["cpu_s"]) / orders, 1),
            "leader_cpu": round(leader_cpu_s / elapsed_s, 2),
            "follower_cpu": round(max(followers_cpu_s) / elapsed_s, 2),
        },
        f"stock, {scenario.sending.name}",
        scenario.kind,
        latencies,
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
                arguments += scenario.sending.arguments
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
