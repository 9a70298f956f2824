"""Validation: may this command be carried out, and what does it mean in the instrument's integer units?

Each function answers with the terms to carry out or with a `Refusal`, and changes nothing. The order of the
checks is part of the behaviour, since the first that fails names the reason:

1. shape: the fields go together (`invalid_order`);
2. time: it has not expired already (`expired`);
3. precision, tick, lot and 64 bits of each number, never rounded;
4. an iceberg's tip against its quantity;
5. range: price times quantity, and all that would wait at the price, fit 64 bits (`out_of_range`);
6. the instrument's own limits (limits.py);
7. `post_only`: it would trade now.

What comes before these (repeated submission, lateness, symbol, trading status) is told in orders.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.limits import Refusal, beyond_limits
from raftbook.engine.order import Terms
from raftbook.engine.types import (
    DAY_NS,
    MAX_INTEGER,
    MOST_TIPS,
    POWERS_OF_TEN,
    OrderStatus,
    OrderType,
    Reason,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from raftbook.engine.commands import NewOrder, ReplaceOrder
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import OrderBook
    from raftbook.engine.registry import OrderRegistry
    from raftbook.engine.types import Number

# A NamedTuple's own constructor is a Python function that does just this, at twice the price.
_new: Final = tuple.__new__
_Terms: Final = Terms  # Compiled, it is found at once; an imported name is looked up each time.

_DAY: Final = TimeInForce.DAY
_FOK: Final = TimeInForce.FOK
_GTC: Final = TimeInForce.GTC
_GTD: Final = TimeInForce.GTD
_IOC: Final = TimeInForce.IOC
_LIMIT: Final = OrderType.LIMIT
_STOP_LIMIT: Final = OrderType.STOP_LIMIT
_TRADING: Final = TradingStatus.TRADING


def terms_of_new_order(command: NewOrder, book: OrderBook, registry: OrderRegistry, time: int) -> Terms | Refusal:
    """`time` is log time, ns. O(1)."""
    return _plain_terms(command, book) or judge_new_order(command, book, registry, time)


def _plain_terms(command: NewOrder, book: OrderBook) -> Terms | None:
    """The terms of a plain limit order that passes every check; None for any other, and where one of them fails.

    Most orders are such, and `judge_new_order` comes to the same terms, at two and a half times the price.
    """
    _, _, _, side, order_type, time_in_force, price, quantity, post_only, _, stop_price, tip, expire_time, _ = command
    if order_type is not _LIMIT or time_in_force is not _GTC or price is None or book.limited:
        return None
    if stop_price is not None or tip is not None or expire_time is not None:
        return None
    instrument = book.instrument
    price_units, price_decimals = price
    quantity_units, quantity_decimals = quantity
    if price_decimals != instrument.price_decimals or quantity_decimals != instrument.quantity_decimals:
        return None
    if price_units <= 0 or quantity_units <= 0 or price_units * quantity_units > MAX_INTEGER:
        return None
    if price_units % instrument.tick_size or quantity_units % instrument.lot_size:
        return None
    level = book.side_of(side).level_at(price_units)
    if level is not None and level.quantity + level.hidden_quantity + quantity_units > MAX_INTEGER:
        return None
    if post_only and book.opposite_of(side).reaches(price_units):
        return None
    return _new(_Terms, (price_units, quantity_units, None, None, None))


def judge_new_order(command: NewOrder, book: OrderBook, registry: OrderRegistry, time: int) -> Terms | Refusal:
    """As `terms_of_new_order`, whatever the order: all the checks, one by one."""
    misshapen = _shape_of_new_order(command)
    if misshapen is not None:
        return misshapen
    expire_time = _end_of_day(time) if command.time_in_force is _DAY else command.expire_time
    if expire_time is not None and expire_time <= time:
        return _EXPIRED
    terms = _terms_in_units(command, book.instrument, expire_time)
    if isinstance(terms, Refusal):
        return terms
    price, quantity = terms.price, terms.quantity
    refusal = None
    if terms.display_quantity is not None:
        refusal = _tip_too_small(terms.display_quantity, quantity)
    refusal = refusal or _range_refusal(command, terms, book)
    if refusal is None and book.limited:
        is_trading = book.status is _TRADING
        refusal = beyond_limits(book, price, quantity, banded=is_trading and command.order_type is _LIMIT)
        if refusal is None and _could_wait(command, book) and registry.has_too_many_open(command.account, book.symbol):
            refusal = _TOO_MANY_OPEN
    if refusal is None and command.post_only and price is not None and book.opposite_of(command.side).reaches(price):
        refusal = _WOULD_TRADE
    return refusal or terms


def _terms_in_units(command: NewOrder, instrument: Instrument, expire_time: int | None) -> Terms | Refusal:
    price = None if command.price is None else _price_in_units(command.price, instrument)
    if isinstance(price, Refusal):
        return price
    stop_price = None if command.stop_price is None else _price_in_units(command.stop_price, instrument, "stop_price")
    if isinstance(stop_price, Refusal):
        return stop_price
    quantity = _quantity_in_units(command.quantity, instrument)
    if isinstance(quantity, Refusal):
        return quantity
    tip = command.display_quantity
    display_quantity = None if tip is None else _quantity_in_units(tip, instrument, "display_quantity")
    if isinstance(display_quantity, Refusal):
        return display_quantity
    return _new(_Terms, (price, quantity, stop_price, display_quantity, expire_time))


def _end_of_day(time: int) -> int:
    """Where the next day of UTC begins."""
    return min((time // DAY_NS + 1) * DAY_NS, MAX_INTEGER)


def _range_refusal(command: NewOrder, terms: Terms, book: OrderBook) -> Refusal | None:
    """What an order without a price comes to is judged as it trades, and what an elected stop meets when it rests."""
    price, quantity = terms.price, terms.quantity
    if price is None:
        return None
    if price * quantity > MAX_INTEGER:
        return _NOTIONAL_TOO_LARGE
    if command.order_type is _LIMIT and _could_wait(command, book):
        level = book.side_of(command.side).level_at(price)
        if level is not None and level.quantity + level.hidden_quantity + quantity > MAX_INTEGER:
            return _LEVEL_FULL
    return None


def _could_wait(command: NewOrder, book: OrderBook) -> bool:
    if book.status is not _TRADING or command.stop_price is not None:
        return True
    return command.order_type is _LIMIT and command.time_in_force is not _IOC and command.time_in_force is not _FOK


def terms_of_replace(command: ReplaceOrder, order: Order, book: OrderBook, time: int) -> Terms | Refusal:
    """The order's terms as the replace would have them; a quantity of at most what has traded ends it. O(1)."""
    misshapen = _shape_of_replace(command, order)
    if misshapen is not None:
        return misshapen
    if command.expire_time is not None and command.expire_time <= time:
        return _EXPIRED
    terms = _changed_terms(command, order, book.instrument)
    if isinstance(terms, Refusal) or terms.quantity <= order.filled_quantity:
        return terms
    refusal = None
    if terms.display_quantity is not None:
        refusal = _tip_too_small(terms.display_quantity, terms.quantity, named=command.display_quantity is not None)
    refusal = refusal or _range_refusal_of_replace(terms, order, book)
    is_trading = book.status is _TRADING
    is_untriggered = order.status is OrderStatus.UNTRIGGERED
    if refusal is None and book.limited:
        banded = is_trading and not is_untriggered and terms.price != order.price
        refusal = beyond_limits(book, terms.price, terms.quantity, banded=banded)
    if refusal is None and order.post_only and is_trading and terms.price is not None:
        refusal = _WOULD_TRADE if book.opposite_of(order.side).reaches(terms.price) else None
    return refusal or terms


def _changed_terms(command: ReplaceOrder, order: Order, instrument: Instrument) -> Terms | Refusal:
    price = order.price if command.price is None else _price_in_units(command.price, instrument)
    if isinstance(price, Refusal):
        return price
    stop_price = (
        order.stop_price
        if command.stop_price is None
        else _price_in_units(command.stop_price, instrument, "stop_price")
    )
    if isinstance(stop_price, Refusal):
        return stop_price
    quantity = order.quantity if command.quantity is None else _quantity_in_units(command.quantity, instrument)
    if isinstance(quantity, Refusal):
        return quantity
    tip = command.display_quantity
    display_quantity = (
        order.display_quantity if tip is None else _quantity_in_units(tip, instrument, "display_quantity")
    )
    if isinstance(display_quantity, Refusal):
        return display_quantity
    expire_time = order.expire_time if command.expire_time is None else command.expire_time
    return Terms(price, quantity, stop_price, display_quantity or None, expire_time)


def _range_refusal_of_replace(terms: Terms, order: Order, book: OrderBook) -> Refusal | None:
    price = terms.price
    if price is None:
        return None
    leaves = terms.quantity - order.filled_quantity
    if order.notional + price * leaves > MAX_INTEGER:
        return _NOTIONAL_TOO_LARGE
    if order.status is OrderStatus.UNTRIGGERED:
        return None
    level = book.side_of(order.side).level_at(price)
    if level is not None:
        own = order.leaves_quantity if level is order.level else 0
        if level.quantity + level.hidden_quantity - own + leaves > MAX_INTEGER:
            return _LEVEL_FULL
    return None


def repeats(command: NewOrder, order: Order, instrument: Instrument) -> bool:
    """Does this submission say the same as the one that placed the order (of this instrument)? O(1).

    What counts is the content as it was entered, whatever a replace has made of it since; 100.5 and 100.50 are
    the same price.
    """
    entered = order.entered_terms()
    prices, quantities = instrument.price_decimals, instrument.quantity_decimals
    return (
        command.symbol == order.symbol
        and command.side is order.side
        and command.order_type is order.order_type
        and command.time_in_force is order.time_in_force
        and command.post_only is order.post_only
        and _same(command.price, entered.price, prices)
        and command.quantity.to_units(quantities) == entered.quantity
        and _same(command.stop_price, entered.stop_price, prices)
        and _same(command.display_quantity, entered.display_quantity, quantities)
        and command.expire_time == (entered.expire_time if order.time_in_force is _GTD else None)
        and (command.self_trade_prevention or instrument.self_trade_prevention) is order.self_trade_prevention
    )


def _same(number: Number | None, units: int | None, decimals: int) -> bool:
    if number is None or units is None:
        return number is None and units is None
    return number.to_units(decimals) == units


_LEVEL_FULL: Final = Refusal(Reason.OUT_OF_RANGE, "all orders at this price together would not fit 64 bits")
_NOTIONAL_TOO_LARGE: Final = Refusal(
    Reason.OUT_OF_RANGE, "price times quantity would not fit 64 bits; enter a smaller quantity"
)
_TOO_MANY_TIPS: Final = Refusal(
    Reason.DISPLAY_QUANTITY_TOO_SMALL, f"display_quantity must be at least a {MOST_TIPS}th of the quantity"
)
_EXPIRED: Final = Refusal(Reason.EXPIRED, "expire_time is not later than log time; enter a later one")
_TOO_MANY_OPEN: Final = Refusal(
    Reason.TOO_MANY_OPEN_ORDERS,
    "the account has as many open orders as it may have here; cancel one, and enter this one under a new id",
)
_WOULD_TRADE: Final = Refusal(
    Reason.POST_ONLY_WOULD_TRADE, "the price crosses the book; enter a price that rests, or drop post_only"
)


def _shape_of_new_order(command: NewOrder) -> Refusal | None:
    order_type, time_in_force = command.order_type, command.time_in_force
    if command.quantity.mantissa <= 0:
        return _invalid("quantity must be above zero")
    if order_type is _LIMIT or order_type is _STOP_LIMIT:
        if command.price is None:
            return _invalid(f"a {order_type.label} order needs a price")
        if command.price.mantissa <= 0:
            return _invalid("price must be above zero")
    elif command.price is not None:
        return _invalid(f"a {order_type.label} order has no price; enter a limit or stop_limit order to set one")
    may_rest = command.price is not None and time_in_force is not _IOC and time_in_force is not _FOK
    if order_type is _LIMIT or order_type is OrderType.MARKET:
        if command.stop_price is not None:
            return _invalid("only a stop or stop_limit order has a stop_price")
    elif command.stop_price is None:
        return _invalid(f"a {order_type.label} order needs a stop_price")
    elif command.stop_price.mantissa <= 0:
        return _invalid("stop_price must be above zero")
    elif time_in_force is _FOK:
        return _invalid("a stop cannot be fok; enter it as ioc, which trades what it can when it is elected")
    if command.post_only and not (may_rest and order_type is _LIMIT):
        return _invalid("post_only needs a limit order that may rest: time_in_force gtc, day or gtd")
    if command.display_quantity is not None:
        if not may_rest:
            return _invalid("display_quantity needs an order with a price that may rest: time_in_force gtc, day or gtd")
        if command.display_quantity.mantissa <= 0:
            return _invalid("display_quantity must be above zero")
    if (command.expire_time is not None) is not (time_in_force is _GTD):
        return _invalid("expire_time goes with time_in_force gtd, and gtd needs one")
    return None


def _shape_of_replace(command: ReplaceOrder, order: Order) -> Refusal | None:
    price, quantity, stop_price = command.price, command.quantity, command.stop_price
    display_quantity, expire_time = command.display_quantity, command.expire_time
    if price is None and quantity is None and stop_price is None and display_quantity is None and expire_time is None:
        return _invalid("name what shall change: price, quantity, stop_price, display_quantity or expire_time")
    if price is not None:
        if order.price is None:
            return _invalid(f"a {order.order_type.label} order has no price")
        if price.mantissa <= 0:
            return _invalid("price must be above zero")
    if quantity is not None and quantity.mantissa < 0:
        return _invalid("quantity must not be negative; zero cancels the order")
    if stop_price is not None:
        if order.status is not OrderStatus.UNTRIGGERED:
            return _invalid("only a stop that has not been triggered has a stop_price to change")
        if stop_price.mantissa <= 0:
            return _invalid("stop_price must be above zero")
    if display_quantity is not None:
        if order.price is None or order.time_in_force in (_IOC, _FOK):
            return _invalid("display_quantity needs an order with a price that may rest: time_in_force gtc, day or gtd")
        if display_quantity.mantissa < 0:
            return _invalid("display_quantity must not be negative; zero shows the whole order")
    if expire_time is not None and order.time_in_force is not _GTD:
        return _invalid("only an order with time_in_force gtd has an expire_time")
    return None


def _invalid(detail: str) -> Refusal:
    return Refusal(Reason.INVALID_ORDER, detail)


def _tip_too_small(display_quantity: int, quantity: int, *, named: bool = True) -> Refusal | None:
    """A quantity that is lowered below the tip, which the command does not name, is all shown from then on."""
    if named and display_quantity >= quantity:
        return _invalid("display_quantity must be less than the quantity; 0 in a replace shows the whole order")
    return _TOO_MANY_TIPS if quantity > MOST_TIPS * display_quantity else None


def _price_in_units(price: Number, instrument: Instrument, name: str = "price") -> int | Refusal:
    units = price.to_units(instrument.price_decimals)
    if units is None:
        return Refusal(Reason.PRICE_TOO_PRECISE, f"{name} may have at most {instrument.price_decimals} decimals")
    if units % instrument.tick_size:
        tick = _decimal_text(instrument.tick_size, instrument.price_decimals)
        return Refusal(Reason.PRICE_NOT_ON_TICK, f"{name} must be a multiple of the tick size {tick}")
    if units > MAX_INTEGER:
        return Refusal(Reason.OUT_OF_RANGE, f"{name} does not fit 64 bits")
    return units


def _quantity_in_units(quantity: Number, instrument: Instrument, name: str = "quantity") -> int | Refusal:
    units = quantity.to_units(instrument.quantity_decimals)
    if units is None:
        return Refusal(Reason.QUANTITY_TOO_PRECISE, f"{name} may have at most {instrument.quantity_decimals} decimals")
    if units % instrument.lot_size:
        lot = _decimal_text(instrument.lot_size, instrument.quantity_decimals)
        return Refusal(Reason.QUANTITY_NOT_ON_LOT, f"{name} must be a multiple of the lot size {lot}")
    if units > MAX_INTEGER:
        return Refusal(Reason.OUT_OF_RANGE, f"{name} does not fit 64 bits")
    return units


def _decimal_text(units: int, decimals: int) -> str:
    whole, fraction = divmod(units, POWERS_OF_TEN[decimals])
    return f"{whole}.{fraction:0{decimals}d}" if decimals else str(whole)
