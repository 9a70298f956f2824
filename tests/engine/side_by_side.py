"""The engine and its oracle side by side: every entry goes to both, and whatever they say or hold must be the same."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import zip_longest
from typing import TYPE_CHECKING

from msgspec.structs import replace

from raftbook.codec import encode_events
from raftbook.engine import Entry, Exchange, OrderEvent, Rejection, Run
from raftbook.engine.types import MOST_KEYS
from raftbook.simulation.naive_exchange import NaiveExchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from raftbook.engine import Command, Event, Execution

ORIGIN = "n1.1"


class SideBySide:
    """`reached` counts the events by kind and by reason, so that a test knows what it has seen."""

    def __init__(self, closed_orders_kept: int, most_keys: int = MOST_KEYS) -> None:
        self.exchange = Exchange(closed_orders_kept=closed_orders_kept, most_keys=most_keys)
        self.naive = NaiveExchange(closed_orders_kept, most_keys)
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
        assert executions == expected, difference(executions, expected)
        # The encoding tells apart what Python holds to be equal, as 1 and True.
        encoded = encode_events(_events(executions))
        assert encoded == encode_events(_events(expected)), "the same events are encoded otherwise"
        self.digest.update(encoded)
        self._count(executions)
        return executions

    def _count(self, executions: Iterable[Execution]) -> None:
        for event in _events(executions):
            self.reached[event.kind.label] += 1
            reason = getattr(event, "reason", None)
            if reason is not None:
                self.reached[f"{event.kind.label}: {reason}"] += 1
            if isinstance(event, OrderEvent | Rejection) and event.duplicate:
                self.reached[f"{event.kind.label}, duplicate"] += 1

    def assert_equal_state(self) -> None:
        exchange, naive = self.exchange, self.naive
        books = naive.books
        _assert_equal("log index", exchange.log_index, naive.log_index)
        _assert_equal("time", exchange.time, naive.time)
        _assert_equal("next expiry", exchange.next_expiry, naive.next_expiry)
        _assert_equal("instruments", [*exchange.instruments.values()], [book.instrument for book in books.values()])
        _assert_equal("statuses", exchange.statuses, {symbol: book.status for symbol, book in books.items()})
        for symbol, book in books.items():
            _assert_equal(f"book of {symbol}", exchange.level3(symbol), book.level3())
            _assert_equal(f"depth of {symbol}", exchange.depth(symbol), book.depth())
        _assert_equal("open orders", exchange.orders(open_only=True), naive.all_orders(open_only=True))
        _assert_equal("API keys", [*exchange.api_keys.records.values()], naive.keys.keys)
        _assert_equal("orders", exchange.orders(open_only=False), naive.all_orders(open_only=False))

    def restore(self) -> None:
        """Goes on with an exchange that was restored from a snapshot of this one."""
        snapshot = self.exchange.to_snapshot()
        self.exchange = Exchange.from_snapshot(snapshot)
        _assert_equal("snapshot of the restored exchange", self.exchange.to_snapshot(), snapshot)


def without_words(executions: Iterable[Execution]) -> list[Execution]:
    """The engine explains its refusals in words; the oracle does not."""
    return [
        replace(
            execution,
            events=tuple(
                replace(event, detail=None) if isinstance(event, Rejection) else event for event in execution.events
            ),
        )
        for execution in executions
    ]


def difference(executions: Sequence[Execution], expected: Sequence[Execution]) -> str:
    """The first event, or execution, that the engine and the oracle do not agree on."""
    for kind, engines, oracles in (
        ("event", _events(executions), _events(expected)),
        ("execution", executions, expected),
    ):
        for number, (engine, oracle) in enumerate(zip_longest(engines, oracles)):
            if engine != oracle:
                return f"{kind} {number} differs\nengine: {engine}\noracle: {oracle}"
    return "no difference"


def _events(executions: Iterable[Execution]) -> list[Event]:
    return [event for execution in executions for event in execution.events]


def _assert_equal(what: str, engine: object, oracle: object) -> None:
    assert engine == oracle, f"{what} differs\nengine: {engine}\noracle: {oracle}"
