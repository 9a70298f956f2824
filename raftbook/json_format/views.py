"""Events, orders, reports, trades, instruments, books and commands as JSON objects.

Each function builds a plain dict in the order in which people read it, ready for `dumps`. A field that does not
apply (the price of a market order, the sequence of an event that belongs to no symbol) is left out.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

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
from raftbook.engine.events import (
    NO_INDICATION,
    AuctionEvent,
    Event,
    Execution,
    Indication,
    InstrumentEvent,
    KeyEvent,
    MassCanceled,
    OrderEvent,
    OrderState,
    Rejection,
    Ticked,
    Trade,
)
from raftbook.engine.types import (
    PERCENT_DECIMALS,
    Number,
    OrderStatus,
    OrderType,
    Role,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.json_format.numbers import decimal_text, number_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from raftbook.engine.api_keys import KeyRecord
    from raftbook.engine.instrument import Instrument

Json = dict[str, object]
"""A JSON object that `dumps` can write."""

_NO_PREVENTION: Final = SelfTradePrevention.NONE

_encoder = msgspec.json.Encoder()


def dumps(value: object) -> bytes:
    """JSON in UTF-8, compact, keys in the order of the dict."""
    return _encoder.encode(value)


def order_to_json(order: OrderState, instruments: Mapping[str, Instrument]) -> Json:
    """An order as it stands. (`notional`, `filled_quantity`) is its average price as an exact pair.

    `visible_quantity`, what the book shows of it, stands with `display_quantity` only.
    """
    instrument = instruments[order.symbol]
    price_decimals = instrument.price_decimals
    quantity_decimals = instrument.quantity_decimals
    json: Json = {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side.label,
        "order_type": order.order_type.label,
        "time_in_force": order.time_in_force.label,
    }
    if order.price is not None:
        json["price"] = decimal_text(order.price, price_decimals)
    if order.stop_price is not None:
        json["stop_price"] = decimal_text(order.stop_price, price_decimals)
    json["quantity"] = decimal_text(order.quantity, quantity_decimals)
    json["filled_quantity"] = decimal_text(order.filled_quantity, quantity_decimals)
    json["leaves_quantity"] = decimal_text(order.leaves_quantity, quantity_decimals)
    if order.display_quantity is not None:
        json["display_quantity"] = decimal_text(order.display_quantity, quantity_decimals)
        json["visible_quantity"] = decimal_text(order.visible_quantity, quantity_decimals)
    json["notional"] = decimal_text(order.notional, price_decimals + quantity_decimals)
    json["status"] = order.status.label
    if order.post_only:
        json["post_only"] = True
    if order.expire_time is not None:
        json["expire_time"] = order.expire_time
    if order.self_trade_prevention is not _NO_PREVENTION:
        json["self_trade_prevention"] = order.self_trade_prevention.label
    return json


def trade_to_json(trade: Trade, instrument: Instrument) -> Json:
    json: Json = {
        "event": trade.kind.label,
        "symbol": trade.symbol,
        "sequence": trade.sequence,
        "log_index": trade.log_index,
        "timestamp": trade.timestamp,
        "trade_id": trade.trade_id,
        "price": decimal_text(trade.price, instrument.price_decimals),
        "quantity": decimal_text(trade.quantity, instrument.quantity_decimals),
        "maker_order_id": trade.maker_order_id,
        "maker_client_order_id": trade.maker_client_order_id,
        "maker_account": trade.maker_account,
        "taker_order_id": trade.taker_order_id,
        "taker_client_order_id": trade.taker_client_order_id,
        "taker_account": trade.taker_account,
        "taker_side": trade.taker_side.label,
    }
    if trade.auction:
        json["auction"] = True
    return json


def instrument_to_json(instrument: Instrument, status: TradingStatus) -> Json:
    """An instrument with those of its limits that are set; `price_band` and `market_protection` are percent."""
    json: Json = {
        "symbol": instrument.symbol,
        "price_decimals": instrument.price_decimals,
        "quantity_decimals": instrument.quantity_decimals,
        "tick_size": decimal_text(instrument.tick_size, instrument.price_decimals),
        "lot_size": decimal_text(instrument.lot_size, instrument.quantity_decimals),
    }
    for name, units, decimals in (
        ("min_quantity", instrument.min_quantity, instrument.quantity_decimals),
        ("max_quantity", instrument.max_quantity, instrument.quantity_decimals),
        ("min_notional", instrument.min_notional, instrument.price_decimals + instrument.quantity_decimals),
        ("price_band", instrument.price_band, PERCENT_DECIMALS),
        ("market_protection", instrument.market_protection, PERCENT_DECIMALS),
    ):
        if units is not None:
            json[name] = decimal_text(units, decimals)
    if instrument.max_open_orders is not None:
        json["max_open_orders"] = instrument.max_open_orders
    if instrument.self_trade_prevention is not _NO_PREVENTION:
        json["self_trade_prevention"] = instrument.self_trade_prevention.label
    json["status"] = status.label
    return json


def key_to_json(key: KeyRecord) -> Json:
    """An API key as the log has it, so without its secret; `revoked_at` stands in it where it was revoked."""
    json: Json = {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role.label,
        "accounts": list(key.accounts),
        "public_key": key.public_key,
        "created_at": key.created_at,
    }
    if key.revoked_at is not None:
        json["revoked_at"] = key.revoked_at
    return json


def book_to_json(
    symbol: str,
    log_index: int,
    bids: Sequence[tuple[int, int]],
    asks: Sequence[tuple[int, int]],
    instrument: Instrument,
    status: TradingStatus = TradingStatus.TRADING,
    indication: Indication = NO_INDICATION,
) -> Json:
    """The book line. `bids` and `asks` are (price, displayed quantity) in the instrument's units, best first.

    `status` stands in it only where the instrument is not trading, `indication` only in an auction; there the sides
    may cross.
    """
    price_decimals = instrument.price_decimals
    quantity_decimals = instrument.quantity_decimals
    json: Json = {
        "book": symbol,
        "log_index": log_index,
        "bids": [[decimal_text(price, price_decimals), decimal_text(size, quantity_decimals)] for price, size in bids],
        "asks": [[decimal_text(price, price_decimals), decimal_text(size, quantity_decimals)] for price, size in asks],
    }
    if status is not TradingStatus.TRADING:
        json["status"] = status.label
    if status is TradingStatus.AUCTION:
        json["indication"] = indication_to_json(indication, instrument)
    return json


def event_to_json(event: Event, instruments: Mapping[str, Instrument]) -> Json:
    """One event, flat: an order's or instrument's fields stand beside the event's own."""
    if isinstance(event, Trade):
        return trade_to_json(event, instruments[event.symbol])
    if isinstance(event, OrderEvent):
        return _order_event(event, order_to_json(event.order, instruments))
    if isinstance(event, Rejection):
        return _rejection(event, instruments)
    if isinstance(event, InstrumentEvent):
        changed = _head(event) | instrument_to_json(event.instrument, event.status)
        return changed if event.reason is None else {**changed, "reason": event.reason.value}
    if isinstance(event, AuctionEvent):
        return _head(event) | indication_to_json(event, instruments[event.symbol])
    json: Json = {"event": event.kind.label, "log_index": event.log_index, "timestamp": event.timestamp}
    if isinstance(event, MassCanceled):
        json["account"] = event.account
        if event.symbol is not None:
            json["symbol"] = event.symbol
        if event.side is not None:
            json["side"] = event.side.label
        json["canceled_count"] = event.canceled_count
        return json
    if isinstance(event, KeyEvent):
        return json | key_to_json(event.key)
    if isinstance(event, Ticked):
        return json
    assert_never(event)


def _head(event: InstrumentEvent | AuctionEvent) -> Json:
    return {
        "event": event.kind.label,
        "symbol": event.symbol,
        "sequence": event.sequence,
        "log_index": event.log_index,
        "timestamp": event.timestamp,
    }


def indication_to_json(of: AuctionEvent | Indication, instrument: Instrument) -> Json:
    """What an uncross would do, or did."""
    json: Json = {} if of.price is None else {"price": decimal_text(of.price, instrument.price_decimals)}
    json["quantity"] = decimal_text(of.quantity, instrument.quantity_decimals)
    json["imbalance_quantity"] = decimal_text(of.imbalance_quantity, instrument.quantity_decimals)
    if of.imbalance_side is not None:
        json["imbalance_side"] = of.imbalance_side.label
    return json


def _order_event(event: OrderEvent, order: Json) -> Json:
    json: Json = {"event": event.kind.label, "symbol": event.symbol}
    if event.sequence is not None:
        json["sequence"] = event.sequence
    json["log_index"] = event.log_index
    json["timestamp"] = event.timestamp
    json.update(order)
    if event.reason is not None:
        json["reason"] = event.reason.value
    if event.prevented_by_order_id is not None:
        json["prevented_by_order_id"] = event.prevented_by_order_id
    if event.duplicate:
        json["duplicate"] = True
    return json


def _rejection(event: Rejection, instruments: Mapping[str, Instrument]) -> Json:
    """What the command said, as it was written, and why it was refused.

    A refused set_status or uncross asks for a `status` of the instrument; here `status` is the answer's, so it is
    given as `requested_status`.
    """
    json: Json = {"event": event.kind.label}
    if event.symbol is not None:
        json["symbol"] = event.symbol
    if event.sequence is not None:
        json["sequence"] = event.sequence
    json["log_index"] = event.log_index
    json["timestamp"] = event.timestamp
    echo = echo_of(event.command)
    if "status" in echo:
        echo["requested_status"] = echo.pop("status")
    json.update(echo)
    json["status"] = OrderStatus.REJECTED.label
    json["reason"] = event.reason.value
    if event.detail is not None:
        json["detail"] = event.detail
    if event.order is not None:
        json["order"] = order_to_json(event.order, instruments)
    if event.duplicate:
        json["duplicate"] = True
    return json


def report_to_json(
    origin: str, origin_sequence: int, execution: Execution | None, instruments: Mapping[str, Instrument]
) -> Json:
    """What a submission returns; `execution` None means pending, and the report says where to ask again."""
    if execution is None:
        return {
            "status": "pending",
            "origin": origin,
            "origin_sequence": origin_sequence,
            "log_index": None,
            "order": None,
            "events": [],
            "next": f"/v1/submissions/{origin}/{origin_sequence}",
        }
    order = execution.order
    json: Json = {
        "status": "accepted" if execution.accepted else "rejected",
        "origin": origin,
        "origin_sequence": origin_sequence,
        "log_index": execution.log_index,
        "timestamp": execution.timestamp,
        "order": None,
        "events": None,
    }
    order_json = None if order is None else order_to_json(order, instruments)
    json["order"] = order_json
    events: list[Json] = []
    for event in execution.events:
        if isinstance(event, OrderEvent):
            # Most reports tell one order in one event; its fields are written out once.
            same = order_json is not None and event.order is order
            events.append(
                _order_event(event, order_json if same and order_json else order_to_json(event.order, instruments))
            )
            if event.duplicate:
                json["duplicate"] = True
        else:
            events.append(event_to_json(event, instruments))
            if isinstance(event, Rejection) and not execution.accepted:
                json["reason"] = event.reason.value
                if event.detail is not None:
                    json["detail"] = event.detail
                if event.duplicate:
                    json["duplicate"] = True
    json["events"] = events
    return json


# --- Commands --------------------------------------------------------------------------------------------------------

_OPERATION_OF: Final[Mapping[type[Command], dict[str, object]]] = {
    NewOrder: {"op": "new"},
    CancelOrder: {"op": "cancel"},
    CancelAll: {"op": "cancel_all"},
    ReplaceOrder: {"op": "replace"},
    AddInstrument: {"op": "add_instrument"},
    SetStatus: {"op": "set_status"},
    Uncross: {"op": "uncross"},
    Tick: {"op": "tick"},
    CreateKey: {"op": "create_key"},
    RevokeKey: {"op": "revoke_key"},
    Malformed: {},
}


def command_to_json(command: Command) -> Json:
    """The JSON object from which `command_from_json` makes the same command; absent fields are left out.

    Malformed is no command that anybody could send: it gives its detail alone.
    """
    return _OPERATION_OF[type(command)] | _set_fields(command)


def echo_of(command: Command) -> Json:
    """What a rejection repeats of the command: its fields as they were written, without `op` and `not_after`."""
    fields = _set_fields(command)
    fields.pop("not_after", None)
    return fields


def _set_fields(command: Command) -> Json:
    json: Json = {}
    for name, value in zip(command._fields, command, strict=True):
        if value is not None and value is not False:
            convert = _CONVERTERS.get(type(value))
            json[name] = value if convert is None else convert(value)
    return json


_CONVERTERS: Final[Mapping[type, Callable[[Any], str | list[str]]]] = {
    tuple: list,
    Number: number_text,
    **dict.fromkeys((Side, OrderType, TimeInForce, TradingStatus, SelfTradePrevention, Role), attrgetter("label")),
}
"""What makes JSON of a value that is none yet."""
