"""The load generator, in a process of its own: `python -m cli.bench.load`, a plan on standard input.

It makes all its requests first, then sends them over its connections, each one request at a time, and answers on
standard output with what it saw between the warm-up and the end. It measures itself too: where its own share of a
processor comes near 1, the figures are its own and not the cluster's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from cli.bench.http_load import LoadConnection, encode_request
from cli.bench.machine import cpu_seconds
from cli.bench.measurement import BenchmarkFailedError
from cli.bench.resting import resting_orders
from cli.local_cluster import PROJECT_FOLDER
from raftbook.engine.commands import CancelOrder, NewOrder, ReplaceOrder
from raftbook.json_format import command_to_json, dumps
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.commands import Command

MOST_COMMANDS_PER_S: Final = 60_000
MOST_SINGLE_COMMANDS_PER_S: Final = 5_000
"""So many are made ready; a cluster that is faster ends the measurement early, and the figures stay right."""

SEED: Final = 1
ANSWER_DEADLINE_S: Final = 30.0
START_DEADLINE_S: Final = 120.0
STATUS_OK: Final = 200
STATUS_REFUSED: Final = 409
"""A business rejection: the order went through the log all the same."""


class LoadPlan(msgspec.Struct, frozen=True):
    """`addresses`: host:port of the nodes, over which the connections are spread. `run` keeps the names of orders of
    several runs apart. `node_process_ids`: whose processor time is looked at. `most_commands` ends the run earlier.
    `is_resting`: orders that never trade instead of order flow.
    """

    addresses: tuple[str, ...]
    connections: int
    batch_commands: int
    seconds: float
    warm_up_s: float
    run: int
    node_process_ids: dict[str, int]
    most_commands: int = 1 << 60
    is_resting: bool = False


class LoadResult(msgspec.Struct, frozen=True):
    """What was answered within `elapsed_s`, and how long each request took."""

    commands: int
    refused: int
    elapsed_s: float
    request_times_s: list[float]
    node_cpu_s: dict[str, float]
    own_cpu_s: float


async def run_load(plan: LoadPlan) -> LoadResult:
    """Runs the load generator as a process of its own; BenchmarkFailedError says what went wrong in it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.bench.load",
        cwd=PROJECT_FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        deadline_s = START_DEADLINE_S + plan.warm_up_s + 2 * plan.seconds + ANSWER_DEADLINE_S
        output, errors = await asyncio.wait_for(process.communicate(msgspec.json.encode(plan)), deadline_s)
    except TimeoutError as error:
        raise BenchmarkFailedError("the load generator did not end; is the machine overloaded?") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BenchmarkFailedError(f"the load generator failed: {words[-1]}")
    return msgspec.json.decode(output, type=LoadResult)


class Load:
    """The requests of all connections, and what became of them."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._is_counting = False
        self.ending = asyncio.Event()
        """Set when no more requests are to be sent: the time is up, or they have all been sent."""
        self._commands = 0
        self._refused = 0
        self._request_times_s: list[float] = []

    async def run(self) -> LoadResult:
        plan = self._plan
        loop = asyncio.get_running_loop()
        connections = []
        for number, commands in enumerate(_deal(plan)):
            address = plan.addresses[number % len(plan.addresses)]
            requests = self._until_end(_encode(commands, plan.batch_commands, address))
            host, _, port = address.rpartition(":")
            _, connection = await loop.create_connection(
                lambda requests=requests: LoadConnection(requests, self._answered),  # type: ignore[misc]
                host,
                int(port),
            )
            connections.append(connection)
        answered = asyncio.gather(*(connection.done for connection in connections))
        for connection in connections:
            connection.send_next()
        await self._wait(answered, plan.warm_up_s)
        if self.ending.is_set():
            raise BenchmarkFailedError("all requests were answered before the warm-up ended; use fewer --seconds")
        began_at, node_cpu_s, own_cpu_s = time.perf_counter(), self._node_cpu_s(), time.process_time()
        self._is_counting = True
        await self._wait(answered, plan.seconds)
        self._is_counting = False
        result = LoadResult(
            commands=self._commands,
            refused=self._refused,
            elapsed_s=time.perf_counter() - began_at,
            request_times_s=self._request_times_s,
            node_cpu_s={node_id: now_s - node_cpu_s[node_id] for node_id, now_s in self._node_cpu_s().items()},
            own_cpu_s=time.process_time() - own_cpu_s,
        )
        self.ending.set()
        await asyncio.wait_for(answered, ANSWER_DEADLINE_S)
        return result

    async def _wait(self, answered: asyncio.Future[list[None]], seconds: float) -> None:
        """For so long, or until the requests are used up; raises what a connection failed with."""
        ending = asyncio.create_task(self.ending.wait())
        await asyncio.wait((answered, ending), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if answered.done():
            answered.result()

    def _until_end(self, requests: list[bytes]) -> Iterator[bytes]:
        for request in requests:
            if self.ending.is_set():
                return
            yield request
        self.ending.set()

    def _answered(self, elapsed_s: float, status: int, body: bytes) -> None:
        size = self._plan.batch_commands
        if status != STATUS_OK and (size > 1 or status != STATUS_REFUSED):
            raise BenchmarkFailedError(f"a node answered {status}: {body[:300].decode(errors='replace')}")
        if b'"status":"pending"' in body:
            raise BenchmarkFailedError("a node answered pending: there was no majority, or the machine is overloaded")
        if self._is_counting:
            self._commands += size
            self._refused += body.count(b'"status":"rejected"') if size > 1 else status == STATUS_REFUSED
            self._request_times_s.append(elapsed_s)

    def _node_cpu_s(self) -> dict[str, float]:
        return {node_id: cpu_seconds(process_id) for node_id, process_id in self._plan.node_process_ids.items()}


def accounts_of(run: int, connection: int) -> list[str]:
    return [f"bench-{run}-{connection}-{letter}" for letter in "abcd"]


def order_flow(run: int, connections: int) -> OrderFlow:
    """The flow that is measured with, whose accounts and names differ from those of every other run."""
    accounts = [name for connection in range(connections) for name in accounts_of(run, connection)]
    return OrderFlow(SEED, accounts=accounts, client_order_id_prefix=f"{run}-")


def _deal(plan: LoadPlan) -> list[list[Command]]:
    """One order flow, dealt out to the connections by account, so that all trade around one middle.

    Each account's commands stay in order on one connection: no cancel overtakes its order.
    """
    most_per_s = MOST_COMMANDS_PER_S if plan.batch_commands > 1 else MOST_SINGLE_COMMANDS_PER_S
    count = min(plan.most_commands, int(most_per_s * (plan.warm_up_s + plan.seconds)))
    accounts = {name: number for number in range(plan.connections) for name in accounts_of(plan.run, number)}
    dealt: list[list[Command]] = [[] for _ in range(plan.connections)]
    flow = _resting_flow(plan) if plan.is_resting else order_flow(plan.run, plan.connections)
    for command in islice(flow, count):
        assert isinstance(command, NewOrder | CancelOrder | ReplaceOrder), "the flow enters, replaces and cancels"
        dealt[accounts[command.account]].append(command)
    return dealt


def _resting_flow(plan: LoadPlan) -> Iterator[NewOrder]:
    accounts = [name for connection in range(plan.connections) for name in accounts_of(plan.run, connection)]
    return resting_orders(accounts, client_order_id_prefix=f"{plan.run}-")


def _encode(commands: list[Command], batch_commands: int, address: str) -> list[bytes]:
    """The requests, all batches full."""
    if batch_commands == 1:
        return [encode_single(command, address) for command in commands]
    encoded = [dumps(command_to_json(command)) for command in commands]
    return [
        encode_request("POST", "/v1/commands", address, b"[%b]" % b",".join(encoded[first : first + batch_commands]))
        for first in range(0, len(encoded) - batch_commands + 1, batch_commands)
    ]


def encode_single(command: Command, address: str) -> bytes:
    """The request that a client makes for this one command."""
    fields = command_to_json(command)
    del fields["op"]
    if isinstance(command, NewOrder):
        return encode_request("POST", "/v1/orders", address, dumps(fields))
    assert isinstance(command, CancelOrder | ReplaceOrder), "the flow enters, replaces and cancels"
    path = f"/v1/orders/by-client-id/{fields.pop('account')}/{fields.pop('client_order_id')}"
    if isinstance(command, CancelOrder):
        return encode_request("DELETE", path, address)
    return encode_request("PATCH", path, address, dumps(fields))


def main() -> int:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            result = runner.run(_run(plan))
    except (BenchmarkFailedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


async def _run(plan: LoadPlan) -> LoadResult:
    return await Load(plan).run()


def new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
