"""The orders of a snapshot: lists of plain values, and back.

There may be a million of them, so these lines decide about how long it takes to restore a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.order import Order, Terms
from raftbook.engine.snapshot_fields import read_integer, read_length, read_list, read_price, read_text, read_time
from raftbook.engine.turns import let_others_run
from raftbook.engine.types import (
    IDENTIFIER_PATTERN,
    MAX_INTEGER,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.engine.exchange import Exchange
    from raftbook.engine.snapshot_fields import PlainValue

_is_identifier: Final = IDENTIFIER_PATTERN.fullmatch


def orders_to_list(orders: Iterable[Order]) -> list[PlainValue]:
    return [
        [
            order.order_id,
            order.client_order_id,
            order.account,
            order.symbol,
            int(order.side),
            int(order.order_type),
            int(order.time_in_force),
            order.post_only,
            order.price,
            order.quantity,
            order.filled_quantity,
            order.leaves_quantity,
            order.notional,
            int(order.status),
            order.stop_price,
            order.display_quantity,
            order.hidden_quantity,
            order.expire_time,
            int(order.self_trade_prevention),
            None if order.entered is None else list(order.entered),
        ]
        for order in orders
    ]


_OPTIONAL_INTEGER: Final = (int, type(None))
_ORDER_FIELD_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "order_id": (int,),
    "client_order_id": (str,),
    "account": (str,),
    "symbol": (str,),
    "side": (int,),
    "order_type": (int,),
    "time_in_force": (int,),
    "post_only": (bool,),
    "price": _OPTIONAL_INTEGER,
    "quantity": (int,),
    "filled_quantity": (int,),
    "leaves_quantity": (int,),
    "notional": (int,),
    "status": (int,),
    "stop_price": _OPTIONAL_INTEGER,
    "display_quantity": _OPTIONAL_INTEGER,
    "hidden_quantity": (int,),
    "expire_time": _OPTIONAL_INTEGER,
    "self_trade_prevention": (int,),
    "entered": (list, tuple, type(None)),
}
"""Names what is wrong; `_read_order` asks the same in plain conditions, which take a quarter of the time."""
_ORDER_FIELDS: Final = len(_ORDER_FIELD_TYPES)

# An enum called with a number takes three times as long as a dictionary asked for it.
_SIDES: Final = {int(member): member for member in Side}
_ORDER_TYPES: Final = {int(member): member for member in OrderType}
_TIMES_IN_FORCE: Final = {int(member): member for member in TimeInForce}
_STATUSES: Final = {int(member): member for member in OrderStatus}
_PREVENTIONS: Final = {int(member): member for member in SelfTradePrevention}


class OrderReader:
    """Reads orders, of which a snapshot may hold a million; names that thousands of them share become one object.

    Types, texts and enums are judged here; what numbers an order may have, the invariants say when all is restored.
    """

    __slots__ = ("_accounts", "_instruments", "_use_up")

    def __init__(self, exchange: Exchange, *, use_up: bool) -> None:
        self._instruments = exchange.instruments
        self._accounts: dict[str, str] = {}
        self._use_up = use_up

    def read_orders(self, data: object, name: str) -> list[Order]:
        orders = read_list(data, name)
        read_order = self._read_order
        if not self._use_up or isinstance(orders, tuple):
            return [read_order(read_list(fields, "order")) for fields in orders]
        # What an order was read from makes room for the next: a million take 180 MB less, and so does a fork's copying.
        orders.reverse()
        take = orders.pop
        return [read_order(read_list(take(), "order")) for _ in range(len(orders))]

    def _read_order(self, fields: list[object] | tuple[object, ...]) -> Order:
        let_others_run()
        if len(fields) != _ORDER_FIELDS:
            raise _wrong_shape(fields)
        (
            order_id,
            client_order_id,
            account,
            symbol,
            side,
            order_type,
            time_in_force,
            post_only,
            price,
            quantity,
            filled_quantity,
            leaves_quantity,
            notional,
            status,
            stop_price,
            display_quantity,
            hidden_quantity,
            expire_time,
            self_trade_prevention,
            entered,
        ) = fields
        if not (
            type(order_id) is int
            and type(client_order_id) is str
            and type(account) is str
            and type(symbol) is str
            and type(side) is int
            and type(order_type) is int
            and type(time_in_force) is int
            and type(post_only) is bool
            and (price is None or type(price) is int)
            and type(quantity) is int
            and type(filled_quantity) is int
            and type(leaves_quantity) is int
            and type(notional) is int
            and type(status) is int
            and (stop_price is None or type(stop_price) is int)
            and (display_quantity is None or type(display_quantity) is int)
            and type(hidden_quantity) is int
            and (expire_time is None or type(expire_time) is int)
            and type(self_trade_prevention) is int
            and (entered is None or type(entered) is list or type(entered) is tuple)
        ):
            raise _wrong_shape(fields)
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise ValueError(f"snapshot: order {order_id} belongs to an unknown instrument, {symbol!r}")
        if _is_identifier(client_order_id) is None:
            raise ValueError(f"snapshot: client_order_id is not well formed: {client_order_id!r}")
        if expire_time is not None and not 0 <= expire_time <= MAX_INTEGER:
            raise ValueError(f"snapshot: order {order_id} expires at {expire_time}, which is no time")
        try:
            order = Order(
                order_id,
                client_order_id,
                self._accounts.get(account) or self._new_account(account),
                instrument.symbol,
                _SIDES[side],
                _ORDER_TYPES[order_type],
                _TIMES_IN_FORCE[time_in_force],
                post_only,
                price,
                quantity,
                stop_price,
                display_quantity,
                expire_time,
                _PREVENTIONS[self_trade_prevention],
            )
            order.status = _STATUSES[status]
        except KeyError as unknown:
            raise ValueError(f"snapshot: order {order_id} has {unknown} where a kind or a status stands") from None
        order.filled_quantity = filled_quantity
        order.leaves_quantity = leaves_quantity
        order.notional = notional
        order.hidden_quantity = hidden_quantity
        if entered is not None:
            order.entered = _restore_entered_terms(entered)
        return order

    def _new_account(self, name: str) -> str:
        self._accounts[name] = read_text(name, IDENTIFIER_PATTERN, "account")
        return name


def _wrong_shape(fields: list[object] | tuple[object, ...]) -> ValueError:
    """What the first of an order's fields is that has another type than it may have, if their number is right."""
    read_length(fields, len(_ORDER_FIELD_TYPES), "order")
    for (name, types), value in zip(_ORDER_FIELD_TYPES.items(), fields, strict=True):
        if type(value) not in types:
            wanted = " or ".join(allowed.__name__ for allowed in types)
            return ValueError(f"snapshot: {name} of an order must be of type {wanted}, not {value!r}")
    raise AssertionError("an order whose fields have the right types was refused for them")


def _restore_entered_terms(data: object) -> Terms:
    fields = read_length(read_list(data, "entered terms"), 5, "entered terms")
    return Terms(
        read_price(fields[0], "entered price"),
        read_integer(fields[1], "entered quantity", low=1),
        read_price(fields[2], "entered stop_price"),
        read_price(fields[3], "entered display_quantity"),
        read_time(fields[4], "entered expire_time"),
    )
