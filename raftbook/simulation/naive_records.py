"""What the oracle remembers of its orders, and what it tells: the only place that makes events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine import (
    AuctionEvent,
    EventKind,
    InstrumentEvent,
    OrderEvent,
    OrderStatus,
    Reason,
    Side,
    Trade,
)

if TYPE_CHECKING:
    from raftbook.engine import Event
    from raftbook.simulation.naive_book import NaiveBook, NaiveOrder, Told


class NaiveRecords:
    """`orders` are all known, in order-id order; `events` those of the execution under way."""

    def __init__(self, closed_orders_kept: int) -> None:
        self.closed_orders_kept = closed_orders_kept
        self.log_index = 0
        self.time = 0
        self.books: dict[str, NaiveBook] = {}
        self.orders: list[NaiveOrder] = []
        self.closed: dict[str, list[NaiveOrder]] = {}  # Each account's closed `orders`, in the order of their closing.
        self.order_count = 0
        self.trade_count = 0
        self.arrival_count = 0
        self.events: list[Event] = []

    # Orders.

    def known(self, account: str, order_id: int | None, client_order_id: str | None) -> NaiveOrder | None:
        """The account's order of this id, or of this client order id; one of the two is given."""
        for order in self.orders:
            command = order.command
            if command.account == account and (
                order.order_id == order_id or command.client_order_id == client_order_id
            ):
                return order
        return None

    def book_of(self, order: NaiveOrder) -> NaiveBook:
        return self.books[order.command.symbol]

    def note_arrival(self, order: NaiveOrder) -> None:
        """It is the last in the queue of its price from now on."""
        self.arrival_count += 1
        order.arrival = self.arrival_count

    def close(self, order: NaiveOrder, status: OrderStatus) -> None:
        """The order leaves its book, and the account's oldest closed order is forgotten, if they are too many."""
        order.status = status
        order.tip = None
        book = self.book_of(order)
        for place in (book.resting, book.untriggered):
            if order in place:
                place.remove(order)
        closed = self.closed.setdefault(order.command.account, [])
        closed.append(order)
        if len(closed) > self.closed_orders_kept:
            self.orders.remove(closed.pop(0))

    def cancel(
        self,
        order: NaiveOrder,
        reason: Reason,
        *,
        prevented_by: NaiveOrder | None = None,
        status: OrderStatus = OrderStatus.CANCELED,
    ) -> None:
        self.close(order, status)
        self.order_event(EventKind.ORDER_CANCELED, order, reason, prevented_by)

    # Events.

    def next_sequence(self, symbol: str) -> int:
        self.books[symbol].sequence += 1
        return self.books[symbol].sequence

    def order_event(
        self,
        kind: EventKind,
        order: NaiveOrder,
        reason: Reason | None = None,
        prevented_by: NaiveOrder | None = None,
    ) -> None:
        symbol = order.command.symbol
        self.events.append(
            OrderEvent(
                kind=kind,
                symbol=symbol,
                sequence=self.next_sequence(symbol),
                log_index=self.log_index,
                timestamp=self.time,
                order=order.state(),
                reason=reason,
                prevented_by_order_id=None if prevented_by is None else prevented_by.order_id,
            )
        )

    def trade(self, maker: NaiveOrder, taker: NaiveOrder, price: int, quantity: int, *, auction: bool = False) -> None:
        """Both trade, and the last trade's price is this one."""
        symbol = taker.command.symbol
        self.books[symbol].last_price = price
        maker.take(quantity, price)
        taker.take(quantity, price)
        self.trade_count += 1
        self.events.append(
            Trade(
                kind=EventKind.TRADE,
                symbol=symbol,
                sequence=self.next_sequence(symbol),
                log_index=self.log_index,
                timestamp=self.time,
                trade_id=self.trade_count,
                price=price,
                quantity=quantity,
                maker_order_id=maker.order_id,
                maker_client_order_id=maker.command.client_order_id,
                maker_account=maker.command.account,
                taker_order_id=taker.order_id,
                taker_client_order_id=taker.command.client_order_id,
                taker_account=taker.command.account,
                taker_side=Side.BUY if taker.buys else Side.SELL,
                auction=auction,
            )
        )

    def instrument_event(self, kind: EventKind, book: NaiveBook, reason: Reason | None = None) -> None:
        symbol = book.instrument.symbol
        self.events.append(
            InstrumentEvent(
                kind=kind,
                symbol=symbol,
                sequence=self.next_sequence(symbol),
                log_index=self.log_index,
                timestamp=self.time,
                instrument=book.instrument,
                status=book.status,
                reason=reason,
            )
        )

    def auction_event(self, kind: EventKind, book: NaiveBook, told: Told) -> None:
        symbol = book.instrument.symbol
        sequence = self.next_sequence(symbol)
        self.events.append(AuctionEvent(kind, symbol, sequence, self.log_index, self.time, *told))
