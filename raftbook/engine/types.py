"""The vocabulary of the engine: closed sets, exact decimal numbers and the limits of every field.

Everything here is a value. The integer enums are what the log carries (their numbers are part of the
stored format and never change); their `label` is what JSON and people see.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

MAX_INTEGER: Final = 2**63 - 1
"""Every integer of the engine fits a signed 64-bit field; what would not is a rejection."""

MAX_DECIMALS: Final = 18
"""Most decimals that an instrument, or a number in a command, may have (18 is one wei of an ether)."""

POWERS_OF_TEN: Final[tuple[int, ...]] = tuple(10**exponent for exponent in range(MAX_DECIMALS + 1))

IDENTIFIER_PATTERN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,36}", re.ASCII)
"""Shape of `client_order_id` and `account`; match it with `fullmatch`."""

SYMBOL_PATTERN: Final = re.compile(r"[A-Za-z0-9._\-]{1,24}", re.ASCII)
"""Shape of an instrument's symbol; match it with `fullmatch`."""

CLOSED_ORDERS_KEPT: Final = 10_000
"""Closed orders that each account keeps, so that a repeated submission is recognised."""


class _LabelledEnum(IntEnum):
    """An integer in the log, a lower-case word outside."""

    label: str

    def __init__(self, _value: int) -> None:
        self.label = self.name.lower()


class Side(_LabelledEnum):
    BUY = 1
    SELL = 2


class OrderType(_LabelledEnum):
    LIMIT = 1
    MARKET = 2


class TimeInForce(_LabelledEnum):
    GTC = 1
    IOC = 2
    FOK = 3


class OrderStatus(_LabelledEnum):
    OPEN = 1
    FILLED = 2
    CANCELED = 3
    REJECTED = 4


class TradingStatus(_LabelledEnum):
    TRADING = 1
    HALTED = 2
    """Cancels only."""
    CLOSED = 3
    """Nothing."""


class EventKind(_LabelledEnum):
    """What an event tells; the label is the `event` field of the JSON form."""

    ORDER_ACCEPTED = 1
    ORDER_REJECTED = 2
    TRADE = 3
    ORDER_CANCELED = 4
    ORDER_REPLACED = 5
    REPLACE_REJECTED = 6
    CANCEL_REJECTED = 7
    MASS_CANCELED = 8
    INSTRUMENT_ADDED = 9
    INSTRUMENT_REJECTED = 10
    STATUS_CHANGED = 11
    STATUS_REJECTED = 12
    TICKED = 13
    COMMAND_REJECTED = 14
    """Bytes in the log that are no command."""


class Reason(StrEnum):
    """Why a command was refused, or an order canceled: the stable codes that clients test for."""

    # Refusals.
    MALFORMED = "malformed"
    SUBMISSION_EXPIRED = "submission_expired"
    UNKNOWN_SYMBOL = "unknown_symbol"
    UNKNOWN_ORDER = "unknown_order"
    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    INSTRUMENT_EXISTS = "instrument_exists"
    INVALID_INSTRUMENT = "invalid_instrument"
    INVALID_ORDER = "invalid_order"
    INSTRUMENT_HALTED = "instrument_halted"
    INSTRUMENT_CLOSED = "instrument_closed"
    PRICE_TOO_PRECISE = "price_too_precise"
    PRICE_NOT_ON_TICK = "price_not_on_tick"
    QUANTITY_TOO_PRECISE = "quantity_too_precise"
    QUANTITY_NOT_ON_LOT = "quantity_not_on_lot"
    OUT_OF_RANGE = "out_of_range"
    POST_ONLY_WOULD_TRADE = "post_only_would_trade"
    # Ends of orders.
    REQUESTED = "requested"
    IOC = "ioc"
    FOK = "fok"
    NO_LIQUIDITY = "no_liquidity"
    REPLACED_TO_ZERO = "replaced_to_zero"
    MASS_CANCEL = "mass_cancel"


class Number(NamedTuple):
    """An exact decimal number as a client wrote it: `mantissa` / 10**`decimals`.

    Commands carry numbers in this form, so that the same bytes mean the same on every node; the engine
    turns them into the instrument's integer units, and refuses what would need rounding.
    """

    mantissa: int
    decimals: int

    def to_units(self, decimals: int) -> int | None:
        """The number in units of 10**-`decimals`, or None if it has more decimals than that. O(1)."""
        if self.decimals == decimals:
            return self.mantissa
        if self.decimals < decimals:
            return self.mantissa * POWERS_OF_TEN[decimals - self.decimals]
        units, rest = divmod(self.mantissa, POWERS_OF_TEN[self.decimals - decimals])
        return None if rest else units

    def in_lowest_terms(self) -> Number:
        """The same number with no more decimals than it needs: equal numbers have equal lowest terms. O(decimals)."""
        mantissa, decimals = self
        while decimals > 0 and mantissa % 10 == 0:
            mantissa //= 10
            decimals -= 1
        return Number(mantissa, decimals)
