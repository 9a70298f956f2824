"""Clients that enter orders at all nodes at once, and write down what they sent where and what they were told.

An outcome that stays unknown is handled as the contract says: the same order, under the same client order id, goes to
another node, until there is a definite answer. The records are what `check_against_logs` holds the nodes' logs to.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from raftbook.client import RaftbookClient
from raftbook.errors import OutcomeUnknownError, ProblemError, UnreachableError
from tests.system.system_cluster import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.system.system_cluster import SystemCluster

    Document = dict[str, Any]
    Outcome = Literal["definite", "refused", "unknown"]

WAIT_S: Final = 1.5
"""How long a node may take to execute what it was sent, before the client goes to another one."""
TIMEOUT_S: Final = 1.0
"""How long an answer may take on top of that."""
LIFETIME_NS: Final = 5_000_000_000
"""Of an order whose client sets it, as long as the nodes' own."""
PATIENT_WAIT_S: Final = 30.0
"""For single orders that a test enters where they are bound to be executed."""
POLL_S: Final = 0.02


@dataclass(slots=True)
class Attempt:
    """One sending of one command to one node.

    definite: a report came that is not pending. refused: the node took nothing. unknown: anything else.
    """

    node_id: str
    sent_at: float
    answered_at: float = 0.0
    outcome: Outcome = "unknown"
    report: Document | None = None


@dataclass(slots=True)
class Record:
    """One command of a client, and its attempts in the order in which they were made."""

    command: Document
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def report(self) -> Document | None:
        """The answer that the client went away with."""
        return next((attempt.report for attempt in self.attempts if attempt.outcome == "definite"), None)

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is told apart by: (op, account, client order id)."""
        return self.command["op"], self.command["account"], self.command["client_order_id"]


class Clients:
    """`count` clients, each with an account of its own; the seed decides what they want, the cluster what they get."""

    def __init__(self, cluster: SystemCluster, *, count: int = 4, batch: int = 4, seed: int = 1) -> None:
        self.records: list[Record] = []
        self.barriers = 0
        """Linearizable reads that were tried; each puts at most one tick into the log."""
        self._cluster = cluster
        self._count = count
        self._batch = batch
        self._seed = seed
        self._stopping = False
        self._connections: list[RaftbookClient] = []
        self._own = self._connect()

    def _connect(self) -> RaftbookClient:
        url, ca_file = self._cluster.url(self._cluster.node_ids[0]), self._cluster.config.security.ca_file
        client = RaftbookClient(url, timeout_s=TIMEOUT_S, ca_file=ca_file)
        self._connections.append(client)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._connections:
            await client.aclose()

    # ---------------------------------------------------------------- by hand

    def at(self, node_id: str) -> RaftbookClient:
        """A plain client of that node, for whatever leaves no trace in the log."""
        return self._own.at(self._cluster.url(node_id))

    async def enter(self, node_id: str, command: Document, *, wait_s: float = PATIENT_WAIT_S) -> Attempt:
        """Send a command once. The same command again is another attempt of the same record."""
        return (await self._send(self._own, node_id, [self._record_of(command)], wait_s))[0]

    async def post_order(self, node_id: str, order: Document, **parameters: str) -> httpx.Response:
        """POST /v1/orders, for what its status codes say; also written down as an attempt."""
        attempt = Attempt(node_id, time.monotonic())
        self._record_of(order).attempts.append(attempt)
        fields = {name: value for name, value in order.items() if name != "op"}
        async with self._cluster.http_client(timeout=DEADLINE_S) as client:
            response = await client.post(f"{self._cluster.url(node_id)}/v1/orders", json=fields, params=parameters)
        attempt.answered_at = time.monotonic()
        document = response.json()
        attempt.report = document.get("report", document if response.is_success else None)
        if response.status_code in (200, 409):
            attempt.outcome = "definite"
        elif attempt.report is None:
            attempt.outcome = "refused"
        return response

    async def collect(self, attempt: Attempt) -> Document:
        """Ask the node that answered `pending` again, until the report is a definite one."""
        assert attempt.report is not None
        assert attempt.report["status"] == "pending"
        client = self.at(attempt.node_id)
        origin, sequence = attempt.report["origin"], attempt.report["origin_sequence"]
        async with asyncio.timeout(DEADLINE_S):
            while attempt.outcome != "definite":
                (report,) = await client.collect(origin, sequence, 1, wait_s=WAIT_S)
                if report["status"] != "pending":
                    attempt.report, attempt.outcome, attempt.answered_at = report, "definite", time.monotonic()
        return attempt.report

    async def read(self, node_id: str, path: str, **parameters: str) -> httpx.Response:
        """GET at that node, for what its status codes say."""
        self.barriers += parameters.get("consistency") == "linearizable"
        async with self._cluster.http_client(timeout=DEADLINE_S) as client:
            return await client.get(f"{self._cluster.url(node_id)}{path}", params=parameters)

    def _record_of(self, command: Document) -> Record:
        record = Record(command)
        known = next((other for other in self.records if other.key == record.key), None)
        if known is None:
            self.records.append(record)
            return record
        assert known.command == command, "the same client order id means the same command"
        return known

    # ---------------------------------------------------------------- under load

    @asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """All clients enter orders, one batch after the other, as long as the context lasts; then all are settled."""
        self._stopping = False
        async with asyncio.timeout(4 * DEADLINE_S), asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                tasks.create_task(self._trade(number), name=f"client {number}")
            try:
                yield
            finally:
                self._stopping = True

    async def progress(self, count: int = 60) -> float:
        """Returns when `count` commands that were sent from now on have been answered; seconds to the first of them.

        In that time every node that can be reached has been tried, since each client goes from node to node.
        """
        since = time.monotonic()

        def answered() -> list[float]:
            times = []
            for record in reversed(self.records):
                if record.attempts and record.attempts[-1].answered_at and record.attempts[-1].answered_at < since:
                    break
                times += [a.answered_at for a in record.attempts if a.outcome == "definite" and a.sent_at >= since]
            return times

        await wait_for(lambda: len(answered()) >= count, f"{count} more answers")
        return min(answered()) - since

    def longest_gap_s(self, *, since: float) -> float:
        """The longest time without a definite answer to anybody, from `since` (monotonic) to the last answer."""
        attempts = [attempt for record in self.records for attempt in record.attempts]
        times = sorted(a.answered_at for a in attempts if a.outcome == "definite" and a.answered_at >= since)
        return max(after - before for before, after in itertools.pairwise([since, *times]))

    async def _trade(self, number: int) -> None:
        client = self._connect()
        trader = Trader(f"client-{number}", random.Random(f"{self._seed}/{number}"), is_careful=number % 2 == 0)
        turn = number
        while not self._stopping:
            batch = [Record(command) for command in trader.commands(self._batch)]
            self.records += batch
            await self._settle(client, batch, turn)
            turn += 1
            for record in batch:
                assert record.report is not None
                trader.told(record.command, record.report)

    async def _settle(self, client: RaftbookClient, records: list[Record], turn: int) -> None:
        """Send `records` to one node after the other, beginning with number `turn`, until all are answered."""
        node_ids = self._cluster.node_ids
        deadline = time.monotonic() + DEADLINE_S
        while open_records := [record for record in records if record.report is None]:
            assert time.monotonic() < deadline, f"no definite answer in {DEADLINE_S:g} s: {open_records}"
            attempts = await self._send(client, node_ids[turn % len(node_ids)], open_records, WAIT_S)
            turn += 1
            if attempts[0].outcome == "refused":
                await asyncio.sleep(POLL_S)

    async def _send(self, client: RaftbookClient, node_id: str, records: list[Record], wait_s: float) -> list[Attempt]:
        sent_at = time.monotonic()
        attempts = [Attempt(node_id, sent_at) for _ in records]
        for record, attempt in zip(records, attempts, strict=True):
            record.attempts.append(attempt)
        reports: list[Document | None] = [None] * len(records)
        is_refused = False
        try:
            commands = [record.command for record in records]
            reports = list(await client.at(self._cluster.url(node_id)).submit_once(commands, wait_s=wait_s))
        except (UnreachableError, ProblemError):
            is_refused = True
        except OutcomeUnknownError:
            pass
        answered_at = time.monotonic()
        for attempt, report in zip(attempts, reports, strict=True):
            attempt.answered_at = answered_at
            attempt.report = report
            if is_refused:
                attempt.outcome = "refused"
            elif report is not None and report["status"] != "pending":
                attempt.outcome = "definite"
        return attempts


async def wait_for(condition: Callable[[], bool], awaited: str, deadline_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s in vain for {awaited}"
        await asyncio.sleep(POLL_S)


def new_order(account: str, client_order_id: str, side: str, price: str, quantity: str = "1", **more: Any) -> Document:
    return {
        "op": "new",
        "symbol": "ACME",
        "account": account,
        "client_order_id": client_order_id,
        "side": side,
        "price": price,
        "quantity": quantity,
        **more,
    }


class Trader:
    """What one client wants: orders around 100.00 that often trade, and to cancel some of those that rest.

    A careful one says itself until when an order may be executed, so that a refusal is final for every attempt.
    """

    def __init__(self, account: str, randomness: random.Random, *, is_careful: bool) -> None:
        self._account = account
        self._random = randomness
        self._is_careful = is_careful
        self._entered = 0
        self._resting: list[str] = []

    def commands(self, count: int) -> list[Document]:
        return [self._command() for _ in range(count)]

    def _command(self) -> Document:
        draw = self._random.random()
        if draw < 0.35 and self._resting:
            name = self._resting.pop(self._random.randrange(len(self._resting)))
            return {"op": "cancel", "account": self._account, "client_order_id": name}
        self._entered += 1
        order = new_order(
            self._account,
            f"{self._account}-{self._entered}",
            self._random.choice(("buy", "sell")),
            f"{100 + self._random.randint(-8, 8) / 4:.2f}",
            str(self._random.randint(1, 20)),
        )
        if draw > 0.9:
            order["time_in_force"] = self._random.choice(("ioc", "fok"))
        elif draw > 0.8:
            order["post_only"] = True
        if self._is_careful:
            order["not_after"] = time.time_ns() + LIFETIME_NS
        return order

    def told(self, command: Document, report: Document) -> None:
        order = report["order"]
        if command["op"] == "new" and order is not None and order["status"] == "open":
            self._resting.append(command["client_order_id"])
