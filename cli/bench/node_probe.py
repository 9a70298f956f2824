"""What the nodes say of themselves while they are under load, and what the system says of them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cli.bench.http_load import encode_request
from cli.bench.machine import cpu_seconds
from cli.bench.measurement import BenchmarkFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

METRICS_DEADLINE_S: Final = 30.0
_COUNTERS: Final = {
    "raftbook_log_sync_seconds_count": "syncs",
    "raftbook_log_sync_seconds_sum": "sync_s",
    "raftbook_entry_submissions_count": "entries",
    "raftbook_entry_submissions_sum": "submissions",
}


class ProbedNode(msgspec.Struct, frozen=True):
    """`log_folder` is where its write-ahead log's segments are."""

    node_id: str
    process_id: int
    address: str
    log_folder: str


class NodeCounters(msgspec.Struct, frozen=True):
    """What a node has done since it started, as its /metrics says; the difference of two says what in between."""

    syncs: float
    sync_s: float
    entries: float
    submissions: float
    at_s: float

    def since(self, earlier: NodeCounters) -> NodeCounters:
        return NodeCounters(*(getattr(self, name) - getattr(earlier, name) for name in self.__struct_fields__))


class NodeUsage(msgspec.Struct, frozen=True):
    """Of a node in the time that was measured."""

    cpu_s: float
    log_bytes: int
    counters: NodeCounters


async def read_counters(nodes: Sequence[ProbedNode]) -> list[NodeCounters]:
    return list(await asyncio.gather(*(_counters(node.address) for node in nodes)))


async def _counters(address: str) -> NodeCounters:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(METRICS_DEADLINE_S):
            writer.write(
                encode_request("GET", "/metrics", address).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            )
            answer = await reader.read(-1)
    finally:
        writer.close()
    return parse_counters(answer, time.perf_counter())


def parse_counters(answer: bytes, at_s: float) -> NodeCounters:
    found = {}
    for line in answer.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name in _COUNTERS:
            found[_COUNTERS[name]] = float(value)
    missing = [name for name, field in _COUNTERS.items() if field not in found]
    if missing:
        raise BenchmarkFailedError(f"a node's /metrics says nothing of {', '.join(missing)}")
    return NodeCounters(**found, at_s=at_s)


class Probe:
    """The nodes at one moment: processor time and the bytes of each segment of the log."""

    def __init__(self, nodes: Sequence[ProbedNode]) -> None:
        self.cpu_s = {node.node_id: cpu_seconds(node.process_id) for node in nodes}
        self.segments = {node.node_id: segment_sizes(Path(node.log_folder)) for node in nodes}

    def log_bytes_since(self, earlier: Probe, node_id: str) -> int:
        """Written in between. A segment that a snapshot has made superfluous since was full before."""
        before = earlier.segments[node_id]
        return sum(size - before.get(name, 0) for name, size in self.segments[node_id].items())


def segment_sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for path in folder.glob("log-*"):
        try:
            sizes[path.name] = path.stat().st_size
        except FileNotFoundError:
            continue  # A snapshot covers it, and it went this moment.
    return sizes
