"""The oracle: an exchange as slow and obvious as can be, written from the matching semantics.

One list of orders, searched from end to end for everything. It shares the engine's vocabulary (commands in,
events out) and not one line of its logic.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    EventKind,
    Execution,
    Instrument,
    InstrumentEvent,
    Malformed,
    MassCanceled,
    NewOrder,
    OrderEvent,
    OrderState,
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

LARGEST = 2**63 - 1


class RefusedError(Exception):
    def __init__(self, reason, *, duplicate=False):
        super().__init__(reason)
        self.reason = reason
        self.duplicate = duplicate


@dataclass
class NaiveRefusal:
    entered: tuple
    reason: Reason
    last_moment: int


@dataclass
class NaiveOrder:
    order_id: int
    command: NewOrder
    entered: tuple
    price: int | None
    quantity: int
    arrival: int
    filled: int = 0
    notional: int = 0
    status: OrderStatus = OrderStatus.OPEN
    resting: bool = False
    closed_at: int | None = None

    @property
    def leaves(self):
        return self.quantity - self.filled if self.status is OrderStatus.OPEN else 0

    def state(self):
        command = self.command
        return OrderState(
            order_id=self.order_id,
            client_order_id=command.client_order_id,
            account=command.account,
            symbol=command.symbol,
            side=command.side,
            order_type=command.order_type,
            time_in_force=command.time_in_force,
            post_only=command.post_only,
            price=self.price,
            quantity=self.quantity,
            filled_quantity=self.filled,
            leaves_quantity=self.leaves,
            notional=self.notional,
            status=self.status,
        )


def exact_units(number, decimals):
    """An integer, or None where the instrument's decimals cannot express the number."""
    units = Fraction(number.mantissa, 10**number.decimals) * 10**decimals
    return int(units) if units.denominator == 1 else None


class NaiveExchange:
    def __init__(self, closed_orders_kept=10_000):
        self.closed_orders_kept = closed_orders_kept
        self.log_index = 0
        self.time = 0
        self.instruments = []
        self.status = {}
        self.sequence = {}
        self.orders = []
        self.order_count = 0
        self.trade_count = 0
        self.arrival_count = 0
        self.closing_count = 0
        self.refusals = []  # oldest first
        self.executed = []  # every (origin, sequence) there was
        self.events = []

    # The log.

    def apply(self, log_index, entry):
        self.log_index = log_index
        self.time = max(self.time, entry.timestamp)
        executions = []
        for run in entry.runs:
            for position, command in enumerate(run.commands):
                dot = (run.origin, run.first_sequence + position)
                before = (run.origin, run.first_sequence + position - 1)
                if dot in self.executed or (before[1] > 0 and before not in self.executed):
                    continue
                self.executed.append(dot)
                executions.append(self.execute(dot, command))
        return executions

    def execute(self, dot, command):
        self.events = []
        subject = None
        try:
            subject = self.carry_out(command)
            accepted = True
        except RefusedError as refused:
            accepted = False
            subject = self.reject(command, refused.reason, refused.duplicate)
        state = None if subject is None else subject.state()
        return Execution(*dot, self.log_index, self.time, accepted, state, tuple(self.events))

    def carry_out(self, command):
        match command:
            case NewOrder():
                return self.new_order(command)
            case CancelOrder():
                return self.cancel_order(command)
            case ReplaceOrder():
                return self.replace_order(command)
            case CancelAll():
                return self.cancel_all(command)
            case AddInstrument():
                return self.add_instrument(command)
            case SetStatus():
                return self.set_status(command)
            case Tick():
                self.refuse_late(command)
                self.events.append(Ticked(EventKind.TICKED, self.log_index, self.time))
                return None
            case Malformed():
                raise RefusedError(Reason.MALFORMED)

    def reject(self, command, reason, duplicate):
        """Returns the order that the refused command names."""
        subject = None
        symbol = getattr(command, "symbol", None)
        match command:
            case NewOrder():
                kind = EventKind.ORDER_REJECTED
                if reason is Reason.DUPLICATE_CLIENT_ORDER_ID:
                    subject = self.known(command.account, None, command.client_order_id)
            case CancelOrder() | ReplaceOrder():
                kind = EventKind.CANCEL_REJECTED if isinstance(command, CancelOrder) else EventKind.REPLACE_REJECTED
                subject = self.known(command.account, command.order_id, command.client_order_id)
                symbol = subject and subject.command.symbol
            case CancelAll():
                kind = EventKind.CANCEL_REJECTED
            case AddInstrument():
                kind = EventKind.INSTRUMENT_REJECTED
            case SetStatus():
                kind = EventKind.STATUS_REJECTED
            case _:
                kind = EventKind.COMMAND_REJECTED
        if symbol not in self.status:
            symbol = None
        state = subject and subject.state()
        sequence = self.next_sequence(symbol) if symbol and not duplicate else None
        detail = None  # Words are the engine's own affair.
        self.events.append(
            Rejection(kind, symbol, sequence, self.log_index, self.time, command, reason, detail, state, duplicate)
        )
        return subject

    # Commands.

    def new_order(self, command):
        known = self.known(command.account, None, command.client_order_id)
        if known is not None:
            if known.entered != self.content(command):
                raise RefusedError(Reason.DUPLICATE_CLIENT_ORDER_ID)
            self.events.append(
                OrderEvent(
                    EventKind.ORDER_ACCEPTED,
                    known.command.symbol,
                    None,
                    self.log_index,
                    self.time,
                    known.state(),
                    None,
                    duplicate=True,
                )
            )
            return known
        self.refuse_again(command)
        self.refuse_late(command)
        try:
            return self.first_time(command)
        except RefusedError as refused:
            self.remember(command, refused.reason)
            raise

    def refuse_again(self, command):
        """A copy of an order that was refused, while the time of any copy answered so far has not passed."""
        for refusal in self.unexpired_refusals():
            if refusal.entered == self.as_entered(command):
                if command.not_after is not None:
                    refusal.last_moment = max(refusal.last_moment, command.not_after)
                raise RefusedError(refusal.reason, duplicate=True)

    def remember(self, command, reason):
        if command.not_after is None:
            return
        refusal = NaiveRefusal(self.as_entered(command), reason, command.not_after)
        account = [other for other in self.unexpired_refusals() if other.entered[0] == command.account]
        others = [other for other in self.unexpired_refusals() if other.entered[0] != command.account]
        self.refusals = others + [*account, refusal][-self.closed_orders_kept :]

    def unexpired_refusals(self):
        return [refusal for refusal in self.refusals if self.time <= refusal.last_moment]

    def as_entered(self, command):
        """Everything that the command says but its not_after. The account and the client order id come first."""
        price, quantity = command.price, command.quantity
        return (
            command.account,
            command.client_order_id,
            command.symbol,
            command.side,
            command.order_type,
            command.time_in_force,
            command.post_only,
            price and Fraction(price.mantissa, 10**price.decimals),
            Fraction(quantity.mantissa, 10**quantity.decimals),
        )

    def first_time(self, command):
        self.refuse_unless(command.symbol in self.status, Reason.UNKNOWN_SYMBOL)
        self.refuse_unless_trading(command.symbol)

        limit = command.order_type is OrderType.LIMIT
        may_rest = limit and command.time_in_force is TimeInForce.GTC
        self.refuse_unless(command.quantity.mantissa > 0, Reason.INVALID_ORDER)
        self.refuse_unless((command.price is not None) == limit, Reason.INVALID_ORDER)
        self.refuse_unless(command.price is None or command.price.mantissa > 0, Reason.INVALID_ORDER)
        self.refuse_unless(may_rest or not command.post_only, Reason.INVALID_ORDER)
        price = None if command.price is None else self.price_in_units(command.symbol, command.price)
        quantity = self.quantity_in_units(command.symbol, command.quantity)
        order = NaiveOrder(self.order_count + 1, command, self.content(command), price, quantity, 0)
        self.refuse_out_of_range(order)
        if may_rest:
            self.refuse_full_level(order)
        self.refuse_unless(not command.post_only or not self.makers_for(order), Reason.POST_ONLY_WOULD_TRADE)

        self.order_count += 1
        self.orders.append(order)
        name = (command.account, command.client_order_id)
        self.refusals = [refusal for refusal in self.refusals if refusal.entered[:2] != name]
        self.order_event(EventKind.ORDER_ACCEPTED, order)
        self.arrive(order)
        return order

    def cancel_order(self, command):
        order = self.open_order(command)
        if self.status[order.command.symbol] is TradingStatus.CLOSED:
            raise RefusedError(Reason.INSTRUMENT_CLOSED)
        self.cancel(order, Reason.REQUESTED)
        return order

    def replace_order(self, command):
        order = self.open_order(command)
        symbol = order.command.symbol
        self.refuse_unless_trading(symbol)
        self.refuse_unless(command.price is not None or command.quantity is not None, Reason.INVALID_ORDER)
        self.refuse_unless(command.price is None or command.price.mantissa > 0, Reason.INVALID_ORDER)
        self.refuse_unless(command.quantity is None or command.quantity.mantissa >= 0, Reason.INVALID_ORDER)
        price = order.price if command.price is None else self.price_in_units(symbol, command.price)
        quantity = order.quantity if command.quantity is None else self.quantity_in_units(symbol, command.quantity)
        if quantity <= order.filled:
            self.cancel(order, Reason.REPLACED_TO_ZERO)
            return order

        before = (order.price, order.quantity)
        order.price, order.quantity, order.resting = price, quantity, False
        try:
            self.refuse_unless(price * quantity <= LARGEST, Reason.OUT_OF_RANGE)
            self.refuse_out_of_range(order)
            self.refuse_full_level(order)
            self.refuse_unless(not order.command.post_only or not self.makers_for(order), Reason.POST_ONLY_WOULD_TRADE)
        except RefusedError:
            order.price, order.quantity, order.resting = *before, True
            raise
        self.order_event(EventKind.ORDER_REPLACED, order)
        if price == before[0] and quantity <= before[1]:
            order.resting = True
        else:
            self.arrive(order)
        return order

    def cancel_all(self, command):
        self.refuse_late(command)
        if command.symbol is not None:
            self.refuse_unless(command.symbol in self.status, Reason.UNKNOWN_SYMBOL)
            self.refuse_unless(self.status[command.symbol] is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)
        chosen = [
            order
            for order in sorted(self.orders, key=lambda order: order.order_id)
            if order.status is OrderStatus.OPEN
            and order.command.account == command.account
            and command.symbol in (None, order.command.symbol)
            and command.side in (None, order.command.side)
            and self.status[order.command.symbol] is not TradingStatus.CLOSED
        ]
        for order in chosen:
            self.cancel(order, Reason.MASS_CANCEL)
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

    def add_instrument(self, command):
        self.refuse_late(command)
        self.refuse_unless(command.symbol not in self.status, Reason.INSTRUMENT_EXISTS)
        self.refuse_unless(0 <= command.price_decimals <= 18, Reason.INVALID_INSTRUMENT)
        self.refuse_unless(0 <= command.quantity_decimals <= 18, Reason.INVALID_INSTRUMENT)
        tick_size = exact_units(command.tick_size, command.price_decimals)
        lot_size = exact_units(command.lot_size, command.quantity_decimals)
        for step in (tick_size, lot_size):
            self.refuse_unless(step is not None and 0 < step <= LARGEST, Reason.INVALID_INSTRUMENT)
        self.instruments.append(
            Instrument(command.symbol, command.price_decimals, command.quantity_decimals, tick_size, lot_size)
        )
        self.status[command.symbol] = TradingStatus.TRADING
        self.sequence[command.symbol] = 0
        self.instrument_event(EventKind.INSTRUMENT_ADDED, command.symbol)

    def set_status(self, command):
        self.refuse_late(command)
        self.refuse_unless(command.symbol in self.status, Reason.UNKNOWN_SYMBOL)
        self.status[command.symbol] = command.status
        self.instrument_event(EventKind.STATUS_CHANGED, command.symbol)

    # What is refused.

    def refuse_unless(self, condition, reason):
        if not condition:
            raise RefusedError(reason)

    def refuse_late(self, command):
        self.refuse_unless(command.not_after is None or self.time <= command.not_after, Reason.SUBMISSION_EXPIRED)

    def refuse_unless_trading(self, symbol):
        self.refuse_unless(self.status[symbol] is not TradingStatus.HALTED, Reason.INSTRUMENT_HALTED)
        self.refuse_unless(self.status[symbol] is not TradingStatus.CLOSED, Reason.INSTRUMENT_CLOSED)

    def price_in_units(self, symbol, number):
        price = exact_units(number, self.instrument(symbol).price_decimals)
        self.refuse_unless(price is not None, Reason.PRICE_TOO_PRECISE)
        self.refuse_unless(price % self.instrument(symbol).tick_size == 0, Reason.PRICE_NOT_ON_TICK)
        self.refuse_unless(price <= LARGEST, Reason.OUT_OF_RANGE)
        return price

    def quantity_in_units(self, symbol, number):
        quantity = exact_units(number, self.instrument(symbol).quantity_decimals)
        self.refuse_unless(quantity is not None, Reason.QUANTITY_TOO_PRECISE)
        self.refuse_unless(quantity % self.instrument(symbol).lot_size == 0, Reason.QUANTITY_NOT_ON_LOT)
        self.refuse_unless(quantity <= LARGEST, Reason.OUT_OF_RANGE)
        return quantity

    def refuse_out_of_range(self, order):
        """All that is left of the order, at the highest price it could trade at."""
        others = [
            other.price for other in self.resting(order.command.symbol) if other.command.side != order.command.side
        ]
        if order.command.side is Side.SELL:
            highest = max([order.price or 0, *others])
        else:
            highest = max([0, *others]) if order.price is None else order.price
        self.refuse_unless(order.notional + highest * order.leaves <= LARGEST, Reason.OUT_OF_RANGE)

    def refuse_full_level(self, order):
        level = [
            other.leaves
            for other in self.resting(order.command.symbol)
            if other.command.side is order.command.side and other.price == order.price
        ]
        self.refuse_unless(sum(level) + order.leaves <= LARGEST, Reason.OUT_OF_RANGE)

    # Matching.

    def resting(self, symbol):
        return [order for order in self.orders if order.resting and order.command.symbol == symbol]

    def makers_for(self, taker):
        """Those that the order may trade with now, in the order in which it must."""
        buying = taker.command.side is Side.BUY
        makers = [
            maker
            for maker in self.resting(taker.command.symbol)
            if maker.command.side is not taker.command.side
            and (taker.price is None or (maker.price <= taker.price if buying else maker.price >= taker.price))
        ]
        return sorted(makers, key=lambda maker: (maker.price if buying else -maker.price, maker.arrival))

    def arrive(self, order):
        self.arrival_count += 1
        order.arrival = self.arrival_count
        makers = self.makers_for(order)
        if order.command.time_in_force is TimeInForce.FOK and sum(maker.leaves for maker in makers) < order.leaves:
            self.cancel(order, Reason.FOK)
            return
        for maker in makers:
            if order.leaves > 0:
                self.trade(maker, order, min(maker.leaves, order.leaves))
        if order.leaves == 0:
            self.close(order, OrderStatus.FILLED)
        elif order.command.order_type is OrderType.MARKET:
            self.cancel(order, Reason.NO_LIQUIDITY)
        elif order.command.time_in_force is TimeInForce.GTC:
            order.resting = True
        else:
            self.cancel(order, Reason.IOC)

    def trade(self, maker, taker, quantity):
        for order in (maker, taker):
            order.filled += quantity
            order.notional += quantity * maker.price
        self.trade_count += 1
        self.events.append(
            Trade(
                EventKind.TRADE,
                taker.command.symbol,
                self.next_sequence(taker.command.symbol),
                self.log_index,
                self.time,
                self.trade_count,
                maker.price,
                quantity,
                maker.order_id,
                maker.command.client_order_id,
                maker.command.account,
                taker.order_id,
                taker.command.client_order_id,
                taker.command.account,
                taker.command.side,
            )
        )
        if maker.leaves == 0:
            self.close(maker, OrderStatus.FILLED)

    def cancel(self, order, reason):
        self.close(order, OrderStatus.CANCELED)
        self.order_event(EventKind.ORDER_CANCELED, order, reason)

    def close(self, order, status):
        self.closing_count += 1
        order.status, order.resting, order.closed_at = status, False, self.closing_count
        closed = [
            other
            for other in self.orders
            if other.command.account == order.command.account and other.closed_at is not None
        ]
        closed.sort(key=lambda other: other.closed_at, reverse=True)
        forgotten = closed[self.closed_orders_kept :]
        self.orders = [other for other in self.orders if not any(other is gone for gone in forgotten)]

    # Look-ups and events.

    def instrument(self, symbol):
        return next(instrument for instrument in self.instruments if instrument.symbol == symbol)

    def content(self, command):
        if command.symbol not in self.status:
            return (command.symbol,)
        instrument = self.instrument(command.symbol)
        return (
            command.symbol,
            command.side,
            command.order_type,
            command.time_in_force,
            command.post_only,
            "market" if command.price is None else exact_units(command.price, instrument.price_decimals),
            exact_units(command.quantity, instrument.quantity_decimals),
        )

    def known(self, account, order_id, client_order_id):
        for order in self.orders:
            named = (
                order.order_id == order_id if order_id is not None else order.command.client_order_id == client_order_id
            )
            if order.command.account == account and named:
                return order
        return None

    def open_order(self, command):
        self.refuse_late(command)
        order = self.known(command.account, command.order_id, command.client_order_id)
        self.refuse_unless(order is not None and order.status is OrderStatus.OPEN, Reason.UNKNOWN_ORDER)
        return order

    def next_sequence(self, symbol):
        self.sequence[symbol] += 1
        return self.sequence[symbol]

    def order_event(self, kind, order, reason=None):
        symbol = order.command.symbol
        self.events.append(
            OrderEvent(kind, symbol, self.next_sequence(symbol), self.log_index, self.time, order.state(), reason)
        )

    def instrument_event(self, kind, symbol):
        self.events.append(
            InstrumentEvent(
                kind,
                symbol,
                self.next_sequence(symbol),
                self.log_index,
                self.time,
                self.instrument(symbol),
                self.status[symbol],
            )
        )

    def level3(self, symbol):
        resting = sorted(self.resting(symbol), key=lambda order: order.arrival)
        bids = [order.state() for order in resting if order.command.side is Side.BUY]
        asks = [order.state() for order in resting if order.command.side is Side.SELL]
        bids.sort(key=lambda state: -state.price)
        asks.sort(key=lambda state: state.price)
        return bids, asks

    def depth(self, symbol):
        """(bids, asks), each as (price, quantity)."""
        return tuple(
            [
                (price, sum(state.leaves_quantity for state in side if state.price == price))
                for price in dict.fromkeys(state.price for state in side)
            ]
            for side in self.level3(symbol)
        )

    def all_orders(self, *, open_only):
        orders = sorted(self.orders, key=lambda order: order.order_id)
        return [order.state() for order in orders if not open_only or order.status is OrderStatus.OPEN]
