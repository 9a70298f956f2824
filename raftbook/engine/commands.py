"""Commands: what a client asks for, as the log carries it.

Each command is a NamedTuple whose fields are plain values, so that the codec can write it as a CBOR array
as it stands. `not_after` (log time in nanoseconds) is the last moment at which the command may still be
executed; later it is rejected with `submission_expired`. None means that it never expires.

A command that reaches the engine has fields of the right types and shapes (the codec sees to that for
bytes, json_format for JSON), or it is a `Malformed`. Everything that needs the state to judge (does the
symbol exist, is the price on its tick) is the engine's to reject.
"""

from __future__ import annotations

from typing import NamedTuple

from raftbook.engine.types import Number, OrderType, Role, SelfTradePrevention, Side, TimeInForce, TradingStatus


class NewOrder(NamedTuple):
    """`self_trade_prevention` None means the instrument's mode."""

    symbol: str
    account: str
    client_order_id: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price: Number | None
    quantity: Number
    post_only: bool = False
    not_after: int | None = None
    stop_price: Number | None = None
    display_quantity: Number | None = None
    expire_time: int | None = None
    self_trade_prevention: SelfTradePrevention | None = None


class CancelOrder(NamedTuple):
    """Names the order by exactly one of `order_id` and `client_order_id`."""

    account: str
    order_id: int | None
    client_order_id: str | None
    not_after: int | None = None


class CancelAll(NamedTuple):
    account: str
    symbol: str | None = None
    side: Side | None = None
    not_after: int | None = None


class ReplaceOrder(NamedTuple):
    """Names the order as CancelOrder does; a field that is None stays as it is.

    `display_quantity` zero shows the whole order from now on.
    """

    account: str
    order_id: int | None
    client_order_id: str | None
    price: Number | None
    quantity: Number | None
    not_after: int | None = None
    stop_price: Number | None = None
    display_quantity: Number | None = None
    expire_time: int | None = None


class AddInstrument(NamedTuple):
    """The limits behind `not_after` are optional. `price_band` and `market_protection` are in percent."""

    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: Number
    lot_size: Number
    not_after: int | None = None
    min_quantity: Number | None = None
    max_quantity: Number | None = None
    min_notional: Number | None = None
    price_band: Number | None = None
    market_protection: Number | None = None
    max_open_orders: int | None = None
    self_trade_prevention: SelfTradePrevention | None = None


class SetStatus(NamedTuple):
    symbol: str
    status: TradingStatus
    not_after: int | None = None


class Uncross(NamedTuple):
    """Ends the auction of this instrument with its trades; `status`, `trading` or `closed`, follows."""

    symbol: str
    status: TradingStatus = TradingStatus.TRADING
    not_after: int | None = None


class Tick(NamedTuple):
    """Time passes; also the barrier behind a linearizable read."""

    not_after: int | None = None


class CreateKey(NamedTuple):
    """An API key; its secret stays with its owner. `accounts` is in rising order, or ALL_ACCOUNTS alone."""

    key_id: str
    name: str
    role: Role
    accounts: tuple[str, ...]
    public_key: str
    not_after: int | None = None


class RevokeKey(NamedTuple):
    key_id: str
    not_after: int | None = None


class Malformed(NamedTuple):
    """Bytes that are no command; it takes its place in the log and is answered with a rejection."""

    detail: str
    not_after: int | None = None


Command = (
    NewOrder
    | CancelOrder
    | CancelAll
    | ReplaceOrder
    | AddInstrument
    | SetStatus
    | Uncross
    | Tick
    | CreateKey
    | RevokeKey
    | Malformed
)


class Run(NamedTuple):
    """Commands of one origin with consecutive sequence numbers, the first of them `first_sequence`."""

    origin: str
    first_sequence: int
    commands: tuple[Command, ...]


class Entry(NamedTuple):
    """One entry of the ordered log: the leader's time (nanoseconds since the epoch) and what it packed."""

    timestamp: int
    runs: tuple[Run, ...]
