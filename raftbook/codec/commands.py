"""One command in its one form: NewOrder and CancelOrder, the hot ones, by hand, the others by cbor2."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

import cbor2

from raftbook.codec.cbor import (
    FALSE,
    NULL,
    SMALL_INTEGERS,
    TRUE,
    integer,
    is_integer,
    load,
    optional_integer,
    optional_text,
    text,
)
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    Malformed,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Tick,
)
from raftbook.engine.types import (
    IDENTIFIER_PATTERN,
    MAX_DECIMALS,
    MAX_INTEGER,
    SYMBOL_PATTERN,
    Number,
    OrderType,
    Side,
    TimeInForce,
    TradingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMAND_VERSION: Final = 1

MAX_COMMAND_BYTES: Final = 512
"""A bound for everything that holds commands; the longest valid command takes less than half of it."""

_MAX_COMMAND_DEPTH: Final = 4


@lru_cache(maxsize=65_536)
def _number(value: Number | None) -> bytes:
    if value is None:
        return NULL
    return b"\x82" + integer(value.mantissa) + integer(value.decimals)


class _InvalidFieldError(Exception):
    """Bytes that are no command; the text becomes `Malformed.detail`."""


@lru_cache(maxsize=4096)
def _is_symbol(value: str) -> bool:
    return SYMBOL_PATTERN.fullmatch(value) is not None


@lru_cache(maxsize=65_536)
def _is_account(value: str) -> bool:
    return IDENTIFIER_PATTERN.fullmatch(value) is not None


_match_identifier = IDENTIFIER_PATTERN.fullmatch


def _read_symbol(value: object) -> str:
    if type(value) is not str or not _is_symbol(value):
        raise _InvalidFieldError("symbol must be 1 to 24 of A-Z a-z 0-9 . _ -")
    return value


def _read_optional_symbol(value: object) -> str | None:
    return None if value is None else _read_symbol(value)


def _read_account(value: object) -> str:
    if type(value) is not str or not _is_account(value):
        raise _InvalidFieldError("account must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def _read_client_order_id(value: object) -> str:
    if type(value) is not str or _match_identifier(value) is None:
        raise _InvalidFieldError("client_order_id must be 1 to 36 of A-Z a-z 0-9 . _ : -")
    return value


def _read_order_name(order_id: object, client_order_id: object) -> tuple[int | None, str | None]:
    """Exactly one of the two names an order."""
    if (order_id is None) == (client_order_id is None):
        raise _InvalidFieldError("exactly one of order_id and client_order_id must name the order")
    if order_id is None:
        return None, _read_client_order_id(client_order_id)
    if not is_integer(order_id, 1, MAX_INTEGER):
        raise _InvalidFieldError("order_id must be an integer from 1 to 2**63 - 1")
    return order_id, None


_EnumT = TypeVar("_EnumT", Side, OrderType, TimeInForce, TradingStatus)

_SIDES: Final[Mapping[int, Side]] = {int(member): member for member in Side}
_ORDER_TYPES: Final[Mapping[int, OrderType]] = {int(member): member for member in OrderType}
_TIMES_IN_FORCE: Final[Mapping[int, TimeInForce]] = {int(member): member for member in TimeInForce}
_STATUSES: Final[Mapping[int, TradingStatus]] = {int(member): member for member in TradingStatus}


def _read_enum(field: str, members: Mapping[int, _EnumT], value: object) -> _EnumT:
    member = members.get(value) if type(value) is int else None
    if member is None:
        raise _InvalidFieldError(f"{field} is none of the numbers that version 1 knows")
    return member


@lru_cache(maxsize=65_536)
def _make_number(mantissa: int, decimals: int, lowest: int) -> Number | None:
    """Cached: prices and sizes come again. Callers check the types first, since the cache takes True for 1."""
    if lowest <= mantissa <= MAX_INTEGER and 0 <= decimals <= MAX_DECIMALS:
        return Number(mantissa, decimals)
    return None


def _read_number(field: str, value: object, lowest: int = 1) -> Number:
    if type(value) is list and len(value) == 2:
        mantissa, decimals = value
        if type(mantissa) is int and type(decimals) is int:
            number = _make_number(mantissa, decimals, lowest)
            if number is not None:
                return number
    raise _InvalidFieldError(f"{field} must be [mantissa from {lowest} to 2**63 - 1, decimals from 0 to 18]")


def _read_optional_number(field: str, value: object, lowest: int = 1) -> Number | None:
    return None if value is None else _read_number(field, value, lowest)


def _read_bool(field: str, value: object) -> bool:
    if type(value) is not bool:
        raise _InvalidFieldError(f"{field} must be true or false")
    return value


def _read_not_after(value: object) -> int | None:
    if value is None or is_integer(value, 0, MAX_INTEGER):
        return value
    raise _InvalidFieldError("not_after must be null or an integer from 0 to 2**63 - 1")


def _read_decimals(field: str, value: object) -> int:
    if not is_integer(value, 0, MAX_DECIMALS):
        raise _InvalidFieldError(f"{field} must be an integer from 0 to 18")
    return value


def _read_new_order(fields: list[object]) -> NewOrder:
    _, _, symbol, account, client_order_id, side, order_type, time_in_force, price, quantity, post_only, not_after = (
        fields
    )
    return NewOrder(
        _read_symbol(symbol),
        _read_account(account),
        _read_client_order_id(client_order_id),
        _read_enum("side", _SIDES, side),
        _read_enum("order_type", _ORDER_TYPES, order_type),
        _read_enum("time_in_force", _TIMES_IN_FORCE, time_in_force),
        None if price is None else _read_number("price", price),
        _read_number("quantity", quantity),
        _read_bool("post_only", post_only),
        _read_not_after(not_after),
    )


def _read_cancel_order(fields: list[object]) -> CancelOrder:
    _, _, account, order_id, client_order_id, not_after = fields
    return CancelOrder(_read_account(account), *_read_order_name(order_id, client_order_id), _read_not_after(not_after))


def _read_cancel_all(fields: list[object]) -> CancelAll:
    _, _, account, symbol, side, not_after = fields
    return CancelAll(
        _read_account(account),
        _read_optional_symbol(symbol),
        None if side is None else _read_enum("side", _SIDES, side),
        _read_not_after(not_after),
    )


def _read_replace_order(fields: list[object]) -> ReplaceOrder:
    _, _, account, order_id, client_order_id, price, quantity, not_after = fields
    return ReplaceOrder(
        _read_account(account),
        *_read_order_name(order_id, client_order_id),
        _read_optional_number("price", price),
        _read_optional_number("quantity", quantity, lowest=0),  # To nothing: a replace that cancels.
        _read_not_after(not_after),
    )


def _read_add_instrument(fields: list[object]) -> AddInstrument:
    _, _, symbol, price_decimals, quantity_decimals, tick_size, lot_size, not_after = fields
    return AddInstrument(
        _read_symbol(symbol),
        _read_decimals("price_decimals", price_decimals),
        _read_decimals("quantity_decimals", quantity_decimals),
        _read_number("tick_size", tick_size),
        _read_number("lot_size", lot_size),
        _read_not_after(not_after),
    )


def _read_set_status(fields: list[object]) -> SetStatus:
    _, _, symbol, status, not_after = fields
    return SetStatus(_read_symbol(symbol), _read_enum("status", _STATUSES, status), _read_not_after(not_after))


def _read_tick(fields: list[object]) -> Tick:
    _, _, not_after = fields
    return Tick(_read_not_after(not_after))


COMMAND_TYPES: Final[Mapping[type[Command], int]] = {
    Malformed: 0,  # Only in events: a command that is malformed has no bytes of its own.
    NewOrder: 1,
    CancelOrder: 2,
    CancelAll: 3,
    ReplaceOrder: 4,
    AddInstrument: 5,
    SetStatus: 6,
    Tick: 7,
}

_COMMAND_READERS: Final[Mapping[int, tuple[int, Callable[[list[object]], Command]]]] = {
    1: (12, _read_new_order),
    2: (6, _read_cancel_order),
    3: (6, _read_cancel_all),
    4: (8, _read_replace_order),
    5: (8, _read_add_instrument),
    6: (5, _read_set_status),
    7: (3, _read_tick),
}
"""Type number -> (length of the array, reader of its fields)."""


def encode_command(command: Command, default_not_after: int | None = None) -> bytes:
    """Canonical CBOR of a command whose fields have the right types and ranges. O(size).

    `default_not_after` stands where the command has none of its own. Malformed has no bytes: to encode one is a
    programmer's mistake.
    """
    not_after = default_not_after if command.not_after is None else command.not_after
    if type(command) is NewOrder:
        # The hot path, by hand: 13 parts in one join.
        return b"".join(
            (
                b"\x8c\x01\x01",
                text(command.symbol),
                text(command.account),
                text(command.client_order_id),
                SMALL_INTEGERS[command.side],
                SMALL_INTEGERS[command.order_type],
                SMALL_INTEGERS[command.time_in_force],
                _number(command.price),
                _number(command.quantity),
                TRUE if command.post_only else FALSE,
                optional_integer(not_after),
            )
        )
    if type(command) is CancelOrder:
        return b"".join(
            (
                b"\x86\x01\x02",
                text(command.account),
                optional_integer(command.order_id),
                optional_text(command.client_order_id),
                optional_integer(not_after),
            )
        )
    assert type(command) is not Malformed, "a malformed command has no bytes"
    # not_after is the last field of every command.
    return cbor2.dumps((COMMAND_VERSION, COMMAND_TYPES[type(command)], *command[:-1], not_after), canonical=True)


def decode_command(raw: bytes) -> Command:
    """The command that these bytes are, or a Malformed that says in fixed words what is wrong. Never raises. O(size).

    `encode_command(decode_command(raw)) == raw` for every result that is not Malformed.
    """
    if len(raw) > MAX_COMMAND_BYTES:
        return Malformed(f"longer than {MAX_COMMAND_BYTES} bytes")
    try:
        fields = load(raw, _MAX_COMMAND_DEPTH)
    except Exception:  # noqa: BLE001 - whatever the decoder makes of arbitrary bytes, they are no command.
        return Malformed("not CBOR, or CBOR with tags, indefinite lengths or deep nesting")
    if type(fields) is not list or len(fields) < 2:
        return Malformed("not an array of version, type and fields")
    version, type_number = fields[0], fields[1]
    if type(version) is not int or version != COMMAND_VERSION:
        return Malformed("unknown version")
    if type(type_number) is not int or type_number not in _COMMAND_READERS:
        return Malformed("unknown command type")
    length, read = _COMMAND_READERS[type_number]
    if len(fields) != length:
        return Malformed("wrong number of fields for this command type")
    try:
        command = read(fields)
    except _InvalidFieldError as error:
        return Malformed(str(error))
    if encode_command(command) != raw:
        return Malformed("not canonical, or bytes after the end")
    return command
