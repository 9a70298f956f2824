"""The oracle's matching: how an order trades that arrives, which stops follow, and what an uncross does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from raftbook.engine import EventKind, OrderStatus, Reason, SelfTradePrevention, TimeInForce, TradingStatus
from raftbook.simulation.naive_auction import accepts, auction_of
from raftbook.simulation.naive_book import LARGEST, NOTHING_TOLD, is_inside

if TYPE_CHECKING:
    from raftbook.simulation.naive_book import NaiveBook, NaiveOrder
    from raftbook.simulation.naive_records import NaiveRecords


def arrive(records: NaiveRecords, book: NaiveBook, order: NaiveOrder) -> None:
    """An order that is in no book comes to it: trades, then rests or is canceled; in an auction it joins the others."""
    records.note_arrival(order)
    if book.status is TradingStatus.AUCTION:
        _rest(records, book, order)
    elif order.command.time_in_force is TimeInForce.FOK and _could_trade(book, order) < order.leaves:
        records.cancel(order, Reason.FOK)
    else:
        _take(records, book, order)


def _take(records: NaiveRecords, book: NaiveBook, order: NaiveOrder) -> None:
    last_price = book.last_price
    best_price: int | None = None
    stopped_by: Reason | None = None
    while order.leaves > 0 and stopped_by is None:
        makers = book.makers_for(order)
        if not makers:
            break
        maker = makers[0]
        best_price = maker.limit if best_price is None else best_price
        quantity = min(maker.visible, order.leaves)
        notional = order.notional + quantity * maker.limit
        if _is_protected(book, order, maker.limit, best_price):
            stopped_by = Reason.MARKET_PROTECTION
        elif _is_prevented(maker, order):
            _prevent(records, maker, order)
        elif _is_volatile(book, maker.limit, last_price):
            stopped_by = Reason.VOLATILITY
        elif notional > LARGEST:
            stopped_by = Reason.OUT_OF_RANGE
        else:
            records.trade(maker, order, maker.limit, quantity)
            _after_trade(records, maker)
    if not order.is_live:
        return
    if stopped_by is Reason.VOLATILITY:
        change_status(records, book, TradingStatus.AUCTION, Reason.VOLATILITY)
    if order.leaves == 0:
        records.close(order, OrderStatus.FILLED)
    elif stopped_by is Reason.OUT_OF_RANGE:
        records.cancel(order, Reason.OUT_OF_RANGE)
    elif order.may_rest:
        _rest(records, book, order)
    else:
        records.cancel(order, stopped_by or (Reason.NO_LIQUIDITY if order.price is None else Reason.IOC))


def _could_trade(book: NaiveBook, order: NaiveOrder) -> int:
    """How much of an order would trade: what `_take` does, played with copies of the makers."""
    queue = [replace(maker) for maker in book.makers_for(order)]
    best_price = queue[0].limit if queue else 0
    traded, notional = 0, order.notional
    while queue and traded < order.leaves:
        maker = queue.pop(0)
        if _is_protected(book, order, maker.limit, best_price):
            break
        if _is_prevented(maker, order):
            if order.mode is SelfTradePrevention.CANCEL_OLDEST:
                continue
            break
        quantity = min(maker.visible, order.leaves - traded)
        notional += quantity * maker.limit
        if _is_volatile(book, maker.limit, book.last_price) or notional > LARGEST:
            break
        maker.take(quantity, maker.limit)
        traded += quantity
        if maker.leaves > 0:
            maker.tip = maker.full_tip
            level = [other for other in queue if other.price == maker.price]
            queue.insert(len(level), maker)
    return traded


def _is_protected(book: NaiveBook, taker: NaiveOrder, price: int, best_price: int) -> bool:
    """Whether a market order goes no further than to the price before this one; `best_price` is the first it met."""
    protection = book.instrument.market_protection
    return taker.price is None and protection is not None and not is_inside(price, best_price, protection)


def _is_volatile(book: NaiveBook, price: int, last_price: int | None) -> bool:
    """Whether a trade at this price starts an auction; `last_price` is that of before the taker arrived."""
    band = book.instrument.price_band
    return band is not None and last_price is not None and not is_inside(price, last_price, band)


def _is_prevented(maker: NaiveOrder, taker: NaiveOrder) -> bool:
    return maker.command.account == taker.command.account and taker.mode is not SelfTradePrevention.NONE


def _prevent(records: NaiveRecords, maker: NaiveOrder, taker: NaiveOrder) -> None:
    if taker.mode is SelfTradePrevention.DECREMENT_AND_CANCEL:
        both = min(maker.leaves, taker.leaves)
        _decrement(records, maker, both, taker)
        _decrement(records, taker, both, maker)
        return
    if taker.mode in (SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.CANCEL_BOTH):
        records.cancel(maker, Reason.SELF_TRADE, prevented_by=taker)
    if taker.mode in (SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.CANCEL_BOTH):
        records.cancel(taker, Reason.SELF_TRADE, prevented_by=maker)


def _decrement(records: NaiveRecords, order: NaiveOrder, quantity: int, other: NaiveOrder) -> None:
    if order.leaves == quantity:
        records.cancel(order, Reason.SELF_TRADE, prevented_by=other)
    else:
        order.lower_to(order.quantity - quantity)
        records.order_event(EventKind.ORDER_RESTATED, order, Reason.SELF_TRADE, other)


def _after_trade(records: NaiveRecords, order: NaiveOrder) -> None:
    """A waiting order that has traded is filled, or was paid too much to wait on, or shows its next tip, or stays."""
    if order.leaves == 0:
        records.close(order, OrderStatus.FILLED)
    elif order.largest_notional() > LARGEST:
        records.cancel(order, Reason.OUT_OF_RANGE)
    elif order.tip == 0:
        order.tip = order.full_tip
        records.note_arrival(order)
        records.order_event(EventKind.ORDER_RESTATED, order, Reason.ICEBERG_REFRESH)


def _rest(records: NaiveRecords, book: NaiveBook, order: NaiveOrder) -> None:
    """What cannot rest is canceled: a sell that was paid more than it asked for, a stop that finds too much there."""
    level_is_too_large = order.price is not None and book.level_quantity(order) > LARGEST
    if order.largest_notional() > LARGEST or level_is_too_large:
        records.cancel(order, Reason.OUT_OF_RANGE)
        return
    order.tip = order.full_tip
    book.resting.append(order)


# Stops.


def elect_stops(records: NaiveRecords, book: NaiveBook) -> None:
    """After every command: elected stops run one after the other, and those that their trades elect behind them."""
    elected: list[NaiveOrder] = []
    while book.status in (TradingStatus.TRADING, TradingStatus.AUCTION):
        holding = [stop for stop in book.untriggered if _holds(stop, book.last_price)]
        holding.sort(key=lambda stop: stop.arrival)
        holding.sort(key=lambda stop: -abs((stop.stop_price or 0) - (book.last_price or 0)))
        for stop in holding:
            book.untriggered.remove(stop)
            elected.append(stop)
        if not elected:
            break
        order = elected.pop(0)
        order.status = OrderStatus.OPEN
        records.order_event(EventKind.ORDER_TRIGGERED, order)
        arrive(records, book, order)


def _holds(stop: NaiveOrder, last_price: int | None) -> bool:
    assert stop.stop_price is not None
    if last_price is None:
        return False
    return last_price >= stop.stop_price if stop.buys else last_price <= stop.stop_price


# Auctions.


def change_status(records: NaiveRecords, book: NaiveBook, status: TradingStatus, reason: Reason | None = None) -> None:
    if status is not book.status:
        book.told = NOTHING_TOLD
    book.status = status
    records.instrument_event(EventKind.STATUS_CHANGED, book, reason)


def uncross(records: NaiveRecords, book: NaiveBook) -> None:
    """Whatever can trade at one price does; those that waited for this alone are canceled."""
    auction = auction_of(book)
    if auction.price is None and book.status is TradingStatus.AUCTION:
        records.auction_event(EventKind.AUCTION_UNCROSSED, book, auction)
    while auction.price is not None:
        traded = _trade_at(records, book, auction.price)
        records.auction_event(EventKind.AUCTION_UNCROSSED, book, auction._replace(quantity=min(traded, LARGEST)))
        auction = auction_of(book)
    for order in sorted(book.resting, key=lambda order: order.order_id):
        if order.price is None:
            records.cancel(order, Reason.NO_LIQUIDITY)
        elif order.command.time_in_force is TimeInForce.IOC:
            records.cancel(order, Reason.IOC)


def _trade_at(records: NaiveRecords, book: NaiveBook, price: int) -> int:
    """All that trades at this price, head with head. Returns how much."""
    traded = 0
    while True:
        accepting = sorted((order for order in book.resting if accepts(order, price)), key=_auction_priority)
        buys, sells = [order for order in accepting if order.buys], [order for order in accepting if not order.buys]
        if not buys or not sells:
            return traded
        quantity = min(buys[0].visible, sells[0].visible)
        too_large = [order for order in (buys[0], sells[0]) if order.notional + price * quantity > LARGEST]
        if too_large:
            records.cancel(too_large[0], Reason.OUT_OF_RANGE)
            continue
        maker, taker = sorted((buys[0], sells[0]), key=lambda order: order.order_id)
        records.trade(maker, taker, price, quantity, auction=True)
        _after_trade(records, maker)
        _after_trade(records, taker)
        traded += quantity


def _auction_priority(order: NaiveOrder) -> tuple[int, int]:
    """The lower the earlier: orders without a price, then the higher bid and the lower ask, then the first come."""
    if order.price is None:
        return -LARGEST - 1, order.arrival
    return (-order.price if order.buys else order.price), order.arrival
