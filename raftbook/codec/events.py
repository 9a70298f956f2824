"""Events, for digests: OrderEvent and Trade, the hot ones, by hand, the others by cbor2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cbor2

from raftbook.codec.cbor import (
    ARRAY,
    FALSE,
    NULL,
    SMALL_INTEGERS,
    TRUE,
    head,
    integer,
    optional_integer,
    optional_text,
    text,
)
from raftbook.codec.commands import COMMAND_TYPES
from raftbook.engine.events import OrderEvent, Rejection, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.engine.events import Event, OrderState

EVENTS_VERSION: Final = 1


def _order_state(order: OrderState) -> bytes:
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
    ) = order
    return b"".join(
        (
            b"\x8e",
            integer(order_id),
            text(client_order_id),
            text(account),
            text(symbol),
            SMALL_INTEGERS[side],
            SMALL_INTEGERS[order_type],
            SMALL_INTEGERS[time_in_force],
            TRUE if post_only else FALSE,
            NULL if price is None else integer(price),
            integer(quantity),
            integer(filled_quantity),
            integer(leaves_quantity),
            integer(notional),
            SMALL_INTEGERS[status],
        )
    )


def _order_event(event: OrderEvent) -> bytes:
    kind, symbol, sequence, log_index, timestamp, order, reason, duplicate = event
    return b"".join(
        (
            b"\x88",
            SMALL_INTEGERS[kind],
            text(symbol),
            optional_integer(sequence),
            integer(log_index),
            integer(timestamp),
            _order_state(order),
            optional_text(reason),
            TRUE if duplicate else FALSE,
        )
    )


def _trade(event: Trade) -> bytes:
    return b"".join(
        (
            b"\x8f",
            SMALL_INTEGERS[event.kind],
            text(event.symbol),
            integer(event.sequence),
            integer(event.log_index),
            integer(event.timestamp),
            integer(event.trade_id),
            integer(event.price),
            integer(event.quantity),
            integer(event.maker_order_id),
            text(event.maker_client_order_id),
            text(event.maker_account),
            integer(event.taker_order_id),
            text(event.taker_client_order_id),
            text(event.taker_account),
            SMALL_INTEGERS[event.taker_side],
        )
    )


def _encode_event(event: Event) -> bytes:
    if type(event) is OrderEvent:
        return _order_event(event)
    if type(event) is Trade:
        return _trade(event)
    if type(event) is Rejection:
        # Commands of different types can have equal fields, so each is written with the number of its type.
        command = (COMMAND_TYPES[type(event.command)], *event.command)
        return cbor2.dumps((*event[:5], command, *event[6:]), canonical=True)
    return cbor2.dumps(event, canonical=True)


def encode_events(events: Sequence[Event]) -> bytes:
    """Canonical CBOR of events, for digests and comparison: equal bytes exactly where the events are equal. O(size)."""
    return b"".join((head(ARRAY, 1 + len(events)), SMALL_INTEGERS[EVENTS_VERSION], *map(_encode_event, events)))
