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

POWERS_OF_TEN: Final[tuple[int, ...]] = tuple(10**exponent for exponent in range(2 * MAX_DECIMALS + 1))
"""As far as a notional needs them, which has the decimals of a price and of a quantity."""

IDENTIFIER_PATTERN: Final = re.compile(r"[A-Za-z0-9._:\-]{1,36}", re.ASCII)
"""Shape of `client_order_id` and `account`; match it with `fullmatch`."""

SYMBOL_PATTERN: Final = re.compile(r"[A-Za-z0-9._\-]{1,24}", re.ASCII)
"""Shape of an instrument's symbol; match it with `fullmatch`."""

KEY_ID_PATTERN: Final = re.compile(r"[a-z0-9]{8,32}", re.ASCII)
"""Shape of the id of an API key; match it with `fullmatch`."""

KEY_NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9._:@\-]{1,64}", re.ASCII)
"""Shape of the name of an API key, which says whose it is; match it with `fullmatch`."""

PUBLIC_KEY_PATTERN: Final = re.compile(r"[A-Za-z0-9_\-]{42}[AEIMQUYcgkosw048]", re.ASCII)
"""Shape of a public key: 32 bytes as base64url without padding, in the one form that they have; use `fullmatch`."""

ALL_ACCOUNTS: Final = "*"
"""Stands alone among the accounts of a key that is for all of them."""

MOST_ACCOUNTS_OF_KEY: Final = 8
"""More would not fit into a command (codec.MAX_COMMAND_BYTES)."""

MOST_KEYS: Final = 10_000
"""API keys that are known at a time, revoked ones among them."""

PERCENT_DECIMALS: Final = 2
"""Decimals of a percentage: `price_band` and `market_protection` are integers in hundredths of a percent."""

MOST_PERCENT: Final = 1_000_000
"""The largest percentage, in hundredths of a percent."""

MOST_TIPS: Final = 100
"""An iceberg's quantity may be this many times its `display_quantity`, as each tip can cost a taker a trade of its own.

Binance bounds them too (the filter ICEBERG_PARTS).
"""

DAY_NS: Final = 24 * 60 * 60 * 1_000_000_000
"""A `day` order expires where the next day of UTC begins, at a multiple of this."""

NO_ORIGIN: Final = ""
"""Stands as the origin of an execution that no submission caused, but the entry itself: expiry and indications."""

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
    STOP = 3
    """Becomes a market order when it is elected."""
    STOP_LIMIT = 4
    """Becomes a limit order when it is elected."""


class TimeInForce(_LabelledEnum):
    GTC = 1
    IOC = 2
    FOK = 3
    DAY = 4
    GTD = 5


class SelfTradePrevention(_LabelledEnum):
    """What happens when two orders of one account would trade; the taker's mode decides."""

    NONE = 1
    CANCEL_NEWEST = 2
    CANCEL_OLDEST = 3
    CANCEL_BOTH = 4
    DECREMENT_AND_CANCEL = 5


class OrderStatus(_LabelledEnum):
    OPEN = 1
    FILLED = 2
    CANCELED = 3
    REJECTED = 4
    EXPIRED = 5
    UNTRIGGERED = 6


class TradingStatus(_LabelledEnum):
    TRADING = 1
    HALTED = 2
    """Cancels only."""
    CLOSED = 3
    """Nothing."""
    AUCTION = 4
    """Orders gather, and trade at one price when the auction is uncrossed."""


class Role(_LabelledEnum):
    """What an API key allows; each role also what those before it do."""

    READ = 1
    """Market data, the cluster, and the orders of the key's accounts."""
    TRADE = 2
    """Commands for the key's accounts."""
    ADMIN = 3
    """Everything: instruments, trading statuses, keys, all accounts."""


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
    ORDER_TRIGGERED = 15
    ORDER_RESTATED = 16
    """An order changed without its owner's asking: the next tip of an iceberg, or a decrement."""
    INDICATIVE_CHANGED = 17
    AUCTION_UNCROSSED = 18
    KEY_CREATED = 19
    KEY_REVOKED = 20
    KEY_REJECTED = 21


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
    INSTRUMENT_IN_AUCTION = "instrument_in_auction"
    NOT_IN_AUCTION = "not_in_auction"
    DISPLAY_QUANTITY_TOO_SMALL = "display_quantity_too_small"
    QUANTITY_TOO_SMALL = "quantity_too_small"
    QUANTITY_TOO_LARGE = "quantity_too_large"
    NOTIONAL_TOO_SMALL = "notional_too_small"
    PRICE_OUTSIDE_BAND = "price_outside_band"
    TOO_MANY_OPEN_ORDERS = "too_many_open_orders"
    KEY_EXISTS = "key_exists"
    UNKNOWN_KEY = "unknown_key"
    INVALID_KEY = "invalid_key"
    TOO_MANY_KEYS = "too_many_keys"
    LAST_ADMIN_KEY = "last_admin_key"
    # Ends of orders.
    REQUESTED = "requested"
    IOC = "ioc"
    FOK = "fok"
    NO_LIQUIDITY = "no_liquidity"
    REPLACED_TO_ZERO = "replaced_to_zero"
    MASS_CANCEL = "mass_cancel"
    EXPIRED = "expired"
    """Also refuses an order whose `expire_time` has come."""
    SELF_TRADE = "self_trade"
    MARKET_PROTECTION = "market_protection"
    # Changes that nobody asked for.
    ICEBERG_REFRESH = "iceberg_refresh"
    VOLATILITY = "volatility"


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
