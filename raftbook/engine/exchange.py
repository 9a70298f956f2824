"""The exchange: the whole replicated state, and the only code that changes it.

`Exchange.apply` takes the next entry of the ordered log and returns what each of its submissions led to. It is
a pure function of the log: two exchanges that have applied the same entries are equal, whenever and
wherever they did it. It never raises on an entry; an AssertionError is a bug, and halts the node.

A command is judged in this order, and the first refusal names the reason:

1. A repeated submission is recognised before all else, so that whoever did not hear the first answer gets it,
   acceptance or refusal, even if meanwhile the time to submit has passed or trading has halted.
2. Lateness: log time beyond `not_after` (`submission_expired`).
3. What it names: the symbol (`unknown_symbol`), the order (`unknown_order`).
4. The trading status: halted permits cancels only, closed nothing.
5. Its terms (validation.py).

A refused new order takes no order id, and its client order id stays free for an order with other content. It is
remembered until its `not_after` has passed, so that no copy of it under way is accepted later (refused_orders.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Tick,
)
from raftbook.engine.events import Execution, OrderState, Rejection
from raftbook.engine.invariants import check_exchange
from raftbook.engine.journal import Journal
from raftbook.engine.matching import execute
from raftbook.engine.order_book import Order, OrderBook
from raftbook.engine.refused_orders import RefusedOrders, content_of
from raftbook.engine.registry import OrderRegistry
from raftbook.engine.snapshot import restore_into, take_snapshot
from raftbook.engine.types import CLOSED_ORDERS_KEPT, EventKind, OrderStatus, Reason, TradingStatus
from raftbook.engine.validation import (
    Refusal,
    instrument_of,
    repeats,
    terms_of_new_order,
    terms_of_replace,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from raftbook.engine.commands import Entry
    from raftbook.engine.instrument import Instrument
    from raftbook.engine.refused_orders import RefusedOrder
    from raftbook.engine.snapshot import PlainValue
    from raftbook.engine.types import Side

_ORDER_REJECTED: Final = EventKind.ORDER_REJECTED
_CANCEL_REJECTED: Final = EventKind.CANCEL_REJECTED
_REPLACE_REJECTED: Final = EventKind.REPLACE_REJECTED
_INSTRUMENT_REJECTED: Final = EventKind.INSTRUMENT_REJECTED
_STATUS_REJECTED: Final = EventKind.STATUS_REJECTED
_SUBMISSION_EXPIRED: Final = Reason.SUBMISSION_EXPIRED
_CANCELED: Final = OrderStatus.CANCELED
_OPEN: Final = OrderStatus.OPEN
_TRADING: Final = TradingStatus.TRADING
_CLOSED: Final = TradingStatus.CLOSED


class Exchange:
    """Instruments, their books, every order and refusal still known, and how far each origin has been executed.

    `watermarks` holds, per origin, the sequence of its last executed submission. `closed_orders_kept` bounds what
    is remembered of each account, closed orders and refused ones. It is part of the state: it must be the same on
    every node, and only tests set it.
    """

    __slots__ = ("books", "instruments", "journal", "refused_orders", "registry", "watermarks")

    def __init__(self, *, closed_orders_kept: int = CLOSED_ORDERS_KEPT) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.books: dict[str, OrderBook] = {}
        self.registry = OrderRegistry(closed_orders_kept)
        self.refused_orders = RefusedOrders()
        self.journal = Journal()
        self.watermarks: dict[str, int] = {}

    # What changes the state.

    def apply(self, log_index: int, entry: Entry) -> list[Execution]:
        """Execute the entry's submissions in order and say what each led to.

        `log_index` is above every earlier one. Log time never runs backwards: it is the entry's timestamp
        (nanoseconds), or the time before where that is later. A submission is executed if it is the next of
        its origin (the first is number 1); one that was executed before is passed over, and so is one that
        leaves a gap, since the log will bring it again behind the missing one.
        """
        journal = self.journal
        assert log_index > journal.log_index, f"entry {log_index} after entry {journal.log_index}"
        journal.log_index = log_index
        journal.time = max(journal.time, entry.timestamp)
        self.refused_orders.forget_expired(journal.time)
        executions: list[Execution] = []
        for run in entry.runs:
            next_sequence = self.watermarks.get(run.origin, 0) + 1
            first_new = next_sequence - run.first_sequence
            if not 0 <= first_new < len(run.commands):
                continue
            for sequence, command in enumerate(run.commands[first_new:], next_sequence):
                self.watermarks[run.origin] = sequence
                executions.append(self._execute(run.origin, sequence, command))
        return executions

    def _execute(self, origin: str, sequence: int, command: Command) -> Execution:
        order = self._dispatch(command)
        journal = self.journal
        events = journal.take()
        accepted = not isinstance(events[0], Rejection)
        return Execution(origin, sequence, journal.log_index, journal.time, accepted, order, events)

    def _dispatch(self, command: Command) -> OrderState | None:
        """Carry out one command; the answer is the order that it names, as it stands at the end."""
        if isinstance(command, NewOrder):
            return self._new_order(command)
        if isinstance(command, CancelOrder):
            return self._cancel_order(command)
        if isinstance(command, ReplaceOrder):
            return self._replace_order(command)
        if isinstance(command, CancelAll):
            self._cancel_all(command)
        elif isinstance(command, AddInstrument):
            self._add_instrument(command)
        elif isinstance(command, SetStatus):
            self._set_status(command)
        elif isinstance(command, Tick):
            self._tick(command)
        else:
            self.journal.rejected(EventKind.COMMAND_REJECTED, command, Reason.MALFORMED, command.detail, None)
        return None

    def _new_order(self, command: NewOrder) -> OrderState | None:
        known = self.registry.find(command.account, command.client_order_id)
        if known is not None:
            return self._repeated_order(command, known)
        book = self.books.get(command.symbol)
        refused_orders = self.refused_orders
        under_id = refused_orders.accounts and refused_orders.under_id(command.account, command.client_order_id)
        if under_id:
            refused = under_id.get(content_of(command))
            if refused is not None:
                return self._refuse_again(command, refused, book)
        if self._is_late(command):
            return self._refuse_order(command, Reason.SUBMISSION_EXPIRED, book)
        if book is None:
            return self._refuse_order(command, Reason.UNKNOWN_SYMBOL, None)
        if book.status is not _TRADING:
            return self._refuse_order(command, _reason_for(book.status), book)
        terms = terms_of_new_order(command, book)
        if isinstance(terms, Refusal):
            return self._refuse_order(command, terms.reason, book, terms.detail)
        price, quantity = terms

        registry, journal = self.registry, self.journal
        registry.last_order_id += 1
        order = Order(
            registry.last_order_id,
            command.client_order_id,
            registry.account(command.account).name,
            book.symbol,
            command.side,
            command.order_type,
            command.time_in_force,
            command.post_only,
            price,
            quantity,
        )
        registry.add(order)
        if under_id:
            refused_orders.forget_id(order.account, order.client_order_id)
        state = journal.accepted(book, order)
        execute(order, book, registry, journal)
        return state if len(journal.events) == 1 else order.state()

    def _repeated_order(self, command: NewOrder, known: Order) -> OrderState:
        if repeats(command, known, self.instruments[known.symbol]):
            return self.journal.repeated(known)
        state = known.state()
        self.journal.rejected(
            _ORDER_REJECTED,
            command,
            Reason.DUPLICATE_CLIENT_ORDER_ID,
            "the account's order of this client order id has other terms; use an id of its own for each order",
            self.books.get(command.symbol),
            state,
        )
        return state

    def _refuse_order(
        self, command: NewOrder, reason: Reason, book: OrderBook | None, detail: str | None = None
    ) -> OrderState | None:
        """A refused order does not exist, so there is none to answer with; but that it was refused is remembered."""
        self.journal.rejected(_ORDER_REJECTED, command, reason, detail, book)
        if command.not_after is not None and reason is not _SUBMISSION_EXPIRED:
            self.refused_orders.remember(
                content_of(command),
                reason,
                detail,
                not_after=command.not_after,
                limit_per_account=self.registry.closed_orders_kept,
            )
        return None

    def _refuse_again(self, command: NewOrder, refused: RefusedOrder, book: OrderBook | None) -> OrderState | None:
        self.refused_orders.prolong(refused, command.not_after)
        self.journal.refused_again(command, refused.reason, refused.detail, book)
        return None

    def _cancel_order(self, command: CancelOrder) -> OrderState | None:
        known = self.registry.find_named(command.account, command.order_id, command.client_order_id)
        if self._is_late(command):
            return self._refuse_change(command, Reason.SUBMISSION_EXPIRED, known)
        if known is None or known.status is not _OPEN:
            return self._refuse_change(command, Reason.UNKNOWN_ORDER, known, _detail_of_unknown_order(known))
        book = self.books[known.symbol]
        if book.status is _CLOSED:
            return self._refuse_change(command, Reason.INSTRUMENT_CLOSED, known)
        return self._cancel(known, book, Reason.REQUESTED)

    def _replace_order(self, command: ReplaceOrder) -> OrderState | None:
        """A lower quantity at the same price keeps the order's place; any other change is a new arrival.

        `quantity` is the whole order's, with what has traded (CME's in-flight mitigation): an order cannot
        trade more than its owner last asked for, whatever traded while the replace was under way.
        """
        known = self.registry.find_named(command.account, command.order_id, command.client_order_id)
        if self._is_late(command):
            return self._refuse_change(command, Reason.SUBMISSION_EXPIRED, known)
        if known is None or known.status is not _OPEN:
            return self._refuse_change(command, Reason.UNKNOWN_ORDER, known, _detail_of_unknown_order(known))
        book = self.books[known.symbol]
        if book.status is not _TRADING:
            return self._refuse_change(command, _reason_for(book.status), known)
        terms = terms_of_replace(command, known, book)
        if isinstance(terms, Refusal):
            return self._refuse_change(command, terms.reason, known, terms.detail)
        price, quantity = terms
        if quantity <= known.filled_quantity:
            return self._cancel(known, book, Reason.REPLACED_TO_ZERO)
        return self._change(known, book, price, quantity)

    def _change(self, order: Order, book: OrderBook, price: int, quantity: int) -> OrderState:
        side = book.side_of(order.side)
        leaves = quantity - order.filled_quantity
        keeps_place = price == order.price and quantity <= order.quantity
        if keeps_place:
            side.reduce(order, order.leaves_quantity - leaves)
        else:
            side.remove(order)
            order.price = price
            order.leaves_quantity = leaves
        order.quantity = quantity
        state = self.journal.replaced(book, order)
        if keeps_place:
            return state
        execute(order, book, self.registry, self.journal)
        return order.state()

    def _cancel_all(self, command: CancelAll) -> None:
        """Cancel the account's open orders, in order-id order. O(the account's open orders).

        Orders of closed instruments stay; where a symbol is named that is unknown or closed, the command is
        refused (as FIX MsgType r does), so that nobody takes a misspelt symbol for an empty book.
        """
        named = None if command.symbol is None else self.books.get(command.symbol)
        if self._is_late(command):
            self.journal.rejected(_CANCEL_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, named)
            return
        if command.symbol is not None and named is None:
            self.journal.rejected(_CANCEL_REJECTED, command, Reason.UNKNOWN_SYMBOL, None, None)
            return
        if named is not None and named.status is _CLOSED:
            self.journal.rejected(_CANCEL_REJECTED, command, Reason.INSTRUMENT_CLOSED, None, named)
            return
        canceled_count = 0
        for order in self.registry.open_orders(command.account):
            book = self.books[order.symbol]
            if (
                (named is None or book is named)
                and (command.side is None or order.side is command.side)
                and book.status is not _CLOSED
            ):
                self._cancel(order, book, Reason.MASS_CANCEL)
                canceled_count += 1
        self.journal.mass_canceled(command, canceled_count)

    def _cancel(self, order: Order, book: OrderBook, reason: Reason) -> OrderState:
        """Take a resting order out of the book for good."""
        book.side_of(order.side).remove(order)
        self.registry.close(order, _CANCELED)
        return self.journal.canceled(book, order, reason)

    def _refuse_change(
        self, command: CancelOrder | ReplaceOrder, reason: Reason, known: Order | None, detail: str | None = None
    ) -> OrderState | None:
        kind = _CANCEL_REJECTED if isinstance(command, CancelOrder) else _REPLACE_REJECTED
        if known is None:
            self.journal.rejected(kind, command, reason, detail, None)
            return None
        state = known.state()
        self.journal.rejected(kind, command, reason, detail, self.books[known.symbol], state)
        return state

    def _add_instrument(self, command: AddInstrument) -> None:
        book = self.books.get(command.symbol)
        if self._is_late(command):
            self.journal.rejected(_INSTRUMENT_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, book)
            return
        if book is not None:
            self.journal.rejected(_INSTRUMENT_REJECTED, command, Reason.INSTRUMENT_EXISTS, None, book)
            return
        instrument = instrument_of(command)
        if isinstance(instrument, Refusal):
            self.journal.rejected(_INSTRUMENT_REJECTED, command, instrument.reason, instrument.detail, None)
            return
        book = OrderBook(instrument)
        self.instruments[instrument.symbol] = instrument
        self.books[instrument.symbol] = book
        self.journal.instrument_added(book)

    def _set_status(self, command: SetStatus) -> None:
        """Any status may follow any other, also itself: to say again what holds is not an error."""
        book = self.books.get(command.symbol)
        if self._is_late(command):
            self.journal.rejected(_STATUS_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, book)
        elif book is None:
            self.journal.rejected(_STATUS_REJECTED, command, Reason.UNKNOWN_SYMBOL, None, None)
        else:
            book.status = command.status
            self.journal.status_changed(book)

    def _tick(self, command: Tick) -> None:
        if self._is_late(command):
            self.journal.rejected(EventKind.COMMAND_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, None)
        else:
            self.journal.ticked()

    def _is_late(self, command: Command) -> bool:
        return command.not_after is not None and self.journal.time > command.not_after

    # What reads it.

    @property
    def log_index(self) -> int:
        """The index of the last applied entry, 0 before the first."""
        return self.journal.log_index

    @property
    def time(self) -> int:
        """Log time: nanoseconds since the epoch, 0 before the first entry."""
        return self.journal.time

    @property
    def statuses(self) -> dict[str, TradingStatus]:
        """Every instrument's trading status. O(instruments)."""
        return {symbol: book.status for symbol, book in self.books.items()}

    def order(self, order_id: int) -> OrderState | None:
        """An open or remembered order, None if there never was one or it is forgotten. O(1)."""
        order = self.registry.orders.get(order_id)
        return None if order is None else order.state()

    def order_by_client_id(self, account: str, client_order_id: str) -> OrderState | None:
        """As `order`, by the name that the account gave it. O(1)."""
        order = self.registry.find(account, client_order_id)
        return None if order is None else order.state()

    def orders(
        self,
        account: str | None = None,
        symbol: str | None = None,
        side: Side | None = None,
        open_only: bool = True,
    ) -> list[OrderState]:
        """The orders that meet all conditions, in order-id order. Costs what `iterate_orders` costs for all of them."""
        return list(self.iterate_orders(account, symbol, side, (_OPEN,) if open_only else tuple(OrderStatus)))

    def iterate_orders(
        self,
        account: str | None,
        symbol: str | None,
        side: Side | None,
        statuses: Collection[OrderStatus],
        from_order_id: int = 0,
    ) -> Iterator[OrderState]:
        """As `orders`, one by one, for whoever needs only the first few. No entry may be applied between two of them.

        O(open orders of the account), or O(its orders log its orders) where `statuses` asks for others too; O(all
        orders known) without an account, but only those that are returned cost more than a look.
        """
        orders: Iterable[Order]
        if account is None:
            orders = self.registry.orders.values()
        elif any(status is not _OPEN for status in statuses):
            orders = self.registry.known_orders(account)
        else:
            orders = self.registry.open_orders(account)
        return (
            order.state()
            for order in orders
            if order.order_id >= from_order_id
            and order.status in statuses
            and (symbol is None or order.symbol == symbol)
            and (side is None or order.side is side)
        )

    def depth(self, symbol: str, levels: int | None = None) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) as (price, quantity) in units, best first. KeyError for an unknown symbol. O(levels)."""
        book = self.books[symbol]
        return book.bids.depth(levels), book.asks.depth(levels)

    def level3(self, symbol: str, levels: int | None = None) -> tuple[list[OrderState], list[OrderState]]:
        """(bids, asks), every resting order of the best `levels` levels in priority. KeyError for an unknown symbol."""
        book = self.books[symbol]
        bids, asks = book.bids.orders(levels), book.asks.orders(levels)
        return [order.state() for order in bids], [order.state() for order in asks]

    def check(self) -> None:
        """Hold the state against every invariant; the AssertionError names the broken one. O(state)."""
        check_exchange(self)

    def to_snapshot(self) -> list[PlainValue]:
        """The whole state as lists of plain values: equal states give equal lists. O(state)."""
        return take_snapshot(self)

    @classmethod
    def from_snapshot(cls, data: object) -> Exchange:
        """The exchange that `to_snapshot` was taken of. ValueError for whatever is not such a value. O(state)."""
        exchange = cls()
        restore_into(exchange, data)
        return exchange


def _reason_for(status: TradingStatus) -> Reason:
    return Reason.INSTRUMENT_CLOSED if status is _CLOSED else Reason.INSTRUMENT_HALTED


def _detail_of_unknown_order(known: Order | None) -> str:
    return "this account has no such order" if known is None else f"the order is {known.status.label} already"
