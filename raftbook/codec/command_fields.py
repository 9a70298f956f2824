"""The fields of a command, read from what CBOR made of its bytes: each is of its type and range, or refused in words.

What is said here ends up in the digest chain, so it never changes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

from raftbook.codec.cbor import is_integer
from raftbook.engine.types import (
    ALL_ACCOUNTS,
    IDENTIFIER_PATTERN,
    KEY_ID_PATTERN,
    KEY_NAME_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    MOST_ACCOUNTS_OF_KEY,
    PUBLIC_KEY_PATTERN,
    SYMBOL_PATTERN,
    Number,
    OrderType,
    Role,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class InvalidFieldError(Exception):
    """Bytes that are no command; the text becomes `Malformed.detail`."""


@lru_cache(maxsize=4096)
def _is_symbol(value: str) -> bool:
    return SYMBOL_PATTERN.fullmatch(value) is not None


@lru_cache(maxsize=65_536)
def _is_account(value: str) -> bool:
    return IDENTIFIER_PATTERN.fullmatch(value) is not None


_match_identifier = IDENTIFIER_PATTERN.fullmatch


def read_symbol(value: object) -> str:
    if type(value) is not str or not _is_symbol(value):
        raise InvalidFieldError("symbol must be 1 to 24 of A-Z a-z 0-9 . _ -")
    return value


def read_optional_symbol(value: object) -> str | None:
    return None if value is None else read_symbol(value)


def read_account(value: object) -> str:
    if type(value) is not str or not _is_account(value):
        raise InvalidFieldError("account must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def read_client_order_id(value: object) -> str:
    if type(value) is not str or _match_identifier(value) is None:
        raise InvalidFieldError("client_order_id must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def read_order_name(order_id: object, client_order_id: object) -> tuple[int | None, str | None]:
    """Exactly one of the two names an order."""
    if (order_id is None) == (client_order_id is None):
        raise InvalidFieldError("exactly one of order_id and client_order_id must name the order")
    if order_id is None:
        return None, read_client_order_id(client_order_id)
    if not is_integer(order_id, 1, MAX_INTEGER):
        raise InvalidFieldError("order_id must be an integer from 1 to 2**63 - 1")
    return order_id, None


_EnumT = TypeVar("_EnumT", Side, OrderType, TimeInForce, TradingStatus, SelfTradePrevention, Role)

SIDES: Final[Mapping[int, Side]] = {int(member): member for member in Side}
ORDER_TYPES: Final[Mapping[int, OrderType]] = {int(member): member for member in OrderType}
TIMES_IN_FORCE: Final[Mapping[int, TimeInForce]] = {int(member): member for member in TimeInForce}
STATUSES: Final[Mapping[int, TradingStatus]] = {int(member): member for member in TradingStatus}
ROLES: Final[Mapping[int, Role]] = {int(member): member for member in Role}
SELF_TRADE_PREVENTIONS: Final[Mapping[int, SelfTradePrevention]] = {
    int(member): member for member in SelfTradePrevention
}


def read_enum(field: str, members: Mapping[int, _EnumT], value: object) -> _EnumT:
    member = members.get(value) if type(value) is int else None
    if member is None:
        raise InvalidFieldError(f"{field} is none of the numbers that version 1 knows")
    return member


@lru_cache(maxsize=65_536)
def _make_number(mantissa: int, decimals: int, lowest: int) -> Number | None:
    """Cached: prices and sizes come again. Callers check the types first, since the cache takes True for 1."""
    if lowest <= mantissa <= MAX_INTEGER and 0 <= decimals <= MAX_DECIMALS:
        return Number(mantissa, decimals)
    return None


def read_number(field: str, value: object, lowest: int = 1) -> Number:
    if type(value) is list and len(value) == 2:
        mantissa, decimals = value
        if type(mantissa) is int and type(decimals) is int:
            number = _make_number(mantissa, decimals, lowest)
            if number is not None:
                return number
    raise InvalidFieldError(f"{field} must be [mantissa from {lowest} to 2**63 - 1, decimals from 0 to 18]")


def read_optional_number(field: str, value: object, lowest: int = 1) -> Number | None:
    return None if value is None else read_number(field, value, lowest)


def read_bool(field: str, value: object) -> bool:
    if type(value) is not bool:
        raise InvalidFieldError(f"{field} must be true or false")
    return value


def read_optional_integer(field: str, value: object, lowest: int = 0) -> int | None:
    if value is None or is_integer(value, lowest, MAX_INTEGER):
        return value
    raise InvalidFieldError(f"{field} must be null or an integer from {lowest} to 2**63 - 1")


def read_not_after(value: object) -> int | None:
    """`read_optional_integer` for the hot path."""
    if value is None or is_integer(value, 0, MAX_INTEGER):
        return value
    raise InvalidFieldError("not_after must be null or an integer from 0 to 2**63 - 1")


def read_self_trade_prevention(value: object) -> SelfTradePrevention | None:
    return None if value is None else read_enum("self_trade_prevention", SELF_TRADE_PREVENTIONS, value)


def read_status_behind_auction(value: object) -> TradingStatus:
    status = read_enum("status", STATUSES, value)
    if status is not TradingStatus.TRADING and status is not TradingStatus.CLOSED:
        raise InvalidFieldError("status behind an uncross must be trading or closed")
    return status


def read_decimals(field: str, value: object) -> int:
    if not is_integer(value, 0, MAX_DECIMALS):
        raise InvalidFieldError(f"{field} must be an integer from 0 to 18")
    return value


def read_key_id(value: object) -> str:
    if type(value) is not str or KEY_ID_PATTERN.fullmatch(value) is None:
        raise InvalidFieldError("key_id must be 8 to 32 of a-z 0-9")
    return value


def read_key_name(value: object) -> str:
    if type(value) is not str or KEY_NAME_PATTERN.fullmatch(value) is None:
        raise InvalidFieldError("name must be 1 to 64 of A-Z a-z 0-9 . _ : @ -")
    return value


def read_public_key(value: object) -> str:
    if type(value) is not str or PUBLIC_KEY_PATTERN.fullmatch(value) is None:
        raise InvalidFieldError("public_key must be 32 bytes as base64url without padding")
    return value


def read_accounts(value: object) -> tuple[str, ...]:
    """Of a key: in rising order, so that the same accounts are the same bytes."""
    if value == [ALL_ACCOUNTS]:
        return (ALL_ACCOUNTS,)
    if type(value) is not list or len(value) > MOST_ACCOUNTS_OF_KEY:
        raise InvalidFieldError("accounts must be an array of at most 8 accounts, or of * alone")
    accounts = tuple(read_account(account) for account in value)
    if any(former >= latter for former, latter in pairwise(accounts)):
        raise InvalidFieldError("accounts must be in rising order, each once")
    return accounts
