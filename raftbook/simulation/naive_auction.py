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
    them all, every price is as good as its neighbour. So these prices, the ticks on both sides of each, the lowest and
    the highest price that there are, and the last trade's, are the first and the last of every range of equally good
    prices, and the one that is nearest.
    """
    orders, tick, last_price = book.resting, book.instrument.tick_size, book.last_price
    lowest, highest = tick, LARGEST - LARGEST % tick
    limits = [order.price for order in orders if order.price is not None]
    prices = {price for limit in limits for price in (limit - tick, limit, limit + tick)}
    prices |= {lowest, highest} if last_price is None else {lowest, highest, last_price}
    grades = {price: _grade(orders, price) for price in prices if lowest <= price <= highest}
    best = max(grades.values())
    if best[0] == 0:
        return NOTHING_TOLD
    price = _choose(book, [price for price, grade in grades.items() if grade == best], lowest, highest)
    if price is None:
        return NOTHING_TOLD
    demand, supply = _demand_and_supply(orders, price)
    side = None if demand == supply else Side.BUY if demand > supply else Side.SELL
    return Told(price, min(demand, supply, LARGEST), min(abs(demand - supply), LARGEST), side)


def _choose(book: NaiveBook, prices: list[int], lowest: int, highest: int) -> int | None:
    """One of the equally good prices of one range, whose first and last are among them.

    `lowest` and `highest` are the first and the last price there are at all: no end of a range.
    """
    last_price, tick = book.last_price, book.instrument.tick_size
    if last_price is not None:
        return min(prices, key=lambda price: abs(price - last_price))
    if lowest in prices and highest in prices:
        if any(not order.buys and order.price == lowest for order in book.resting):
            return lowest
        if any(order.buys and order.price == highest for order in book.resting):
            return highest
        return None
    if lowest in prices:
        return max(prices)
    if highest in prices:
        return min(prices)
    middle = (min(prices) + max(prices)) // 2
    return middle - middle % tick


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
