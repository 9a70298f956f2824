"""An instrument's limits: what it is, and what its venue allows in it.

Percentages are integers in hundredths of a percent, and every comparison is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.instrument import Instrument
from raftbook.engine.types import (
    MAX_DECIMALS,
    MAX_INTEGER,
    MOST_PERCENT,
    PERCENT_DECIMALS,
    Reason,
    SelfTradePrevention,
    Side,
)

if TYPE_CHECKING:
    from raftbook.engine.commands import AddInstrument
    from raftbook.engine.order_book import OrderBook
    from raftbook.engine.types import Number

_WHOLE: Final = 100 * 10**PERCENT_DECIMALS
"""A hundred percent, in hundredths of a percent."""


class Refusal(NamedTuple):
    """Why not, and in words what to do, where the reason alone does not say it."""

    reason: Reason
    detail: str | None


def band_around(last_price: int, band: int) -> tuple[int, int]:
    """The lowest and the highest price inside `band`. O(1)."""
    return -(last_price * (band - _WHOLE) // _WHOLE), last_price * (_WHOLE + band) // _WHOLE


def protection_limit(best_price: int, side: Side, protection: int) -> int:
    """The farthest price at which a market order of this side may trade. O(1)."""
    lowest, highest = band_around(best_price, protection)
    return highest if side is Side.BUY else lowest


def beyond_limits(book: OrderBook, price: int | None, quantity: int, *, banded: bool) -> Refusal | None:
    """Why the instrument allows no order of these terms; `banded` where its price must lie inside the band. O(1)."""
    instrument = book.instrument
    if instrument.min_quantity is not None and quantity < instrument.min_quantity:
        return _QUANTITY_TOO_SMALL
    if instrument.max_quantity is not None and quantity > instrument.max_quantity:
        return _QUANTITY_TOO_LARGE
    if price is None:
        return None
    if instrument.min_notional is not None and price * quantity < instrument.min_notional:
        return _NOTIONAL_TOO_SMALL
    if banded and instrument.price_band is not None and book.last_price is not None:
        lowest, highest = band_around(book.last_price, instrument.price_band)
        if not lowest <= price <= highest:
            return _OUTSIDE_BAND
    return None


_QUANTITY_TOO_SMALL: Final = Refusal(Reason.QUANTITY_TOO_SMALL, "the quantity is below the instrument's min_quantity")
_QUANTITY_TOO_LARGE: Final = Refusal(Reason.QUANTITY_TOO_LARGE, "the quantity is above the instrument's max_quantity")
_NOTIONAL_TOO_SMALL: Final = Refusal(
    Reason.NOTIONAL_TOO_SMALL, "price times quantity is below the instrument's min_notional"
)
_OUTSIDE_BAND: Final = Refusal(
    Reason.PRICE_OUTSIDE_BAND, "the price is outside the instrument's price_band around the last trade"
)


def instrument_of(command: AddInstrument) -> Instrument | Refusal:
    """The instrument that the command describes. O(1)."""
    for name, decimals in (
        ("price_decimals", command.price_decimals),
        ("quantity_decimals", command.quantity_decimals),
    ):
        if not 0 <= decimals <= MAX_DECIMALS:
            return _invalid(f"{name} must be from 0 to {MAX_DECIMALS}")
    prices, quantities = command.price_decimals, command.quantity_decimals
    units: dict[str, int | None] = {}
    for name, number, decimals, largest in (
        ("tick_size", command.tick_size, prices, MAX_INTEGER),
        ("lot_size", command.lot_size, quantities, MAX_INTEGER),
        ("min_quantity", command.min_quantity, quantities, MAX_INTEGER),
        ("max_quantity", command.max_quantity, quantities, MAX_INTEGER),
        ("min_notional", command.min_notional, prices + quantities, MAX_INTEGER),
        ("price_band", command.price_band, PERCENT_DECIMALS, MOST_PERCENT),
        ("market_protection", command.market_protection, PERCENT_DECIMALS, MOST_PERCENT),
    ):
        value = _limit_in_units(name, number, decimals, largest)
        if isinstance(value, Refusal):
            return value
        units[name] = value
    minimum, maximum = units["min_quantity"], units["max_quantity"]
    if minimum is not None and maximum is not None and minimum > maximum:
        return _invalid("min_quantity must not be above max_quantity")
    if command.max_open_orders is not None and not 0 < command.max_open_orders <= MAX_INTEGER:
        return _invalid("max_open_orders must be above zero and fit 64 bits")
    tick_size, lot_size = units["tick_size"], units["lot_size"]
    assert tick_size is not None, "every instrument has a tick"
    assert lot_size is not None, "every instrument has a lot"
    return Instrument(
        command.symbol,
        prices,
        quantities,
        tick_size,
        lot_size,
        minimum,
        maximum,
        units["min_notional"],
        units["price_band"],
        units["market_protection"],
        command.max_open_orders,
        command.self_trade_prevention or SelfTradePrevention.NONE,
    )


def _limit_in_units(name: str, number: Number | None, decimals: int, largest: int) -> int | Refusal | None:
    if number is None:
        return None
    units = number.to_units(decimals)
    if units is None or not 0 < units <= largest:
        fits = "fit 64 bits" if largest == MAX_INTEGER else f"be at most {largest // 10**decimals}"
        return _invalid(f"{name} must be above zero, have at most {decimals} decimals and {fits}")
    return units


def _invalid(detail: str) -> Refusal:
    return Refusal(Reason.INVALID_INSTRUMENT, detail)
