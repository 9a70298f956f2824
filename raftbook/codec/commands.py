"""One command in its one form: NewOrder and CancelOrder are written by hand, the others by cbor2.

To read, there is a short way for what a log is full of (hot_commands.py) and the general one, which is here.

Fields that came later stand behind `not_after`. A command in which none of them is set has the form that it had
before there were any, so what older releases wrote means the same; the long form without any of them is refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import cbor2

from raftbook.codec.cbor import (
    FALSE,
    NULL,
    SMALL_INTEGERS,
    TRUE,
    integer,
    load,
    optional_integer,
    optional_text,
    text,
)
from raftbook.codec.command_fields import (
    ORDER_TYPES,
    ROLES,
    SIDES,
    STATUSES,
    TIMES_IN_FORCE,
    InvalidFieldError,
    read_account,
    read_accounts,
    read_bool,
    read_client_order_id,
    read_decimals,
    read_enum,
    read_key_id,
    read_key_name,
    read_not_after,
    read_number,
    read_optional_integer,
    read_optional_number,
    read_optional_symbol,
    read_order_name,
    read_public_key,
    read_self_trade_prevention,
    read_status_behind_auction,
    read_symbol,
)
from raftbook.codec.hot_commands import read_hot_command
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    Malformed,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Uncross,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftbook.engine.types import Number

COMMAND_VERSION: Final = 1

MAX_COMMAND_BYTES: Final = 512
"""A bound for everything that holds commands. The longest valid one, a key with eight accounts, takes 463."""

_MAX_COMMAND_DEPTH: Final = 4


@lru_cache(maxsize=65_536)
def _number(value: Number | None) -> bytes:
    if value is None:
        return NULL
    return b"\x82" + integer(value.mantissa) + integer(value.decimals)


def _read_new_order(fields: list[object]) -> NewOrder:
    _, _, symbol, account, client_order_id, side, order_type, time_in_force, price, quantity, post_only, not_after = (
        fields
    )
    return NewOrder(
        read_symbol(symbol),
        read_account(account),
        read_client_order_id(client_order_id),
        read_enum("side", SIDES, side),
        read_enum("order_type", ORDER_TYPES, order_type),
        read_enum("time_in_force", TIMES_IN_FORCE, time_in_force),
        None if price is None else read_number("price", price),
        read_number("quantity", quantity),
        read_bool("post_only", post_only),
        read_not_after(not_after),
    )


def _read_long_new_order(fields: list[object]) -> NewOrder:
    stop_price, display_quantity, expire_time, self_trade_prevention = fields[12:]
    return _read_new_order(fields[:12])._replace(
        stop_price=read_optional_number("stop_price", stop_price),
        display_quantity=read_optional_number("display_quantity", display_quantity),
        expire_time=read_optional_integer("expire_time", expire_time),
        self_trade_prevention=read_self_trade_prevention(self_trade_prevention),
    )


def _read_cancel_order(fields: list[object]) -> CancelOrder:
    _, _, account, order_id, client_order_id, not_after = fields
    return CancelOrder(read_account(account), *read_order_name(order_id, client_order_id), read_not_after(not_after))


def _read_cancel_all(fields: list[object]) -> CancelAll:
    _, _, account, symbol, side, not_after = fields
    return CancelAll(
        read_account(account),
        read_optional_symbol(symbol),
        None if side is None else read_enum("side", SIDES, side),
        read_not_after(not_after),
    )


def _read_replace_order(fields: list[object]) -> ReplaceOrder:
    _, _, account, order_id, client_order_id, price, quantity, not_after = fields
    return ReplaceOrder(
        read_account(account),
        *read_order_name(order_id, client_order_id),
        read_optional_number("price", price),
        read_optional_number("quantity", quantity, lowest=0),  # To nothing: a replace that cancels.
        read_not_after(not_after),
    )


def _read_long_replace_order(fields: list[object]) -> ReplaceOrder:
    stop_price, display_quantity, expire_time = fields[8:]
    return _read_replace_order(fields[:8])._replace(
        stop_price=read_optional_number("stop_price", stop_price),
        display_quantity=read_optional_number("display_quantity", display_quantity, lowest=0),  # Shows the whole order.
        expire_time=read_optional_integer("expire_time", expire_time),
    )


def _read_add_instrument(fields: list[object]) -> AddInstrument:
    _, _, symbol, price_decimals, quantity_decimals, tick_size, lot_size, not_after = fields
    return AddInstrument(
        read_symbol(symbol),
        read_decimals("price_decimals", price_decimals),
        read_decimals("quantity_decimals", quantity_decimals),
        read_number("tick_size", tick_size),
        read_number("lot_size", lot_size),
        read_not_after(not_after),
    )


def _read_long_add_instrument(fields: list[object]) -> AddInstrument:
    (
        min_quantity,
        max_quantity,
        min_notional,
        price_band,
        market_protection,
        max_open_orders,
        self_trade_prevention,
    ) = fields[8:]
    return _read_add_instrument(fields[:8])._replace(
        min_quantity=read_optional_number("min_quantity", min_quantity),
        max_quantity=read_optional_number("max_quantity", max_quantity),
        min_notional=read_optional_number("min_notional", min_notional),
        price_band=read_optional_number("price_band", price_band),
        market_protection=read_optional_number("market_protection", market_protection),
        max_open_orders=read_optional_integer("max_open_orders", max_open_orders, lowest=1),
        self_trade_prevention=read_self_trade_prevention(self_trade_prevention),
    )


def _read_set_status(fields: list[object]) -> SetStatus:
    _, _, symbol, status, not_after = fields
    return SetStatus(read_symbol(symbol), read_enum("status", STATUSES, status), read_not_after(not_after))


def _read_uncross(fields: list[object]) -> Uncross:
    _, _, symbol, status, not_after = fields
    return Uncross(read_symbol(symbol), read_status_behind_auction(status), read_not_after(not_after))


def _read_tick(fields: list[object]) -> Tick:
    _, _, not_after = fields
    return Tick(read_not_after(not_after))


def _read_create_key(fields: list[object]) -> CreateKey:
    _, _, key_id, name, role, accounts, public_key, not_after = fields
    return CreateKey(
        read_key_id(key_id),
        read_key_name(name),
        read_enum("role", ROLES, role),
        read_accounts(accounts),
        read_public_key(public_key),
        read_not_after(not_after),
    )


def _read_revoke_key(fields: list[object]) -> RevokeKey:
    _, _, key_id, not_after = fields
    return RevokeKey(read_key_id(key_id), read_not_after(not_after))


COMMAND_TYPES: Final[Mapping[type[Command], int]] = {
    Malformed: 0,  # Only in events: a command that is malformed has no bytes of its own.
    NewOrder: 1,
    CancelOrder: 2,
    CancelAll: 3,
    ReplaceOrder: 4,
    AddInstrument: 5,
    SetStatus: 6,
    Tick: 7,
    Uncross: 8,
    CreateKey: 9,
    RevokeKey: 10,
}

_COMMAND_READERS: Final[Mapping[int, Mapping[int, Callable[[list[object]], Command]]]] = {
    1: {12: _read_new_order, 16: _read_long_new_order},
    2: {6: _read_cancel_order},
    3: {6: _read_cancel_all},
    4: {8: _read_replace_order, 11: _read_long_replace_order},
    5: {8: _read_add_instrument, 15: _read_long_add_instrument},
    6: {5: _read_set_status},
    7: {3: _read_tick},
    8: {5: _read_uncross},
    9: {8: _read_create_key},
    10: {4: _read_revoke_key},
}
"""Type number -> length of the array -> reader of its fields."""


def encode_command(command: Command, default_not_after: int | None = None) -> bytes:
    """Canonical CBOR of a command whose fields have the right types and ranges. O(size).

    `default_not_after` stands where the command has none of its own. Malformed has no bytes: to encode one is a
    programmer's mistake.
    """
    if type(command) is NewOrder:
        return _encode_new_order(command, default_not_after)
    not_after = default_not_after if command.not_after is None else command.not_after
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
    return cbor2.dumps((COMMAND_VERSION, COMMAND_TYPES[type(command)], *_fields_of(command, not_after)), canonical=True)


def _encode_new_order(command: NewOrder, default_not_after: int | None) -> bytes:
    # The hot path, by hand: 11 parts in one join.
    (
        symbol,
        account,
        client_order_id,
        side,
        order_type,
        time_in_force,
        price,
        quantity,
        post_only,
        not_after,
        stop_price,
        display_quantity,
        expire_time,
        self_trade_prevention,
    ) = command
    is_short = stop_price is None and display_quantity is None and expire_time is None and self_trade_prevention is None
    raw = b"".join(
        (
            b"\x8c\x01\x01" if is_short else b"\x90\x01\x01",
            text(symbol),
            text(account),
            text(client_order_id),
            SMALL_INTEGERS[side],
            SMALL_INTEGERS[order_type],
            SMALL_INTEGERS[time_in_force],
            _number(price),
            _number(quantity),
            TRUE if post_only else FALSE,
            optional_integer(default_not_after if not_after is None else not_after),
        )
    )
    if is_short:
        return raw
    return b"".join(
        (
            raw,
            _number(stop_price),
            _number(display_quantity),
            optional_integer(expire_time),
            optional_integer(self_trade_prevention),
        )
    )


def _fields_of(command: Command, not_after: int | None) -> tuple[object, ...]:
    """The fields up to `not_after`, and those behind it only where one of them is set."""
    short = command._fields.index("not_after")
    later = command[short + 1 :]
    return (*command[:short], not_after, *(later if any(field is not None for field in later) else ()))


def decode_command(raw: bytes) -> Command:
    """The command that these bytes are, or a Malformed that says in fixed words what is wrong. Never raises. O(size).

    `encode_command(decode_command(raw)) == raw` for every result that is not Malformed.
    """
    command = read_hot_command(raw)
    return decode_any_command(raw) if command is None else command


def decode_any_command(raw: bytes) -> Command:
    """The general way of `decode_command`, for every command: with the same result, but several times its price."""
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
    read = _COMMAND_READERS[type_number].get(len(fields))
    if read is None:
        return Malformed("wrong number of fields for this command type")
    try:
        command = read(fields)
    except InvalidFieldError as error:
        return Malformed(str(error))
    if encode_command(command) != raw:
        return Malformed("not canonical, or bytes after the end")
    return command
