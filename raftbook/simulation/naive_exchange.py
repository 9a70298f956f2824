"""The oracle: an exchange as slow and obvious as can be, written from the matching semantics (engine/SEMANTICS.md).

It does what `raftbook.engine.Exchange` does, event for event, in the engine's vocabulary and with none of its logic.
Whatever must be remembered is a list that is searched from end to end. The one thing that it leaves out are the words
(`Rejection.detail`) in which the engine explains a refusal.

    naive_exchange.py    the log, and what each command does
    naive_terms.py       what a new or replaced order says, and why it is refused
    naive_matching.py    how orders trade, which stops follow, what an uncross does
    naive_auction.py     the price of an auction
    naive_book.py        one instrument's orders, and what reads them
    naive_records.py     all orders, and the events
    naive_refusals.py    refused new orders, and what makes one the copy of another
    naive_keys.py        API keys

Each command costs O(orders known) or more, so this is for logs of some thousand commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    EventKind,
    Execution,
    Malformed,
    MassCanceled,
    NewOrder,
    OrderEvent,
    OrderStatus,
    Reason,
    Rejection,
    ReplaceOrder,
    RevokeKey,
    SetStatus,
    Tick,
    Ticked,
    TradingStatus,
    Uncross,
)
from raftbook.engine.types import CLOSED_ORDERS_KEPT, MOST_KEYS, NO_ORIGIN
from raftbook.simulation.naive_auction import auction_of
from raftbook.simulation.naive_book import NaiveBook, NaiveOrder
from raftbook.simulation.naive_keys import NaiveKeys
from raftbook.simulation.naive_matching import arrive, change_status, elect_stops, uncross
from raftbook.simulation.naive_records import NaiveRecords
from raftbook.simulation.naive_refusals import NaiveRefusals, as_entered
from raftbook.simulation.naive_terms import (
    RefusedError,
    judge_instrument,
    judge_new_order,
    judge_replaced_order,
    refuse_unless,
)

if TYPE_CHECKING:
    from raftbook.engine import Entry, OrderState

_KIND_OF_REJECTION: Final[dict[type[Command], EventKind]] = {
    NewOrder: EventKind.ORDER_REJECTED,
    CancelOrder: EventKind.CANCEL_REJECTED,
    CancelAll: EventKind.CANCEL_REJECTED,
    ReplaceOrder: EventKind.REPLACE_REJECTED,
    AddInstrument: EventKind.INSTRUMENT_REJECTED,
    SetStatus: EventKind.STATUS_REJECTED,
    Uncross: EventKind.STATUS_REJECTED,
    Tick: EventKind.COMMAND_REJECTED,
    CreateKey: EventKind.KEY_REJECTED,
    RevokeKey: EventKind.KEY_REJECTED,
    Malformed: EventKind.COMMAND_REJECTED,
}


class NaiveExchange:
    """`books` by symbol in the order in which they were added."""

    def __init__(self, closed_orders_kept: int = CLOSED_ORDERS_KEPT, most_keys: int = MOST_KEYS) -> None:
        self.records = NaiveRecords(closed_orders_kept)
        self.refusals = NaiveRefusals(self.records)
        self.keys = NaiveKeys(self.records, most_keys)
        self.executed: set[tuple[str, int]] = set()  # Every (origin, sequence) there was.

    @property
    def books(self) -> dict[str, NaiveBook]:
        return self.records.books

    @property
    def log_index(self) -> int:
        return self.records.log_index

    @property
    def time(self) -> int:
        return self.records.time

    # The log.

    def apply(self, log_index: int, entry: Entry) -> list[Execution]:
        """Execute what is the next of its origin; pass over what was executed before, or leaves a gap.

        Expired orders go before, the indications of auctions follow.
        """
        self.records.log_index = log_index
        self.records.time = max(self.time, entry.timestamp)
        executions = self._expire()
        for run in entry.runs:
            for sequence, command in enumerate(run.commands, run.first_sequence):
                is_next = sequence == 1 or (run.origin, sequence - 1) in self.executed
                if is_next and (run.origin, sequence) not in self.executed:
                    self.executed.add((run.origin, sequence))
                    executions.append(self._execute(run.origin, sequence, command))
        return executions + self._indicate()

    @property
    def next_expiry(self) -> int | None:
        """When the first of the live orders expires."""
        return min((order.expire_time for order in self._live() if order.expire_time is not None), default=None)

    def _live(self) -> list[NaiveOrder]:
        return [order for order in self.records.orders if order.is_live]

    def _expire(self) -> list[Execution]:
        expired = [
            (order.expire_time, order.order_id, order)
            for order in self._live()
            if order.expire_time is not None and order.expire_time <= self.time
        ]
        self.records.events = []
        for _, _, order in sorted(expired):
            self.records.cancel(order, Reason.EXPIRED, status=OrderStatus.EXPIRED)
        return self._of_the_entry()

    def _indicate(self) -> list[Execution]:
        self.records.events = []
        for book in self.books.values():
            if book.status is TradingStatus.AUCTION:
                auction = auction_of(book)
                if auction != book.told:
                    book.told = auction
                    self.records.auction_event(EventKind.INDICATIVE_CHANGED, book, auction)
        return self._of_the_entry()

    def _of_the_entry(self) -> list[Execution]:
        """The events that no submission caused, if there are any, as an execution."""
        events = tuple(self.records.events)
        return [Execution(NO_ORIGIN, 0, self.log_index, self.time, True, None, events)] if events else []

    def _execute(self, origin: str, sequence: int, command: Command) -> Execution:
        self.records.events = []
        try:
            order = self._carry_out(command)
            for book in self.books.values():
                elect_stops(self.records, book)
            accepted = True
        except RefusedError as refused:
            order = self._reject(command, refused)
            accepted = False
        state = None if order is None else order.state()
        return Execution(origin, sequence, self.log_index, self.time, accepted, state, tuple(self.records.events))

    def _carry_out(self, command: Command) -> NaiveOrder | None:
        """Returns the order that the command places or names."""
        match command:
            case NewOrder():
                return self._new_order(command)
            case CancelOrder():
                return self._cancel_order(command)
            case ReplaceOrder():
                return self._replace_order(command)
            case CancelAll():
                self._cancel_all(command)
            case AddInstrument():
                self._add_instrument(command)
            case SetStatus():
                self._set_status(command)
            case Uncross():
                self._uncross(command)
            case Tick():
                self._refuse_late(command)
                self.records.events.append(Ticked(EventKind.TICKED, self.log_index, self.time))
            case CreateKey():
                self._refuse_late(command)
                self.keys.create(command)
            case RevokeKey():
                self._refuse_late(command)
                self.keys.revoke(command)
            case Malformed():
                raise RefusedError(Reason.MALFORMED)
        return None

    def _reject(self, command: Command, refused: RefusedError) -> NaiveOrder | None:
        """Returns the order that the refused command names."""
        order: NaiveOrder | None = None
        symbol: str | None = None
        match command:
            case NewOrder():
                symbol = command.symbol
                if refused.reason is Reason.DUPLICATE_CLIENT_ORDER_ID:
                    order = self.records.known(command.account, None, command.client_order_id)
            case CancelOrder() | ReplaceOrder():
                order = self.records.known(command.account, command.order_id, command.client_order_id)
                symbol = None if order is None else order.command.symbol
            case CancelAll() | AddInstrument() | SetStatus() | Uncross():
                symbol = command.symbol
        if symbol not in self.books:
            symbol = None
        self.records.events.append(
            Rejection(
                kind=_KIND_OF_REJECTION[type(command)],
                symbol=symbol,
                sequence=None if symbol is None or refused.duplicate else self.records.next_sequence(symbol),
                log_index=self.log_index,
                timestamp=self.time,
                command=command,
                reason=refused.reason,
                order=None if order is None else order.state(),
                duplicate=refused.duplicate,
            )
        )
        return order

    # New orders.

    def _new_order(self, command: NewOrder) -> NaiveOrder:
        known = self.records.known(command.account, None, command.client_order_id)
        if known is not None:
            return self._repeated_order(command, known)
        self.refusals.refuse_again(command)
        self._refuse_late(command)
        try:
            refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
            book = self.books[command.symbol]
            order = judge_new_order(book, command, self.records.order_count + 1, self.time)
        except RefusedError as refused:
            self.refusals.remember(command, refused.reason)
            raise
        self.refusals.forget(command)
        self.records.order_count += 1
        self.records.orders.append(order)
        self.records.order_event(EventKind.ORDER_ACCEPTED, order)
        if order.status is OrderStatus.UNTRIGGERED:
            self.records.note_arrival(order)
            book.untriggered.append(order)
        else:
            arrive(self.records, book, order)
        return order

    def _repeated_order(self, command: NewOrder, known: NaiveOrder) -> NaiveOrder:
        # The same mode of self-trade prevention may be named in one of them, and be the instrument's in the other.
        mode = command.self_trade_prevention or self.records.book_of(known).instrument.self_trade_prevention
        again = as_entered(command)._replace(mode=known.mode)
        if again != as_entered(known.command)._replace(mode=known.mode) or mode is not known.mode:
            raise RefusedError(Reason.DUPLICATE_CLIENT_ORDER_ID)
        self.records.events.append(
            OrderEvent(
                kind=EventKind.ORDER_ACCEPTED,
                symbol=known.command.symbol,
                sequence=None,
                log_index=self.log_index,
                timestamp=self.time,
                order=known.state(),
                duplicate=True,
            )
        )
        return known

    # Changes and cancels.

    def _cancel_order(self, command: CancelOrder) -> NaiveOrder:
        order = self._live_order(command)
        refuse_unless(self.records.book_of(order).status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)
        self.records.cancel(order, Reason.REQUESTED)
        return order

    def _replace_order(self, command: ReplaceOrder) -> NaiveOrder:
        order = self._live_order(command)
        book = self.records.book_of(order)
        wanted = judge_replaced_order(book, order, command, self.time)
        if wanted.quantity <= order.filled:
            self.records.cancel(order, Reason.REPLACED_TO_ZERO)
            return order
        terms = (wanted.price, wanted.stop_price, wanted.display_quantity, wanted.expire_time)
        if terms == (order.price, order.stop_price, order.display_quantity, order.expire_time) and (
            wanted.quantity <= order.quantity
        ):
            order.lower_to(wanted.quantity)
            self.records.order_event(EventKind.ORDER_REPLACED, order)
            return order
        order.price, order.stop_price, order.display_quantity, order.expire_time = terms
        order.quantity, order.tip = wanted.quantity, None
        if order.status is OrderStatus.UNTRIGGERED:
            self.records.note_arrival(order)
            self.records.order_event(EventKind.ORDER_REPLACED, order)
        else:
            book.resting.remove(order)
            self.records.order_event(EventKind.ORDER_REPLACED, order)
            arrive(self.records, book, order)
        return order

    def _cancel_all(self, command: CancelAll) -> None:
        self._refuse_late(command)
        if command.symbol is not None:
            refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
            refuse_unless(self.books[command.symbol].status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)
        chosen = [
            order
            for order in self._live()
            if order.command.account == command.account
            and command.symbol in (None, order.command.symbol)
            and command.side in (None, order.command.side)
            and self.records.book_of(order).status is not TradingStatus.CLOSED
        ]
        for order in chosen:
            self.records.cancel(order, Reason.MASS_CANCEL)
        self.records.events.append(
            MassCanceled(
                EventKind.MASS_CANCELED,
                self.log_index,
                self.time,
                command.account,
                command.symbol,
                command.side,
                len(chosen),
            )
        )

    # Instruments.

    def _add_instrument(self, command: AddInstrument) -> None:
        self._refuse_late(command)
        refuse_unless(command.symbol not in self.books, Reason.INSTRUMENT_EXISTS)
        book = self.books[command.symbol] = NaiveBook(judge_instrument(command))
        self.records.instrument_event(EventKind.INSTRUMENT_ADDED, book)

    def _set_status(self, command: SetStatus) -> None:
        self._refuse_late(command)
        refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
        book = self.books[command.symbol]
        if command.status is TradingStatus.TRADING:
            uncross(self.records, book)
        change_status(self.records, book, command.status)

    def _uncross(self, command: Uncross) -> None:
        self._refuse_late(command)
        refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
        book = self.books[command.symbol]
        refuse_unless(book.status is TradingStatus.AUCTION, Reason.NOT_IN_AUCTION)
        uncross(self.records, book)
        change_status(self.records, book, command.status)

    # Look-ups.

    def _live_order(self, command: CancelOrder | ReplaceOrder) -> NaiveOrder:
        self._refuse_late(command)
        order = self.records.known(command.account, command.order_id, command.client_order_id)
        if order is None or not order.is_live:
            raise RefusedError(Reason.UNKNOWN_ORDER)
        return order

    def _refuse_late(self, command: Command) -> None:
        refuse_unless(command.not_after is None or self.time <= command.not_after, Reason.SUBMISSION_EXPIRED)

    def all_orders(self, *, open_only: bool) -> list[OrderState]:
        """Of every account, by order id; an untriggered stop counts as open."""
        return [order.state() for order in self.records.orders if order.is_live or not open_only]
