"""Matching: what an incoming order does to the book, from its arrival to its end or its rest.

The one place where orders trade. `execute` runs an order that is in no book: a new one, or one that lost its
place by a replace. The rules are those of every price-time market (Nasdaq Equity 4, Rule 4757; CME's FIFO):

1. The best price first, and at one price whoever has waited longest.
2. A trade prints at the price of the order that was resting.
3. What cannot trade rests (`gtc` limit) or is canceled: `ioc`, `no_liquidity` for a market order, and
   `fok`, which is all or nothing and therefore looks before it trades.

A market order never rests, whatever its time in force: `gtc`, which is what a client gets who names none,
means the same as `ioc` (Binance spot reports its market orders as GTC, and they behave so).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.types import MAX_INTEGER, OrderStatus, OrderType, Reason, TimeInForce

if TYPE_CHECKING:
    from raftbook.engine.journal import Journal
    from raftbook.engine.order_book import BookSide, Order, OrderBook
    from raftbook.engine.registry import OrderRegistry

_FILLED: Final = OrderStatus.FILLED
_FOK: Final = TimeInForce.FOK
_GTC: Final = TimeInForce.GTC
_LIMIT: Final = OrderType.LIMIT


def execute(taker: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    """Let an order trade with all that it may, and let the remainder rest or cancel it.

    O(1) per trade, plus O(log levels) for each level that goes and for a remainder at a new price.
    """
    makers = book.opposite_of(taker.side)
    # A market order takes any price. No rank is above MAX_INTEGER, so as a limit it reaches every level.
    limit_rank = MAX_INTEGER if taker.price is None else taker.price * makers.sign

    if taker.time_in_force is _FOK and not _can_fill(makers, limit_rank, taker.leaves_quantity):
        _cancel_remainder(taker, Reason.FOK, book, registry, journal)
        return

    _trade(taker, makers, limit_rank, book, registry, journal)

    if taker.leaves_quantity == 0:
        registry.close(taker, _FILLED)
    elif taker.order_type is not _LIMIT:
        _cancel_remainder(taker, Reason.NO_LIQUIDITY, book, registry, journal)
    elif taker.time_in_force is _GTC:
        book.side_of(taker.side).add(taker)
    else:
        _cancel_remainder(taker, Reason.IOC, book, registry, journal)


def _trade(
    taker: Order, makers: BookSide, limit_rank: int, book: OrderBook, registry: OrderRegistry, journal: Journal
) -> None:
    """Trade with the first order at the best price until nothing is left, or nothing within the limit."""
    while taker.leaves_quantity > 0:
        level = makers.best
        if level is None or level.rank > limit_rank:
            return
        maker = level.head
        assert maker is not None, "an empty level stayed in the book"
        price = level.price
        quantity = min(taker.leaves_quantity, maker.leaves_quantity)
        taker.fill(price, quantity)
        maker.fill(price, quantity)
        level.quantity -= quantity
        journal.traded(book, maker, taker, price, quantity)
        if maker.leaves_quantity == 0:
            makers.remove(maker)
            registry.close(maker, _FILLED)


def _can_fill(makers: BookSide, limit_rank: int, quantity: int) -> bool:
    """Is there enough within the limit to trade the whole quantity? O(levels needed)."""
    for level in makers.levels.values():
        if level.rank > limit_rank:
            return False
        quantity -= level.quantity
        if quantity <= 0:
            return True
    return False


def _cancel_remainder(taker: Order, reason: Reason, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    registry.close(taker, OrderStatus.CANCELED)
    journal.canceled(book, taker, reason)
