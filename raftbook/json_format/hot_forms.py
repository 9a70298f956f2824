"""The short way from a form to its command, for what nearly all commands are: orders and cancels without rare fields.

What is not of that kind, or not right, goes the general way (`to_command` in forms.py), which says in words what is
wrong. Here everything is looked up in place: calls, and building a named tuple by its own constructor, would cost twice
as much as all the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from raftbook.engine.commands import CancelOrder, NewOrder
from raftbook.engine.types import IDENTIFIER_PATTERN, Number, OrderType, TimeInForce
from raftbook.json_format import fields
from raftbook.json_format.forms import CancelOrderForm, NewOrderForm
from raftbook.json_format.numbers import MAX_NUMBER_CHARACTERS, parse_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftbook.engine.commands import Command
    from raftbook.json_format.forms import Form

_SIDES: Final = fields.SIDES
_ORDER_TYPES: Final[Mapping[str | None, OrderType]] = dict((*fields.ORDER_TYPES.items(), (None, OrderType.LIMIT)))
_TIMES_IN_FORCE: Final = fields.TIMES_IN_FORCE

_is_identifier: Final = IDENTIFIER_PATTERN.fullmatch
# What is refused raises, so nothing else fills the caches.
_symbol: Final = lru_cache(maxsize=4096)(fields.symbol)
_account: Final = lru_cache(maxsize=65_536)(fields.account)
_tuple: Final = tuple.__new__


def command_of(form: Form, generate_client_order_id: Callable[[], str] | None) -> Command:
    """What `form.to_command` gives or raises."""
    command: Command | None = None
    if isinstance(form, NewOrderForm):
        command = _new_order(form)
    elif isinstance(form, CancelOrderForm):
        command = _cancel_order(form)
    return form.to_command(generate_client_order_id) if command is None else command


def _new_order(form: NewOrderForm) -> NewOrder | None:
    client_order_id = form.client_order_id
    side = _SIDES.get(form.side)
    order_type = _ORDER_TYPES.get(form.order_type)
    if (
        client_order_id is None
        or not _is_identifier(client_order_id)
        or side is None
        or order_type is None
        or form.stop_price is not UNSET
        or form.display_quantity is not UNSET
        or form.expire_time is not None
        or form.self_trade_prevention is not None
        or form.not_after is not None
    ):
        return None
    if form.time_in_force is None:
        time_in_force = TimeInForce.IOC if order_type is OrderType.MARKET else TimeInForce.GTC
    else:
        found = _TIMES_IN_FORCE.get(form.time_in_force)
        if found is None:
            return None
        time_in_force = found
    price: Number | str | None = None
    if form.price is not UNSET:
        text = bytes(form.price)
        price = parse_number(text, 1) if len(text) <= MAX_NUMBER_CHARACTERS else "too long"
        if type(price) is not Number:
            return None
    text = bytes(form.quantity)
    quantity = parse_number(text, 1) if len(text) <= MAX_NUMBER_CHARACTERS else "too long"
    if type(quantity) is not Number:
        return None
    return _tuple(
        NewOrder,
        (
            _symbol(form.symbol),
            _account(form.account),
            client_order_id,
            side,
            order_type,
            time_in_force,
            price,
            quantity,
            form.post_only or False,
            *_NOTHING_RARE,
        ),
    )


_NOTHING_RARE: Final = (None,) * 5


def _cancel_order(form: CancelOrderForm) -> CancelOrder | None:
    client_order_id = form.client_order_id
    if (
        client_order_id is None
        or not _is_identifier(client_order_id)
        or form.order_id is not None
        or form.not_after is not None
    ):
        return None
    return _tuple(CancelOrder, (_account(form.account), None, client_order_id, None))
