"""Reading snapshots: nested lists of integers, strings, booleans and None, of which nothing is taken on trust.

Every function returns its value with the type that its name says, or raises SnapshotError, which names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from raftbook.engine.types import MAX_INTEGER, Side
from raftbook.errors import SnapshotError

if TYPE_CHECKING:
    from enum import IntEnum

PlainValue = int | str | bool | None | list["PlainValue"]

_E = TypeVar("_E", bound="IntEnum")


def read_list(value: object, name: str, length: int | None = None) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise SnapshotError(f"market data: {name} must be a list, not {value!r}")
    if length is not None and len(value) != length:
        raise SnapshotError(f"market data: {name} must have {length} fields, not {len(value)}")
    return value


def read_integer(value: object, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    if type(value) is not int or not low <= value <= high:
        raise SnapshotError(f"market data: {name} must be an integer from {low} to {high}, not {value!r}")
    return value


def read_optional_integer(value: object, name: str, low: int = 0) -> int | None:
    return None if value is None else read_integer(value, name, low)


def read_total(value: object, name: str) -> int:
    """A sum of integers of the engine, which may be more than 64 bits hold."""
    if type(value) is not int or value < 0:
        raise SnapshotError(f"market data: {name} must be an integer from 0 on, not {value!r}")
    return value


def read_text(value: object, name: str) -> str:
    if type(value) is not str:
        raise SnapshotError(f"market data: {name} must be a string, not {value!r}")
    return value


def read_flag(value: object, name: str) -> bool:
    if value is not True and value is not False:
        raise SnapshotError(f"market data: {name} must be true or false, not {value!r}")
    return value


def read_member(enum: type[_E], value: object, name: str) -> _E:
    try:
        return enum(read_integer(value, name))
    except ValueError:
        raise SnapshotError(f"market data: {name} has no value {value!r}") from None


def read_optional_side(value: object, name: str) -> Side | None:
    return None if value is None else read_member(Side, value, name)
