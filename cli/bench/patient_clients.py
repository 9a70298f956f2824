"""Clients as users write them, under whose load nodes are killed and restarted; they write down all that they see.

Each has one batch under way at a time, and goes to the next node with every batch, so that all nodes have clients. A
batch that is refused, or whose outcome stays unknown, goes to the next node again under the same client order ids,
until each command of it has a definite answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from cli.bench.measurement import BenchmarkFailedError
from cli.demo.ledger import Ledger
from raftbook.client import RaftbookClient
from raftbook.errors import OutcomeUnknownError, ProblemError, UnreachableError
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from raftbook.engine.commands import Command

CLIENTS: Final = 6
BATCH_COMMANDS: Final = 10
PAUSE_S: Final = 0.02
"""Between an answer and the next batch: the nodes are to be busy, not overloaded, and the machine is shared."""
WAIT_S: Final = 1.5
TIMEOUT_S: Final = 1.0
"""On top of that, for an answer to arrive, before a client takes a node for dead."""
PATIENCE_S: Final = 15.0
"""For a definite answer, from the first sending on. A command that has none by then has failed."""
RETRY_PAUSE_S: Final = 0.02
SEED: Final = 1


class AnsweredBatch(NamedTuple):
    """Times in seconds, monotonic; `sent_at` is that of the attempt which was answered."""

    first_sent_at: float
    sent_at: float
    answered_at: float


class PatientClients:
    """`urls`: the nodes they go to. `run` keeps the names of orders of several runs on one cluster apart."""

    def __init__(self, urls: Mapping[str, str], *, run: int) -> None:
        self.ledger = Ledger()
        self.batches: list[AnsweredBatch] = []
        """In the order of their answers."""
        self.in_doubt = 0
        """Commands that were sent, and neither answered nor refused: they had to be sent again."""
        self.refused = 0
        """Commands that a node refused to take; sent to the next one at once."""
        self.failed = 0
        """Commands without a definite answer in `PATIENCE_S`."""
        self._urls = list(urls.values())
        self._run = run
        self._stopping = False

    @contextlib.asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """As long as the context lasts; then what is under way is seen to its end."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(self._trade(number))
            try:
                yield
            finally:
                self._stopping = True

    async def first_answer_after(self, moment: float) -> float:
        """When the first answer came to a batch that was sent after `moment`; waits for it."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < deadline:
            for batch in reversed(self.batches):
                if batch.answered_at < moment:
                    break
                if batch.sent_at > moment:
                    return min(other.answered_at for other in self.batches if other.sent_at > moment)
            await asyncio.sleep(0.005)
        raise BenchmarkFailedError(f"no order was answered in {2 * PATIENCE_S:g} s")

    async def more_answers(self, count: int) -> None:
        """Returns when so many more batches have been answered."""
        until = len(self.batches) + count
        deadline = time.monotonic() + 2 * PATIENCE_S
        while len(self.batches) < until:
            if time.monotonic() > deadline:
                raise BenchmarkFailedError(f"not {count} batches were answered in {2 * PATIENCE_S:g} s")
            await asyncio.sleep(0.005)

    def longest_gap_s(self, start: float, end: float) -> float:
        """The longest time between two answers, to whomever, that lies at least partly between `start` and `end`."""
        times = [batch.answered_at for batch in self.batches]
        gaps = [after - before for before, after in itertools.pairwise(times) if before < end and after > start]
        return max(gaps, default=end - start)

    def times_s(self, start: float, end: float) -> list[float]:
        """How long the batches took, from their first sending, that were answered between `start` and `end`."""
        return [batch.answered_at - batch.first_sent_at for batch in self.batches if start <= batch.answered_at < end]

    async def _trade(self, number: int) -> None:
        accounts = [f"patient-{self._run}-{number}-{letter}" for letter in "ab"]
        flow = OrderFlow(SEED + number, accounts=accounts, client_order_id_prefix=f"{self._run}-{number}-")
        async with RaftbookClient(self._urls[0], timeout_s=TIMEOUT_S) as client:
            clients = [client.at(url) for url in self._urls]
            for turn in itertools.count(number):
                if self._stopping:
                    return
                batch = list(islice(flow, BATCH_COMMANDS))
                self.ledger.submit(batch)
                await self._settle(clients, batch, turn)
                await asyncio.sleep(PAUSE_S)

    async def _settle(self, clients: Sequence[RaftbookClient], commands: list[Command], turn: int) -> None:
        """Returns when each is answered for good, or has failed."""
        first_sent_at = time.monotonic()
        for attempt in itertools.count(turn):
            sent_at = time.monotonic()
            commands = await self._attempt(clients[attempt % len(clients)], commands)
            now = time.monotonic()
            if not commands:
                self.batches.append(AnsweredBatch(first_sent_at, sent_at, now))
                return
            if now - first_sent_at > PATIENCE_S:
                self.failed += len(commands)
                return
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _attempt(self, client: RaftbookClient, commands: list[Command]) -> list[Command]:
        """Those without a definite answer."""
        try:
            reports = await client.submit_once(commands, wait_s=WAIT_S)
        except (UnreachableError, ProblemError) as error:
            if isinstance(error, ProblemError) and error.status < 429:
                raise BenchmarkFailedError(f"a node refused the flow: {error}") from error
            self.refused += len(commands)
            return commands
        except OutcomeUnknownError:
            self.in_doubt += len(commands)
            return commands
        now = time.monotonic()
        pending = []
        for command, report in zip(commands, reports, strict=True):
            if report["status"] == "pending":
                pending.append(command)
            else:
                self.ledger.answer(command, report, now)
        self.in_doubt += len(pending)
        return pending
