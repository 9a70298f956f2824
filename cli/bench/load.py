"""The load generator, in a process of its own: `python -m cli.bench.load`, a plan on standard input.

It makes all its requests first, then sends them over its connections, and answers on standard output with what it saw
between the warm-up and the end. There are two ways of sending:

- **closed loop**: so many orders (or requests of many) are under way all the time; the next goes out with an answer.
  How long they take says nothing of those that would have come while the cluster was busy;
- **open loop** (`rate`): orders go out on a schedule, whatever is answered, and each takes from the moment it was
  *due*. So a cluster that stands still for a while is charged for every order that fell due meanwhile, and a load
  generator that comes late as well (Tene, "How NOT to Measure Latency": coordinated omission).

It measures itself too: where its own share of a processor comes near 1, the figures are its own and not the cluster's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cli.bench import flow
from cli.bench.generator import generator_main, run_generator
from cli.bench.http_load import LoadConnection
from cli.bench.measurement import BenchmarkFailedError
from cli.bench.node_probe import NodeUsage, Probe, ProbedNode, read_counters
from cli.bench.stream_orders import OrderStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.bench.stream_orders import Answers
    from raftbook.engine.commands import Command

PULSE_S: Final = 0.001
"""In open loop, what is due is sent so often."""
WATCH_S: Final = 0.05
ANSWER_DEADLINE_S: Final = 30.0
START_DEADLINE_S: Final = 120.0
STATUS_OK: Final = 200
STATUS_REFUSED: Final = 409
"""A business rejection: the order went through the log all the same."""


class LoadPlan(msgspec.Struct, frozen=True):
    """`addresses`: host:port of the nodes, over which the connections are spread. `run` keeps the names of orders of
    several runs apart. `most_commands` ends the run earlier. `is_resting`: orders that never trade instead of order
    flow.

    With `outstanding` or `rate` they are single orders over WebSocket: so many under way in all, or so many a second.
    Otherwise HTTP requests of `batch_commands`, one under way on each connection.
    """

    addresses: tuple[str, ...]
    connections: int
    batch_commands: int
    seconds: float
    warm_up_s: float
    run: int
    nodes: tuple[ProbedNode, ...] = ()
    most_commands: int | None = None
    is_resting: bool = False
    symbol: str = flow.SYMBOL
    outstanding: int | None = None
    rate: float | None = None
    round_commands: int = flow.ROUND_COMMANDS

    @property
    def is_over_stream(self) -> bool:
        return self.outstanding is not None or self.rate is not None


class LoadResult(msgspec.Struct, frozen=True):
    """What was answered within `elapsed_s`, and how long each request took. `refused` by the exchange; `busy`: not
    taken by the node, and not among the commands.
    """

    commands: int
    refused: int
    busy: int
    elapsed_s: float
    request_times_s: list[float]
    nodes: dict[str, NodeUsage]
    own_cpu_s: float


async def run_load(plan: LoadPlan) -> LoadResult:
    """Runs the load generator as a process of its own; BenchmarkFailedError says what went wrong in it."""
    deadline_s = START_DEADLINE_S + plan.warm_up_s + 2 * plan.seconds + ANSWER_DEADLINE_S
    return await run_generator("cli.bench.load", plan, LoadResult, deadline_s=deadline_s)


class Load:
    """The requests of all connections, and what became of them."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._is_counting = False
        self._counts_from = self._counts_until = float("inf")
        """In open loop those orders count that were due in between, whenever they are answered."""
        self.ending = asyncio.Event()
        """Set when no more requests are to be sent: the time is up, or they have all been sent."""
        self._commands = 0
        self._refused = 0
        self._busy = 0
        self._request_times_s = array("d")
        self._streams: list[OrderStream] = []

    async def run(self) -> LoadResult:
        plan = self._plan
        commands = (
            flow.resting_flow(plan.connections) if plan.is_resting else flow.order_flow(plan.connections, plan.symbol)
        )
        count = plan.round_commands if plan.most_commands is None else plan.most_commands
        dealt = flow.deal(commands, count, plan.connections)
        if plan.is_over_stream:
            answered = await self._open_streams([flow.stream_requests(commands) for commands in dealt])
        else:
            answered = await self._open_connections(
                [self._http_requests(commands, self._address(number)) for number, commands in enumerate(dealt)]
            )
        await self._wait(answered, plan.warm_up_s)
        if self.ending.is_set():
            raise BenchmarkFailedError("all requests were answered before the warm-up ended; use fewer --seconds")
        counters = await read_counters(plan.nodes)
        probe = Probe(plan.nodes)
        began_at, own_cpu_s = time.perf_counter(), time.process_time()
        self._counts_from = began_at
        self._is_counting = True
        await self._wait(answered, plan.seconds)
        self._is_counting = False
        self._counts_until = time.perf_counter()
        elapsed_s, own_cpu_s, probe_now = (
            self._counts_until - began_at,
            time.process_time() - own_cpu_s,
            Probe(plan.nodes),
        )
        counters_now = await read_counters(plan.nodes)
        self.ending.set()
        await asyncio.wait_for(answered, ANSWER_DEADLINE_S)
        return LoadResult(
            commands=self._commands,
            refused=self._refused,
            busy=self._busy,
            elapsed_s=elapsed_s,
            request_times_s=self._request_times_s.tolist(),
            nodes={
                node.node_id: NodeUsage(
                    probe_now.cpu_s[node.node_id] - probe.cpu_s[node.node_id],
                    probe_now.log_bytes_since(probe, node.node_id),
                    now.since(before),
                )
                for node, before, now in zip(plan.nodes, counters, counters_now, strict=True)
            },
            own_cpu_s=own_cpu_s,
        )

    def _address(self, connection: int) -> str:
        return self._plan.addresses[connection % len(self._plan.addresses)]

    async def _wait(self, answered: asyncio.Future[Any], seconds: float) -> None:
        """For so long, or until the requests are used up; raises what a connection failed with."""
        ending = asyncio.create_task(self.ending.wait())
        await asyncio.wait((answered, ending), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if answered.done():
            answered.result()

    # HTTP: each connection has one request under way.

    def _http_requests(self, commands: list[Command], address: str) -> list[bytes]:
        if self._plan.batch_commands == 1:
            return [flow.single_request(command, address) for command in commands]
        return flow.batch_requests(commands, self._plan.batch_commands, address)

    async def _open_connections(self, dealt: list[list[bytes]]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        connections = []
        for number, requests in enumerate(dealt):
            host, _, port = self._address(number).rpartition(":")
            sent = self._until_end(requests)
            _, connection = await loop.create_connection(
                lambda sent=sent: LoadConnection(sent, self._answered_http),  # type: ignore[misc]
                host,
                int(port),
            )
            connections.append(connection)
        for connection in connections:
            connection.send_next()
        return asyncio.gather(*(connection.done for connection in connections))

    def _until_end(self, requests: list[bytes]) -> Iterator[bytes]:
        rounds = flow.in_rounds(requests, self._plan.run)
        for number, request in enumerate(rounds):
            if self.ending.is_set() or (self._plan.most_commands is not None and number == len(requests)):
                break
            yield request
        self.ending.set()

    def _answered_http(self, elapsed_s: float, status: int, body: bytes) -> None:
        size = self._plan.batch_commands
        if status != STATUS_OK and (size > 1 or status != STATUS_REFUSED):
            raise BenchmarkFailedError(f"a node answered {status}: {body[:300].decode(errors='replace')}")
        if b'"status":"pending"' in body:
            raise BenchmarkFailedError("a node answered pending: there was no majority, or the machine is overloaded")
        if self._is_counting:
            self._commands += size
            self._refused += body.count(b'"status":"rejected"') if size > 1 else status == STATUS_REFUSED
            self._request_times_s.append(elapsed_s)

    # WebSocket: each connection has many orders under way.

    async def _open_streams(self, dealt: list[list[bytes]]) -> asyncio.Future[Any]:
        plan = self._plan
        answered = self._answered_on_schedule if plan.rate is not None else self._answered_stream
        for number, requests in enumerate(dealt):
            if not requests:
                raise BenchmarkFailedError("some connections have no orders to send; use fewer of them")
            stream = OrderStream(flow.in_rounds(requests, plan.run), len(requests), answered)
            await stream.open(self._address(number))
            self._streams.append(stream)
        sending = self._send_on_schedule(plan.rate) if plan.rate is not None else self._send_first()
        return asyncio.gather(asyncio.create_task(sending), asyncio.create_task(self._watch_streams()))

    async def _send_first(self) -> None:
        """The rest goes out with the answers."""
        outstanding = self._plan.outstanding
        assert outstanding is not None
        for number, stream in enumerate(self._streams):
            stream.send_now(len(range(number, outstanding, len(self._streams))))

    async def _send_on_schedule(self, rate: float) -> None:
        began_at, sent, streams = time.perf_counter(), 0, self._streams
        while not self.ending.is_set():
            due = int((time.perf_counter() - began_at) * rate)
            moments = [began_at + number / rate for number in range(sent, due)]
            for offset in range(min(len(streams), len(moments))):
                streams[(sent + offset) % len(streams)].send(moments[offset :: len(streams)])
            sent = max(sent, due)
            await asyncio.sleep(PULSE_S)

    def _answered_stream(self, stream: OrderStream, answers: Answers) -> None:
        at, sent_at, rejected, busy = answers
        if busy:
            raise BenchmarkFailedError("a node answered busy; its [limits] are below what is to be under way")
        if self._is_counting:
            self._commands += len(sent_at)
            self._refused += rejected
            self._request_times_s.extend([at - moment for moment in sent_at])
        if not self.ending.is_set():
            stream.send_now(len(sent_at))

    def _answered_on_schedule(self, _stream: OrderStream, answers: Answers) -> None:
        at, sent_at, rejected, busy = answers
        if self._is_counting:
            self._commands += len(sent_at)
            self._refused += rejected
            self._busy += busy
        first, last = self._counts_from, self._counts_until
        self._request_times_s.extend([at - moment for moment in sent_at if first <= moment < last])

    async def _watch_streams(self) -> None:
        """Returns when everything is answered behind the end. Raises what a connection fails with."""
        while not self.ending.is_set() or any(stream.outstanding for stream in self._streams):
            for stream in self._streams:
                stream.check()
            await asyncio.sleep(WATCH_S)
        for stream in self._streams:
            stream.close()


if __name__ == "__main__":
    sys.exit(generator_main(LoadPlan, lambda plan: Load(plan).run()))
