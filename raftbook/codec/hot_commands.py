"""The commands of which a log is full, read by hand: new orders, cancels and replaces without later fields.

    8c 01 01  symbol account client_order_id side order_type time_in_force price quantity post_only not_after
    86 01 02  account order_id client_order_id not_after
    88 01 04  account order_id client_order_id price quantity not_after

The bytes are passed over once, and what is taken is canonical: every head is the shortest, every field of its type and
range, and nothing stands behind the last. So the command need not be encoded again to be compared. Whatever else there
is, wrong or only rare, is left to the general way (commands.py), which also says what is wrong with it.

Symbols, accounts and numbers come again and again: their bytes are looked up, and judged in the general way when they
are new. What is each order's own, its id and its time, is judged here.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from struct import Struct
from typing import TYPE_CHECKING, Final

import cbor2

from raftbook.codec.cbor import FALSE, NULL, TEXT, TRUE, integer, load
from raftbook.codec.command_fields import (
    InvalidFieldError,
    read_account,
    read_client_order_id,
    read_number,
    read_symbol,
)
from raftbook.engine.commands import CancelOrder, NewOrder, ReplaceOrder
from raftbook.engine.types import MAX_INTEGER, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.engine.commands import Command
    from raftbook.engine.types import Number

# A NamedTuple's own constructor is a Python function that does just this, at twice the price.
_new: Final = tuple.__new__
_unpack_64: Final = Struct(">Q").unpack_from

_FLAGS: Final = {FALSE[0]: False, TRUE[0]: True}
_NULL: Final = NULL[0]
_INTEGER_64: Final = 0x1B
_LEAST_64: Final = 0x1_0000_0000
_LONG_TEXT: Final = 0x78
_LONGEST_SHORT_TEXT: Final = 23
_BEFORE_SHORT_TEXT: Final = TEXT - 1
"""The first byte of a text of 1 to 23 bytes says their number, and it takes one itself."""
_MAX_ITEM_DEPTH: Final = 2

_INTEGER_SIZES: Final = tuple({0x18: 2, 0x19: 3, 0x1A: 5, 0x1B: 9}.get(first, 1) for first in range(256))
"""How many bytes an integer takes that begins with this byte."""


class _OtherFormError(Exception):
    """Perhaps a command all the same, but none for this file."""


def read_hot_command(raw: bytes) -> Command | None:
    """The command that these bytes are, if it is one of the three forms and valid; else None. Never raises. O(size)."""
    read = _READERS.get(raw[:3])
    if read is None:
        return None
    try:
        return read(raw)
    except (IndexError, UnicodeDecodeError, InvalidFieldError, _OtherFormError):
        return None


def _read_new_order(raw: bytes) -> NewOrder:
    symbol_end = _end_of_text(raw, 3)
    account_end = _end_of_text(raw, symbol_end)
    id_end = _end_of_text(raw, account_end)
    price_at = id_end + 3
    quantity_at = _end_of_number(raw, price_at)
    post_only_at = _end_of_number(raw, quantity_at)
    enums = _ENUMS.get(raw[id_end:price_at])
    post_only = _FLAGS.get(raw[post_only_at])
    if enums is None or post_only is None:
        raise _OtherFormError
    side, order_type, time_in_force = enums
    return _new(
        NewOrder,
        (
            _symbol(raw[3:symbol_end]),
            _account(raw[symbol_end:account_end]),
            _client_order_id(raw, account_end, id_end),
            side,
            order_type,
            time_in_force,
            None if raw[price_at] == _NULL else _number_above_zero(raw[price_at:quantity_at]),
            _number_above_zero(raw[quantity_at:post_only_at]),
            post_only,
            _not_after(raw, post_only_at + 1),
            None,
            None,
            None,
            None,
        ),
    )


def _read_cancel_order(raw: bytes) -> CancelOrder:
    account_end = _end_of_text(raw, 3)
    order_id, client_order_id, not_after_at = _order_name(raw, account_end)
    return _new(
        CancelOrder,
        (_account(raw[3:account_end]), order_id, client_order_id, _not_after(raw, not_after_at)),
    )


def _read_replace_order(raw: bytes) -> ReplaceOrder:
    account_end = _end_of_text(raw, 3)
    order_id, client_order_id, price_at = _order_name(raw, account_end)
    quantity_at = _end_of_number(raw, price_at)
    not_after_at = _end_of_number(raw, quantity_at)
    return _new(
        ReplaceOrder,
        (
            _account(raw[3:account_end]),
            order_id,
            client_order_id,
            None if raw[price_at] == _NULL else _number_above_zero(raw[price_at:quantity_at]),
            None if raw[quantity_at] == _NULL else _number_or_zero(raw[quantity_at:not_after_at]),
            _not_after(raw, not_after_at),
            None,
            None,
            None,
        ),
    )


_READERS: Final[dict[bytes, Callable[[bytes], Command]]] = {
    b"\x8c\x01\x01": _read_new_order,
    b"\x86\x01\x02": _read_cancel_order,
    b"\x88\x01\x04": _read_replace_order,
}

_ENUMS: Final[dict[bytes, tuple[Side, OrderType, TimeInForce]]] = {
    bytes(members): members for members in product(Side, OrderType, TimeInForce)
}
"""What the three bytes behind a client order id mean together."""


def _end_of_text(raw: bytes, at: int) -> int:
    first = raw[at]
    if TEXT < first < _LONG_TEXT:
        return at + first - _BEFORE_SHORT_TEXT
    if first == _LONG_TEXT and raw[at + 1] > _LONGEST_SHORT_TEXT:
        return at + 2 + raw[at + 1]
    raise _OtherFormError


def _end_of_number(raw: bytes, at: int) -> int:
    """Where a number, or none, ends if it is one: whether it is, is judged when its bytes are looked up."""
    return at + 1 if raw[at] == _NULL else at + 2 + _INTEGER_SIZES[raw[at + 1]]


def _order_name(raw: bytes, at: int) -> tuple[int | None, str | None, int]:
    """Exactly one of order id and client order id, and where they end."""
    if raw[at] == _NULL:
        end = _end_of_text(raw, at + 1)
        return None, _client_order_id(raw, at + 1, end), end
    end = at + _INTEGER_SIZES[raw[at]]
    order_id = int.from_bytes(raw[at + 1 : end], "big") if end > at + 1 else raw[at]
    if not 0 < order_id <= MAX_INTEGER or raw[at:end] != integer(order_id) or raw[end] != _NULL:
        raise _OtherFormError
    return order_id, None, end + 1


def _client_order_id(raw: bytes, at: int, end: int) -> str:
    return read_client_order_id(raw[at + (2 if raw[at] == _LONG_TEXT else 1) : end].decode("ascii"))


def _not_after(raw: bytes, at: int) -> int | None:
    """The last field."""
    if len(raw) == at + 9 and raw[at] == _INTEGER_64:
        value: int = _unpack_64(raw, at + 1)[0]
        if _LEAST_64 <= value <= MAX_INTEGER:
            return value
    elif len(raw) == at + 1 and raw[at] == _NULL:
        return None
    raise _OtherFormError


@lru_cache(maxsize=4096)
def _symbol(item: bytes) -> str:
    return read_symbol(_canonical(item))


@lru_cache(maxsize=65_536)
def _account(item: bytes) -> str:
    return read_account(_canonical(item))


@lru_cache(maxsize=65_536)
def _number_above_zero(item: bytes) -> Number:
    return read_number("number", _canonical(item))


@lru_cache(maxsize=65_536)
def _number_or_zero(item: bytes) -> Number:
    return read_number("number", _canonical(item), lowest=0)


def _canonical(item: bytes) -> object:
    """What these bytes are, all of them, in their one form."""
    try:
        value = load(item, _MAX_ITEM_DEPTH)
    except Exception as error:
        raise _OtherFormError from error
    if cbor2.dumps(value, canonical=True) != item:
        raise _OtherFormError
    return value
