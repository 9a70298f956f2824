"""What views.py and the gateway write, as types: OpenAPI describes answers by these.

Nothing is encoded through them. Every answer that the tests of the gateway get is held against the schema that comes of
them, in which no field may be that is not named here; so they cannot differ.

Prices and quantities are decimal strings with the decimals of the instrument, times nanoseconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from raftbook.engine.types import MAX_INTEGER, OrderStatus, Reason
from raftbook.json_format.schema_types import (
    Account,
    ClientOrderId,
    Decimals,
    KeyId,
    KeyName,
    OrderId,
    OrderTypeWord,
    PublicKey,
    RoleWord,
    SelfTradePreventionWord,
    SideWord,
    StatusWord,
    Symbol,
    Time,
    TimeInForceWord,
)

DecimalText = Annotated[str, Meta(pattern=r"^(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$", examples=["100.25"])]
Index = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Origin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:\-]{1,64}$", examples=["n1.3"])]
ReasonWord = Annotated[str, Meta(extra_json_schema={"enum": [reason.value for reason in Reason]})]
ReportReasonWord = Annotated[str, Meta(extra_json_schema={"enum": [*(reason.value for reason in Reason), "forbidden"]})]
OrderStatusWord = Annotated[str, Meta(extra_json_schema={"enum": [status.label for status in OrderStatus]})]
Level = Annotated[
    list[DecimalText],
    Meta(min_length=2, max_length=2, description="Price, displayed quantity.", examples=[["100.25", "3"]]),
]


class Order(Struct, kw_only=True, forbid_unknown_fields=True):
    """An order as it stands. `notional` by `filled_quantity` is its average price, exactly."""

    order_id: OrderId
    client_order_id: ClientOrderId
    account: Account
    symbol: Symbol
    side: SideWord
    order_type: OrderTypeWord
    time_in_force: TimeInForceWord
    price: DecimalText | UnsetType = UNSET
    stop_price: DecimalText | UnsetType = UNSET
    quantity: DecimalText
    filled_quantity: DecimalText
    leaves_quantity: DecimalText
    display_quantity: DecimalText | UnsetType = UNSET
    visible_quantity: DecimalText | UnsetType = UNSET
    notional: DecimalText
    status: OrderStatusWord
    post_only: Literal[True] | UnsetType = UNSET
    expire_time: Time | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET


class Instrument(Struct, kw_only=True, forbid_unknown_fields=True):
    """An instrument with those of its limits that are set; `price_band` and `market_protection` are percent."""

    symbol: Symbol
    price_decimals: Decimals
    quantity_decimals: Decimals
    tick_size: DecimalText
    lot_size: DecimalText
    min_quantity: DecimalText | UnsetType = UNSET
    max_quantity: DecimalText | UnsetType = UNSET
    min_notional: DecimalText | UnsetType = UNSET
    price_band: DecimalText | UnsetType = UNSET
    market_protection: DecimalText | UnsetType = UNSET
    max_open_orders: Index | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET
    status: StatusWord


class Indication(Struct, kw_only=True, forbid_unknown_fields=True):
    """What an uncross would do now; no `price` where nothing crosses."""

    price: DecimalText | UnsetType = UNSET
    quantity: DecimalText
    imbalance_quantity: DecimalText
    imbalance_side: SideWord | UnsetType = UNSET


class RestingOrder(Struct, kw_only=True, forbid_unknown_fields=True):
    """An order as the market may see it: not whose it is, and of an iceberg its tip."""

    order_id: OrderId
    price: DecimalText
    quantity: DecimalText


class Book(Struct, kw_only=True, forbid_unknown_fields=True):
    """The price levels, best first. `status` stands in it unless it is `trading`.

    `indication` stands in it in an auction, in which the sides may cross.
    """

    book: Symbol
    log_index: Index
    bids: list[Level]
    asks: list[Level]
    status: StatusWord | UnsetType = UNSET
    indication: Indication | UnsetType = UNSET


class OrderByOrderBook(Struct, kw_only=True, forbid_unknown_fields=True):
    """Every order in priority, best first (`level=3`); the rest as in Book."""

    book: Symbol
    log_index: Index
    bids: list[RestingOrder]
    asks: list[RestingOrder]
    status: StatusWord | UnsetType = UNSET
    indication: Indication | UnsetType = UNSET


class ApiKey(Struct, kw_only=True, forbid_unknown_fields=True):
    """An API key without its secret, which no node has."""

    key_id: KeyId
    name: KeyName
    role: RoleWord
    accounts: list[str]
    public_key: PublicKey
    created_at: Time
    revoked_at: Time | UnsetType = UNSET


# --- Events ----------------------------------------------------------------------------------------------------------


class _Event(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    log_index: Index
    timestamp: Time


class _OrderEvent(_Event, kw_only=True):
    """How an order stands after what happened to it."""

    symbol: Symbol
    sequence: Index | UnsetType = UNSET
    order_id: OrderId
    client_order_id: ClientOrderId
    account: Account
    side: SideWord
    order_type: OrderTypeWord
    time_in_force: TimeInForceWord
    price: DecimalText | UnsetType = UNSET
    stop_price: DecimalText | UnsetType = UNSET
    quantity: DecimalText
    filled_quantity: DecimalText
    leaves_quantity: DecimalText
    display_quantity: DecimalText | UnsetType = UNSET
    visible_quantity: DecimalText | UnsetType = UNSET
    notional: DecimalText
    status: OrderStatusWord
    post_only: Literal[True] | UnsetType = UNSET
    expire_time: Time | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET
    reason: ReasonWord | UnsetType = UNSET
    prevented_by_order_id: OrderId | UnsetType = UNSET
    duplicate: Literal[True] | UnsetType = UNSET


class OrderAccepted(_OrderEvent, tag="order_accepted", kw_only=True):
    """With `duplicate` the answer to a submission that came before: how its order stands now."""


class OrderCanceled(_OrderEvent, tag="order_canceled", kw_only=True):
    """`reason` says why."""


class OrderReplaced(_OrderEvent, tag="order_replaced", kw_only=True):
    pass


class OrderTriggered(_OrderEvent, tag="order_triggered", kw_only=True):
    """A stop was elected."""


class OrderRestated(_OrderEvent, tag="order_restated", kw_only=True):
    """It changed without its owner's asking: the next tip of an iceberg, or a decrement."""


class Trade(_Event, tag="trade", kw_only=True):
    """Two orders traded, at the price of the one that was resting; in an `auction` at the auction's.

    Where keys are required, whose order it was stands in it only for that account's keys.
    """

    symbol: Symbol
    sequence: Index
    trade_id: Index
    price: DecimalText
    quantity: DecimalText
    maker_order_id: OrderId
    maker_client_order_id: ClientOrderId | UnsetType = UNSET
    maker_account: Account | UnsetType = UNSET
    taker_order_id: OrderId
    taker_client_order_id: ClientOrderId | UnsetType = UNSET
    taker_account: Account | UnsetType = UNSET
    taker_side: SideWord
    auction: Literal[True] | UnsetType = UNSET


class _Rejection(_Event, kw_only=True):
    """A command was refused, and nothing changed. It repeats the command's fields as they were written."""

    symbol: Symbol | UnsetType = UNSET
    sequence: Index | UnsetType = UNSET
    status: Literal["rejected"]
    reason: ReasonWord
    detail: str | UnsetType = UNSET
    order: Order | UnsetType = UNSET
    duplicate: Literal[True] | UnsetType = UNSET


class _RefusedOrder(_Rejection, kw_only=True):
    account: Account
    order_id: OrderId | UnsetType = UNSET
    client_order_id: ClientOrderId | UnsetType = UNSET
    price: DecimalText | UnsetType = UNSET
    stop_price: DecimalText | UnsetType = UNSET
    quantity: DecimalText | UnsetType = UNSET
    display_quantity: DecimalText | UnsetType = UNSET
    expire_time: Time | UnsetType = UNSET


class OrderRejected(_RefusedOrder, tag="order_rejected", kw_only=True):
    side: SideWord
    order_type: OrderTypeWord
    time_in_force: TimeInForceWord
    post_only: Literal[True] | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET


class ReplaceRejected(_RefusedOrder, tag="replace_rejected", kw_only=True):
    pass


class CancelRejected(_Rejection, tag="cancel_rejected", kw_only=True):
    """Of a cancel, or of a cancel_all."""

    account: Account
    order_id: OrderId | UnsetType = UNSET
    client_order_id: ClientOrderId | UnsetType = UNSET
    side: SideWord | UnsetType = UNSET


class InstrumentRejected(_Rejection, tag="instrument_rejected", kw_only=True):
    price_decimals: Decimals
    quantity_decimals: Decimals
    tick_size: DecimalText
    lot_size: DecimalText
    min_quantity: DecimalText | UnsetType = UNSET
    max_quantity: DecimalText | UnsetType = UNSET
    min_notional: DecimalText | UnsetType = UNSET
    price_band: DecimalText | UnsetType = UNSET
    market_protection: DecimalText | UnsetType = UNSET
    max_open_orders: Index | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET


class StatusRejected(_Rejection, tag="status_rejected", kw_only=True):
    requested_status: StatusWord


class KeyRejected(_Rejection, tag="key_rejected", kw_only=True):
    key_id: KeyId
    name: KeyName | UnsetType = UNSET
    role: RoleWord | UnsetType = UNSET
    accounts: list[str] | UnsetType = UNSET
    public_key: PublicKey | UnsetType = UNSET


class CommandRejected(_Rejection, tag="command_rejected", kw_only=True):
    """What was in the log is no command; no node lets such a thing in."""


class MassCanceled(_Event, tag="mass_canceled", kw_only=True):
    """Closes a cancel_all, after the cancels themselves."""

    account: Account
    symbol: Symbol | UnsetType = UNSET
    side: SideWord | UnsetType = UNSET
    canceled_count: Index


class _InstrumentEvent(_Event, kw_only=True):
    symbol: Symbol
    sequence: Index
    price_decimals: Decimals
    quantity_decimals: Decimals
    tick_size: DecimalText
    lot_size: DecimalText
    min_quantity: DecimalText | UnsetType = UNSET
    max_quantity: DecimalText | UnsetType = UNSET
    min_notional: DecimalText | UnsetType = UNSET
    price_band: DecimalText | UnsetType = UNSET
    market_protection: DecimalText | UnsetType = UNSET
    max_open_orders: Index | UnsetType = UNSET
    self_trade_prevention: SelfTradePreventionWord | UnsetType = UNSET
    status: StatusWord


class InstrumentAdded(_InstrumentEvent, tag="instrument_added", kw_only=True):
    pass


class StatusChanged(_InstrumentEvent, tag="status_changed", kw_only=True):
    """With a `reason` where nobody asked for it."""

    reason: ReasonWord | UnsetType = UNSET


class _AuctionEvent(_Event, kw_only=True):
    symbol: Symbol
    sequence: Index
    price: DecimalText | UnsetType = UNSET
    quantity: DecimalText
    imbalance_quantity: DecimalText
    imbalance_side: SideWord | UnsetType = UNSET


class IndicativeChanged(_AuctionEvent, tag="indicative_changed", kw_only=True):
    """What an uncross would do now."""


class AuctionUncrossed(_AuctionEvent, tag="auction_uncrossed", kw_only=True):
    """What the uncross did."""


class Ticked(_Event, tag="ticked", kw_only=True):
    """Time passed."""


class _KeyEvent(_Event, kw_only=True):
    key_id: KeyId
    name: KeyName
    role: RoleWord
    accounts: list[str]
    public_key: PublicKey
    created_at: Time
    revoked_at: Time | UnsetType = UNSET


class KeyCreated(_KeyEvent, tag="key_created", kw_only=True):
    pass


class KeyRevoked(_KeyEvent, tag="key_revoked", kw_only=True):
    pass


AnyEvent = (
    OrderAccepted
    | OrderRejected
    | Trade
    | OrderCanceled
    | OrderReplaced
    | ReplaceRejected
    | CancelRejected
    | MassCanceled
    | InstrumentAdded
    | InstrumentRejected
    | StatusChanged
    | StatusRejected
    | Ticked
    | CommandRejected
    | OrderTriggered
    | OrderRestated
    | IndicativeChanged
    | AuctionUncrossed
    | KeyCreated
    | KeyRevoked
    | KeyRejected
)
"""One for each EventKind."""


class Report(Struct, kw_only=True, forbid_unknown_fields=True):
    """What became of a submission.

    Of one that is `pending`, `next` says where to ask again. What is no command, or not allowed by the key
    (`forbidden`), got no place in the log, and so has no `origin`.
    """

    status: Literal["accepted", "rejected", "pending"]
    origin: Origin | None
    origin_sequence: OrderId | None
    log_index: Index | None
    timestamp: Time | UnsetType = UNSET
    order: Order | None
    events: list[AnyEvent]
    reason: ReportReasonWord | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    field: str | UnsetType | None = UNSET
    duplicate: Literal[True] | UnsetType = UNSET
    next: str | UnsetType = UNSET


class Candle(Struct, kw_only=True, forbid_unknown_fields=True):
    """The trades of one interval, which begins at `start`."""

    start: Time
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    volume: DecimalText
    trade_count: Index


class Candles(Struct, kw_only=True, forbid_unknown_fields=True):
    """Oldest first. With `known_from`, the first of them may lack trades from before that time."""

    symbol: Symbol
    interval: Literal["1m", "5m", "1h", "1d"]
    log_index: Index
    known_from: Time | UnsetType = UNSET
    candles: list[Candle]
