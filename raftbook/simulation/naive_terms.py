"""The oracle's judgement: what a new or replaced order says in the instrument's units, and why it is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from raftbook.engine import (
    AddInstrument,
    Instrument,
    NewOrder,
    Number,
    OrderStatus,
    OrderType,
    Reason,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
    TradingStatus,
)
from raftbook.simulation.naive_book import (
    LARGEST,
    LASTING,
    STOPS,
    WITH_PRICE,
    NaiveBook,
    NaiveOrder,
    exact_units,
    is_inside,
)

MOST_TIPS: Final = 100
NS_PER_DAY: Final = 24 * 60 * 60 * 10**9


class RefusedError(Exception):
    """Why a command is refused; `duplicate` where it is the copy of one that was refused before."""

    def __init__(self, reason: Reason, *, duplicate: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.duplicate = duplicate


def refuse_unless(condition: bool, reason: Reason) -> None:
    if not condition:
        raise RefusedError(reason)


def refuse_unless_open(book: NaiveBook) -> None:
    refuse_unless(book.status is not TradingStatus.HALTED, Reason.INSTRUMENT_HALTED)
    refuse_unless(book.status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)


# New orders.


def judge_new_order(book: NaiveBook, command: NewOrder, order_id: int, time: int) -> NaiveOrder:
    """The order that the command places, or RefusedError with the first reason against it."""
    refuse_unless_open(book)
    if book.status is TradingStatus.AUCTION and command.order_type not in STOPS:
        for_now_only = command.time_in_force is TimeInForce.FOK or command.post_only
        refuse_unless(not for_now_only, Reason.INSTRUMENT_IN_AUCTION)
    _refuse_bad_shape(command)
    expire_time = _expire_time(command, time)
    refuse_unless(expire_time is None or expire_time > time, Reason.EXPIRED)
    instrument = book.instrument
    stop = command.order_type in STOPS
    order = NaiveOrder(
        order_id,
        command,
        mode=command.self_trade_prevention or instrument.self_trade_prevention,
        price=_price_in_units(instrument, command.price),
        stop_price=_price_in_units(instrument, command.stop_price),
        quantity=_quantity_in_units(instrument, command.quantity),
        display_quantity=None,
        expire_time=expire_time,
        status=OrderStatus.UNTRIGGERED if stop else OrderStatus.OPEN,
    )
    if command.display_quantity is not None:
        order.display_quantity = _quantity_in_units(instrument, command.display_quantity)
    refuse_unless(order.display_quantity is None or order.display_quantity < order.quantity, Reason.INVALID_ORDER)
    _refuse_small_tip(order)
    may_wait = stop or order.may_rest or book.status is TradingStatus.AUCTION
    _refuse_out_of_range(book, order, has_level=may_wait and not stop)
    _refuse_beyond_limits(instrument, order)
    if order.command.order_type is OrderType.LIMIT:
        _refuse_outside_band(book, order)
    if may_wait and instrument.max_open_orders is not None:
        waiting = [other for other in book.resting + book.untriggered if other.command.account == command.account]
        refuse_unless(len(waiting) < instrument.max_open_orders, Reason.TOO_MANY_OPEN_ORDERS)
    refuse_unless(not command.post_only or not book.makers_for(order), Reason.POST_ONLY_WOULD_TRADE)
    return order


def _refuse_bad_shape(command: NewOrder) -> None:
    for number in (command.price, command.quantity, command.stop_price, command.display_quantity):
        refuse_unless(number is None or number.mantissa > 0, Reason.INVALID_ORDER)
    has_price, stop = command.order_type in WITH_PRICE, command.order_type in STOPS
    lasts = command.time_in_force in LASTING
    refuse_unless((command.price is not None) == has_price, Reason.INVALID_ORDER)
    refuse_unless((command.stop_price is not None) == stop, Reason.INVALID_ORDER)
    refuse_unless(not stop or command.time_in_force is not TimeInForce.FOK, Reason.INVALID_ORDER)
    refuse_unless((command.expire_time is not None) == (command.time_in_force is TimeInForce.GTD), Reason.INVALID_ORDER)
    if command.post_only:
        refuse_unless(command.order_type is OrderType.LIMIT and lasts, Reason.INVALID_ORDER)
    if command.display_quantity is not None:
        refuse_unless(has_price and lasts, Reason.INVALID_ORDER)


def _expire_time(command: NewOrder, time: int) -> int | None:
    if command.time_in_force is TimeInForce.DAY:
        return min((time // NS_PER_DAY + 1) * NS_PER_DAY, LARGEST)
    return command.expire_time


# Replaced orders.


def judge_replaced_order(book: NaiveBook, order: NaiveOrder, command: ReplaceOrder, time: int) -> NaiveOrder:
    """A copy of the order as it would be, in no book, or RefusedError. The copy may have nothing left to trade."""
    refuse_unless_open(book)
    _refuse_bad_changes(order, command)
    refuse_unless(command.expire_time is None or command.expire_time > time, Reason.EXPIRED)
    instrument = book.instrument
    copy = replace(order, tip=None)
    if command.price is not None:
        copy.price = _price_in_units(instrument, command.price)
    if command.stop_price is not None:
        copy.stop_price = _price_in_units(instrument, command.stop_price)
    if command.quantity is not None:
        copy.quantity = _quantity_in_units(instrument, command.quantity)
    if command.display_quantity is not None:
        copy.display_quantity = _quantity_in_units(instrument, command.display_quantity) or None
    if command.expire_time is not None:
        copy.expire_time = command.expire_time
    if copy.quantity <= order.filled:
        return copy
    if command.display_quantity is not None and copy.display_quantity is not None:
        refuse_unless(copy.display_quantity < copy.quantity, Reason.INVALID_ORDER)
    _refuse_small_tip(copy)
    _refuse_out_of_range(book, copy, has_level=order.status is OrderStatus.OPEN)
    _refuse_beyond_limits(instrument, copy)
    if copy.price != order.price and order.status is OrderStatus.OPEN:
        _refuse_outside_band(book, copy)
    if order.command.post_only and book.status is TradingStatus.TRADING:
        refuse_unless(not book.makers_for(copy), Reason.POST_ONLY_WOULD_TRADE)
    return copy


def _refuse_bad_changes(order: NaiveOrder, command: ReplaceOrder) -> None:
    changes = (command.price, command.quantity, command.stop_price, command.display_quantity, command.expire_time)
    refuse_unless(changes != (None, None, None, None, None), Reason.INVALID_ORDER)
    for price in (command.price, command.stop_price):
        refuse_unless(price is None or price.mantissa > 0, Reason.INVALID_ORDER)
    for quantity in (command.quantity, command.display_quantity):
        refuse_unless(quantity is None or quantity.mantissa >= 0, Reason.INVALID_ORDER)
    if command.price is not None:
        refuse_unless(order.command.order_type in WITH_PRICE, Reason.INVALID_ORDER)
    if command.stop_price is not None:
        refuse_unless(order.status is OrderStatus.UNTRIGGERED, Reason.INVALID_ORDER)
    if command.display_quantity is not None:
        refuse_unless(order.may_rest, Reason.INVALID_ORDER)
    if command.expire_time is not None:
        refuse_unless(order.command.time_in_force is TimeInForce.GTD, Reason.INVALID_ORDER)


# What holds for both.


def _price_in_units(instrument: Instrument, number: Number | None) -> int | None:
    if number is None:
        return None
    price = exact_units(number, instrument.price_decimals)
    if price is None:
        raise RefusedError(Reason.PRICE_TOO_PRECISE)
    refuse_unless(price % instrument.tick_size == 0, Reason.PRICE_NOT_ON_TICK)
    refuse_unless(price <= LARGEST, Reason.OUT_OF_RANGE)
    return price


def _quantity_in_units(instrument: Instrument, number: Number) -> int:
    quantity = exact_units(number, instrument.quantity_decimals)
    if quantity is None:
        raise RefusedError(Reason.QUANTITY_TOO_PRECISE)
    refuse_unless(quantity % instrument.lot_size == 0, Reason.QUANTITY_NOT_ON_LOT)
    refuse_unless(quantity <= LARGEST, Reason.OUT_OF_RANGE)
    return quantity


def _refuse_small_tip(order: NaiveOrder) -> None:
    if order.display_quantity is not None:
        refuse_unless(order.quantity <= MOST_TIPS * order.display_quantity, Reason.DISPLAY_QUANTITY_TOO_SMALL)


def _refuse_out_of_range(book: NaiveBook, order: NaiveOrder, *, has_level: bool) -> None:
    refuse_unless(order.largest_notional() <= LARGEST, Reason.OUT_OF_RANGE)
    if has_level and order.price is not None:
        refuse_unless(book.level_quantity(order) <= LARGEST, Reason.OUT_OF_RANGE)


def _refuse_beyond_limits(instrument: Instrument, order: NaiveOrder) -> None:
    """The limits in the order of the table, without those that need more than the order."""
    quantity = order.quantity
    refuse_unless(instrument.min_quantity is None or quantity >= instrument.min_quantity, Reason.QUANTITY_TOO_SMALL)
    refuse_unless(instrument.max_quantity is None or quantity <= instrument.max_quantity, Reason.QUANTITY_TOO_LARGE)
    if order.price is not None and instrument.min_notional is not None:
        refuse_unless(order.price * quantity >= instrument.min_notional, Reason.NOTIONAL_TOO_SMALL)


def _refuse_outside_band(book: NaiveBook, order: NaiveOrder) -> None:
    """While trading, an order may not name a price that is too far from the last trade's."""
    band, last = book.instrument.price_band, book.last_price
    if book.status is TradingStatus.TRADING and order.price is not None and band is not None and last is not None:
        refuse_unless(is_inside(order.price, last, band), Reason.PRICE_OUTSIDE_BAND)


# Instruments.


def judge_instrument(command: AddInstrument) -> Instrument:
    """The instrument that the command adds, or RefusedError."""
    price_decimals, quantity_decimals = command.price_decimals, command.quantity_decimals
    refuse_unless(0 <= price_decimals <= 18 and 0 <= quantity_decimals <= 18, Reason.INVALID_INSTRUMENT)
    tick_size = _positive(command.tick_size, price_decimals)
    lot_size = _positive(command.lot_size, quantity_decimals)
    min_quantity = _positive(command.min_quantity, quantity_decimals)
    max_quantity = _positive(command.max_quantity, quantity_decimals)
    if tick_size is None or lot_size is None:
        raise RefusedError(Reason.INVALID_INSTRUMENT)
    if min_quantity is not None and max_quantity is not None:
        refuse_unless(min_quantity <= max_quantity, Reason.INVALID_INSTRUMENT)
    refuse_unless(command.max_open_orders is None or 1 <= command.max_open_orders <= LARGEST, Reason.INVALID_INSTRUMENT)
    return Instrument(
        symbol=command.symbol,
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        tick_size=tick_size,
        lot_size=lot_size,
        min_quantity=min_quantity,
        max_quantity=max_quantity,
        min_notional=_positive(command.min_notional, price_decimals + quantity_decimals),
        price_band=_positive(command.price_band, 2, largest=1_000_000),
        market_protection=_positive(command.market_protection, 2, largest=1_000_000),
        max_open_orders=command.max_open_orders,
        self_trade_prevention=command.self_trade_prevention or SelfTradePrevention.NONE,
    )


def _positive(number: Number | None, decimals: int, largest: int = LARGEST) -> int | None:
    if number is None:
        return None
    units = Fraction(number.mantissa, 10**number.decimals) * 10**decimals
    refuse_unless(units.denominator == 1 and 0 < units <= largest, Reason.INVALID_INSTRUMENT)
    return int(units)
