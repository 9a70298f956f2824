"""What each event does to the book, rule by rule; every line is also held against the engine's own book."""

from __future__ import annotations

import pytest

from raftbook.engine import EventKind, Side, TradingStatus
from raftbook.market_data import (
    EMPTY_TOP,
    NO_INDICATION,
    NO_UNPRICED_INTEREST,
    Indication,
    LevelChange,
    OrderChange,
    PriceLevel,
    RestingOrder,
    TopOfBook,
    UnpricedInterest,
)
from tests.market_data.following import FollowedSession

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def session() -> FollowedSession:
    session = FollowedSession()
    session.run_lines("instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1")
    return session


def bids(session) -> list[tuple[int, int, int]]:
    return [tuple(order) for order in session.market.bids]


def asks(session) -> list[tuple[int, int, int]]:
    return [tuple(order) for order in session.market.asks]


# --- Joining and leaving ---------------------------------------------------------------------------------------------


def test_an_accepted_order_joins_the_back_of_its_price(session):
    session.run_lines("a buy 5 ACME @ 10 id=1")
    update = session.run_lines("b buy 7 ACME @ 10 id=2")
    assert bids(session) == [(1, 10, 5), (2, 10, 7)]
    assert update.orders == (OrderChange(2, BUY, 10, 7, to_back=True),)
    assert update.levels == (LevelChange(BUY, 10, 12, 2),)
    assert update.top == TopOfBook(PriceLevel(10, 12, 2), None)


def test_better_prices_come_first_on_both_sides(session):
    session.run_lines("""
        a buy 1 ACME @ 10 id=1
        a buy 1 ACME @ 11 id=2
        a sell 1 ACME @ 21 id=3
        a sell 1 ACME @ 20 id=4
    """)
    assert [price for _, price, _ in bids(session)] == [11, 10]
    assert [price for _, price, _ in asks(session)] == [20, 21]


def test_a_canceled_order_leaves_from_the_middle_of_its_price(session):
    session.run_lines("""
        a buy 1 ACME @ 10 id=1
        a buy 2 ACME @ 10 id=2
        a buy 3 ACME @ 10 id=3
    """)
    update = session.run_lines("a cancel 2")
    assert bids(session) == [(1, 10, 1), (3, 10, 3)]
    assert update.orders == (OrderChange(2, BUY, 10, 0, to_back=False),)
    assert update.levels == (LevelChange(BUY, 10, 4, 2),)


def test_the_last_order_takes_its_level_with_it(session):
    session.run_lines("a buy 1 ACME @ 10 id=1")
    update = session.run_lines("a cancel 1")
    assert update.levels == (LevelChange(BUY, 10, 0, 0),)
    assert update.top == EMPTY_TOP


def test_an_expired_order_leaves_before_the_command_that_comes_then(session):
    session.run_lines("""
        a buy 1 ACME @ 10 id=1 gtd expire=50
        at 50
    """)
    update = session.run_lines("b sell 1 ACME @ 10 id=2")
    assert (bids(session), asks(session)) == ([], [(2, 10, 1)])
    assert update.trades == ()


# --- Trading ---------------------------------------------------------------------------------------------------------


def test_an_order_that_trades_at_once_is_never_seen_in_the_book(session):
    session.run_lines("a sell 5 ACME @ 10 id=1")
    update = session.run_lines("b buy 3 ACME @ 12 id=2")
    assert update.orders == (OrderChange(1, SELL, 10, 2, to_back=False),)
    assert update.levels == (LevelChange(SELL, 10, 2, 1),)
    assert [(trade.price, trade.quantity) for trade in update.trades] == [(10, 3)]
    assert session.market.last_price == 10


def test_the_remainder_of_an_order_rests_with_what_is_left(session):
    session.run_lines("a sell 5 ACME @ 10 id=1")
    session.run_lines("b buy 8 ACME @ 12 id=2")
    assert (bids(session), asks(session)) == ([(2, 12, 3)], [])


@pytest.mark.parametrize("terms", ["@ 12 id=2 ioc", "market id=2"])
def test_the_remainder_of_an_order_that_may_not_rest_is_gone(session, terms):
    session.run_lines("a sell 5 ACME @ 10 id=1")
    session.run_lines(f"b buy 8 ACME {terms}")
    assert (bids(session), asks(session)) == ([], [])
    assert session.market.unpriced == NO_UNPRICED_INTEREST


def test_a_resting_order_that_trades_keeps_its_place(session):
    session.run_lines("""
        a sell 5 ACME @ 10 id=1
        a sell 5 ACME @ 10 id=2
        b buy 3 ACME @ 10 id=3
    """)
    assert asks(session) == [(1, 10, 2), (2, 10, 5)]


# --- Icebergs --------------------------------------------------------------------------------------------------------


def test_an_iceberg_shows_its_tip(session):
    update = session.run_lines("a sell 20 ACME @ 10 id=1 display=4")
    assert asks(session) == [(1, 10, 4)]
    assert update.levels == (LevelChange(SELL, 10, 4, 1),)


def test_a_trade_is_taken_off_the_tip(session):
    session.run_lines("""
        a sell 20 ACME @ 10 id=1 display=4
        b buy 3 ACME @ 10 id=2
    """)
    assert asks(session) == [(1, 10, 1)]


def test_the_next_tip_joins_the_back(session):
    session.run_lines("""
        a sell 20 ACME @ 10 id=1 display=4
        a sell 5 ACME @ 10 id=2
    """)
    update = session.run_lines("b buy 4 ACME @ 10 id=3")
    assert asks(session) == [(2, 10, 5), (1, 10, 4)]
    assert update.orders == (OrderChange(1, SELL, 10, 4, to_back=True),)
    assert update.levels == (), "the level shows what it showed before"


def test_the_last_tip_is_what_is_left(session):
    session.run_lines("""
        a sell 10 ACME @ 10 id=1 display=4
        b buy 8 ACME @ 10 id=2
    """)
    assert asks(session) == [(1, 10, 2)]


def test_tips_that_are_used_up_within_one_order_join_the_back_as_they_came(session):
    session.run_lines("""
        a sell 9 ACME @ 10 id=1 display=3
        a sell 8 ACME @ 10 id=2 display=2
        a sell 1 ACME @ 10 id=3
    """)
    update = session.run_lines("b buy 5 ACME @ 10 id=4")
    assert asks(session) == [(3, 10, 1), (1, 10, 3), (2, 10, 2)]
    assert [(change.order_id, change.to_back) for change in update.orders] == [(1, True), (2, True)]


def test_an_iceberg_trades_as_a_whole_when_it_arrives_and_rests_with_a_full_tip(session):
    session.run_lines("""
        a sell 9 ACME @ 10 id=1
        b buy 20 ACME @ 10 id=2 display=4
    """)
    assert bids(session) == [(2, 10, 4)]


def test_nothing_that_the_market_may_see_tells_the_hidden_quantity(session):
    update = session.run_lines("a sell 987654 ACME @ 10 id=1 display=12345")
    assert "987654" not in str(update)
    assert "12345" in str(update)
    assert "987654" not in str(session.market.to_snapshot())
    assert "987654" in str(session.follower.market_data.to_snapshot()), "without it a fold could not go on"


# --- Self-trade prevention -------------------------------------------------------------------------------------------


def test_a_decrement_takes_the_hidden_part_first_and_keeps_the_place(session):
    session.run_lines("""
        a sell 20 ACME @ 10 id=1 display=4
        b sell 5 ACME @ 10 id=2
        a buy 10 ACME @ 10 id=3 stp=decrement_and_cancel
    """)
    assert asks(session) == [(1, 10, 4), (2, 10, 5)]
    session.run_lines("a buy 8 ACME @ 10 id=4 stp=decrement_and_cancel")
    assert asks(session) == [(1, 10, 2), (2, 10, 5)]


def test_a_decremented_iceberg_that_arrives_rests_with_a_full_tip(session):
    session.run_lines("""
        a sell 6 ACME @ 10 id=1
        a buy 20 ACME @ 10 id=2 display=5 stp=decrement_and_cancel
    """)
    assert (bids(session), asks(session)) == ([(2, 10, 5)], [])


def test_orders_that_are_canceled_instead_of_trading_leave(session):
    session.run_lines("""
        a sell 6 ACME @ 10 id=1
        a buy 2 ACME @ 10 id=2 stp=cancel_both
    """)
    assert (bids(session), asks(session)) == ([], [])


# --- Replace ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(session) -> FollowedSession:
    """An iceberg ahead of another order; 5 of it have traded, of its second tip 3 are left."""
    session.run_lines("""
        a sell 20 ACME @ 10 id=1 display=4 gtd expire=90
        c sell 9 ACME @ 10 id=2
        b buy 13 ACME @ 10 id=3
        c sell 7 ACME @ 10 id=4
        b buy 1 ACME @ 10 id=5
    """)
    assert asks(session) == [(1, 10, 3), (4, 10, 7)]
    return session


@pytest.mark.parametrize(
    ("change", "shown"),
    [("quantity=18", 3), ("quantity=20", 3), ("quantity=8", 3), ("quantity=7", 2)],
)
def test_a_lower_or_equal_quantity_keeps_the_place_and_what_is_shown_goes_last(queue, change, shown):
    queue.run_lines(f"a replace 1 {change}")
    assert asks(queue) == [(1, 10, shown), (4, 10, 7)]


@pytest.mark.parametrize(
    ("change", "shown"),
    [("quantity=21", 4), ("display=5", 5), ("display=3", 3), ("display=0", 15), ("expire=91", 4)],
)
def test_any_other_change_at_the_same_price_goes_to_the_back(queue, change, shown):
    update = queue.run_lines(f"a replace 1 {change}")
    assert asks(queue) == [(4, 10, 7), (1, 10, shown)]
    assert update.orders == (OrderChange(1, SELL, 10, shown, to_back=True),)


def test_another_price_moves_the_order(queue):
    update = queue.run_lines("a replace 1 price=11")
    assert asks(queue) == [(4, 10, 7), (1, 11, 4)]
    assert set(update.levels) == {LevelChange(SELL, 10, 7, 1), LevelChange(SELL, 11, 4, 1)}


def test_a_price_that_comes_back_within_one_entry_has_lost_its_place(session):
    session.run_lines("""
        a buy 5 ACME @ 10 id=1
        b buy 6 ACME @ 10 id=2
    """)
    session.run(["a replace 1 price=11", "a replace 1 price=10"])
    assert bids(session) == [(2, 10, 6), (1, 10, 5)]
    [update] = session.updates
    assert update.levels == ()


def test_a_quantity_that_has_traded_already_ends_the_order(queue):
    queue.run_lines("a replace 1 quantity=5")
    assert asks(queue) == [(4, 10, 7)]


# --- Stops -----------------------------------------------------------------------------------------------------------


def test_a_stop_is_in_no_book_until_it_is_triggered(session):
    update = session.run_lines("a sell 5 ACME @ 10 stop=10 id=1 display=2")
    assert (update.orders, asks(session)) == ((), [])
    session.run_lines("""
        a replace 1 quantity=6
        b buy 1 ACME @ 10 id=2
    """)
    update = session.run_lines("c sell 1 ACME @ 10 id=3")
    assert asks(session) == [(1, 10, 2)]
    assert [trade.quantity for trade in update.trades] == [1]


def test_a_stop_that_is_canceled_was_never_there(session):
    session.run_lines("a sell 5 ACME @ 10 stop=10 id=1")
    update = session.run_lines("a cancel 1")
    assert (update.orders, update.levels, update.sequence) == ((), (), 3)


# --- Auctions --------------------------------------------------------------------------------------------------------


def test_orders_without_a_price_gather_apart_from_the_levels(session):
    session.run_lines("""
        status ACME auction
        a buy 5 ACME market id=1
        a buy 6 ACME market id=2
        b sell 7 ACME market id=3
    """)
    assert (bids(session), asks(session)) == ([], [])
    assert session.market.unpriced == UnpricedInterest(2, 11, 1, 7)
    update = session.run_lines("a replace 2 quantity=4")
    assert update.unpriced == UnpricedInterest(2, 9, 1, 7)
    session.run_lines("a cancel 1")
    assert session.market.unpriced == UnpricedInterest(1, 4, 1, 7)


def test_in_an_uncross_both_orders_trade_what_they_show(session):
    session.run_lines("""
        status ACME auction
        a buy 10 ACME @ 12 id=1 display=4
        b buy 5 ACME @ 12 id=2
        c sell 6 ACME @ 10 id=3 display=3
    """)
    assert (bids(session), asks(session)) == ([(1, 12, 4), (2, 12, 5)], [(3, 10, 3)])
    update = session.run_lines("uncross ACME")
    # 3 off the first tip, its last 1, whose successor joins the back, then 2 off the second order.
    assert [trade.quantity for trade in update.trades] == [3, 1, 2]
    assert (bids(session), asks(session)) == ([(2, 12, 3), (1, 12, 4)], [])
    assert update.uncrossed.kind is EventKind.AUCTION_UNCROSSED
    assert session.market.last_uncross == update.uncrossed
    assert update.status is TradingStatus.TRADING


def test_in_an_uncross_the_order_that_came_later_keeps_the_rest_of_its_tip_as_well(session):
    session.run_lines("""
        status ACME auction
        a buy 3 ACME @ 12 id=1
        c sell 9 ACME @ 12 id=2 display=4
        uncross ACME
    """)
    assert asks(session) == [(2, 12, 1)]


def test_the_indication_is_what_was_told_last_and_goes_with_its_auction(session):
    session.run_lines("""
        status ACME auction
        a buy 5 ACME @ 12 id=1
    """)
    update = session.run_lines("b sell 3 ACME @ 12 id=2")
    assert update.indication == session.market.indication == Indication(12, 3, 2, BUY)
    update = session.run_lines("status ACME halted")
    assert update.indication == session.market.indication == NO_INDICATION
    update = session.run_lines("status ACME auction")
    assert update.indication == Indication(12, 3, 2, BUY), "told anew"


def test_a_book_may_be_crossed_where_nothing_trades(session):
    session.run_lines("""
        status ACME auction
        a buy 5 ACME @ 12 id=1
        b sell 3 ACME @ 11 id=2
        status ACME halted
    """)
    assert session.market.top == TopOfBook(PriceLevel(12, 5, 1), PriceLevel(11, 3, 1))
    assert session.market.status is TradingStatus.HALTED


def test_a_breach_of_the_price_band_ends_trading_in_the_middle_of_an_order():
    session = FollowedSession()
    session.run_lines("""
        instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1 price_band=10
        a sell 2 ACME @ 100 id=1
        b buy 1 ACME @ 100 id=2
        a sell 1 ACME @ 109 id=3
        a buy 1 ACME @ 91 id=4
        b sell 1 ACME @ 91 id=5
    """)
    update = session.run_lines("c buy 5 ACME market id=6")
    assert [trade.price for trade in update.trades] == [100]
    assert (update.status, session.market.unpriced) == (TradingStatus.AUCTION, NO_UNPRICED_INTEREST)
    assert asks(session) == [(3, 109, 1)]


# --- What changes nothing --------------------------------------------------------------------------------------------


def test_a_repeated_submission_makes_no_update(session):
    session.run_lines("a buy 5 ACME @ 10 id=1")
    assert session.run_lines("a buy 5 ACME @ 10 id=1") is None
    assert bids(session) == [(1, 10, 5)]


def test_a_tick_makes_no_update(session):
    assert session.run_lines("tick") is None


def test_a_refusal_moves_the_sequence_and_nothing_else(session):
    sequence = session.market.sequence
    update = session.run_lines("a cancel_all ACME")
    assert update is None, "it belongs to no symbol"
    session.run_lines("a buy 5 ACME @ 10 id=1")
    update = session.run_lines("b buy 5 ACME @ 0.5 id=2")
    assert (update.first_sequence, update.sequence) == (sequence + 2, sequence + 2)
    assert not any(update[5:])
    assert bids(session) == list(session.market.bids) == [RestingOrder(1, 10, 5)]
