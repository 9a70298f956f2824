"""The engine and its oracle side by side: every entry goes to both, and whatever they say or hold must be the same."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

from raftbook.codec import encode_events
from raftbook.engine import Entry, Exchange, OrderEvent, Rejection, Run
from raftbook.simulation.naive_exchange import NaiveExchange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.engine import Command, Execution

ORIGIN = "n1.1"


class SideBySide:
    """`reached` counts the events by kind and by reason, so that a test knows what it has seen."""

    def __init__(self, closed_orders_kept: int) -> None:
        self.exchange = Exchange(closed_orders_kept=closed_orders_kept)
        self.naive = NaiveExchange(closed_orders_kept)
        self.next_sequence = 1
        self.reached: Counter[str] = Counter()
        self.digest = blake2b(digest_size=32)

    def apply(self, timestamp: int, commands: Iterable[Command] = ()) -> list[Execution]:
        """The next entry, with these commands or for the sake of its time alone."""
        commands = tuple(commands)
        runs = (Run(ORIGIN, self.next_sequence, commands),) if commands else ()
        self.next_sequence += len(commands)
        return self.apply_entry(Entry(timestamp, runs))

    def apply_entry(self, entry: Entry) -> list[Execution]:
        index = self.exchange.log_index + 1
        executions = without_words(self.exchange.apply(index, entry))
        expected = self.naive.apply(index, entry)
        assert executions == expected
        for execution in executions:
            # The encoding tells apart what Python holds to be equal, as 1 and True.
            encoded = encode_events(execution.events)
            assert encoded == encode_events(next(e.events for e in expected if e[:2] == execution[:2]))
            self.digest.update(encoded)
            self._count(execution)
        return executions

    def _count(self, execution: Execution) -> None:
        for event in execution.events:
            self.reached[event.kind.label] += 1
            reason = getattr(event, "reason", None)
            if reason is not None:
                self.reached[f"{event.kind.label}: {reason}"] += 1
            if isinstance(event, OrderEvent | Rejection) and event.duplicate:
                self.reached[f"{event.kind.label}, duplicate"] += 1

    def assert_equal_state(self) -> None:
        exchange, naive = self.exchange, self.naive
        assert exchange.log_index == naive.log_index
        assert exchange.time == naive.time
        assert exchange.next_expiry == naive.next_expiry
        assert list(exchange.instruments.values()) == [book.instrument for book in naive.books.values()]
        assert exchange.statuses == {symbol: book.status for symbol, book in naive.books.items()}
        for symbol, book in naive.books.items():
            assert exchange.level3(symbol) == book.level3()
            assert exchange.depth(symbol) == book.depth()
        assert exchange.orders(open_only=True) == naive.all_orders(open_only=True)
        assert exchange.orders(open_only=False) == naive.all_orders(open_only=False)

    def restore(self) -> None:
        """Goes on with an exchange that was restored from a snapshot of this one."""
        snapshot = self.exchange.to_snapshot()
        self.exchange = Exchange.from_snapshot(snapshot)
        assert self.exchange.to_snapshot() == snapshot


def without_words(executions: Iterable[Execution]) -> list[Execution]:
    """The engine explains its refusals in words; the oracle does not."""
    return [
        execution._replace(
            events=tuple(
                event._replace(detail=None) if isinstance(event, Rejection) else event for event in execution.events
            )
        )
        for execution in executions
    ]
