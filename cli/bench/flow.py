"""The orders that a load generator sends: one generated flow, dealt out to connections, as bytes made ready beforehand.

A flow of some length is made once and sent again and again, each time under names of its own: a tag of equal length in
every name is replaced as a request goes out, which costs a twentieth of making the request. So a run of any length is
made ready in the same short time, and nothing is computed while it is measured.
"""

from __future__ import annotations

import itertools
import math
from itertools import islice
from typing import TYPE_CHECKING, Final

from cli.bench.http_load import encode_request
from cli.bench.measurement import BenchmarkFailedError
from cli.bench.resting import resting_orders
from cli.bench.stream_load import client_frame
from raftbook.codec import encode_command
from raftbook.engine.commands import CancelOrder, NewOrder, ReplaceOrder
from raftbook.json_format import command_to_json, dumps
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from raftbook.codec import encode_command
from raftbook.engine.commands import Command

SEED: Final = 1
SYMBOL: Final = "ACME"
ACCOUNTS_PER_CONNECTION: Final = 4
ROUND_COMMANDS: Final = 50_000
ROUND_COMMANDS_PER_S: Final = 5_000
"""Of the flow, before it begins again under other names; fewer where a run is short, which is to begin soon."""
BATCHES_PER_ROUND: Final = 4
PAYLOAD_COMMANDS: Final = 5_000
NOT_AFTER_NS: Final = 1_700_000_005_000_000_000
"""A node gives each order one, so the log has it."""
ROUNDS_PER_RUN: Final = 10_000
RUNS: Final = 1_000
_TAG: Final = b"r%07d-9b1d-4e7a-8c2f-"
"""Names are as long as those that clients give, who mostly take UUIDs."""
_FIRST_TAG: Final = _TAG % 0


def round_commands(seconds: float, connections: int, batch_commands: int) -> int:
    """Enough for some full batches on each connection, however the accounts are dealt."""
    least = BATCHES_PER_ROUND * connections * batch_commands
    return max(least, min(ROUND_COMMANDS, math.ceil(ROUND_COMMANDS_PER_S * seconds)))


def tag(run: int, round_number: int = 0) -> bytes:
    """What the names of a run's orders begin with, in its n-th round; no two are equal, and all are equally long."""
    if not 0 <= run < RUNS or round_number >= ROUNDS_PER_RUN:
        raise BenchmarkFailedError("so many orders have no names of their own; use fewer --seconds or --repetitions")
    return _TAG % (run * ROUNDS_PER_RUN + round_number)


def in_rounds(requests: Sequence[bytes], run: int) -> Iterator[bytes]:
    """The requests, again and again, each time under names of their own. Endless, where there is any."""
    for round_number in itertools.count() if requests else ():
        own = tag(run, round_number)
        for request in requests:
            yield request.replace(_FIRST_TAG, own)


def order_flow(connections: int, symbol: str = SYMBOL) -> OrderFlow:
    """The flow that is measured with, under the names of the first round of the first run."""
    accounts = [name for connection in range(connections) for name in accounts_of(connection)]
    return OrderFlow(SEED, (symbol,), accounts, client_order_id_prefix=_FIRST_TAG.decode())


def accounts_of(connection: int) -> list[str]:
    return [f"bench-{connection:03}-{letter}" for letter in "abcd"[:ACCOUNTS_PER_CONNECTION]]


def deal(commands: Iterator[Command], count: int, connections: int) -> list[list[Command]]:
    """So many of them, to each connection those of its accounts, so that all trade around one middle.

    Each account's commands stay in order on one connection: no cancel overtakes its order.
    """
    owners = {name: number for number in range(connections) for name in accounts_of(number)}
    dealt: list[list[Command]] = [[] for _ in range(connections)]
    for command in islice(commands, count):
        assert isinstance(command, NewOrder | CancelOrder | ReplaceOrder), "the flow enters, replaces and cancels"
        dealt[owners[command.account]].append(command)
    return dealt


def resting_flow(connections: int) -> Iterator[NewOrder]:
    """Orders that never trade."""
    accounts = [name for connection in range(connections) for name in accounts_of(connection)]
    return resting_orders(accounts, client_order_id_prefix=_FIRST_TAG.decode())


def write_payload(folder: Path) -> tuple[Path, float]:
    """A new folder with a file of encoded orders of the flow, as the log has them, one a line in hexadecimal; its path,
    and their mean size in bytes.
    """
    folder.mkdir()
    path = folder / "payload"
    commands = [command._replace(not_after=NOT_AFTER_NS) for command in islice(order_flow(1), PAYLOAD_COMMANDS)]
    encoded = [encode_command(command) for command in commands]
    path.write_text("\n".join(raw.hex() for raw in encoded))
    return path, sum(map(len, encoded)) / len(encoded)


def batch_requests(commands: list[Command], batch_commands: int, address: str) -> list[bytes]:
    """POST /v1/commands, all of them full."""
    encoded = [dumps(command_to_json(command)) for command in commands]
    return [
        encode_request("POST", "/v1/commands", address, b"[%b]" % b",".join(encoded[first : first + batch_commands]))
        for first in range(0, len(encoded) - batch_commands + 1, batch_commands)
    ]


def single_request(command: Command, address: str) -> bytes:
    """The HTTP request that a client makes for this one command."""
    fields = command_to_json(command)
    del fields["op"]
    if isinstance(command, NewOrder):
        return encode_request("POST", "/v1/orders", address, dumps(fields))
    assert isinstance(command, CancelOrder | ReplaceOrder), "the flow enters, replaces and cancels"
    path = f"/v1/orders/by-client-id/{fields.pop('account')}/{fields.pop('client_order_id')}"
    if isinstance(command, CancelOrder):
        return encode_request("DELETE", path, address)
    return encode_request("PATCH", path, address, dumps(fields))


def stream_requests(commands: list[Command]) -> list[bytes]:
    """A WebSocket frame for each, with its position as `request_id`."""
    return [client_frame({**command_to_json(command), "request_id": at}) for at, command in enumerate(commands)]
