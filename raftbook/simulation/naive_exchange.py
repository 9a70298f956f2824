"""The oracle: an exchange as slow and obvious as can be, written from the matching semantics.

It does what `raftbook.engine.Exchange` does, event for event, in the engine's vocabulary and with none of its logic:
the order books are naive_book.py's, and whatever else must be remembered is a list that is searched from end to end.
The one thing that it leaves out are the words (`Rejection.detail`) in which the engine explains a refusal.

Each command costs O(orders known) or more, so this is for logs of some thousand commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    EventKind,
    Execution,
    Instrument,
    InstrumentEvent,
    Malformed,
    MassCanceled,
    NewOrder,
    Number,
    OrderEvent,
    OrderStatus,
    OrderType,
    Reason,
    Rejection,
    ReplaceOrder,
    SetStatus,
    Side,
    Tick,
    Ticked,
    TimeInForce,
    Trade,
    TradingStatus,
)
from raftbook.engine.types import CLOSED_ORDERS_KEPT
from raftbook.simulation.naive_book import LARGEST, NaiveBook, NaiveOrder, exact_units

if TYPE_CHECKING:
    from raftbook.engine import Entry, Event, OrderState

_KIND_OF_REJECTION: Final[dict[type[Command], EventKind]] = {
    NewOrder: EventKind.ORDER_REJECTED,
    CancelOrder: EventKind.CANCEL_REJECTED,
    CancelAll: EventKind.CANCEL_REJECTED,
    ReplaceOrder: EventKind.REPLACE_REJECTED,
    AddInstrument: EventKind.INSTRUMENT_REJECTED,
    SetStatus: EventKind.STATUS_REJECTED,
    Tick: EventKind.COMMAND_REJECTED,
    Malformed: EventKind.COMMAND_REJECTED,
}


class RefusedError(Exception):
    """Why a command is refused; `duplicate` where it is the copy of one that was refused before."""

    def __init__(self, reason: Reason, *, duplicate: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.duplicate = duplicate


class EnteredOrder(NamedTuple):
    """Everything that a new order says but its `not_after`, its numbers by their value."""

    account: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: Fraction | None
    quantity: Fraction


@dataclass(slots=True, eq=False)
class NaiveRefusal:
    """A refused new order, remembered as long as log time is not beyond `last_moment`."""

    entered: EnteredOrder
    reason: Reason
    last_moment: int


class NaiveExchange:
    """`books` by symbol in the order in which they were added; `orders` are all known, in order-id order."""

    def __init__(self, closed_orders_kept: int = CLOSED_ORDERS_KEPT) -> None:
        self.closed_orders_kept = closed_orders_kept
        self.log_index = 0
        self.time = 0
        self.books: dict[str, NaiveBook] = {}
        self.orders: list[NaiveOrder] = []
        self.closed: dict[str, list[NaiveOrder]] = {}  # Each account's closed `orders`, in the order of their closing.
        self.refusals: list[NaiveRefusal] = []  # Oldest first.
        self.executed: set[tuple[str, int]] = set()  # Every (origin, sequence) there was.
        self.order_count = 0
        self.trade_count = 0
        self.arrival_count = 0
        self.events: list[Event] = []

    # The log.

    def apply(self, log_index: int, entry: Entry) -> list[Execution]:
        """Execute what is the next of its origin; pass over what was executed before, or leaves a gap."""
        self.log_index = log_index
        self.time = max(self.time, entry.timestamp)
        executions: list[Execution] = []
        for run in entry.runs:
            for sequence, command in enumerate(run.commands, run.first_sequence):
                is_next = sequence == 1 or (run.origin, sequence - 1) in self.executed
                if is_next and (run.origin, sequence) not in self.executed:
                    self.executed.add((run.origin, sequence))
                    executions.append(self._execute(run.origin, sequence, command))
        return executions

    def _execute(self, origin: str, sequence: int, command: Command) -> Execution:
        self.events = []
        try:
            order = self._carry_out(command)
            accepted = True
        except RefusedError as refused:
            order = self._reject(command, refused)
            accepted = False
        state = None if order is None else order.state()
        return Execution(origin, sequence, self.log_index, self.time, accepted, state, tuple(self.events))

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
            case Tick():
                self._refuse_late(command)
                self.events.append(Ticked(EventKind.TICKED, self.log_index, self.time))
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
                    order = self._known(command.account, None, command.client_order_id)
            case CancelOrder() | ReplaceOrder():
                order = self._known(command.account, command.order_id, command.client_order_id)
                symbol = None if order is None else order.command.symbol
            case CancelAll() | AddInstrument() | SetStatus():
                symbol = command.symbol
        if symbol not in self.books:
            symbol = None
        self.events.append(
            Rejection(
                kind=_KIND_OF_REJECTION[type(command)],
                symbol=symbol,
                sequence=None if symbol is None or refused.duplicate else self._next_sequence(symbol),
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
        known = self._known(command.account, None, command.client_order_id)
        if known is not None:
            return self._repeated_order(command, known)
        self._refuse_again(command)
        self._refuse_late(command)
        try:
            order = self._first_time(command)
        except RefusedError as refused:
            self._remember(command, refused.reason)
            raise
        self.refusals = [
            refusal
            for refusal in self.refusals
            if (refusal.entered.account, refusal.entered.client_order_id) != (command.account, command.client_order_id)
        ]
        self.order_count += 1
        self.orders.append(order)
        self._order_event(EventKind.ORDER_ACCEPTED, order)
        self._arrive(order)
        return order

    def _repeated_order(self, command: NewOrder, known: NaiveOrder) -> NaiveOrder:
        if self._content(command) != self._content(known.command):
            raise RefusedError(Reason.DUPLICATE_CLIENT_ORDER_ID)
        self.events.append(
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

    def _content(self, command: NewOrder) -> tuple[object, ...]:
        """What must be the same in two orders of one client order id, for the later to be a copy of the earlier."""
        if command.symbol not in self.books:
            return (command.symbol,)
        instrument = self.books[command.symbol].instrument
        return (
            command.symbol,
            command.side,
            command.order_type,
            command.time_in_force,
            command.post_only,
            "market" if command.price is None else exact_units(command.price, instrument.price_decimals),
            exact_units(command.quantity, instrument.quantity_decimals),
        )

    def _refuse_again(self, command: NewOrder) -> None:
        """A copy of an order that was refused, while the time of any copy answered so far has not passed."""
        entered = _as_entered(command)
        for refusal in self._unexpired_refusals():
            if refusal.entered == entered:
                if command.not_after is not None:
                    refusal.last_moment = max(refusal.last_moment, command.not_after)
                raise RefusedError(refusal.reason, duplicate=True)

    def _remember(self, command: NewOrder, reason: Reason) -> None:
        if command.not_after is not None:
            refusal = NaiveRefusal(_as_entered(command), reason, command.not_after)
            refusals = self._unexpired_refusals()
            account = [other for other in refusals if other.entered.account == command.account]
            others = [other for other in refusals if other.entered.account != command.account]
            self.refusals = others + [*account, refusal][-self.closed_orders_kept :]

    def _unexpired_refusals(self) -> list[NaiveRefusal]:
        return [refusal for refusal in self.refusals if self.time <= refusal.last_moment]

    def _first_time(self, command: NewOrder) -> NaiveOrder:
        _refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
        book = self.books[command.symbol]
        _refuse_unless_trading(book)

        limit = command.order_type is OrderType.LIMIT
        may_rest = limit and command.time_in_force is TimeInForce.GTC
        _refuse_unless(command.quantity.mantissa > 0, Reason.INVALID_ORDER)
        _refuse_unless((command.price is not None) == limit, Reason.INVALID_ORDER)
        _refuse_unless(command.price is None or command.price.mantissa > 0, Reason.INVALID_ORDER)
        _refuse_unless(may_rest or not command.post_only, Reason.INVALID_ORDER)
        price = None if command.price is None else _price_in_units(book.instrument, command.price)
        quantity = _quantity_in_units(book.instrument, command.quantity)
        order = NaiveOrder(self.order_count + 1, command, price, quantity)
        _refuse_unless(book.largest_notional(order) <= LARGEST, Reason.OUT_OF_RANGE)
        _refuse_unless(not may_rest or book.level_quantity(order) <= LARGEST, Reason.OUT_OF_RANGE)
        _refuse_unless(not command.post_only or not book.makers_for(order), Reason.POST_ONLY_WOULD_TRADE)
        return order

    # Changes and cancels.

    def _cancel_order(self, command: CancelOrder) -> NaiveOrder:
        order = self._open_order(command)
        _refuse_unless(self._book_of(order).status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)
        self._cancel(order, Reason.REQUESTED)
        return order

    def _replace_order(self, command: ReplaceOrder) -> NaiveOrder:
        order = self._open_order(command)
        book = self._book_of(order)
        _refuse_unless_trading(book)
        _refuse_unless(command.price is not None or command.quantity is not None, Reason.INVALID_ORDER)
        _refuse_unless(command.price is None or command.price.mantissa > 0, Reason.INVALID_ORDER)
        _refuse_unless(command.quantity is None or command.quantity.mantissa >= 0, Reason.INVALID_ORDER)
        price, quantity = order.limit, order.quantity
        if command.price is not None:
            price = _price_in_units(book.instrument, command.price)
        if command.quantity is not None:
            quantity = _quantity_in_units(book.instrument, command.quantity)
        if quantity <= order.filled:
            self._cancel(order, Reason.REPLACED_TO_ZERO)
            return order

        before = (order.limit, order.quantity)
        book.resting.remove(order)
        order.price, order.quantity = price, quantity
        try:
            _refuse_unless(price * quantity <= LARGEST, Reason.OUT_OF_RANGE)
            _refuse_unless(book.largest_notional(order) <= LARGEST, Reason.OUT_OF_RANGE)
            _refuse_unless(book.level_quantity(order) <= LARGEST, Reason.OUT_OF_RANGE)
            _refuse_unless(not order.command.post_only or not book.makers_for(order), Reason.POST_ONLY_WOULD_TRADE)
        except RefusedError:
            order.price, order.quantity = before
            book.resting.append(order)
            raise
        self._order_event(EventKind.ORDER_REPLACED, order)
        if price == before[0] and quantity <= before[1]:
            book.resting.append(order)
        else:
            self._arrive(order)
        return order

    def _cancel_all(self, command: CancelAll) -> None:
        self._refuse_late(command)
        if command.symbol is not None:
            _refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
            _refuse_unless(self.books[command.symbol].status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)
        chosen = [
            order
            for order in self.orders
            if order.status is OrderStatus.OPEN
            and order.command.account == command.account
            and command.symbol in (None, order.command.symbol)
            and command.side in (None, order.command.side)
            and self._book_of(order).status is not TradingStatus.CLOSED
        ]
        for order in chosen:
            self._cancel(order, Reason.MASS_CANCEL)
        self.events.append(
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
        _refuse_unless(command.symbol not in self.books, Reason.INSTRUMENT_EXISTS)
        _refuse_unless(0 <= command.price_decimals <= 18, Reason.INVALID_INSTRUMENT)
        _refuse_unless(0 <= command.quantity_decimals <= 18, Reason.INVALID_INSTRUMENT)
        tick_size = exact_units(command.tick_size, command.price_decimals)
        lot_size = exact_units(command.lot_size, command.quantity_decimals)
        if tick_size is None or lot_size is None:
            raise RefusedError(Reason.INVALID_INSTRUMENT)
        _refuse_unless(0 < tick_size <= LARGEST and 0 < lot_size <= LARGEST, Reason.INVALID_INSTRUMENT)
        self.books[command.symbol] = NaiveBook(
            Instrument(command.symbol, command.price_decimals, command.quantity_decimals, tick_size, lot_size)
        )
        self._instrument_event(EventKind.INSTRUMENT_ADDED, command.symbol)

    def _set_status(self, command: SetStatus) -> None:
        self._refuse_late(command)
        _refuse_unless(command.symbol in self.books, Reason.UNKNOWN_SYMBOL)
        self.books[command.symbol].status = command.status
        self._instrument_event(EventKind.STATUS_CHANGED, command.symbol)

    # Matching.

    def _arrive(self, order: NaiveOrder) -> None:
        self.arrival_count += 1
        order.arrival = self.arrival_count
        book = self._book_of(order)
        makers = book.makers_for(order)
        if order.command.time_in_force is TimeInForce.FOK and sum(maker.leaves for maker in makers) < order.leaves:
            self._cancel(order, Reason.FOK)
            return
        for maker in makers:
            if order.leaves > 0:
                self._trade(maker, order, min(maker.leaves, order.leaves))
        if order.leaves == 0:
            self._close(order, OrderStatus.FILLED)
        elif order.command.order_type is OrderType.MARKET:
            self._cancel(order, Reason.NO_LIQUIDITY)
        elif order.command.time_in_force is TimeInForce.GTC:
            book.resting.append(order)
        else:
            self._cancel(order, Reason.IOC)

    def _trade(self, maker: NaiveOrder, taker: NaiveOrder, quantity: int) -> None:
        for order in (maker, taker):
            order.filled += quantity
            order.notional += quantity * maker.limit
        self.trade_count += 1
        self.events.append(
            Trade(
                kind=EventKind.TRADE,
                symbol=taker.command.symbol,
                sequence=self._next_sequence(taker.command.symbol),
                log_index=self.log_index,
                timestamp=self.time,
                trade_id=self.trade_count,
                price=maker.limit,
                quantity=quantity,
                maker_order_id=maker.order_id,
                maker_client_order_id=maker.command.client_order_id,
                maker_account=maker.command.account,
                taker_order_id=taker.order_id,
                taker_client_order_id=taker.command.client_order_id,
                taker_account=taker.command.account,
                taker_side=taker.command.side,
            )
        )
        if maker.leaves == 0:
            self._close(maker, OrderStatus.FILLED)

    def _cancel(self, order: NaiveOrder, reason: Reason) -> None:
        self._close(order, OrderStatus.CANCELED)
        self._order_event(EventKind.ORDER_CANCELED, order, reason)

    def _close(self, order: NaiveOrder, status: OrderStatus) -> None:
        """The order leaves its book, and the account's oldest closed order is forgotten, if they are too many."""
        order.status = status
        book = self._book_of(order)
        if order in book.resting:
            book.resting.remove(order)
        closed = self.closed.setdefault(order.command.account, [])
        closed.append(order)
        if len(closed) > self.closed_orders_kept:
            self.orders.remove(closed.pop(0))

    # Look-ups and events.

    def _book_of(self, order: NaiveOrder) -> NaiveBook:
        return self.books[order.command.symbol]

    def _known(self, account: str, order_id: int | None, client_order_id: str | None) -> NaiveOrder | None:
        """The account's order of this id, or of this client order id; one of the two is given."""
        for order in self.orders:
            command = order.command
            if command.account == account and (
                order.order_id == order_id or command.client_order_id == client_order_id
            ):
                return order
        return None

    def _open_order(self, command: CancelOrder | ReplaceOrder) -> NaiveOrder:
        self._refuse_late(command)
        order = self._known(command.account, command.order_id, command.client_order_id)
        if order is None or order.status is not OrderStatus.OPEN:
            raise RefusedError(Reason.UNKNOWN_ORDER)
        return order

    def _refuse_late(self, command: Command) -> None:
        _refuse_unless(command.not_after is None or self.time <= command.not_after, Reason.SUBMISSION_EXPIRED)

    def _next_sequence(self, symbol: str) -> int:
        self.books[symbol].sequence += 1
        return self.books[symbol].sequence

    def _order_event(self, kind: EventKind, order: NaiveOrder, reason: Reason | None = None) -> None:
        symbol = order.command.symbol
        self.events.append(
            OrderEvent(kind, symbol, self._next_sequence(symbol), self.log_index, self.time, order.state(), reason)
        )

    def _instrument_event(self, kind: EventKind, symbol: str) -> None:
        book = self.books[symbol]
        self.events.append(
            InstrumentEvent(
                kind, symbol, self._next_sequence(symbol), self.log_index, self.time, book.instrument, book.status
            )
        )

    def all_orders(self, *, open_only: bool) -> list[OrderState]:
        return [order.state() for order in self.orders if not open_only or order.status is OrderStatus.OPEN]


def _as_entered(command: NewOrder) -> EnteredOrder:
    price, quantity = command.price, command.quantity
    return EnteredOrder(
        command.account,
        command.client_order_id,
        command.symbol,
        command.side,
        command.order_type,
        command.time_in_force,
        command.post_only,
        None if price is None else Fraction(price.mantissa, 10**price.decimals),
        Fraction(quantity.mantissa, 10**quantity.decimals),
    )


# What is refused.


def _refuse_unless(condition: bool, reason: Reason) -> None:
    if not condition:
        raise RefusedError(reason)


def _refuse_unless_trading(book: NaiveBook) -> None:
    _refuse_unless(book.status is not TradingStatus.HALTED, Reason.INSTRUMENT_HALTED)
    _refuse_unless(book.status is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)


def _price_in_units(instrument: Instrument, number: Number) -> int:
    price = exact_units(number, instrument.price_decimals)
    if price is None:
        raise RefusedError(Reason.PRICE_TOO_PRECISE)
    _refuse_unless(price % instrument.tick_size == 0, Reason.PRICE_NOT_ON_TICK)
    _refuse_unless(price <= LARGEST, Reason.OUT_OF_RANGE)
    return price


def _quantity_in_units(instrument: Instrument, number: Number) -> int:
    quantity = exact_units(number, instrument.quantity_decimals)
    if quantity is None:
        raise RefusedError(Reason.QUANTITY_TOO_PRECISE)
    _refuse_unless(quantity % instrument.lot_size == 0, Reason.QUANTITY_NOT_ON_LOT)
    _refuse_unless(quantity <= LARGEST, Reason.OUT_OF_RANGE)
    return quantity
