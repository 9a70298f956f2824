"""The whole order flow of AMZN on Nasdaq, 2012-06-21, through the exchange: the book of every line must be Nasdaq's."""

from __future__ import annotations

import gzip
from collections import defaultdict
from typing import TYPE_CHECKING

from raftbook.engine import Command, Entry, Exchange, Execution, OrderStatus, Run, Trade
from raftbook.simulation.recorded_flow import RecordedCommand, read_recorded_flow, recorded_instrument

if TYPE_CHECKING:
    from pathlib import Path

FLOW = "AMZN_flow_5.csv.gz"
BOOK = "AMZN_2012-06-21_34200000_57600000_orderbook_5.csv.gz"
LEVELS = 5
NO_ASK, NO_BID = (9_999_999_999, 0), (-9_999_999_999, 0)


def book_line(exchange: Exchange) -> list[int]:
    """The best five levels as the source file writes them: ask price, ask size, bid price, bid size, and the next."""
    bids, asks = exchange.depth("AMZN", LEVELS)
    asks += [NO_ASK] * (LEVELS - len(asks))
    bids += [NO_BID] * (LEVELS - len(bids))
    return [value for ask, bid in zip(asks, bids, strict=True) for value in (*ask, *bid)]


def test_nasdaqs_order_flow_gives_nasdaqs_trades_and_nasdaqs_book_at_every_line(order_flow_data: Path):
    exchange = Exchange()

    def accepted(command: Command) -> Execution:
        index = exchange.log_index + 1
        [execution] = exchange.apply(index, Entry(index, (Run("test", index, (command,)),)))
        assert execution.accepted, execution
        return execution

    accepted(recorded_instrument("AMZN"))
    commands_of_row: dict[int, list[RecordedCommand]] = defaultdict(list)
    with gzip.open(order_flow_data / FLOW, "rt") as lines:
        for recorded in read_recorded_flow(lines, symbol="AMZN", account="nasdaq"):
            commands_of_row[recorded.row].append(recorded)

    command_count = trade_count = book_count = 0
    with gzip.open(order_flow_data / BOOK, "rt") as expected_books:
        for row, expected_book in enumerate(expected_books, start=1):
            for recorded in commands_of_row[row]:
                execution = accepted(recorded.command)
                command_count += 1
                trades = [event for event in execution.events if isinstance(event, Trade)]
                trade_count += len(trades)
                makers = [trade.maker_client_order_id for trade in trades]
                assert makers == ([] if recorded.expected_maker is None else [recorded.expected_maker]), recorded
                if recorded.expected_maker is not None:
                    assert execution.order is not None
                    assert execution.order.status is OrderStatus.FILLED
            assert book_line(exchange) == list(map(int, expected_book.split(","))), f"the book after row {row}"
            book_count += 1

    assert (command_count, trade_count, book_count) == (176_918, 8_974, 155_935)
    exchange.check()
    assert Exchange.from_snapshot(exchange.to_snapshot()).to_snapshot() == exchange.to_snapshot()
