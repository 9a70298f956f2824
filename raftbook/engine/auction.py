"""Call auctions: at which one price would the gathered orders trade, and the trades at it.

The price is chosen as in the Nasdaq crosses (Equity 4, Rule 4752(d)(2)(A), (B) and (D), with the last trade in place of
the midpoint): the most can trade at it; of those prices the imbalance is least; of those it is nearest the last
trade. Every multiple of the tick is a candidate.

D(p) is what would buy at p: the market buys and the bids of p or more. S(p) is what would sell: the market sells and
the asks of p or less. As p rises, D falls and S rises, in steps. So the best prices are one range, where the steps
cross, and to find it takes a walk from both best ends inwards, over the levels that trade and one more on each side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from raftbook.engine.events import NO_INDICATION, Indication
from raftbook.engine.matching import after_fill
from raftbook.engine.types import MAX_INTEGER, OrderStatus, Reason, Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftbook.engine.journal import Journal
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import BookSide, OrderBook
    from raftbook.engine.registry import OrderRegistry


class _Clearing(NamedTuple):
    """A price, and what would buy and sell at it."""

    price: int
    demand: int
    supply: int


def indication(book: OrderBook) -> Indication:
    """What an uncross would do now. O(levels that would trade)."""
    clearing = _clearing(book)
    if clearing is None:
        return NO_INDICATION
    price, demand, supply = clearing
    side = None if demand == supply else Side.BUY if demand > supply else Side.SELL
    traded, imbalance = min(demand, supply), abs(demand - supply)
    return Indication(price, min(traded, MAX_INTEGER), min(imbalance, MAX_INTEGER), side)


def uncross(book: OrderBook, registry: OrderRegistry, journal: Journal, *, tells_nothing_traded: bool) -> None:
    """Trade until nothing crosses any more, then cancel what could only wait for this.

    One round does it, unless an order had to be canceled for its range. O(orders that trade), and O(log levels) for
    each level that goes.
    """
    outcome = indication(book)
    if outcome.price is None and tells_nothing_traded:
        journal.uncrossed(book, NO_INDICATION)
    while outcome.price is not None:
        traded = _trade_at(outcome.price, book, registry, journal)
        journal.uncrossed(book, outcome._replace(quantity=min(traded, MAX_INTEGER)))
        outcome = indication(book)
    left_over = [*book.bids.unpriced, *book.asks.unpriced, *book.until_uncross.values()]
    for order in sorted(left_over, key=lambda order: order.order_id):
        book.withdraw(order)
        registry.close(order, OrderStatus.CANCELED)
        journal.canceled(book, order, Reason.NO_LIQUIDITY if order.price is None else Reason.IOC)


def _trade_at(price: int, book: OrderBook, registry: OrderRegistry, journal: Journal) -> int:
    """Head with head until one side has nobody left who accepts the price. Returns the quantity traded."""
    total = 0
    while True:
        buy, sell = _first(book.bids, price), _first(book.asks, price)
        if buy is None or sell is None:
            return total
        quantity = min(buy.leaves_quantity - buy.hidden_quantity, sell.leaves_quantity - sell.hidden_quantity)
        unfit: Order | None = next(
            (order for order in (buy, sell) if order.notional + price * quantity > MAX_INTEGER), None
        )
        if unfit is not None:
            _cancel_out_of_range(unfit, book, registry, journal)
            continue
        maker, taker = (buy, sell) if buy.order_id < sell.order_id else (sell, buy)
        for order in (maker, taker):
            assert order.level is not None
            order.fill(price, quantity)
            order.level.quantity -= quantity
        book.last_price = price
        journal.traded(book, maker, taker, price, quantity, auction=True)
        for order in (maker, taker):
            assert order.level is not None
            if order.leaves_quantity and order.price is not None and order.notional_at_most() > MAX_INTEGER:
                # A sell that was paid more than it asked for; no trade to come may find that it is too much.
                _cancel_out_of_range(order, book, registry, journal)
                continue
            after_fill(order, order.level, book.side_of(order.side), book, registry, journal)
            if order.leaves_quantity == 0:
                book.until_uncross.pop(order.order_id, None)
        total += quantity


def _cancel_out_of_range(order: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    book.withdraw(order)
    registry.close(order, OrderStatus.CANCELED)
    journal.canceled(book, order, Reason.OUT_OF_RANGE)


def _first(side: BookSide, price: int) -> Order | None:
    """The first order of the side that accepts this price."""
    if side.unpriced.head is not None:
        return side.unpriced.head
    return side.best.head if side.best is not None and side.best.rank <= price * side.sign else None


class _Walk:
    """A side of the book from its best end inwards: the step that was taken last, and the one behind it.

    A step is all that waits at one price. `quantity` sums the steps taken. Those without a price stand at `farthest`,
    the last price that this side could come to; `end` is the price of a step that there is not.
    """

    __slots__ = ("_steps", "next_price", "next_quantity", "price", "quantity")

    def __init__(self, side: BookSide, *, farthest: int, end: int) -> None:
        self._steps = _steps(side, farthest, end)
        self.price = end
        self.quantity = 0
        self.next_price, self.next_quantity = next(self._steps)

    def take(self) -> None:
        self.price = self.next_price
        self.quantity += self.next_quantity
        self.next_price, self.next_quantity = next(self._steps)


def _steps(side: BookSide, farthest: int, end: int) -> Iterator[tuple[int, int]]:
    levels = side.best_levels()
    if side.unpriced.head is not None:
        quantity = side.unpriced.quantity
        level = side.best
        if level is not None and level.price == farthest:
            quantity += level.quantity + level.hidden_quantity
            next(levels)
        yield farthest, quantity
    for level in levels:
        yield level.price, level.quantity + level.hidden_quantity
    yield end, 0


def _clearing(book: OrderBook) -> _Clearing | None:
    """The best price, None where nothing can trade, or nothing says at which price."""
    tick = book.instrument.tick_size
    highest_price = MAX_INTEGER // tick * tick
    demand = _Walk(book.bids, farthest=highest_price, end=0)
    supply = _Walk(book.asks, farthest=tick, end=highest_price + tick)
    if demand.next_price < supply.next_price:
        return None
    demand.take()
    supply.take()
    while True:
        # Whoever has less takes one more step, as long as that one can trade; so what can trade grows until it is most.
        if demand.quantity < supply.quantity and demand.next_price >= supply.price:
            demand.take()
        elif supply.quantity < demand.quantity and supply.next_price <= demand.price:
            supply.take()
        elif demand.quantity == supply.quantity and demand.next_price >= supply.next_price:
            demand.take()
            supply.take()
        else:
            break
    bought, sold = demand.quantity, supply.quantity
    # Below the one and above the other price, D or S is another: at these two and between, all is as it is now.
    lowest = max(supply.price, demand.next_price + tick)
    highest = min(demand.price, supply.next_price - tick)
    if lowest <= highest:
        price = _choose(lowest, highest, book)
        return None if price is None else _Clearing(price, bought, sold)

    # As much is bought as sold, but the next bid and the next ask stand a tick apart: every price has one of them.
    highest_with_bid, lowest_with_ask = highest, lowest
    lowest, highest = supply.price, demand.price
    with_bid, with_ask = demand.next_quantity, supply.next_quantity
    demand.take()
    supply.take()
    lowest = max(lowest, demand.next_price + tick) if with_bid <= with_ask else lowest_with_ask
    highest = min(highest, supply.next_price - tick) if with_ask <= with_bid else highest_with_bid
    price = _choose(lowest, highest, book)
    if price is None:
        return None
    if price <= highest_with_bid:
        return _Clearing(price, demand.quantity, sold)
    return _Clearing(price, bought, supply.quantity)


def _choose(lowest: int, highest: int, book: OrderBook) -> int | None:
    """Of the prices in this range, multiples of the tick, the one to trade at."""
    if book.last_price is not None:
        return min(max(book.last_price, lowest), highest)
    tick = book.instrument.tick_size
    has_low_end, has_high_end = lowest > tick, highest < MAX_INTEGER // tick * tick
    if has_low_end and has_high_end:
        return lowest + (highest - lowest) // tick // 2 * tick
    if has_low_end or has_high_end:
        return lowest if has_low_end else highest
    # Every price is as good as any. An order may name one all the same, the last that it would ever come to.
    if book.asks.best is not None and book.asks.best.price == lowest:
        return lowest
    return highest if book.bids.best is not None and book.bids.best.price == highest else None
