"""What one operation costs as the book doubles, from a thousand resting orders to a million."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from statistics import median
from typing import Final

from cli.bench.attack import INSTRUMENT, ORIGIN, SYMBOL
from cli.bench.measurement import BATCH_COMMANDS, Announce, BenchmarkFailedError, Measurement, Scale
from raftbook.engine.commands import CancelOrder, Command, Entry, NewOrder, Run
from raftbook.engine.exchange import Exchange
from raftbook.engine.types import EventKind, Number, OrderType, Side, TimeInForce
from raftbook.node.garbage_collector import tune_garbage_collector

SMALLEST_BOOK: Final = 1_000
OPERATIONS: Final = 1_000
"""Of each kind, for each size."""

SEED: Final = 1
LOWEST_PRICE: Final = 10_000
PRICES: Final = 2**22
STEP: Final = 2_654_435_761
"""Odd, so its multiples come to every one of the PRICES, and scattered as hashes are (Knuth's factor)."""

SHAPES: Final = {"at 500 prices": 500, "each at its price": None}


def count_steps(scale: Scale) -> int:
    return len(SHAPES) * len(_sizes(scale))


def measure_doubling(scale: Scale, announce: Announce) -> list[Measurement]:
    tune_garbage_collector()  # As a node does.
    measured = []
    for shape, prices in SHAPES.items():
        book = _GrowingBook(prices)
        for size in _sizes(scale):
            name = f"{size:,} orders {shape}"
            announce(name)
            book.grow_to(size)
            measured.append(
                Measurement(
                    name,
                    f"The processor's time, the median of {OPERATIONS // BATCH_COMMANDS} entries of {BATCH_COMMANDS} "
                    "commands (so a look of the garbage collector does not count): to add an order anywhere, to cancel "
                    "any order, to ask for the best price, and to trade with the best order to its end; all orders are "
                    "sells, scattered over the prices",
                    book.measure(),
                )
            )
        book.exchange.check()
        # The orders of a queue know each other: reference counts alone would keep the book of before.
        del book
        gc.collect()
    return measured


def _sizes(scale: Scale) -> list[int]:
    """Doubled until it is the largest book, or more."""
    sizes = [SMALLEST_BOOK]
    while sizes[-1] < scale.largest_book:
        sizes.append(2 * sizes[-1])
    return sizes


class _GrowingBook:
    """`resting` holds the numbers of the orders in the book, in no order that matters."""

    def __init__(self, prices: int | None) -> None:
        self.exchange = Exchange()
        self.resting: list[int] = []
        self._prices = prices
        self._numbers = Random(SEED)  # noqa: S311 (repeatable numbers are wanted, not secret ones)
        self._next_number = 0
        self._next_sequence = 1
        self._apply([INSTRUMENT], EventKind.INSTRUMENT_ADDED)

    def grow_to(self, size: int) -> None:
        while len(self.resting) < size:
            self._apply([self._next_order() for _ in range(BATCH_COMMANDS)], EventKind.ORDER_ACCEPTED)

    def _next_order(self) -> NewOrder:
        number = self._next_number
        self._next_number += 1
        self.resting.append(number)
        place = number * STEP % PRICES
        return _sell(f"order-{number}", LOWEST_PRICE + (place if self._prices is None else place % self._prices))

    def measure(self) -> dict[str, float]:
        """Leaves as many orders as it found."""
        size = len(self.resting)
        canceled = []
        for _ in range(OPERATIONS):
            # The last takes the place of the one that goes, so that drawing costs the same at every size.
            position = self._numbers.randrange(len(self.resting))
            self.resting[position], last = self.resting[-1], self.resting[position]
            self.resting.pop()
            canceled.append(CancelOrder("maker", None, f"order-{last}"))
        cancel_s = self._apply(canceled, EventKind.ORDER_CANCELED)
        add_s = self._apply([self._next_order() for _ in range(OPERATIONS)], EventKind.ORDER_ACCEPTED)
        # In front of all others, one at a price, and taken at once.
        front = [_sell(f"front-{size}-{number}", 1 + number) for number in range(OPERATIONS)]
        self._apply(front, EventKind.ORDER_ACCEPTED)
        trade_s = self._apply([_taker(f"taker-{size}-{number}") for number in range(OPERATIONS)], EventKind.TRADE)
        began_s = time.thread_time()
        for _ in range(OPERATIONS):
            self.exchange.depth(SYMBOL, 1)
        best_s = (time.thread_time() - began_s) / OPERATIONS
        if len(self.resting) != size:
            raise BenchmarkFailedError(f"{len(self.resting)} orders rest where {size} should")
        timed = {"add_cpu_us": add_s, "cancel_cpu_us": cancel_s, "best_cpu_us": best_s, "trade_cpu_us": trade_s}
        return {"orders": size, **{name: round(1e6 * each_s, 2) for name, each_s in timed.items()}}

    def _apply(self, commands: Sequence[Command], expected: EventKind) -> float:
        """Returns the processor's seconds for one command; each must lead to an event of the expected kind."""
        results, times_s = [], []
        for index, entry in list(self._entries(commands)):
            began_s = time.thread_time()
            results.append(self.exchange.apply(index, entry))
            times_s.append((time.thread_time() - began_s) / sum(len(run.commands) for run in entry.runs))
        seen = [event.kind for executions in results for execution in executions for event in execution.events]
        if seen.count(expected) != len(commands):
            raise BenchmarkFailedError(f"{seen.count(expected)} of {len(commands)} commands led to {expected.label}")
        return median(times_s)

    def _entries(self, commands: Sequence[Command]) -> Iterator[tuple[int, Entry]]:
        rest = iter(commands)
        index = self.exchange.log_index
        while batch := tuple(islice(rest, BATCH_COMMANDS)):
            index += 1
            yield index, Entry(index, (Run(ORIGIN, self._next_sequence, batch),))
            self._next_sequence += len(batch)


def _sell(client_order_id: str, price: int) -> NewOrder:
    return NewOrder(
        SYMBOL,
        "maker",
        client_order_id,
        Side.SELL,
        OrderType.LIMIT,
        TimeInForce.GTC,
        Number(price, 0),
        Number(1, 0),
    )


def _taker(client_order_id: str) -> NewOrder:
    order = _sell(client_order_id, 1)._replace(account="taker", side=Side.BUY)
    return order._replace(order_type=OrderType.MARKET, price=None, time_in_force=TimeInForce.IOC)
