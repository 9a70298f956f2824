"""What market data is made of: values as the market may see them, without hidden quantity.

Prices and quantities are integers in the instrument's units, times are log time in nanoseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from raftbook.engine.events import AuctionEvent, Indication, Trade
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import Side, TradingStatus


class RestingOrder(NamedTuple):
    """An order in the book, and what the book shows of it: an iceberg's tip, or all that is left of it."""

    order_id: int
    price: int
    quantity: int


class OrderChange(NamedTuple):
    """One order that came, changed or went: `quantity` is what the book shows of it now, 0 when it is gone.

    With `to_back` it joins the back of its price, and leaves the place that it had before, if any. Otherwise it has
    its place and keeps it; `price` is then where it is, or was.
    """

    order_id: int
    side: Side
    price: int
    quantity: int
    to_back: bool


class PriceLevel(NamedTuple):
    """All orders at one price: the sum of what they show, and how many they are."""

    price: int
    quantity: int
    order_count: int


class LevelChange(NamedTuple):
    """A price level as it is now, whatever it was before; quantity and order count 0 when it is gone."""

    side: Side
    price: int
    quantity: int
    order_count: int


class TopOfBook(NamedTuple):
    """The best level of both sides (the best bid and offer), None where a side is empty."""

    bid: PriceLevel | None
    ask: PriceLevel | None


EMPTY_TOP = TopOfBook(None, None)


class UnpricedInterest(NamedTuple):
    """Orders without a price that gather in an auction, ahead of every price: how many, and how much they would trade.

    They are in no price level, and the market does not see them one by one.
    """

    buy_count: int
    buy_quantity: int
    sell_count: int
    sell_quantity: int


NO_UNPRICED_INTEREST = UnpricedInterest(0, 0, 0, 0)


class MarketUpdate(NamedTuple):
    """All that a batch of events changed about one symbol: the events `first_sequence` to `sequence`, without gaps.

    `orders` and `levels` are net: an order that came and traded at once is not among them, and neither is a level that
    is as it was before. Applied in their order they turn the book before into the book after. `levels`, `top` and what
    follows are given where they changed, None or empty where not. `log_index` and `timestamp` are the last event's.
    """

    symbol: str
    first_sequence: int
    sequence: int
    log_index: int
    timestamp: int
    orders: tuple[OrderChange, ...] = ()
    levels: tuple[LevelChange, ...] = ()
    trades: tuple[Trade, ...] = ()
    top: TopOfBook | None = None
    instrument: Instrument | None = None
    """Where the symbol is new."""
    status: TradingStatus | None = None
    indication: Indication | None = None
    unpriced: UnpricedInterest | None = None
    uncrossed: AuctionEvent | None = None
    """The last auction that ended here."""
