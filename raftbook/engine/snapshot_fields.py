"""Reading a snapshot's fields: nested lists of integers, strings, booleans and None, nothing of it taken on trust.

Each function returns its value with the type that its name says, or raises ValueError, which names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, Number, Reason

if TYPE_CHECKING:
    import re
    from enum import IntEnum

PlainValue = int | str | bool | None | list["PlainValue"]

_E = TypeVar("_E", bound="IntEnum")


def read_list(value: object, name: str) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"snapshot: {name} must be a list, not {type(value).__name__}")  # noqa: TRY004 - wrong data, not a wrong call
    return value


def read_length(value: list[object] | tuple[object, ...], length: int, name: str) -> list[object] | tuple[object, ...]:
    if len(value) != length:
        raise ValueError(f"snapshot: {name} must have {length} fields, not {len(value)}")
    return value


def read_integer(value: object, name: str, *, low: int = 0, high: int = MAX_INTEGER) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"snapshot: {name} must be an integer from {low} to {high}, not {value!r}")
    return value


def read_price(value: object, name: str) -> int | None:
    return None if value is None else read_integer(value, name, low=1)


def read_limit(value: object, name: str, high: int = MAX_INTEGER) -> int | None:
    return None if value is None else read_integer(value, name, low=1, high=high)


def read_time(value: object, name: str) -> int | None:
    return None if value is None else read_integer(value, name)


def read_number(value: object, name: str) -> Number:
    mantissa, decimals = read_length(read_list(value, name), 2, name)
    return Number(read_integer(mantissa, name, low=-MAX_INTEGER), read_integer(decimals, name, high=MAX_DECIMALS))


def read_reason(value: object) -> Reason:
    try:
        return Reason(read_string(value, "reason"))
    except ValueError:
        raise ValueError(f"snapshot: reason has no value {value!r}") from None


def read_flag(value: object, name: str) -> bool:
    if value is not True and value is not False:
        raise ValueError(f"snapshot: {name} must be true or false, not {value!r}")
    return value


def read_string(value: object, name: str) -> str:
    if type(value) is not str:
        raise ValueError(f"snapshot: {name} must be a string, not {value!r}")
    return value


def read_text(value: object, pattern: re.Pattern[str], name: str) -> str:
    text = read_string(value, name)
    if pattern.fullmatch(text) is None:
        raise ValueError(f"snapshot: {name} is not well formed: {text!r}")
    return text


def read_member(enum: type[_E], value: object, name: str) -> _E:
    try:
        return enum(read_integer(value, name))
    except ValueError:
        raise ValueError(f"snapshot: {name} has no value {value!r}") from None
