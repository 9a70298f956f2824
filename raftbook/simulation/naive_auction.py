"""The oracle's auction price: every price that could be the best one is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine import Side
from raftbook.simulation.naive_book import LARGEST, NOTHING_TOLD, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.simulation.naive_book import NaiveBook, NaiveOrder


def auction_of(book: NaiveBook) -> Told:
    """What an uncross would do now.

    What trades at a price can only change at the orders' own prices. Between two of these, below them all and above
    them all, every price is as good as its neighbour. So these prices, the ticks on both sides of each, and the last
    trade's are the first and the last of every range of equally good prices, and the one that is nearest.
    """
    orders, tick = book.resting, book.instrument.tick_size
    limits = [order.price for order in orders if order.price is not None]
    prices = {price for limit in limits for price in (limit - tick, limit, limit + tick) if price > 0}
    if book.last_price is not None:
        prices.add(book.last_price)
    if not prices:
        return NOTHING_TOLD
    grades = {price: _grade(orders, price) for price in prices}
    best = max(grades.values())
    if best[0] == 0:
        return NOTHING_TOLD
    equally_good = [price for price, grade in grades.items() if grade == best]
    if book.last_price is not None:
        price = _nearest(equally_good, book.last_price)
    else:
        # The price below all orders' may be none, but it shows whether the range would go on there for ever.
        endless_below = _grade(orders, min(limits) - tick) == best
        endless_above = _grade(orders, max(limits) + tick) == best
        if endless_below and endless_above:
            return NOTHING_TOLD
        price = _middle(equally_good, tick, endless_below=endless_below, endless_above=endless_above)
    demand, supply = _demand_and_supply(orders, price)
    side = None if demand == supply else Side.BUY if demand > supply else Side.SELL
    return Told(price, min(demand, supply, LARGEST), min(abs(demand - supply), LARGEST), side)


def _grade(orders: Sequence[NaiveOrder], price: int) -> tuple[int, int]:
    """The larger the better: first what can trade, then the imbalance that is left, which is better small."""
    demand, supply = _demand_and_supply(orders, price)
    return min(demand, supply), -abs(demand - supply)


def _demand_and_supply(orders: Sequence[NaiveOrder], price: int) -> tuple[int, int]:
    """What would be bought and sold at this price, were there enough of the other side."""
    accepting = [order for order in orders if accepts(order, price)]
    demand = sum(order.leaves for order in accepting if order.buys)
    return demand, sum(order.leaves for order in accepting if not order.buys)


def accepts(order: NaiveOrder, price: int) -> bool:
    """Whether the order would trade at this price; one without a price trades at any."""
    if order.price is None:
        return True
    return order.price >= price if order.buys else order.price <= price


def _nearest(prices: Sequence[int], last_price: int) -> int:
    return min(prices, key=lambda price: abs(price - last_price))


def _middle(prices: Sequence[int], tick: int, *, endless_below: bool, endless_above: bool) -> int:
    """Of the range of these prices: its middle, or the end that it has."""
    if endless_below:
        return max(prices)
    if endless_above:
        return min(prices)
    middle = (min(prices) + max(prices)) // 2
    return middle - middle % tick
