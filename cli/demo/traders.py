"""Clients that submit order flow, and do not rest before each command has a definite answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Final

from raftbook.errors import OutcomeUnknownError, ProblemError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cli.demo.ledger import Ledger
    from raftbook.client import RaftbookClient
    from raftbook.engine.commands import Command

BATCH: Final = 100
SUBMIT_WAIT_S: Final = 2.0
RETRY_PAUSE_S: Final = 0.05


class Trader:
    """One client: submits `flow` batch by batch, in order, at `node_id` as long as that node answers.

    When it does not, everything unanswered goes to the next node under the same client order ids. `commands_per_s`
    bounds its rate.
    """

    def __init__(
        self,
        node_id: str,
        clients: Mapping[str, RaftbookClient],
        flow: Iterator[Command],
        ledger: Ledger,
        commands_per_s: float,
    ) -> None:
        self.home = node_id
        self.node_id = node_id
        self._clients = clients
        self._flow = flow
        self._ledger = ledger
        self._commands_per_s = commands_per_s
        self._between_batches = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set or the flow ends; then everything that was handed in is answered."""
        started_at = time.monotonic()
        handed_in = 0
        while not stop.is_set() and (batch := list(itertools.islice(self._flow, BATCH))):
            async with self._between_batches:
                self._ledger.submit(batch)
                await self._deliver(batch)
            handed_in += len(batch)
            ahead_s = handed_in / self._commands_per_s - (time.monotonic() - started_at)
            await asyncio.sleep(max(0.0, ahead_s))

    async def leave(self, node_id: str) -> None:
        """Moves to another node between two batches, so that nothing is unanswered when `node_id` goes."""
        async with self._between_batches:
            if self.node_id == node_id:
                self._move_on()

    def go_home(self) -> None:
        self.node_id = self.home

    async def _deliver(self, batch: list[Command]) -> None:
        """Returns when each command of `batch` is answered for good."""
        left = batch
        while left:
            try:
                left = await self._submit(left)
            except (UnreachableError, OutcomeUnknownError, ProblemError) as error:
                if isinstance(error, ProblemError) and error.status < 429:
                    raise  # The commands are at fault, and no other node would say anything else.
                self._ledger.resubmitted += len(left)
                self._move_on()
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _submit(self, commands: list[Command]) -> list[Command]:
        """Submits at the current node and notes the definite reports; what then is still pending is waited for.

        Returns the commands that are to be submitted again because their node went while they were pending.
        """
        client = self._clients[self.node_id]
        reports = await client.submit_once(commands, wait_s=SUBMIT_WAIT_S)
        while True:
            now = time.monotonic()
            pending = [(c, r) for c, r in zip(commands, reports, strict=True) if r["status"] == "pending"]
            for command, report in zip(commands, reports, strict=True):
                if report["status"] != "pending":
                    self._ledger.answer(command, report, now)
            if not pending:
                return []
            commands = [command for command, _ in pending]
            first = pending[0][1]
            try:
                origin, sequence = str(first["origin"]), int(first["origin_sequence"] or 0)
                reports = await client.collect(origin, sequence, len(pending), wait_s=SUBMIT_WAIT_S)
            except (UnreachableError, ProblemError):
                self._ledger.resubmitted += len(commands)
                self._move_on()
                return commands

    def _move_on(self) -> None:
        nodes = list(self._clients)
        self.node_id = nodes[(nodes.index(self.node_id) + 1) % len(nodes)]
