"""Triggers: stop orders, from the moment they wait to the moment they run.

A stop watches the last trade price. When a command is finished, whatever condition holds elects its stop: the one that
the price has passed furthest first, then by arrival. The elected run in turn, each to its end, as if they had just
arrived; what their trades elect joins the queue behind them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from raftbook.engine.matching import arrive
from raftbook.engine.types import OrderStatus, TradingStatus

if TYPE_CHECKING:
    from raftbook.engine.journal import Journal
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import Ladder, OrderBook
    from raftbook.engine.registry import OrderRegistry

_ELECTING: Final = (TradingStatus.TRADING, TradingStatus.AUCTION)


def await_trigger(stop: Order, book: OrderBook) -> None:
    """Let a stop wait for its price, behind those that wait for the same. O(log stop prices)."""
    assert stop.stop_price is not None, "only stops wait for a price"
    book.last_arrival += 1
    stop.arrival = book.last_arrival
    book.stops_of(stop.side).add_at(stop.stop_price, stop)


def run_elected_stops(book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    """Elect the stops whose condition holds and run them, until no condition holds.

    O(1) where none does, else O(log stop prices) per elected stop and what it costs as an arriving order.
    """
    if book.buy_stops.best is None and book.sell_stops.best is None:
        return
    if book.status not in _ELECTING:
        return
    queue = deque(_take_elected(book))
    while queue:
        _run(queue.popleft(), book, registry, journal)
        queue += _take_elected(book)


def _take_elected(book: OrderBook) -> list[Order]:
    """The stops whose condition holds, in the order in which they run; they wait no more."""
    last_price = book.last_price
    if last_price is None:
        return []
    buys, sells = _take_reached(book.buy_stops, last_price), _take_reached(book.sell_stops, last_price)
    if buys and sells:
        # Only the first trade, or the end of a halt, can elect both at once: apart from that only one side is ahead.
        return sorted(buys + sells, key=lambda stop: (-_distance(stop, last_price), stop.arrival))
    return buys or sells


def _distance(stop: Order, last_price: int) -> int:
    """How far the last trade has passed the stop price."""
    assert stop.stop_price is not None, "only stops are elected"
    return abs(last_price - stop.stop_price)


def _take_reached(stops: Ladder, last_price: int) -> list[Order]:
    """Those of one side: the lowest rank is the stop price that the last trade has passed furthest."""
    reached: list[Order] = []
    last_rank = last_price * stops.sign
    while stops.best is not None and stops.best.rank <= last_rank:
        stop = stops.best.head
        assert stop is not None, "an empty level stayed among the stops"
        stops.remove(stop)
        reached.append(stop)
    return reached


def _run(stop: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    stop.status = OrderStatus.OPEN
    journal.triggered(book, stop)
    arrive(stop, book, registry, journal)
