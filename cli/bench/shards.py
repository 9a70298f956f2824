"""One shard and two at the same load, entered at the leaders and through a gateway: what an order costs whom.

Two clusters of three node processes run all the time. The first has both instruments, the second one of them as well,
so that a load for both instruments is a load of one shard or of two as the orders are sent. All four ways of sending
them take their turns in one run, at the same rate: what is compared is processor time, which says what more processors
would carry, and which is the same on a machine that is too small for six nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from cli.bench.cluster import settled_leader
from cli.bench.machine import cpu_seconds
from cli.bench.measurement import BenchmarkFailedError, Measurement, milliseconds, percentile
from cli.bench.stream_load import client_frame
from cli.bench.stream_orders import OrderStream
from cli.local_cluster import PROJECT_FOLDER, LocalCluster, free_ports
from raftbook.client import RaftbookClient
from raftbook.errors import RaftbookError
from raftbook.node.config import InstrumentConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cli.bench.measurement import Announce, Scale
    from cli.bench.stream_orders import Answers

RATE: Final = 1_000
"""Orders a second, in all: low enough for six nodes, two gateways and the load on two processors."""
TURNS: Final = 2
"""Of each way of sending, one after the other: a busy moment of the machine does not meet one of them alone."""
ROUND_ORDERS: Final = 2_000
PULSE_S: Final = 0.001
START_DEADLINE_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
ANSWER_DEADLINE_S: Final = 30.0

SYMBOLS: Final = ("BENCH0", "BENCH1")
SHARDS: Final = ("shard-1", "shard-2")
_TAG: Final = b"t%07d-"
_FIRST_TAG: Final = _TAG % 0


class Way(NamedTuple):
    """How the orders of both instruments are sent: to so many shards, through a gateway or straight to the leaders."""

    shard_count: int
    has_gateway: bool

    @property
    def name(self) -> str:
        shards = "one shard" if self.shard_count == 1 else "two shards"
        return f"{shards}, through a gateway" if self.has_gateway else f"{shards}, at their leaders"

    def shard_of(self, symbol: int) -> int:
        return symbol if self.shard_count > 1 else 0


WAYS: Final = tuple(Way(shard_count, has_gateway) for has_gateway in (False, True) for shard_count in (1, 2))
STEPS: Final = tuple(f"{way.name}, turn {turn + 1}" for turn in range(TURNS) for way in WAYS)


class _Shard(NamedTuple):
    cluster: LocalCluster
    leader: str

    @property
    def address(self) -> str:
        return self.cluster.config.node(self.leader).api_address

    def cpu_s(self) -> dict[str, float]:
        """By the node's role, which the load must not change."""
        names = {self.leader: "leader"}
        return {
            names.get(node_id, node_id): cpu_seconds(self.cluster.process_id(node_id))
            for node_id in self.cluster.node_ids
        }


class _Gateway(NamedTuple):
    address: str
    process_id: int


class _Turn(NamedTuple):
    """What one way of sending came to in one turn. `nodes_cpu_s` has of each shard that was used its nodes."""

    orders: int
    elapsed_s: float
    times_s: list[float]
    nodes_cpu_s: list[dict[str, float]]
    gateway_cpu_s: float
    own_cpu_s: float


async def measure_shards(scale: Scale, folder: Path, announce: Announce) -> list[Measurement]:
    """A measurement for each of WAYS; all nodes of a shard agree at the end."""
    instruments = [
        InstrumentConfig(symbol=symbol, price_decimals=2, tick_size="0.01", lot_size="1") for symbol in SYMBOLS
    ]
    with contextlib.ExitStack() as opened:
        clusters = [
            opened.enter_context(LocalCluster(folder / name, name=name, instruments=found))
            for name, found in zip(SHARDS, (instruments, instruments[1:]), strict=True)
        ]
        for cluster in clusters:
            cluster.start()
        shards = [_Shard(cluster, await settled_leader(cluster)) for cluster in clusters]
        gateways = {shard_count: opened.enter_context(_gateway(folder, shard_count, shards)) for shard_count in (1, 2)}
        for gateway in gateways.values():
            await _wait_for(gateway)
        turns: dict[Way, list[_Turn]] = {way: [] for way in WAYS}
        for turn in range(TURNS):
            for way in WAYS:
                announce(f"{way.name}, turn {turn + 1}")
                used = gateways[way.shard_count] if way.has_gateway else None
                turns[way].append(await _measure(way, shards, used, scale, run=turn * len(WAYS) + WAYS.index(way)))
        for cluster, shard in zip(clusters, shards, strict=True):
            await cluster.wait_for_equal_state(deadline_s=START_DEADLINE_S)
            if await cluster.wait_for_leader(deadline_s=START_DEADLINE_S) != shard.leader:
                raise BenchmarkFailedError("a leader changed while it was measured; is the machine overloaded?")
            await cluster.terminate()
    return [Measurement(way.name, _how(way), _figures(found)) for way, found in turns.items()]


async def _measure(way: Way, shards: Sequence[_Shard], gateway: _Gateway | None, scale: Scale, run: int) -> _Turn:
    used = shards[: way.shard_count]
    load = _Load()
    for number in range(len(SYMBOLS)):
        address = gateway.address if gateway is not None else shards[way.shard_of(number)].address
        await load.open(address, _requests(number), run)
    sending = asyncio.create_task(load.send_on_schedule())
    await asyncio.sleep(scale.warm_up_s)
    load.is_counting = True
    began_at, own_cpu_s = time.perf_counter(), time.process_time()
    nodes_cpu_s = [shard.cpu_s() for shard in used]
    gateway_cpu_s = cpu_seconds(gateway.process_id) if gateway is not None else 0.0
    await asyncio.wait((sending,), timeout=scale.seconds)
    load.is_counting = False
    turn = _Turn(
        load.orders,
        time.perf_counter() - began_at,
        load.times_s,
        [_since(now, before) for now, before in zip((shard.cpu_s() for shard in used), nodes_cpu_s, strict=True)],
        cpu_seconds(gateway.process_id) - gateway_cpu_s if gateway is not None else 0.0,
        time.process_time() - own_cpu_s,
    )
    load.is_ending = True
    await sending
    await load.finish()
    if not turn.orders:
        raise BenchmarkFailedError("nothing was answered while it was measured; try again with more --seconds")
    return turn


def _since(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: now[name] - before[name] for name in now}


# ---------------------------------------------------------------- the load


def _requests(symbol: int) -> list[bytes]:
    """Buys and sells in turn, at one price: every second order trades with the one before."""
    return [
        client_frame(
            {
                "op": "new",
                "symbol": SYMBOLS[symbol],
                "account": "buyer" if number % 2 == 0 else "seller",
                "client_order_id": f"{_FIRST_TAG.decode()}{symbol}-{number}",
                "side": "buy" if number % 2 == 0 else "sell",
                "price": "100.00",
                "quantity": "1",
                "request_id": number,
            }
        )
        for number in range(ROUND_ORDERS)
    ]


def _in_rounds(requests: Sequence[bytes], run: int) -> Iterator[bytes]:
    """Again and again, each time under names of their own."""
    for number in range(10_000):
        own = _TAG % (run * 10_000 + number)
        for request in requests:
            yield request.replace(_FIRST_TAG, own)
    raise BenchmarkFailedError("so many orders have no names of their own; use fewer --seconds")


class _Load:
    """A WebSocket for each instrument, over which its half of the orders goes out on schedule, whatever is answered."""

    def __init__(self) -> None:
        self.orders = 0
        self.times_s: list[float] = []
        self.is_counting = self.is_ending = False
        self._streams: list[OrderStream] = []

    async def open(self, address: str, requests: Sequence[bytes], run: int) -> None:
        stream = OrderStream(_in_rounds(requests, run), len(requests), self._answered)
        await stream.open(address)
        self._streams.append(stream)

    async def send_on_schedule(self) -> None:
        began_at, sent = time.perf_counter(), 0
        while not self.is_ending:
            due = int((time.perf_counter() - began_at) * RATE)
            moments = [began_at + number / RATE for number in range(sent, due)]
            for offset, stream in enumerate(self._streams):
                stream.check()
                first = (offset - sent) % len(self._streams)
                stream.send(moments[first :: len(self._streams)])
            sent = max(sent, due)
            await asyncio.sleep(PULSE_S)

    async def finish(self) -> None:
        """Returns when all is answered."""
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            while any(stream.outstanding for stream in self._streams):
                for stream in self._streams:
                    stream.check()
                await asyncio.sleep(0.02)
        for stream in self._streams:
            stream.close()

    def _answered(self, _stream: OrderStream, answers: Answers) -> None:
        at, due_at, rejected, busy = answers
        if rejected or busy:
            raise BenchmarkFailedError(
                f"{rejected} orders were refused and {busy} not taken; is the machine overloaded?"
            )
        if self.is_counting:
            self.orders += len(due_at)
            self.times_s += [at - moment for moment in due_at]


# ---------------------------------------------------------------- gateways


@contextlib.contextmanager
def _gateway(folder: Path, shard_count: int, shards: Sequence[_Shard]) -> Iterator[_Gateway]:
    """`raftbook gateway start` for so many of the shards, as a process; ended in any case."""
    way = Way(shard_count, has_gateway=True)
    tables = [f'[gateway]\nname = "bench-{shard_count}"\n']
    for number in range(shard_count):
        symbols = [symbol for at, symbol in enumerate(SYMBOLS) if way.shard_of(at) == number]
        urls = [f"http://{shards[number].address}"]
        tables.append(f'[[shards]]\nname = "{SHARDS[number]}"\nnodes = {urls}\nsymbols = {symbols}\n')
    path, log_path = folder / f"gateway-{shard_count}.toml", folder / f"gateway-{shard_count}.log"
    path.write_text("\n".join(tables))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
            [sys.executable, "-m", "cli", "gateway", "start", "--shards", str(path), "--listen", address],
            cwd=PROJECT_FOLDER,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _Gateway(address, process.pid)
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


async def _wait_for(gateway: _Gateway) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    async with RaftbookClient(f"http://{gateway.address}") as client:
        while True:
            try:
                await client.get("/readyz")
            except RaftbookError as error:
                if time.monotonic() > deadline:
                    raise BenchmarkFailedError(f"a gateway did not start: {error}") from error
                await asyncio.sleep(0.05)
            else:
                return


# ---------------------------------------------------------------- figures


def _figures(turns: Sequence[_Turn]) -> dict[str, float]:
    """Processor time per order is by all orders of the load; a shard's own orders cost it what one shard's cost.

    The busiest node is what bounds the rate where there are processors enough.
    """
    orders = sum(turn.orders for turn in turns)
    times_s = [time_s for turn in turns for time_s in turn.times_s]
    shard_count = len(turns[0].nodes_cpu_s)
    leaders_s = [sum(turn.nodes_cpu_s[shard]["leader"] for turn in turns) for shard in range(shard_count)]
    all_nodes_s = sum(cpu_s for turn in turns for shard in turn.nodes_cpu_s for cpu_s in shard.values())
    gateway_s = sum(turn.gateway_cpu_s for turn in turns)
    followers_s = (all_nodes_s - sum(leaders_s)) / (2 * shard_count)
    figures = {
        "orders_per_s": round(orders / sum(turn.elapsed_s for turn in turns)),
        "p50_ms": milliseconds(percentile(times_s, 0.5)),
        "p99_ms": milliseconds(percentile(times_s, 0.99)),
        "leader_cpu_us_per_order_of_its_shard": _us(sum(leaders_s), orders),
        "follower_cpu_us_per_order_of_its_shard": _us(followers_s * shard_count, orders),
        "all_nodes_cpu_us_per_order": _us(all_nodes_s, orders),
        "busiest_node_cpu_us_per_order_of_all": _us(max(leaders_s), orders),
        "load_generator_cpu_us_per_order": _us(sum(turn.own_cpu_s for turn in turns), orders),
    }
    if gateway_s:
        figures["gateway_cpu_us_per_order"] = _us(gateway_s, orders)
    return figures


def _us(cpu_s: float, orders: int) -> float:
    return round(1e6 * cpu_s / orders, 1)


def _how(way: Way) -> str:
    shards = "one cluster" if way.shard_count == 1 else "two clusters, one instrument each,"
    entered = "through a gateway process" if way.has_gateway else "each at its leader"
    return (
        f"{RATE:,} new orders a second for two instruments, every second one a trade, sent on schedule over two "
        f"WebSockets {entered}; {shards} of three node processes with fsync; the four ways took turns in one run"
    )
