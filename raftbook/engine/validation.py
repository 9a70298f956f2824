"""Validation: may this command be carried out, and what does it mean in the instrument's integer units?

Each function answers with the terms to carry out or with a `Refusal`, and changes nothing. The order of the
checks is part of the behaviour, since the first that fails names the reason:

1. shape: the fields go together (`invalid_order`);
2. precision: no more decimals than the instrument has (never rounded);
3. tick and lot: a multiple of the instrument's step;
4. range: nothing that the order could lead to leaves 64 bits (`out_of_range`);
5. `post_only`: it would trade now.

What comes before these (repeated submission, lateness, symbol, trading status) is told in exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.instrument import Instrument
from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, POWERS_OF_TEN, OrderType, Reason, Side, TimeInForce

if TYPE_CHECKING:
    from raftbook.engine.commands import AddInstrument, NewOrder, ReplaceOrder
    from raftbook.engine.order_book import Order, OrderBook
    from raftbook.engine.types import Number

_BUY: Final = Side.BUY
_GTC: Final = TimeInForce.GTC
_LIMIT: Final = OrderType.LIMIT


Terms = tuple[int | None, int]
"""Price and quantity in the instrument's units; the price is None for a market order."""


class Refusal(NamedTuple):
    """Why not, and in words what to do."""

    reason: Reason
    detail: str


def terms_of_new_order(command: NewOrder, book: OrderBook) -> Terms | Refusal:
    """O(1), O(log levels) for a market buy."""
    misshapen = _shape_of_new_order(command)
    if misshapen is not None:
        return misshapen
    instrument = book.instrument
    price = None if command.price is None else _price_in_units(command.price, instrument)
    if isinstance(price, Refusal):
        return price
    quantity = _quantity_in_units(command.quantity, instrument)
    if isinstance(quantity, Refusal):
        return quantity

    too_large = _out_of_range(command.side, price, quantity, 0, book)
    if too_large is not None:
        return too_large
    if price is not None and command.time_in_force is _GTC:
        level = book.side_of(command.side).level_at(price)
        if level is not None and level.quantity + quantity > MAX_INTEGER:
            return _LEVEL_FULL
    if command.post_only and price is not None and book.opposite_of(command.side).reaches(price):
        return _WOULD_TRADE
    return price, quantity


def terms_of_replace(command: ReplaceOrder, order: Order, book: OrderBook) -> tuple[int, int] | Refusal:
    """The order's terms as the replace would have them; a quantity of at most what has traded ends it. O(1)."""
    if command.price is None and command.quantity is None:
        return Refusal(Reason.INVALID_ORDER, "name a new price, a new quantity or both")
    if command.price is not None and command.price.mantissa <= 0:
        return Refusal(Reason.INVALID_ORDER, "price must be above zero")
    if command.quantity is not None and command.quantity.mantissa < 0:
        return Refusal(Reason.INVALID_ORDER, "quantity must not be negative; zero cancels the order")
    assert order.price is not None, "only limit orders rest, so only they can be replaced"
    instrument = book.instrument
    price = order.price if command.price is None else _price_in_units(command.price, instrument)
    if isinstance(price, Refusal):
        return price
    quantity = order.quantity if command.quantity is None else _quantity_in_units(command.quantity, instrument)
    if isinstance(quantity, Refusal):
        return quantity

    leaves = quantity - order.filled_quantity
    if leaves <= 0:
        return price, quantity
    if price * quantity > MAX_INTEGER:
        return _NOTIONAL_TOO_LARGE
    too_large = _out_of_range(order.side, price, leaves, order.notional, book)
    if too_large is not None:
        return too_large
    level = book.side_of(order.side).level_at(price)
    if level is not None:
        own = order.leaves_quantity if level is order.level else 0
        if level.quantity - own + leaves > MAX_INTEGER:
            return _LEVEL_FULL
    if order.post_only and book.opposite_of(order.side).reaches(price):
        return _WOULD_TRADE
    return price, quantity


def repeats(command: NewOrder, order: Order, instrument: Instrument) -> bool:
    """Does this submission say the same as the one that placed the order (of this instrument)? O(1).

    What counts is the content as it was entered, whatever a replace has made of it since; 100.5 and 100.50 are
    the same price.
    """
    if command.price is None or order.entered_price is None:
        same_price = command.price is None and order.entered_price is None
    else:
        same_price = command.price.to_units(instrument.price_decimals) == order.entered_price
    return (
        same_price
        and command.symbol == order.symbol
        and command.side is order.side
        and command.order_type is order.order_type
        and command.time_in_force is order.time_in_force
        and command.post_only is order.post_only
        and command.quantity.to_units(instrument.quantity_decimals) == order.entered_quantity
    )


def instrument_of(command: AddInstrument) -> Instrument | Refusal:
    """The instrument that the command describes. O(1)."""
    for name, decimals in (
        ("price_decimals", command.price_decimals),
        ("quantity_decimals", command.quantity_decimals),
    ):
        if not 0 <= decimals <= MAX_DECIMALS:
            return Refusal(Reason.INVALID_INSTRUMENT, f"{name} must be from 0 to {MAX_DECIMALS}")
    tick_size = command.tick_size.to_units(command.price_decimals)
    if tick_size is None or not 0 < tick_size <= MAX_INTEGER:
        return Refusal(
            Reason.INVALID_INSTRUMENT,
            f"tick_size must be above zero, have at most {command.price_decimals} decimals and fit 64 bits",
        )
    lot_size = command.lot_size.to_units(command.quantity_decimals)
    if lot_size is None or not 0 < lot_size <= MAX_INTEGER:
        return Refusal(
            Reason.INVALID_INSTRUMENT,
            f"lot_size must be above zero, have at most {command.quantity_decimals} decimals and fit 64 bits",
        )
    return Instrument(command.symbol, command.price_decimals, command.quantity_decimals, tick_size, lot_size)


_LEVEL_FULL: Final = Refusal(Reason.OUT_OF_RANGE, "all orders at this price together would not fit 64 bits")
_NOTIONAL_TOO_LARGE: Final = Refusal(
    Reason.OUT_OF_RANGE, "price times quantity would not fit 64 bits; enter a smaller quantity"
)
_WOULD_TRADE: Final = Refusal(
    Reason.POST_ONLY_WOULD_TRADE, "the price crosses the book; enter a price that rests, or drop post_only"
)


def _shape_of_new_order(command: NewOrder) -> Refusal | None:
    if command.quantity.mantissa <= 0:
        return Refusal(Reason.INVALID_ORDER, "quantity must be above zero")
    if command.order_type is _LIMIT:
        if command.price is None:
            return Refusal(Reason.INVALID_ORDER, "a limit order needs a price")
        if command.price.mantissa <= 0:
            return Refusal(Reason.INVALID_ORDER, "price must be above zero")
        if command.post_only and command.time_in_force is not _GTC:
            return Refusal(Reason.INVALID_ORDER, "post_only needs an order that may rest: time_in_force gtc")
    else:
        if command.price is not None:
            return Refusal(Reason.INVALID_ORDER, "a market order has no price; enter a limit order to set one")
        if command.post_only:
            return Refusal(Reason.INVALID_ORDER, "post_only needs an order that may rest; a market order never does")
    return None


def _price_in_units(price: Number, instrument: Instrument) -> int | Refusal:
    units = price.to_units(instrument.price_decimals)
    if units is None:
        return Refusal(Reason.PRICE_TOO_PRECISE, f"price may have at most {instrument.price_decimals} decimals")
    if units % instrument.tick_size:
        tick = _decimal_text(instrument.tick_size, instrument.price_decimals)
        return Refusal(Reason.PRICE_NOT_ON_TICK, f"price must be a multiple of the tick size {tick}")
    if units > MAX_INTEGER:
        return Refusal(Reason.OUT_OF_RANGE, "price does not fit 64 bits")
    return units


def _quantity_in_units(quantity: Number, instrument: Instrument) -> int | Refusal:
    units = quantity.to_units(instrument.quantity_decimals)
    if units is None:
        return Refusal(
            Reason.QUANTITY_TOO_PRECISE, f"quantity may have at most {instrument.quantity_decimals} decimals"
        )
    if units % instrument.lot_size:
        lot = _decimal_text(instrument.lot_size, instrument.quantity_decimals)
        return Refusal(Reason.QUANTITY_NOT_ON_LOT, f"quantity must be a multiple of the lot size {lot}")
    if units > MAX_INTEGER:
        return Refusal(Reason.OUT_OF_RANGE, "quantity does not fit 64 bits")
    return units


def _out_of_range(side: Side, price: int | None, leaves: int, notional: int, book: OrderBook) -> Refusal | None:
    """Could the order's notional, `notional` already being traded, come to exceed 64 bits?

    The bound is the whole of `leaves` at the highest price that the order could trade at: a buy's limit, or the
    highest ask there is for a market buy; for a sell its limit or the best bid, whichever is higher. It errs
    on the safe side for a quantity far beyond what the book holds.
    """
    if side is _BUY:
        if price is None:
            worst = book.asks.worst()
            highest = 0 if worst is None else worst.price
        else:
            highest = price
    else:
        best_bid = book.bids.best
        highest = price or 0
        if best_bid is not None and best_bid.price > highest:
            highest = best_bid.price
    return _NOTIONAL_TOO_LARGE if notional + highest * leaves > MAX_INTEGER else None


def _decimal_text(units: int, decimals: int) -> str:
    whole, fraction = divmod(units, POWERS_OF_TEN[decimals])
    return f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
