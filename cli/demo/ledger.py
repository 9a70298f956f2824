"""The clients' own record: every command handed in, every definite answer, and when the log was seen to grow. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from raftbook.engine.commands import NewOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raftbook.engine.commands import Command

OrderName = tuple[str, str]
"""(account, client order id)"""


class Answer(NamedTuple):
    """A definite report as a client got it. (`origin`, `sequence`) is the submission's dot.

    `order` names the new order that was asked for, None where the command was another one. `is_duplicate`: the
    order had come before, and this submission of it changed nothing.
    """

    origin: str
    sequence: int
    log_index: int
    is_accepted: bool
    order: OrderName | None
    order_id: int | None
    filled_quantity: str | None
    is_duplicate: bool


class Ledger:
    """Shared by all clients of one run."""

    def __init__(self) -> None:
        self.submitted_orders: set[OrderName] = set()
        self.answers: list[Answer] = []
        self.commands = 0
        self.trades = 0
        self.resubmitted = 0
        self.outcomes: Counter[str] = Counter()
        self.last_index = 0
        self.growth_times: list[float] = []
        """When an answer named a higher log index than any before: commits, as clients see them. Rising."""

    def submit(self, commands: Sequence[Command]) -> None:
        """Commands go out for the first time."""
        self.commands += len(commands)
        self.submitted_orders.update(
            (command.account, command.client_order_id) for command in commands if isinstance(command, NewOrder)
        )

    def answer(self, command: Command, report: Mapping[str, Any], at: float) -> None:
        """A definite report came back at time `at` (seconds, monotonic)."""
        order = report["order"] or {}
        events = report["events"]
        name = (command.account, command.client_order_id) if isinstance(command, NewOrder) else None
        self.answers.append(
            Answer(
                report["origin"],
                report["origin_sequence"],
                report["log_index"],
                report["status"] == "accepted",
                name,
                order.get("order_id"),
                order.get("filled_quantity"),
                any(event.get("duplicate", False) for event in events),
            )
        )
        self.outcomes[report["status"]] += 1
        self.trades += sum(event["event"] == "trade" for event in events)
        if report["log_index"] > self.last_index:
            self.last_index = report["log_index"]
            self.growth_times.append(at)

    def longest_gap_s(self, start: float, end: float) -> float:
        """The longest time between two commits in a row that lies at least partly between `start` and `end`."""
        gaps = [
            after - before
            for before, after in zip(self.growth_times, self.growth_times[1:], strict=False)
            if before < end and after > start
        ]
        return max(gaps, default=0.0)
