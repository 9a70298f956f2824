"""What becomes of each command about orders: recognise, judge, carry out.

A command is judged in this order, and the first refusal names the reason:

1. A repeated submission is recognised before all else, so that whoever did not hear the first answer gets it,
   acceptance or refusal, even if meanwhile the time to submit has passed or trading has halted.
2. Lateness: log time beyond `not_after` (`submission_expired`).
3. What it names: the symbol (`unknown_symbol`), the order (`unknown_order`).
4. The trading status: halted permits cancels only, closed nothing, an auction no order that trades at once or never.
5. Its terms (validation.py).

A refused new order takes no order id, and its client order id stays free for an order with other content. It is
remembered until its `not_after` has passed, so that no copy of it under way is accepted later (refused_orders.py).

Each function that carries out a command answers with the order that it names, as it stands at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import CancelOrder
from raftbook.engine.limits import Refusal
from raftbook.engine.matching import arrive
from raftbook.engine.order import Order, Terms
from raftbook.engine.refused_orders import content_of
from raftbook.engine.triggers import await_trigger, run_elected_stops
from raftbook.engine.types import (
    EventKind,
    OrderStatus,
    OrderType,
    Reason,
    TimeInForce,
    TradingStatus,
)
from raftbook.engine.validation import repeats, terms_of_new_order, terms_of_replace

if TYPE_CHECKING:
    from raftbook.engine.commands import CancelAll, NewOrder, ReplaceOrder
    from raftbook.engine.events import OrderState
    from raftbook.engine.exchange import Exchange
    from raftbook.engine.order_book import OrderBook
    from raftbook.engine.refused_orders import RefusedOrder

_AUCTION: Final = TradingStatus.AUCTION
_CANCELED: Final = OrderStatus.CANCELED
_CANCEL_REJECTED: Final = EventKind.CANCEL_REJECTED
_CLOSED: Final = TradingStatus.CLOSED
_FOK: Final = TimeInForce.FOK
_ORDER_REJECTED: Final = EventKind.ORDER_REJECTED
_REQUESTED: Final = Reason.REQUESTED
_REPLACE_REJECTED: Final = EventKind.REPLACE_REJECTED
_SUBMISSION_EXPIRED: Final = Reason.SUBMISSION_EXPIRED
_TRADING: Final = TradingStatus.TRADING
_UNTRIGGERED: Final = OrderStatus.UNTRIGGERED


def new_order(exchange: Exchange, command: NewOrder) -> OrderState | None:
    """O(1) and what it costs as an arriving order; O(log live orders) where it expires."""
    registry, refused_orders = exchange.registry, exchange.refused_orders
    known = registry.find(command.account, command.client_order_id)
    if known is not None:
        return _repeated_order(exchange, command, known)
    book = exchange.books.get(command.symbol)
    under_id = refused_orders.accounts and refused_orders.under_id(command.account, command.client_order_id)
    if under_id:
        refused = under_id.get(content_of(command))
        if refused is not None:
            _refuse_again(exchange, command, refused, book)
            return None
    terms = _judge(exchange, command, book)
    if isinstance(terms, Refusal):
        _refuse_order(exchange, command, terms, book)
        return None
    assert book is not None, "no order of an unknown symbol has terms"
    if under_id:
        refused_orders.forget_id(command.account, command.client_order_id)
    return _accept(exchange, command, terms, book)


def _judge(exchange: Exchange, command: NewOrder, book: OrderBook | None) -> Terms | Refusal:
    if exchange.is_late(command.not_after):
        return Refusal(_SUBMISSION_EXPIRED, None)
    if book is None:
        return Refusal(Reason.UNKNOWN_SYMBOL, None)
    if book.status is not _TRADING:
        reason = _refused_by_status(command, book.status)
        if reason is not None:
            return Refusal(reason, None)
    return terms_of_new_order(command, book, exchange.registry, exchange.journal.time)


def _accept(exchange: Exchange, command: NewOrder, terms: Terms, book: OrderBook) -> OrderState:
    registry, journal = exchange.registry, exchange.journal
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
        terms.price,
        terms.quantity,
        terms.stop_price,
        terms.display_quantity,
        terms.expire_time,
        command.self_trade_prevention or book.instrument.self_trade_prevention,
    )
    registry.add(order)
    state = journal.accepted(book, order)
    if terms.stop_price is None:
        arrive(order, book, registry, journal)
    else:
        await_trigger(order, book)
    run_elected_stops(book, registry, journal)
    # If nothing happened to it since, it stands as it was told; only of an iceberg the book shows less now.
    is_as_told = len(journal.events) == 1 and terms.display_quantity is None
    return state if is_as_told else order.state()


def _refused_by_status(command: NewOrder, status: TradingStatus) -> Reason | None:
    if status is not _AUCTION:
        return _reason_for(status)
    may_be_elected_later = command.order_type is OrderType.STOP or command.order_type is OrderType.STOP_LIMIT
    if not may_be_elected_later and (command.post_only or command.time_in_force is _FOK):
        return Reason.INSTRUMENT_IN_AUCTION
    return None


def _repeated_order(exchange: Exchange, command: NewOrder, known: Order) -> OrderState:
    if repeats(command, known, exchange.instruments[known.symbol]):
        return exchange.journal.repeated(known)
    state = known.state()
    exchange.journal.rejected(
        _ORDER_REJECTED,
        command,
        Reason.DUPLICATE_CLIENT_ORDER_ID,
        "the account's order of this client order id has other terms; use an id of its own for each order",
        exchange.books.get(command.symbol),
        state,
    )
    return state


def _refuse_order(exchange: Exchange, command: NewOrder, refusal: Refusal, book: OrderBook | None) -> None:
    """A refused order does not exist, so there is none to answer with; but that it was refused is remembered."""
    reason, detail = refusal
    exchange.journal.rejected(_ORDER_REJECTED, command, reason, detail, book)
    if command.not_after is not None and reason is not _SUBMISSION_EXPIRED:
        exchange.refused_orders.remember(
            content_of(command),
            reason,
            detail,
            not_after=command.not_after,
            limit_per_account=exchange.registry.closed_orders_kept,
        )


def _refuse_again(exchange: Exchange, command: NewOrder, refused: RefusedOrder, book: OrderBook | None) -> None:
    exchange.refused_orders.prolong(refused, command.not_after)
    exchange.journal.refused_again(command, refused.reason, refused.detail, book)


def cancel_order(exchange: Exchange, command: CancelOrder) -> OrderState | None:
    """O(1), O(log levels) for the last order at its price."""
    known = exchange.registry.find_named(command.account, command.order_id, command.client_order_id)
    if exchange.is_late(command.not_after):
        return _refuse_change(exchange, command, _SUBMISSION_EXPIRED, known)
    if known is None or not known.is_live:
        return _refuse_change(exchange, command, Reason.UNKNOWN_ORDER, known, _detail_of_unknown_order(known))
    book = exchange.books[known.symbol]
    if book.status is _CLOSED:
        return _refuse_change(exchange, command, Reason.INSTRUMENT_CLOSED, known)
    return end_order(exchange, known, book, _CANCELED, _REQUESTED)


def cancel_all(exchange: Exchange, command: CancelAll) -> None:
    """Cancel the account's live orders, in order-id order. O(the account's live orders).

    Orders of closed instruments stay; where a symbol is named that is unknown or closed, the command is
    refused (as FIX MsgType r does), so that nobody takes a misspelt symbol for an empty book.
    """
    journal, books = exchange.journal, exchange.books
    named = None if command.symbol is None else books.get(command.symbol)
    if exchange.is_late(command.not_after):
        journal.rejected(_CANCEL_REJECTED, command, _SUBMISSION_EXPIRED, None, named)
        return
    if command.symbol is not None and named is None:
        journal.rejected(_CANCEL_REJECTED, command, Reason.UNKNOWN_SYMBOL, None, None)
        return
    if named is not None and named.status is _CLOSED:
        journal.rejected(_CANCEL_REJECTED, command, Reason.INSTRUMENT_CLOSED, None, named)
        return
    canceled_count = 0
    for order in exchange.registry.open_orders(command.account):
        book = books[order.symbol]
        if (
            (named is None or book is named)
            and (command.side is None or order.side is command.side)
            and book.status is not _CLOSED
        ):
            end_order(exchange, order, book, _CANCELED, Reason.MASS_CANCEL)
            canceled_count += 1
    journal.mass_canceled(command, canceled_count)


def end_order(exchange: Exchange, order: Order, book: OrderBook, status: OrderStatus, reason: Reason) -> OrderState:
    """Take a waiting order out for good."""
    book.withdraw(order)
    exchange.registry.close(order, status)
    return exchange.journal.canceled(book, order, reason)


def replace_order(exchange: Exchange, command: ReplaceOrder) -> OrderState | None:
    """A lower quantity, and nothing else, keeps the order's place; any other change is a new arrival.

    `quantity` is the whole order's, with what has traded (CME's in-flight mitigation): an order cannot
    trade more than its owner last asked for, whatever traded while the replace was under way.
    """
    known = exchange.registry.find_named(command.account, command.order_id, command.client_order_id)
    if exchange.is_late(command.not_after):
        return _refuse_change(exchange, command, _SUBMISSION_EXPIRED, known)
    if known is None or not known.is_live:
        return _refuse_change(exchange, command, Reason.UNKNOWN_ORDER, known, _detail_of_unknown_order(known))
    book = exchange.books[known.symbol]
    if book.status is not _TRADING and book.status is not _AUCTION:
        return _refuse_change(exchange, command, _reason_for(book.status), known)
    terms = terms_of_replace(command, known, book, exchange.journal.time)
    if isinstance(terms, Refusal):
        return _refuse_change(exchange, command, terms.reason, known, terms.detail)
    if terms.quantity <= known.filled_quantity:
        return end_order(exchange, known, book, _CANCELED, Reason.REPLACED_TO_ZERO)
    return _change(exchange, known, book, terms)


def _change(exchange: Exchange, order: Order, book: OrderBook, terms: Terms) -> OrderState:
    registry, journal = exchange.registry, exchange.journal
    order.keep_entered_terms()
    lower_by = order.quantity - terms.quantity
    if lower_by >= 0 and terms == order.terms(terms.quantity):
        assert order.level is not None, "a live order waits somewhere"
        order.level.reduce(order, lower_by)
        order.quantity = terms.quantity
        return journal.replaced(book, order)
    book.withdraw(order)
    if terms.expire_time != order.expire_time:
        registry.expiries.discard(order)
        order.expire_time = terms.expire_time
        registry.expiries.add(order)
    order.price, order.quantity, order.stop_price, order.display_quantity, _ = terms
    order.leaves_quantity = terms.quantity - order.filled_quantity
    journal.replaced(book, order)
    if order.status is _UNTRIGGERED:
        await_trigger(order, book)
    else:
        arrive(order, book, registry, journal)
    run_elected_stops(book, registry, journal)
    return order.state()


def _refuse_change(
    exchange: Exchange,
    command: CancelOrder | ReplaceOrder,
    reason: Reason,
    known: Order | None,
    detail: str | None = None,
) -> OrderState | None:
    kind = _CANCEL_REJECTED if isinstance(command, CancelOrder) else _REPLACE_REJECTED
    if known is None:
        exchange.journal.rejected(kind, command, reason, detail, None)
        return None
    state = known.state()
    exchange.journal.rejected(kind, command, reason, detail, exchange.books[known.symbol], state)
    return state


def _reason_for(status: TradingStatus) -> Reason:
    return Reason.INSTRUMENT_CLOSED if status is _CLOSED else Reason.INSTRUMENT_HALTED


def _detail_of_unknown_order(known: Order | None) -> str:
    return "this account has no such order" if known is None else f"the order is {known.status.label} already"
