"""Events: what happened, in the order in which it happened; the engine's only output.

Every event opens with its `kind` and holds plain values, so that the codec can write it as an array as it stands and
the digest chain can cover it. Prices and quantities are integers in the instrument's units; json_format turns them into
decimal strings.

They are msgspec structs, which take half as long to make as named tuples. None can be part of a cycle: whatever it
holds was there before it and is immutable as well. So the garbage collector never looks at them (`gc=False`).

`sequence` counts a symbol's events without gaps; it is None on an event that belongs to no known symbol,
and on the answer to a repeated submission, which changes nothing. `log_index` is the place in the ordered
log, `timestamp` the log time of the entry in nanoseconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.commands import Command
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import (
    EventKind,
    OrderStatus,
    OrderType,
    Reason,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)


class OrderState(Struct, frozen=True, array_like=True, gc=False):
    """One order as it stands: quantity = filled + leaves + canceled.

    `notional` is the sum of price times quantity over its trades, so (`notional`, `filled_quantity`) is the
    average price as an exact pair. `price` is None for a market order and for a `stop`.

    `visible_quantity` is the leaves, but the tip of an iceberg that has its place in the book. `expire_time` (ns) is
    also that of a `day` order.
    """

    order_id: int
    client_order_id: str
    account: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: int | None
    quantity: int
    filled_quantity: int
    leaves_quantity: int
    notional: int
    status: OrderStatus
    stop_price: int | None = None
    display_quantity: int | None = None
    visible_quantity: int = 0
    expire_time: int | None = None
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.NONE


class OrderEvent(Struct, frozen=True, array_like=True, gc=False):
    """`order_accepted`, `_canceled`, `_replaced`, `_triggered` or `_restated`; `order` is its state after it.

    With `duplicate` it is the answer to a submission that came before: an `order_accepted` that tells how
    the order stands now. `prevented_by_order_id` stands with the reason `self_trade`: the other order.
    """

    kind: EventKind
    symbol: str
    sequence: int | None
    log_index: int
    timestamp: int
    order: OrderState
    reason: Reason | None = None
    duplicate: bool = False
    prevented_by_order_id: int | None = None


class Trade(Struct, frozen=True, array_like=True, gc=False):
    """Two orders traded; the price is the maker's, who was resting.

    In an uncross (`auction`) both were waiting and the price is the auction's; the maker is the one with the lower id.
    """

    kind: EventKind
    symbol: str
    sequence: int
    log_index: int
    timestamp: int
    trade_id: int
    price: int
    quantity: int
    maker_order_id: int
    maker_client_order_id: str
    maker_account: str
    taker_order_id: int
    taker_client_order_id: str
    taker_account: str
    taker_side: Side
    auction: bool = False


class Rejection(Struct, frozen=True, array_like=True, gc=False):
    """A command was refused and nothing changed: every kind that ends in `_rejected`.

    `command` is what was asked for. `order` is the account's own order that a refused cancel or replace names,
    open or closed, or that holds the client order id of a refused new order; it stays as it was. `detail` says
    in words what to do, where the reason alone does not. With `duplicate` it is the answer to a copy of a new order
    that was refused before: the same reason and detail again.
    """

    kind: EventKind
    symbol: str | None
    sequence: int | None
    log_index: int
    timestamp: int
    command: Command
    reason: Reason
    detail: str | None = None
    order: OrderState | None = None
    duplicate: bool = False


class MassCanceled(Struct, frozen=True, array_like=True, gc=False):
    """Closes a cancel_all, after the cancels themselves: how many orders went (FIX: TotalAffectedOrders).

    Carries no sequence, since it may speak of several symbols.
    """

    kind: EventKind
    log_index: int
    timestamp: int
    account: str
    symbol: str | None
    side: Side | None
    canceled_count: int


class InstrumentEvent(Struct, frozen=True, array_like=True, gc=False):
    """`instrument_added` or `status_changed`; a change that nobody asked for has a `reason`."""

    kind: EventKind
    symbol: str
    sequence: int
    log_index: int
    timestamp: int
    instrument: Instrument
    status: TradingStatus
    reason: Reason | None = None


class Indication(NamedTuple):
    """What an uncross would do: see AuctionEvent."""

    price: int | None
    quantity: int
    imbalance_quantity: int
    imbalance_side: Side | None


NO_INDICATION: Final = Indication(None, 0, 0, None)


class AuctionEvent(Struct, frozen=True, array_like=True, gc=False):
    """`indicative_changed`: what an uncross would do now; `auction_uncrossed`: what it did.

    `quantity` would trade, or traded, at `price`, which is None where nothing crosses. The imbalance is what
    `imbalance_side` has at this price beyond the other side, before the trades. Quantities saturate at 2**63 - 1.
    """

    kind: EventKind
    symbol: str
    sequence: int
    log_index: int
    timestamp: int
    price: int | None
    quantity: int
    imbalance_quantity: int
    imbalance_side: Side | None


class Ticked(Struct, frozen=True, array_like=True, gc=False):
    """Time passed."""

    kind: EventKind
    log_index: int
    timestamp: int


class KeyEvent(Struct, frozen=True, array_like=True, gc=False):
    """`key_created` or `key_revoked`; `key` as it stands after it. A key that was revoked before is told again."""

    kind: EventKind
    log_index: int
    timestamp: int
    key: KeyRecord


Event = OrderEvent | Trade | Rejection | MassCanceled | InstrumentEvent | AuctionEvent | Ticked | KeyEvent


class Execution(Struct, frozen=True, array_like=True, gc=False):
    """All that one submission led to. `accepted` is False where the command itself was refused.

    `order` is the state of the order that the submission names (placed, replaced, canceled, or the one that
    a repeated submission repeats) when the command had ended, None where there is none.

    What the entry itself led to, without a submission, has the origin NO_ORIGIN and the sequence 0: expired orders
    before the first command, the changed indications of auctions behind the last.
    """

    origin: str
    sequence: int
    log_index: int
    timestamp: int
    accepted: bool
    order: OrderState | None
    events: tuple[Event, ...]
