"""The journal of the command at work: stamps its events and collects them in the order in which they happen.

Every event gets the log index, the log time and, where it belongs to an instrument, the next number of that
instrument's sequence. A method per kind of event; nothing else in the engine constructs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.events import (
    AuctionEvent,
    Event,
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
from raftbook.engine.types import EventKind, Reason, TradingStatus

if TYPE_CHECKING:
    from raftbook.engine.api_keys import KeyRecord
    from raftbook.engine.commands import CancelAll, Command, NewOrder
    from raftbook.engine.order import Order
    from raftbook.engine.order_book import OrderBook

# Compiled, a name of this module that is Final is found at once; one that was imported is looked up each time.
_OrderEvent: Final = OrderEvent
_Rejection: Final = Rejection
_Trade: Final = Trade

_TRADE: Final = EventKind.TRADE
_ACCEPTED: Final = EventKind.ORDER_ACCEPTED
_CANCELED: Final = EventKind.ORDER_CANCELED
_REPLACED: Final = EventKind.ORDER_REPLACED


class Journal:
    """`log_index` and `time` (nanoseconds) are those of the entry at work; `last_trade_id` counts all trades.

    `auctions` holds the books in auction by symbol: their indications are due at the end of the entry.
    """

    __slots__ = ("auctions", "events", "last_trade_id", "log_index", "time")

    def __init__(self) -> None:
        self.log_index = 0
        self.time = 0
        self.last_trade_id = 0
        self.events: list[Event] = []
        self.auctions: dict[str, OrderBook] = {}

    def take(self) -> tuple[Event, ...]:
        """The events since the last call."""
        events = tuple(self.events)
        self.events.clear()
        return events

    def accepted(self, book: OrderBook, order: Order) -> OrderState:
        return self._order_event(_ACCEPTED, book, order, None)

    def replaced(self, book: OrderBook, order: Order) -> OrderState:
        return self._order_event(_REPLACED, book, order, None)

    def canceled(
        self, book: OrderBook, order: Order, reason: Reason, prevented_by_order_id: int | None = None
    ) -> OrderState:
        return self._order_event(_CANCELED, book, order, reason, prevented_by_order_id)

    def triggered(self, book: OrderBook, order: Order) -> OrderState:
        return self._order_event(EventKind.ORDER_TRIGGERED, book, order, None)

    def restated(
        self, book: OrderBook, order: Order, reason: Reason, prevented_by_order_id: int | None = None
    ) -> OrderState:
        return self._order_event(EventKind.ORDER_RESTATED, book, order, reason, prevented_by_order_id)

    def _order_event(
        self,
        kind: EventKind,
        book: OrderBook,
        order: Order,
        reason: Reason | None,
        prevented_by_order_id: int | None = None,
    ) -> OrderState:
        book.sequence += 1
        state = order.state()
        self.events.append(
            _OrderEvent(
                kind, book.symbol, book.sequence, self.log_index, self.time, state, reason, False, prevented_by_order_id
            )
        )
        return state

    def repeated(self, order: Order) -> OrderState:
        """The answer to a repeated submission. It changes nothing, so it takes no sequence number either."""
        state = order.state()
        self.events.append(
            OrderEvent(_ACCEPTED, order.symbol, None, self.log_index, self.time, state, duplicate=True),
        )
        return state

    def traded(
        self, book: OrderBook, maker: Order, taker: Order, price: int, quantity: int, auction: bool = False
    ) -> None:
        book.sequence += 1
        self.last_trade_id += 1
        self.events.append(
            _Trade(
                _TRADE,
                book.symbol,
                book.sequence,
                self.log_index,
                self.time,
                self.last_trade_id,
                price,
                quantity,
                maker.order_id,
                maker.client_order_id,
                maker.account,
                taker.order_id,
                taker.client_order_id,
                taker.account,
                taker.side,
                auction,
            )
        )

    def rejected(
        self,
        kind: EventKind,
        command: Command,
        reason: Reason,
        detail: str | None,
        book: OrderBook | None,
        order: OrderState | None = None,
    ) -> None:
        """`book` is that of the symbol concerned, None where it is not known; `order` the order concerned, as it is."""
        if book is None:
            symbol, sequence = None, None
        else:
            if book.indicated_sequence == book.sequence:
                book.indicated_sequence += 1  # A refusal changes nothing, so what was told of an auction stays true.
            book.sequence += 1
            symbol, sequence = book.symbol, book.sequence
        self.events.append(
            _Rejection(kind, symbol, sequence, self.log_index, self.time, command, reason, detail, order, False)
        )

    def refused_again(self, command: NewOrder, reason: Reason, detail: str | None, book: OrderBook | None) -> None:
        """The answer to a copy of a refused order. As with `repeated`, no sequence number: nothing changed."""
        symbol = None if book is None else book.symbol
        self.events.append(
            Rejection(
                EventKind.ORDER_REJECTED,
                symbol,
                None,
                self.log_index,
                self.time,
                command,
                reason,
                detail,
                duplicate=True,
            ),
        )

    def mass_canceled(self, command: CancelAll, canceled_count: int) -> None:
        account, symbol, side = command.account, command.symbol, command.side
        self.events.append(
            MassCanceled(EventKind.MASS_CANCELED, self.log_index, self.time, account, symbol, side, canceled_count),
        )

    def instrument_added(self, book: OrderBook) -> None:
        self._instrument_event(EventKind.INSTRUMENT_ADDED, book)

    def status_changed(self, book: OrderBook, status: TradingStatus, reason: Reason | None = None) -> None:
        """Change the status and tell it: the one place where it changes."""
        book.change_status(status)
        if status is TradingStatus.AUCTION:
            self.auctions[book.symbol] = book
        else:
            self.auctions.pop(book.symbol, None)
        self._instrument_event(EventKind.STATUS_CHANGED, book, reason)

    def _instrument_event(self, kind: EventKind, book: OrderBook, reason: Reason | None = None) -> None:
        book.sequence += 1
        self.events.append(
            InstrumentEvent(
                kind, book.symbol, book.sequence, self.log_index, self.time, book.instrument, book.status, reason
            ),
        )

    def indicated(self, book: OrderBook, indication: Indication) -> None:
        self._auction_event(EventKind.INDICATIVE_CHANGED, book, indication)

    def uncrossed(self, book: OrderBook, result: Indication) -> None:
        self._auction_event(EventKind.AUCTION_UNCROSSED, book, result)

    def _auction_event(self, kind: EventKind, book: OrderBook, outcome: Indication) -> None:
        book.sequence += 1
        self.events.append(
            AuctionEvent(kind, book.symbol, book.sequence, self.log_index, self.time, *outcome),
        )

    def ticked(self) -> None:
        self.events.append(Ticked(EventKind.TICKED, self.log_index, self.time))

    def key_changed(self, kind: EventKind, record: KeyRecord) -> None:
        self.events.append(KeyEvent(kind, self.log_index, self.time, record))
