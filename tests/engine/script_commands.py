"""One line of a script as a command; scripting.py says what the lines look like.

Whatever a line says that no command could carry is a ValueError, so that a slip of the pen cannot pass for a question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    Malformed,
    NewOrder,
    Number,
    OrderType,
    ReplaceOrder,
    RevokeKey,
    Role,
    SelfTradePrevention,
    SetStatus,
    Side,
    Tick,
    TimeInForce,
    TradingStatus,
    Uncross,
)
from raftbook.engine.types import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

SIDES = {side.label: side for side in Side}
ORDER_TYPES = {order_type.label: order_type for order_type in OrderType}
TIMES_IN_FORCE = {time_in_force.label: time_in_force for time_in_force in TimeInForce}
ROLES = {role.label: role for role in Role}
MODES = {mode.label: mode for mode in SelfTradePrevention}


def parse_command(line: str) -> Command:
    words = line.split()
    if words[0] == "malformed":
        return Malformed(" ".join(words[1:]))
    named = dict(word.split("=", 1) for word in words if "=" in word)
    command = _command([word for word in words if "=" not in word], named)
    if named:
        raise ValueError(f"no such terms here: {', '.join(named)}, in: {line}")
    return command


def parse_time(text: str) -> int:
    """`50`, or relative to the end of a day: `1d` is the first midnight, `1d-1` the nanosecond before, `1d+5`."""
    days, of_day, nanoseconds = text.partition("d")
    return int(days) * DAY_NS + int(nanoseconds or 0) if of_day else int(text)


def _command(plain: list[str], named: dict[str, str]) -> Command:
    """Takes out of `named` whatever it has use for."""
    not_after = _optional(named, "not_after", parse_time)
    match plain:
        case ["instrument", symbol]:
            return _add_instrument(symbol, named, not_after)
        case ["status", symbol, status]:
            return SetStatus(symbol, TradingStatus[status.upper()], not_after)
        case ["uncross", symbol]:
            return Uncross(symbol, not_after=not_after)
        case ["uncross", symbol, status]:
            return Uncross(symbol, TradingStatus[status.upper()], not_after)
        case ["tick"]:
            return Tick(not_after)
        case ["key", "revoke", key_id]:
            return RevokeKey(key_id, not_after)
        case ["key", key_id, role, *accounts]:
            public_key = named.pop("public", key_id).rjust(42, "A") + "A"
            return CreateKey(key_id, named.pop("name", "ann"), ROLES[role], tuple(accounts), public_key, not_after)
        case [account, "cancel", name]:
            return CancelOrder(account, *_order_name(name), not_after)
        case [account, "cancel_all", *rest]:
            side = SIDES[rest.pop()] if rest and rest[-1] in SIDES else None
            [symbol] = rest or [None]
            return CancelAll(account, symbol, side, not_after)
        case [account, "replace", name]:
            return ReplaceOrder(
                account,
                *_order_name(name),
                _optional(named, "price", _number),
                _optional(named, "quantity", _number),
                not_after,
                _optional(named, "stop", _number),
                _optional(named, "display", _number),
                _optional(named, "expire", parse_time),
            )
        case [account, ("buy" | "sell") as side, quantity, symbol, *terms]:
            return _new_order(account, SIDES[side], quantity, symbol, terms, named, not_after)
    raise ValueError(f"no command: {' '.join(plain)}")


def _add_instrument(symbol: str, named: dict[str, str], not_after: int | None) -> AddInstrument:
    return AddInstrument(
        symbol,
        int(named.pop("price_decimals")),
        int(named.pop("quantity_decimals")),
        _number(named.pop("tick_size")),
        _number(named.pop("lot_size")),
        not_after,
        _optional(named, "min_quantity", _number),
        _optional(named, "max_quantity", _number),
        _optional(named, "min_notional", _number),
        _optional(named, "price_band", _number),
        _optional(named, "market_protection", _number),
        _optional(named, "max_open_orders", int),
        _optional(named, "self_trade_prevention", MODES.__getitem__),
    )


def _new_order(
    account: str,
    side: Side,
    quantity: str,
    symbol: str,
    terms: list[str],
    named: dict[str, str],
    not_after: int | None,
) -> NewOrder:
    price = None
    if "@" in terms:
        position = terms.index("@")
        price = _number(terms[position + 1])
        del terms[position : position + 2]
    stop_price = _optional(named, "stop", _number)
    order_type, time_in_force, post_only = OrderType.LIMIT, TimeInForce.GTC, False
    if stop_price is not None:
        order_type = OrderType.STOP if price is None else OrderType.STOP_LIMIT
    for word in terms:
        if word == "post_only":
            post_only = True
        elif word in ORDER_TYPES:
            order_type = ORDER_TYPES[word]
        else:
            time_in_force = TIMES_IN_FORCE[word]
    return NewOrder(
        symbol,
        account,
        named.pop("id"),
        side,
        order_type,
        time_in_force,
        price,
        _number(quantity),
        post_only,
        not_after,
        stop_price,
        _optional(named, "display", _number),
        _optional(named, "expire", parse_time),
        _optional(named, "stp", MODES.__getitem__),
    )


def _optional(named: dict[str, str], name: str, parse: Callable[[str], Value]) -> Value | None:
    text = named.pop(name, None)
    return None if text is None else parse(text)


def _order_name(word: str) -> tuple[int | None, str | None]:
    return (int(word[1:]), None) if word.startswith("#") else (None, word)


def _number(text: str) -> Number:
    whole, _, fraction = text.partition(".")
    return Number(int(whole + fraction), len(fraction))
