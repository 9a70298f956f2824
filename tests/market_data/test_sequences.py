"""Nothing is folded over a gap: whoever missed something is told to start again."""

from __future__ import annotations

import pytest

from raftbook.engine import Exchange, Side
from raftbook.errors import RaftbookError, SequenceGapError
from raftbook.market_data import Level3Book, MarketData, OrderChange, SymbolMarket
from tests.market_data.following import FollowedSession, assert_equal_market

BUY, SELL = Side.BUY, Side.SELL

LINES = """
    instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1
    a buy 5 ACME @ 10 id=1
    a sell 5 ACME @ 12 id=2
    b buy 9 ACME @ 12 id=3
    a cancel 1
"""


@pytest.fixture
def executions():
    session = FollowedSession()
    session.run_lines(LINES)
    return session.executions


@pytest.fixture
def updates(executions):
    market_data = MarketData()
    return [update for execution in executions for update in market_data.apply([execution])]


def test_each_missing_event_is_noticed(executions):
    for missing in range(1, len(executions) - 1):
        market_data = MarketData()
        market_data.apply(executions[:missing])
        with pytest.raises(SequenceGapError, match=r"ACME: event .* is the next, and here is .*: start again"):
            market_data.apply(executions[missing + 1 :])


def test_an_event_that_comes_twice_is_noticed(executions):
    market_data = MarketData()
    market_data.apply(executions)
    with pytest.raises(SequenceGapError, match="ACME: event 7 is the next, and here is 6"):
        market_data.apply(executions[-1:])


def test_a_symbol_that_begins_without_its_beginning_is_noticed(executions):
    with pytest.raises(SequenceGapError, match="ACME: nothing is known of it before event 2: start again"):
        MarketData().apply(executions[1:])


def test_a_gap_is_an_operating_failure_with_a_stable_code():
    assert issubclass(SequenceGapError, RaftbookError)
    assert SequenceGapError.code == "sequence_gap"


def test_all_of_it_in_one_batch_is_the_same_as_one_by_one(executions):
    one_by_one, at_once = MarketData(), MarketData()
    for execution in executions:
        one_by_one.apply([execution])
    [update] = at_once.apply(executions)
    assert (update.first_sequence, update.sequence) == (1, 6)
    assert at_once.to_snapshot() == one_by_one.to_snapshot()
    assert update.orders == (OrderChange(3, BUY, 12, 4, to_back=True),)


# --- Clients ---------------------------------------------------------------------------------------------------------


def client_of(executions, count: int) -> SymbolMarket:
    market_data = MarketData()
    market_data.apply(executions[:count])
    return SymbolMarket.from_snapshot(market_data["ACME"].to_snapshot())


def test_a_client_passes_over_what_its_snapshot_holds_and_goes_on(executions, updates):
    for count in range(1, len(executions) + 1):
        client = client_of(executions, count)
        held = [client.holds(update) for update in updates]
        assert held == [True] * count + [False] * (len(updates) - count)
        for update in updates[count:]:
            client.apply(update)
        assert client.to_snapshot() == client_of(executions, len(executions)).to_snapshot()


def test_a_client_notices_a_missing_update(executions, updates):
    client = client_of(executions, 1)
    before = client.to_snapshot()
    with pytest.raises(SequenceGapError, match="ACME: event 2 is the next, and here is 3: start again from a snapshot"):
        client.apply(updates[2])
    assert client.to_snapshot() == before


def test_a_client_notices_an_update_that_it_holds_already(executions, updates):
    client = client_of(executions, 3)
    with pytest.raises(SequenceGapError, match="ACME: event 4 is the next, and here is 3: start again from a snapshot"):
        client.apply(updates[2])


@pytest.mark.parametrize(
    "change",
    [
        OrderChange(2, BUY, 10, 4, to_back=False),
        OrderChange(2, BUY, 10, 0, to_back=False),
        OrderChange(1, BUY, 11, 4, to_back=False),
        OrderChange(1, SELL, 10, 4, to_back=False),
    ],
)
def test_a_change_of_another_book_is_noticed(change):
    book = Level3Book()
    book.apply([OrderChange(1, BUY, 10, 5, to_back=True)])
    with pytest.raises(SequenceGapError, match="start again from a snapshot"):
        book.apply([change])


def test_an_exchange_is_followed_from_where_it_is():
    session = FollowedSession()
    session.run_lines(LINES)
    market_data = MarketData.of_exchange(session.exchange)
    market = market_data["ACME"]
    assert_equal_market(market, session.exchange)
    assert (list(market.tape), market.candles.history("1m"), market.last_price) == ([], [], 12)
    session.run_lines("a sell 1 ACME @ 12 id=4")
    market_data.apply(session.executions[-1:])
    assert_equal_market(market, session.exchange)


def test_an_exchange_that_has_done_nothing_is_followed_from_the_beginning(executions):
    market_data = MarketData.of_exchange(Exchange())
    market_data.apply(executions)
    assert list(market_data) == ["ACME"]
    assert "ACME" in market_data
    assert len(market_data) == 1
