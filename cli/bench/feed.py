"""A thousand subscribers on one node of three while orders come in: what each gets, and how long it takes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import resource
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from cli.bench.cluster import EQUAL_STATE_DEADLINE_S, settled_leader
from cli.bench.feed_subscribers import Ending, SubscribersPlan, SubscribersResult
from cli.bench.machine import cpu_seconds, resident_bytes
from cli.bench.measurement import Announce, BenchmarkFailedError, Measurement, Scale, milliseconds, percentile
from cli.bench.stream_load import StreamSocket, client_frame, frame_at, open_socket, pong
from cli.local_cluster import PROJECT_FOLDER, LocalCluster
from raftbook.json_format import command_to_json
from raftbook.node.config import LimitsConfig
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SUBSCRIBERS: Final = 1_000
QUICK_SUBSCRIBERS: Final = 40
ORDERS_PER_S: Final = 2_000
QUICK_ORDERS_PER_S: Final = 300
MERGED_INTERVAL_MS: Final = 100
STEPS: Final = ("feed, every update", "feed, one update in 100 ms")

SEED: Final = 1
SYMBOL: Final = "ACME"
PULSE_S: Final = 0.01
"""Orders are sent so often, as many as are due by then whatever was answered (open loop)."""
OWN_DESCRIPTORS: Final = 500
LINE_BYTES: Final = 1 << 28
SETTLE_DEADLINE_S: Final = 30

_LOG_INDEX: Final = re.compile(rb'"log_index":(\d+)')
_PING: Final = 0x89


class FeedScale(NamedTuple):
    """`interval_ms` None: every update, and then merged ones."""

    subscribers: int
    orders_per_s: int
    interval_ms: int | None

    @property
    def steps(self) -> dict[str, int]:
        """Name -> interval."""
        if self.interval_ms is None:
            return dict(zip(STEPS, (0, MERGED_INTERVAL_MS), strict=True))
        return {STEPS[0] if self.interval_ms == 0 else f"feed, one update in {self.interval_ms} ms": self.interval_ms}


async def measure_feed(scale: Scale, feed: FeedScale, folder: Path, announce: Announce) -> list[Measurement]:
    """The steps, one after the other, each on a cluster of its own."""
    allow_descriptors(feed.subscribers + OWN_DESCRIPTORS)
    measured = []
    limits = LimitsConfig(
        max_connections_per_address=feed.subscribers + OWN_DESCRIPTORS,
        # All orders come over one connection, in open loop.
        max_outstanding_per_connection=SETTLE_DEADLINE_S * feed.orders_per_s,
    )
    for number, (name, interval_ms) in enumerate(feed.steps.items()):
        announce(name)
        with LocalCluster(folder / f"feed-{number}", name="bench", limits=limits) as cluster:
            cluster.start()
            leader = await settled_leader(cluster)
            figures = await _measure(cluster, leader, scale, feed, interval_ms)
            await cluster.wait_for_equal_state(deadline_s=EQUAL_STATE_DEADLINE_S)
            await cluster.terminate()
        measured.append(Measurement(name, _how(feed, interval_ms), figures))
    return measured


def allow_descriptors(count: int) -> None:
    """For this process and those that it starts. BenchmarkFailedError where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise BenchmarkFailedError(f"{count} open files are needed and {hard} allowed; raise the limit (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def _measure(
    cluster: LocalCluster, leader: str, scale: Scale, feed: FeedScale, interval_ms: int
) -> dict[str, float]:
    node_id = next(node_id for node_id in cluster.node_ids if node_id != leader)
    address = cluster.config.node(node_id).api_address
    process_id = cluster.process_id(node_id)
    plan = SubscribersPlan(address, feed.subscribers, SYMBOL, interval_ms)
    idle_bytes = resident_bytes(process_id)
    async with _subscribers(plan) as process:
        connected_bytes = resident_bytes(process_id)
        sender = OrderSender(feed.orders_per_s)
        await sender.open(address)
        await sender.send(scale.warm_up_s)
        sender.is_counting = True
        began_at, node_cpu_s, own_cpu_s = time.perf_counter(), cpu_seconds(process_id), time.process_time()
        await sender.send(scale.seconds)
        elapsed_s = time.perf_counter() - began_at
        node_cpu_s = cpu_seconds(process_id) - node_cpu_s
        own_cpu_s = time.process_time() - own_cpu_s
        await sender.settle()
        loaded_bytes = resident_bytes(process_id)
        sequence = await _sequence_of(address)
        result = await _end(process, Ending(sequence, sender.reported_at))
    if result.complete + sum(result.close_codes.values()) != feed.subscribers:
        raise BenchmarkFailedError("some subscribers lost their connection without a close code")
    latencies_s, from_log_time_s = result.commit_to_delivery_s, result.log_time_to_delivery_s
    return {
        "subscribers": feed.subscribers,
        "orders_per_s": round(sender.counted / elapsed_s),
        "orders_refused": sender.errors,
        "subscribers_without_a_gap": result.complete,
        "subscribers_dropped": result.close_codes.get(4008, 0),
        "updates_to_each": result.messages_each,
        "kilobytes_to_each": round(result.bytes_each / 1000),
        "commit_to_delivery_p50_ms": milliseconds(percentile(latencies_s, 0.5)),
        "commit_to_delivery_p99_ms": milliseconds(percentile(latencies_s, 0.99)),
        "commit_to_delivery_p99_9_ms": milliseconds(percentile(latencies_s, 0.999)),
        "log_time_to_delivery_p50_ms": milliseconds(percentile(from_log_time_s, 0.5)),
        "log_time_to_delivery_p99_ms": milliseconds(percentile(from_log_time_s, 0.99)),
        "node_kilobytes_per_subscriber": round((connected_bytes - idle_bytes) / feed.subscribers / 1000, 1),
        "node_megabytes_at_the_end": round(loaded_bytes / 1e6),
        "node_cpu": round(node_cpu_s / elapsed_s, 2),
        "order_sender_cpu": round(own_cpu_s / elapsed_s, 2),
        "subscribers_cpu": round(result.own_cpu_s / (elapsed_s + scale.warm_up_s), 2),
    }


class OrderSender:
    """Sends commands of one order flow over one stream, so many a second whatever is answered.

    `reported_at`: log index -> when the first report of that entry came, while it counts.
    """

    def __init__(self, orders_per_s: int) -> None:
        self.is_counting = False
        self.counted = 0
        self.errors = 0
        self.reported_at: dict[int, int] = {}
        self._orders_per_s = orders_per_s
        self._commands = OrderFlow(SEED)
        self._sent = 0
        self._answered = 0
        self._received = bytearray()
        self._socket: StreamSocket

    async def open(self, address: str) -> None:
        self._socket = await open_socket(address, self._take)

    async def send(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        began_at, sent = loop.time(), 0
        while (elapsed_s := loop.time() - began_at) < seconds:
            due = int(elapsed_s * self._orders_per_s) - sent
            if due:
                frames = [
                    client_frame({**command_to_json(command), "request_id": 0})
                    for command in itertools.islice(self._commands, due)
                ]
                self._socket.transport.write(b"".join(frames))
                sent += due
            await asyncio.sleep(PULSE_S)
        self._sent += sent

    async def settle(self) -> None:
        """Returns when everything is answered."""
        self.is_counting = False
        deadline = time.monotonic() + SETTLE_DEADLINE_S
        while self._answered < self._sent:
            if time.monotonic() > deadline or self._socket.is_lost:
                raise BenchmarkFailedError(f"{self._sent - self._answered} orders were not answered")
            await asyncio.sleep(PULSE_S)

    def _take(self, data: bytes) -> None:
        now = time.time_ns()
        self._received += data
        at = 0
        while (frame := frame_at(self._received, at)) is not None:
            raw, at = bytes(self._received[at : frame.end]), frame.end
            if frame.first_byte == _PING:
                self._socket.transport.write(pong(raw))
                continue
            self._answered += 1
            found = _LOG_INDEX.search(raw)
            if found is None:
                self.errors += 1
            elif self.is_counting:
                self.counted += 1
                self.reported_at.setdefault(int(found[1]), now)
        del self._received[:at]


async def _sequence_of(address: str) -> int:
    """The symbol's last sequence, as a snapshot says."""
    snapshot: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    received = bytearray()

    def take(data: bytes) -> None:
        received.extend(data)
        if frame_at(received, 0) is not None and not snapshot.done():
            snapshot.set_result(bytes(received))

    socket = await open_socket(address, take)
    socket.transport.write(client_frame({"op": "subscribe", "channel": "trades", "symbol": SYMBOL}))
    found = re.search(rb'"sequence":(\d+)', await asyncio.wait_for(snapshot, SETTLE_DEADLINE_S))
    socket.transport.close()
    assert found is not None, "a snapshot has its sequence"
    return int(found[1])


@contextlib.asynccontextmanager
async def _subscribers(plan: SubscribersPlan) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process of the subscribers, when all of them are subscribed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.bench.feed_subscribers",
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(plan) + b"\n")
        if await process.stdout.readline() != b"ready\n":
            raise BenchmarkFailedError("the subscribers could not subscribe; see above")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _end(process: asyncio.subprocess.Process, ending: Ending) -> SubscribersResult:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(ending) + b"\n")
    line = await process.stdout.readline()
    if not line:
        raise BenchmarkFailedError("the subscribers failed; see above")
    return msgspec.json.decode(line, type=SubscribersResult)


def _how(feed: FeedScale, interval_ms: int) -> str:
    what = "every update of the book" if interval_ms == 0 else f"updates of the book merged over {interval_ms} ms"
    return (
        f"three node processes on loopback, durability fsync; {feed.subscribers} WebSockets to a follower, in one "
        f"process and each with {what}, while {feed.orders_per_s} orders a second enter there over one more, in open "
        "loop; every subscriber's bytes are held against those of one, whose sequences are checked one by one; an "
        "entry's commit is its first sign outside the node (its first report, or its first update at any subscriber), "
        "its log time when the leader packed it; delivery is looked at for 50 of the subscribers"
    )
