"""Where a symbol's fold begins: the state of its book at one moment, taken from the exchange.

To take it costs a tuple for each resting order, and no more; a fold is made of it where somebody wants one. So a node
to which nobody listens keeps events and now and then a base, and folds nothing.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine.events import NO_INDICATION, Indication
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import Side, TradingStatus
from raftbook.market_data.order_fold import KnownOrder
from raftbook.market_data.symbol_fold import SymbolFold
from raftbook.market_data.symbol_market import SymbolMarket

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftbook.engine.order import Order
    from raftbook.engine.order_book import OrderBook
    from raftbook.market_data.candles import Candles
    from raftbook.market_data.trade_tape import TradeTape

WaitingOrder = tuple[int, Side, int | None, int, int, int | None, int | None, int]
"""Order id, side, price, quantity, leaves, displayed quantity, expiry, hidden quantity."""

# One call in C for all eight: a base is taken on the node's loop, of as many orders as rest.
_WAITING_ORDER: Final[Callable[[Order], WaitingOrder]] = attrgetter(
    "order_id",
    "side",
    "price",
    "quantity",
    "leaves_quantity",
    "display_quantity",
    "expire_time",
    "hidden_quantity",
)


class SymbolBase(NamedTuple):
    """`orders` are those in the book, the longest waiting of each price first, and those that wait without a price.

    `sequence`, `log_index` and `timestamp` are those of the symbol's last event before it.
    """

    instrument: Instrument
    status: TradingStatus = TradingStatus.TRADING
    sequence: int = 0
    log_index: int = 0
    timestamp: int = 0
    last_price: int | None = None
    indication: Indication = NO_INDICATION
    orders: tuple[WaitingOrder, ...] = ()

    @classmethod
    def of_book(cls, book: OrderBook, log_index: int, timestamp: int) -> SymbolBase:
        """O(resting orders)."""
        bids, asks = book.bids, book.asks
        orders = chain(bids.orders(), asks.orders(), bids.unpriced, asks.unpriced)
        return cls(
            book.instrument,
            book.status,
            book.sequence,
            log_index,
            timestamp,
            book.last_price,
            book.indication,
            tuple(map(_WAITING_ORDER, orders)),
        )

    def to_fold(self, tape: TradeTape, candles: Candles) -> SymbolFold:
        """One that has folded everything up to `sequence`. O(orders)."""
        market = SymbolMarket(self.instrument, tape, candles)
        market.status = self.status
        market.sequence = self.sequence
        market.log_index = self.log_index
        market.timestamp = self.timestamp
        market.last_price = self.last_price
        market.indication = self.indication
        fold = SymbolFold(market)
        fold.restore(
            KnownOrder(order_id, side, price, quantity, leaves, display, expire_time, leaves - hidden)
            for order_id, side, price, quantity, leaves, display, expire_time, hidden in self.orders
        )
        return fold
