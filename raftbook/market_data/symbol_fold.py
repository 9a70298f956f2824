"""From one symbol's events to updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.events import (
    NO_INDICATION,
    AuctionEvent,
    Indication,
    InstrumentEvent,
    KeyEvent,
    MassCanceled,
    OrderEvent,
    Rejection,
    Ticked,
    Trade,
)
from raftbook.engine.types import EventKind, Side
from raftbook.errors import SequenceGapError, SnapshotError
from raftbook.market_data.order_fold import KnownOrder, OrderFold
from raftbook.market_data.plain_values import read_integer, read_list, read_member, read_optional_integer
from raftbook.market_data.symbol_market import SymbolMarket
from raftbook.market_data.values import MarketUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftbook.engine.events import Execution
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.types import TradingStatus
    from raftbook.market_data.level3_book import Queue
    from raftbook.market_data.plain_values import PlainValue

SymbolEvent = OrderEvent | Trade | Rejection | InstrumentEvent | AuctionEvent
"""The events that may belong to a symbol."""

_UNCROSSED: Final = EventKind.AUCTION_UNCROSSED
_WITHOUT_SYMBOL: Final = (KeyEvent, MassCanceled, Ticked)


def events_by_symbol(executions: Iterable[Execution]) -> dict[str, list[SymbolEvent]]:
    """The events that count in a symbol's sequence, by symbol, in the order in which symbols first have one. O(events).

    The others belong to no symbol, or answer a repeated submission and change nothing.
    """
    found: dict[str, list[SymbolEvent]] = {}
    for execution in executions:
        for event in execution.events:
            if isinstance(event, _WITHOUT_SYMBOL) or event.sequence is None or event.symbol is None:
                continue
            events = found.get(event.symbol)
            if events is None:
                found[event.symbol] = [event]
            else:
                events.append(event)
    return found


class SymbolFold:
    """Folds events into `orders`, what is hidden included, and once per batch into `market`, what the market may see.

    A batch is the events between two `take_update`, of whole executions. `sequence` is that of the latest event.
    """

    __slots__ = (
        "_indication",
        "_instrument",
        "_log_index",
        "_status",
        "_timestamp",
        "_trades",
        "_uncrossed",
        "market",
        "orders",
        "sequence",
    )

    def __init__(self, market: SymbolMarket) -> None:
        self.market = market
        self.orders = OrderFold()
        self.sequence = market.sequence
        self._log_index = market.log_index
        self._timestamp = market.timestamp
        # Between two batches these two are the market's.
        self._status: TradingStatus = market.status
        self._indication: Indication = market.indication
        # Between two batches there are none of these.
        self._instrument: Instrument | None = None
        self._uncrossed: AuctionEvent | None = None
        self._trades: list[Trade] = []

    def restore(self, orders: Iterable[KnownOrder]) -> None:
        """Before the first event: take in the orders that wait already, the longest waiting of each price first.

        They are the fold's own from now on. O(orders); a node that starts has a million of them perhaps.
        """
        queues: dict[tuple[Side, int], Queue] = {}
        restore = self.orders.restore
        for order in orders:
            restore(order)
            if order.price is not None:
                place = (order.side, order.price)
                queue = queues.get(place)
                if queue is None:
                    queue = queues[place] = {}
                queue[order.order_id] = order.visible_quantity
        self.market.level3.fill(queues)
        self.market.unpriced = self.orders.unpriced

    def fold(self, event: SymbolEvent) -> None:
        """Take in the next event. O(1).

        Raises SequenceGapError where it is not the next; nothing has changed then.
        """
        sequence = event.sequence
        assert sequence is not None, "an event without a sequence belongs to no market"
        if sequence != self.sequence + 1:
            raise SequenceGapError(
                f"{event.symbol}: event {self.sequence + 1} is the next, and here is {sequence}: start again from a "
                "snapshot"
            )
        self.sequence = sequence
        self._log_index = event.log_index
        self._timestamp = event.timestamp
        if isinstance(event, OrderEvent):
            self.orders.fold_order_event(event)
        elif isinstance(event, Trade):
            self.orders.fold_trade(event)
            self._trades.append(event)
        elif isinstance(event, InstrumentEvent):
            self._fold_instrument_event(event)
        elif isinstance(event, AuctionEvent):
            if event.kind is _UNCROSSED:
                self._uncrossed = event
            else:
                self._indication = Indication(
                    event.price, event.quantity, event.imbalance_quantity, event.imbalance_side
                )

    def _fold_instrument_event(self, event: InstrumentEvent) -> None:
        if event.kind is EventKind.INSTRUMENT_ADDED:
            self._instrument = event.instrument
        if event.status is not self._status:
            # Nothing is told yet of an auction that begins, nor any more of one that ended.
            self._indication = NO_INDICATION
        self._status = event.status

    def take_update(self) -> MarketUpdate | None:
        """The batch as one update, which `market` has taken in; None without events. Then the next batch begins.

        O(orders touched), O(log levels) for each level that comes or goes.
        """
        market = self.market
        if self.sequence == market.sequence:
            return None
        orders = self.orders.take_changes()
        top_before = market.top
        levels = market.level3.apply(orders)
        top, unpriced = market.top, self.orders.unpriced
        status, indication = self._status, self._indication
        update = MarketUpdate(
            symbol=market.symbol,
            first_sequence=market.sequence + 1,
            sequence=self.sequence,
            log_index=self._log_index,
            timestamp=self._timestamp,
            orders=orders,
            levels=levels,
            trades=tuple(self._trades),
            top=None if top == top_before else top,
            instrument=self._instrument,
            status=None if status is market.status else status,
            indication=None if indication == market.indication else indication,
            unpriced=None if unpriced == market.unpriced else unpriced,
            uncrossed=self._uncrossed,
        )
        market.advance(update)
        self._instrument = self._uncrossed = None
        self._trades.clear()
        return update

    def to_snapshot(self) -> list[PlainValue]:
        """Between two batches: `[market, terms of its orders, orders without a price]`. O(state).

        `[[order_id, quantity, leaves_quantity, display_quantity, expire_time], …]` for every order of the market's
        book, and `[[order_id, side, quantity, leaves_quantity, expire_time], …]` by order id.
        """
        assert self.sequence == self.market.sequence, "a snapshot is taken between two batches"
        orders = self.orders.orders
        resting = [orders[shown.order_id] for side in Side for shown in self.market.level3.orders(side)]
        return [
            self.market.to_snapshot(),
            [
                [order.order_id, order.quantity, order.leaves_quantity, order.display_quantity, order.expire_time]
                for order in resting
            ],
            [
                [order.order_id, int(order.side), order.quantity, order.leaves_quantity, order.expire_time]
                for order in self.orders.unpriced_orders()
            ],
        ]

    @classmethod
    def from_snapshot(cls, data: object) -> SymbolFold:
        """Raises SnapshotError for whatever is not such a value, or contradicts itself."""
        plain_market, terms, unpriced = read_list(data, "symbol", 3)
        market = SymbolMarket.from_snapshot(plain_market)
        fold = cls(market)
        shown_orders = [(side, shown) for side in Side for shown in market.level3.orders(side)]
        for (side, shown), item in zip(
            shown_orders, read_list(terms, "terms of orders", len(shown_orders)), strict=True
        ):
            fields = read_list(item, "terms of an order", 5)
            order = _read_order(fields[0], side, shown.price, *fields[1:])
            if order.order_id != shown.order_id or order.leaves_quantity < shown.quantity:
                raise SnapshotError(f"market data: the terms of order {order.order_id} are not those of {shown}")
            order.visible_quantity = shown.quantity
            fold.orders.restore(order)
        for item in read_list(unpriced, "orders without a price"):
            order_id, side_number, quantity, leaves, expire_time = read_list(item, "order without a price", 5)
            side = read_member(Side, side_number, "side")
            order = _read_order(order_id, side, None, quantity, leaves, None, expire_time)
            if order.order_id in fold.orders.orders:
                raise SnapshotError(f"market data: order {order.order_id} occurs twice")
            order.visible_quantity = order.leaves_quantity
            fold.orders.restore(order)
        if fold.orders.unpriced != market.unpriced:
            raise SnapshotError(
                f"market data: orders without a price are {fold.orders.unpriced}, not {market.unpriced}"
            )
        return fold


def _read_order(
    order_id: object,
    side: Side,
    price: int | None,
    quantity: object,
    leaves_quantity: object,
    display_quantity: object,
    expire_time: object,
) -> KnownOrder:
    return KnownOrder(
        read_integer(order_id, "order_id", low=1),
        side,
        price,
        read_integer(quantity, "quantity", low=1),
        read_integer(leaves_quantity, "leaves_quantity", low=1),
        read_optional_integer(display_quantity, "display_quantity", low=1),
        read_optional_integer(expire_time, "expire_time"),
    )
