"""Matching: what an arriving order does to the book, from its arrival to its end or its rest.

The one place where an order trades with the book (auction.py lets a whole book trade with itself). `arrive` runs an
order that is in no book: a new one, one that lost its place by a replace, or an elected stop. The rules are those of
every price-time market (Nasdaq Equity 4, Rule 4757; CME's FIFO):

1. The best price first, and at one price whoever has waited longest.
2. A trade prints at the price of the order that was resting.
3. What cannot trade rests (a limit order that is good for longer than now) or is canceled: `ioc`, `no_liquidity` for a
   market order, and `fok`, which is all or nothing and therefore looks before it trades.

What can stop an order before its quantity or its limit does: an order of its own account (self_trade.py), the
protection of market orders, and the price band, whose breach turns continuous trading into an auction.

A market order never rests while trading, whatever its time in force: `gtc` means the same as `ioc` (Binance spot
reports its market orders as GTC, and they behave so). In an auction nothing trades, and every order waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.limits import band_around, protection_limit
from raftbook.engine.self_trade import available_to, prevent_self_trade
from raftbook.engine.types import (
    MAX_INTEGER,
    OrderStatus,
    Reason,
    SelfTradePrevention,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from raftbook.engine.journal import Journal
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import BookSide, OrderBook, PriceLevel
    from raftbook.engine.registry import OrderRegistry

_AUCTION: Final = TradingStatus.AUCTION
_CANCELED: Final = OrderStatus.CANCELED
_FILLED: Final = OrderStatus.FILLED
_FOK: Final = TimeInForce.FOK
_IOC: Final = TimeInForce.IOC
_IOC_REASON: Final = Reason.IOC
_NO_LIQUIDITY: Final = Reason.NO_LIQUIDITY
_NO_PREVENTION: Final = SelfTradePrevention.NONE
_OPEN: Final = OrderStatus.OPEN


_Reach = tuple[int, int, int]
"""How far an order may trade: the highest rank, and the lowest and the highest price of the price band."""


def arrive(order: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    """Let an order trade with all that it may, and let the remainder rest or cancel it; in an auction let it wait.

    O(1) per trade, plus O(log levels) for each level that goes and for a remainder at a new price; `fok` looks
    ahead first (`_can_fill`).
    """
    if book.status is _AUCTION:
        _gather(order, book, registry, journal)
        return
    makers = book.opposite_of(order.side)
    remainder_reason = _NO_LIQUIDITY if order.price is None else _IOC_REASON
    if makers.best is not None and (order.price is None or makers.reaches(order.price)):
        reach = _reach_of(order, makers, book)
        if order.time_in_force is _FOK and not _can_fill(order, makers, reach):
            _cancel_remainder(order, Reason.FOK, book, registry, journal)
            return
        stopped_by = _trade(order, makers, reach, book, registry, journal)
        if order.leaves_quantity == 0:
            if order.status is _OPEN:
                registry.close(order, _FILLED)
            return
        if stopped_by is Reason.OUT_OF_RANGE:
            _cancel_remainder(order, Reason.OUT_OF_RANGE, book, registry, journal)
            return
        if stopped_by is Reason.VOLATILITY:
            journal.status_changed(book, _AUCTION, Reason.VOLATILITY)
        remainder_reason = stopped_by or remainder_reason
    elif order.time_in_force is _FOK:
        remainder_reason = Reason.FOK
    if order.price is None or order.time_in_force is _IOC or order.time_in_force is _FOK:
        _cancel_remainder(order, remainder_reason, book, registry, journal)
    else:
        _rest(order, book, registry, journal)


def _gather(order: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    """Wait for the uncross."""
    assert order.time_in_force is not _FOK, "a fok is refused in an auction"
    _rest(order, book, registry, journal)
    if order.time_in_force is _IOC and order.price is not None and order.status is _OPEN:
        book.until_uncross[order.order_id] = order


def _rest(order: Order, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    """Wait at its price, if that cannot leave 64 bits: neither its notional, nor what waits at this price together.

    A new order and a replace were refused for it before. A sell can come to it that traded above its limit, and an
    elected stop. O(1), O(log levels) at a new price.
    """
    side = book.side_of(order.side)
    if order.price is not None and (order.notional or order.stop_price is not None):
        level = side.level_at(order.price)
        waiting = 0 if level is None else level.quantity + level.hidden_quantity
        if order.notional_at_most() > MAX_INTEGER or waiting + order.leaves_quantity > MAX_INTEGER:
            _cancel_remainder(order, Reason.OUT_OF_RANGE, book, registry, journal)
            return
    side.add(order)


def _reach_of(taker: Order, makers: BookSide, book: OrderBook) -> _Reach:
    """O(1)."""
    # A market order takes any price. No rank is above MAX_INTEGER, so as a limit it reaches every level.
    limit_rank = MAX_INTEGER if taker.price is None else taker.price * makers.sign
    if not book.limited:
        return limit_rank, 0, MAX_INTEGER
    instrument = book.instrument
    if taker.price is None and instrument.market_protection is not None and makers.best is not None:
        limit_rank = protection_limit(makers.best.price, taker.side, instrument.market_protection) * makers.sign
    if instrument.price_band is None or book.last_price is None:
        return limit_rank, 0, MAX_INTEGER
    return limit_rank, *band_around(book.last_price, instrument.price_band)


def _trade(
    taker: Order, makers: BookSide, reach: _Reach, book: OrderBook, registry: OrderRegistry, journal: Journal
) -> Reason | None:
    """Trade with the first order at the best price until nothing is left, or nothing within reach.

    Answers with what stopped the taker before its quantity and its limit did: `volatility` where the next trade would
    have left the band, `out_of_range` where its notional would have left 64 bits (a maker's never does, see `_rest`),
    or `market_protection`. Self-trade prevention closes the taker itself.
    """
    limit_rank, lowest, highest = reach
    prevents = taker.self_trade_prevention is not _NO_PREVENTION
    while taker.leaves_quantity > 0:
        level = makers.best
        if level is None:
            return None
        if level.rank > limit_rank:
            return Reason.MARKET_PROTECTION if taker.price is None else None
        price = level.price
        maker = level.head
        assert maker is not None, "an empty level stayed in the book"
        if prevents and maker.account == taker.account:
            prevent_self_trade(taker, maker, makers, book, registry, journal)
            if taker.status is not _OPEN:
                return None
            continue
        if not lowest <= price <= highest:
            return Reason.VOLATILITY
        quantity = min(taker.leaves_quantity, maker.leaves_quantity - maker.hidden_quantity)
        if taker.notional + price * quantity > MAX_INTEGER:
            return Reason.OUT_OF_RANGE
        taker.fill(price, quantity)
        maker.fill(price, quantity)
        level.quantity -= quantity
        book.last_price = price
        journal.traded(book, maker, taker, price, quantity)
        after_fill(maker, level, makers, book, registry, journal)
    return None


def after_fill(
    order: Order, level: PriceLevel, side: BookSide, book: OrderBook, registry: OrderRegistry, journal: Journal
) -> None:
    """A waiting order has traded: it ends where nothing is left, and an iceberg shows its next tip."""
    if order.leaves_quantity == 0:
        side.remove(order)
        registry.close(order, _FILLED)
    elif order.leaves_quantity == order.hidden_quantity:
        level.refresh(order)
        journal.restated(book, order, Reason.ICEBERG_REFRESH)


def _can_fill(taker: Order, makers: BookSide, reach: _Reach) -> bool:
    """Would the whole quantity trade now?

    O(levels within reach), with self-trade prevention O(orders within reach); in either case no more than it needs.
    """
    limit_rank, lowest, highest = reach
    prevents = taker.self_trade_prevention is not _NO_PREVENTION
    needed, notional = taker.leaves_quantity, taker.notional
    for rank in makers.ranks:
        level = makers.levels[rank]
        if level.rank > limit_rank:
            return False
        available, ends_here = level.quantity + level.hidden_quantity, False
        if prevents:
            available, ends_here = available_to(taker, level, needed)
        if available and not lowest <= level.price <= highest:
            return False
        notional += level.price * min(needed, available)
        needed -= available
        if needed <= 0:
            return notional <= MAX_INTEGER
        if ends_here:
            return False
    return False


def _cancel_remainder(order: Order, reason: Reason, book: OrderBook, registry: OrderRegistry, journal: Journal) -> None:
    registry.close(order, _CANCELED)
    journal.canceled(book, order, reason)
