"""What becomes of each command about instruments: their beginning, their trading status, and the end of an auction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.engine.auction import uncross
from raftbook.engine.limits import Refusal, instrument_of
from raftbook.engine.order_book import OrderBook
from raftbook.engine.triggers import run_elected_stops
from raftbook.engine.types import EventKind, Reason, TradingStatus

if TYPE_CHECKING:
    from raftbook.engine.commands import AddInstrument, SetStatus, Uncross
    from raftbook.engine.exchange import Exchange

_INSTRUMENT_REJECTED: Final = EventKind.INSTRUMENT_REJECTED
_STATUS_REJECTED: Final = EventKind.STATUS_REJECTED


def add_instrument(exchange: Exchange, command: AddInstrument) -> None:
    """An instrument trades from its first moment. O(1)."""
    journal = exchange.journal
    book = exchange.books.get(command.symbol)
    if exchange.is_late(command.not_after):
        journal.rejected(_INSTRUMENT_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, book)
        return
    if book is not None:
        journal.rejected(_INSTRUMENT_REJECTED, command, Reason.INSTRUMENT_EXISTS, None, book)
        return
    instrument = instrument_of(command)
    if isinstance(instrument, Refusal):
        journal.rejected(_INSTRUMENT_REJECTED, command, instrument.reason, instrument.detail, None)
        return
    book = OrderBook(instrument)
    exchange.instruments[instrument.symbol] = instrument
    exchange.books[instrument.symbol] = book
    if instrument.max_open_orders is not None:
        exchange.registry.limited_symbols[instrument.symbol] = instrument.max_open_orders
    journal.instrument_added(book)


def set_status(exchange: Exchange, command: SetStatus) -> None:
    """Any status may follow any other, also itself: to say again what holds is not an error.

    Whatever has gathered trades before trading begins, wherever it comes from.
    """
    book = exchange.books.get(command.symbol)
    if exchange.is_late(command.not_after):
        exchange.journal.rejected(_STATUS_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, book)
    elif book is None:
        exchange.journal.rejected(_STATUS_REJECTED, command, Reason.UNKNOWN_SYMBOL, None, None)
    else:
        _change(exchange, book, command.status, uncrosses=command.status is TradingStatus.TRADING)


def uncross_auction(exchange: Exchange, command: Uncross) -> None:
    """End an auction with its trades."""
    journal = exchange.journal
    book = exchange.books.get(command.symbol)
    if exchange.is_late(command.not_after):
        journal.rejected(_STATUS_REJECTED, command, Reason.SUBMISSION_EXPIRED, None, book)
    elif book is None:
        journal.rejected(_STATUS_REJECTED, command, Reason.UNKNOWN_SYMBOL, None, None)
    elif book.status is not TradingStatus.AUCTION:
        detail = "only an auction can be uncrossed; set the status to auction first"
        journal.rejected(_STATUS_REJECTED, command, Reason.NOT_IN_AUCTION, detail, book)
    else:
        _change(exchange, book, command.status, uncrosses=True)


def _change(exchange: Exchange, book: OrderBook, status: TradingStatus, *, uncrosses: bool) -> None:
    registry, journal = exchange.registry, exchange.journal
    if uncrosses:
        uncross(book, registry, journal, tells_nothing_traded=book.status is TradingStatus.AUCTION)
    journal.status_changed(book, status)
    run_elected_stops(book, registry, journal)
