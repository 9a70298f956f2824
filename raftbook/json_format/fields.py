"""The fields of commands: each is of its type, shape and range, or refused with what is expected.

What needs the state (does the symbol exist, is the price on its tick) or the rules of matching (a limit order needs a
price) is the engine's to reject, in one place.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from raftbook.engine.types import (
    ALL_ACCOUNTS,
    IDENTIFIER_PATTERN,
    KEY_ID_PATTERN,
    KEY_NAME_PATTERN,
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
from raftbook.errors import InvalidCommandError
from raftbook.json_format.numbers import MAX_NUMBER_CHARACTERS, parse_number, shown

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_ACCOUNT: Final = "default"

_MemberT = TypeVar("_MemberT", Side, OrderType, TimeInForce, TradingStatus, SelfTradePrevention, Role)

SIDES: Final[Mapping[str, Side]] = {member.label: member for member in Side}
ORDER_TYPES: Final[Mapping[str, OrderType]] = {member.label: member for member in OrderType}
TIMES_IN_FORCE: Final[Mapping[str, TimeInForce]] = {member.label: member for member in TimeInForce}
ROLES: Final[Mapping[str, Role]] = {member.label: member for member in Role}
SELF_TRADE_PREVENTIONS: Final[Mapping[str, SelfTradePrevention]] = {
    member.label: member for member in SelfTradePrevention
}
STATUSES: Final[Mapping[str, TradingStatus]] = {member.label: member for member in TradingStatus}
STATUSES_BEHIND_AUCTION: Final[Mapping[str, TradingStatus]] = {
    member.label: member for member in (TradingStatus.TRADING, TradingStatus.CLOSED)
}
"""What may follow an `uncross`."""


def alternatives(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


_IDENTIFIER: Final = "a string of 1 to 36 of A-Z a-z 0-9 . _ : -"
_TIME: Final = "an integer from 0 to 2**63 - 1, in nanoseconds since the epoch"

_EXPECTED: Final[Mapping[str, str]] = {
    "symbol": "a string of 1 to 24 of A-Z a-z 0-9 . _ -",
    "account": _IDENTIFIER,
    "client_order_id": _IDENTIFIER,
    "order_id": "an integer from 1 to 2**63 - 1",
    "side": alternatives(SIDES),
    "order_type": alternatives(ORDER_TYPES),
    "time_in_force": alternatives(TIMES_IN_FORCE),
    "self_trade_prevention": alternatives(SELF_TRADE_PREVENTIONS),
    "status": alternatives(STATUSES),
    "price": 'a decimal number above zero, such as "100.25"',
    "stop_price": 'a decimal number above zero, such as "99.50"',
    "quantity": 'a decimal number above zero, such as "5"',
    "display_quantity": 'a decimal number above zero, such as "1"',
    "tick_size": 'a decimal number above zero, such as "0.01"',
    "lot_size": 'a decimal number above zero, such as "1"',
    "min_quantity": 'a decimal number above zero, such as "1"',
    "max_quantity": 'a decimal number above zero, such as "10000"',
    "min_notional": 'a decimal number above zero, such as "10"',
    "price_band": 'percent as a decimal number above zero, such as "5"',
    "market_protection": 'percent as a decimal number above zero, such as "2.5"',
    "max_open_orders": "an integer from 1 to 2**63 - 1",
    "price_decimals": "an integer from 0 to 18",
    "quantity_decimals": "an integer from 0 to 18",
    "post_only": "true or false",
    "key_id": "a string of 8 to 32 of a-z 0-9",
    "name": "a string of 1 to 64 of A-Z a-z 0-9 . _ : @ -",
    "role": alternatives(ROLES),
    "accounts": f'an array of at most {MOST_ACCOUNTS_OF_KEY} accounts, or ["{ALL_ACCOUNTS}"] for all',
    "public_key": "43 characters: the 32 bytes of an Ed25519 public key as base64url without padding",
    "expire_time": _TIME,
    "not_after": _TIME,
}
_EXPECTED_OF_UNCROSS: Final[Mapping[str, str]] = {"status": alternatives(STATUSES_BEHIND_AUCTION)}


def expected(field: str, op: str | None = None) -> str | None:
    """What a field must be in a command of that kind; None where it is no field of a command."""
    if op == "uncross" and field in _EXPECTED_OF_UNCROSS:
        return _EXPECTED_OF_UNCROSS[field]
    return _EXPECTED.get(field)


def invalid(
    field: str, problem: str, *, expectation: str | None = None, nearest: Iterable[str] = ()
) -> InvalidCommandError:
    """The error that names the field, the problem and what is expected there (as `expected` has it, if not said)."""
    hint = "".join(f"; did you mean {name}?" for name in nearest)
    return InvalidCommandError(f"{field}: {problem}; expected {expectation or _EXPECTED[field]}{hint}", field)


def number(field: str, raw: msgspec.Raw, lowest: int = 1) -> Number:
    text = bytes(raw)
    # Only what can be a number goes into the cache.
    parsed = parse_number(text, lowest) if len(text) <= MAX_NUMBER_CHARACTERS else f"a value of {len(text)} characters"
    if isinstance(parsed, str):
        wanted = _EXPECTED[field]
        raise invalid(field, parsed, expectation=wanted if lowest else wanted.replace("above zero", "of zero or more"))
    return parsed


def optional_number(field: str, raw: msgspec.Raw | msgspec.UnsetType, lowest: int = 1) -> Number | None:
    return None if raw is msgspec.UNSET or bytes(raw) == b"null" else number(field, raw, lowest)


@lru_cache(maxsize=4096)
def _is_symbol(value: str) -> bool:
    return SYMBOL_PATTERN.fullmatch(value) is not None


def symbol(value: str) -> str:
    if len(value) > 24 or not _is_symbol(value):  # Nothing longer shall fill the cache.
        raise invalid("symbol", f"{shown(value)} is no symbol")
    return value


def identifier(field: str, value: str) -> str:
    if IDENTIFIER_PATTERN.fullmatch(value) is None:
        raise invalid(field, f"{shown(value)} is no identifier")
    return value


@lru_cache(maxsize=65_536)
def _is_identifier(value: str) -> bool:
    return IDENTIFIER_PATTERN.fullmatch(value) is not None


def account(value: str | None) -> str:
    if value is None:
        return DEFAULT_ACCOUNT
    if len(value) > 36 or not _is_identifier(value):  # An account comes again; nothing longer shall fill the cache.
        raise invalid("account", f"{shown(value)} is no identifier")
    return value


def member(field: str, members: Mapping[str, _MemberT], value: str) -> _MemberT:
    """The member of that label; the error names all of `members`."""
    found = members.get(value)
    if found is None:
        nearest = get_close_matches(value, members, n=1)
        raise invalid(field, f"unknown value {shown(value)}", expectation=alternatives(members), nearest=nearest)
    return found


def optional_self_trade_prevention(value: str | None) -> SelfTradePrevention | None:
    return None if value is None else member("self_trade_prevention", SELF_TRADE_PREVENTIONS, value)


def integer(field: str, value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        text = str(value) if value.bit_length() <= 128 else "an integer of many digits"
        raise invalid(field, f"{text} is out of range")
    return value


def optional_time(field: str, value: int | None) -> int | None:
    """Nanoseconds since the epoch."""
    return None if value is None else integer(field, value, 0, MAX_INTEGER)


def order_name(order_id: int | None, client_order_id: str | None) -> tuple[int | None, str | None]:
    if (order_id is None) == (client_order_id is None):
        problem = "neither is given" if order_id is None else "both are given"
        raise InvalidCommandError(
            f"order_id, client_order_id: {problem}; name the order by exactly one of them", "client_order_id"
        )
    if order_id is not None:
        return integer("order_id", order_id, 1, MAX_INTEGER), None
    assert client_order_id is not None
    return None, identifier("client_order_id", client_order_id)


def key_id(value: str) -> str:
    return _text("key_id", KEY_ID_PATTERN, value)


def key_name(value: str) -> str:
    return _text("name", KEY_NAME_PATTERN, value)


def public_key(value: str) -> str:
    return _text("public_key", PUBLIC_KEY_PATTERN, value)


def _text(field: str, pattern: re.Pattern[str], value: str) -> str:
    if pattern.fullmatch(value) is None:
        raise invalid(field, f"{shown(value)} is none")
    return value


def accounts(values: Sequence[str] | None, role: Role) -> tuple[str, ...]:
    """Those of a key, in rising order. Where none are given, an admin key has all of them, another one none."""
    if values is None:
        return (ALL_ACCOUNTS,) if role is Role.ADMIN else ()
    if list(values) == [ALL_ACCOUNTS]:
        return (ALL_ACCOUNTS,)
    if len(values) > MOST_ACCOUNTS_OF_KEY:
        raise invalid("accounts", f"{len(values)} are given")
    named = sorted(identifier("accounts", value) for value in values)
    for former, latter in pairwise(named):
        if former == latter:
            raise invalid("accounts", f"{shown(former)} is given twice")
    return tuple(named)
