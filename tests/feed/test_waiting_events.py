"""Events wait unfolded while nobody listens; what waits is bounded, and nobody can tell that it waited."""

from __future__ import annotations

from itertools import count

import pytest

from raftbook.engine import (
    AddInstrument,
    CancelOrder,
    Entry,
    NewOrder,
    Number,
    OrderType,
    Run,
    SetStatus,
    Side,
    TimeInForce,
    TradingStatus,
    Uncross,
)
from raftbook.errors import SequenceGapError
from raftbook.feed import Feed
from raftbook.feed.symbol_feed import FORGOTTEN_BATCHES
from raftbook.state_machine import StateMachine

WAITING = 10
MOST_RESTING = 20
KEPT = 100


class Venue:
    """A market of one instrument, and a feed of it."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.feed = Feed(
            self.machine.exchange, {}, 0, events_kept=KEPT, waiting_events=WAITING, most_resting_orders=MOST_RESTING
        )
        self._sequences = count(1)
        self._ids = count(1)
        one = Number(1, 0)
        self.apply(AddInstrument("ACME", price_decimals=0, quantity_decimals=0, tick_size=one, lot_size=one))

    def execute(self, *commands):
        """The entry's index and executions, which the feed is not told yet."""
        index = self.machine.index + 1
        runs = tuple(Run("test", next(self._sequences), (command,)) for command in commands)
        return index, self.machine.apply_entry(index, Entry(index, runs))

    def apply(self, *commands) -> None:
        self.feed.apply(*self.execute(*commands))

    def order(self, side: Side = Side.BUY, price: int = 9, symbol: str = "ACME") -> NewOrder:
        name = f"o{next(self._ids)}"
        return NewOrder(symbol, "a", name, side, OrderType.LIMIT, TimeInForce.GTC, Number(1, 0), Number(price, 0))

    def cancel(self, order: NewOrder) -> CancelOrder:
        return CancelOrder("a", None, order.client_order_id)

    def come_and_go(self, orders: int) -> None:
        """So many orders that are canceled again, two events each."""
        for _ in range(orders):
            order = self.order()
            self.apply(order)
            self.apply(self.cancel(order))

    @property
    def symbol(self):
        return self.feed._symbols["ACME"]


@pytest.fixture
def venue() -> Venue:
    return Venue()


def test_nothing_is_folded_for_nobody(venue):
    venue.come_and_go(100)
    assert not venue.symbol.is_followed
    assert all(stretch.updates is None for stretch in venue.symbol._stretches)


def test_no_more_events_wait_behind_a_base_than_may(venue):
    for _ in range(60):
        venue.come_and_go(1)
        assert venue.symbol.unsettled < WAITING
        assert all(len(stretch.batches) <= WAITING for stretch in venue.symbol._stretches)


def test_more_may_wait_where_more_orders_rest_since_a_base_costs_as_many(venue):
    for _ in range(MOST_RESTING - 1):
        venue.apply(venue.order())
    venue.come_and_go(MOST_RESTING)
    waited = [len(stretch.batches) for stretch in venue.symbol._stretches]
    assert max(waited) == MOST_RESTING
    assert not venue.symbol.is_followed


def test_a_large_book_is_followed_whoever_asks_since_a_base_of_it_would_take_long(venue):
    for _ in range(MOST_RESTING + 1):
        venue.apply(venue.order())
    venue.come_and_go(WAITING)
    assert venue.symbol.is_followed
    restored = Feed(venue.machine.exchange, {}, venue.machine.index, events_kept=1, most_resting_orders=MOST_RESTING)
    assert restored._symbols["ACME"].is_followed


def test_what_is_forgotten_does_not_pile_up(venue):
    venue.come_and_go(5 * KEPT)
    held = sum(len(stretch.batches) for stretch in venue.symbol._stretches)
    assert KEPT <= held <= KEPT + WAITING
    assert venue.feed.updates_after("ACME", venue.feed.sequence("ACME") - KEPT - 1) is None
    assert len(venue.feed.updates_after("ACME", venue.feed.sequence("ACME") - KEPT)) == KEPT


def test_symbols_that_are_quiet_do_not_keep_what_is_forgotten(venue):
    venue.feed = Feed(venue.machine.exchange, {}, venue.machine.index, events_kept=KEPT, waiting_events=1_000)
    one = Number(1, 0)
    symbols = [f"S{number}" for number in range(20)]
    for symbol in symbols:
        venue.apply(AddInstrument(symbol, price_decimals=0, quantity_decimals=0, tick_size=one, lot_size=one))
    # One order rests, so a base is cheap; the events of each round are forgotten in the next.
    for symbol in symbols:
        venue.apply(venue.order(symbol=symbol))
    for _ in range(3 * FORGOTTEN_BATCHES):
        for symbol in symbols:
            order = venue.order(symbol=symbol)
            venue.apply(order)
            venue.apply(venue.cancel(order))
    waiting = sum(len(stretch.batches) for name in symbols for stretch in venue.feed._symbols[name]._stretches)
    assert waiting <= 2 * KEPT + 2 * len(symbols) * FORGOTTEN_BATCHES


def test_for_one_who_resumes_what_waits_is_folded_by_and_by(venue):
    venue.come_and_go(4 * WAITING)
    behind = venue.feed.sequence("ACME") - 6 * WAITING
    folded = []
    while not venue.symbol.fold_behind(behind, most=1):
        folded.append(sum(stretch.updates is not None for stretch in venue.symbol._stretches))
    assert folded == list(range(1, len(folded) + 1))
    assert len(folded) > 3
    first = venue.symbol._stretches[0]
    assert first.updates is None, "of before"
    assert len(venue.feed.updates_after("ACME", behind)) == 6 * WAITING
    assert venue.symbol.fold_behind(behind, most=0)
    assert venue.symbol.fold_behind(-1), "what is not remembered is not folded"
    assert first.updates is None


@pytest.mark.parametrize("is_listened_to", [True, False])
def test_the_last_uncross_is_known_behind_a_base_as_well(venue, is_listened_to):
    if is_listened_to:
        venue.feed.listen("ACME")
    venue.apply(SetStatus("ACME", TradingStatus.AUCTION))
    venue.apply(venue.order(), venue.order(Side.SELL))
    venue.apply(Uncross("ACME", TradingStatus.TRADING))
    venue.come_and_go(3 * WAITING)
    assert venue.feed.market("ACME").last_uncross.quantity == 9


def test_a_symbol_that_somebody_reads_once_is_folded_until_the_next_base(venue):
    venue.come_and_go(1)
    assert venue.feed.market("ACME").sequence == 3
    assert venue.symbol.is_followed
    venue.come_and_go(WAITING)
    assert not venue.symbol.is_followed


def test_a_symbol_to_which_somebody_listens_is_followed_until_nobody_does(venue):
    venue.feed.listen("ACME")
    venue.feed.listen("ACME")
    venue.come_and_go(WAITING)
    venue.feed.ignore("ACME")
    venue.come_and_go(WAITING)
    assert venue.symbol.is_followed
    venue.feed.ignore("ACME")
    venue.come_and_go(WAITING)
    assert not venue.symbol.is_followed


def test_no_base_is_taken_of_an_exchange_that_is_ahead(venue):
    entries = [venue.execute(venue.order()) for _ in range(2 * WAITING - 1)]
    for entry in entries[:-1]:
        venue.feed.apply(*entry)
        assert len(venue.symbol._stretches) == 1
    venue.feed.apply(*entries[-1])
    assert len(venue.symbol._stretches) == 2
    assert len(list(venue.feed.market("ACME").bids)) == 2 * WAITING - 1


def test_trades_are_counted_once_whether_or_not_the_market_is_read_between(venue):
    for number in range(1, 5 * WAITING):
        venue.apply(venue.order(), venue.order(Side.SELL))
        if number % 7 == 0:
            assert venue.feed.market("ACME").tape.last_trade_id == number
        if number % 3 == 0:
            [day] = venue.feed.candles("ACME").history("1d")
            assert day.trade_count == number


def test_a_gap_is_noticed_though_nothing_is_folded(venue):
    venue.execute(venue.order())
    with pytest.raises(SequenceGapError, match="ACME: event 2 is the next, and here is 3: start again"):
        venue.apply(venue.order())
    assert venue.feed.sequence("ACME") == 1


def test_a_symbol_that_begins_without_its_beginning_is_noticed(venue):
    stranger = Feed(StateMachine().exchange, {}, 0, events_kept=KEPT)
    with pytest.raises(SequenceGapError, match="ACME: nothing is known of it before event 2: start again"):
        stranger.apply(*venue.execute(venue.order()))


def test_what_was_forgotten_before_it_was_folded_stays_forgotten_and_forgetting_goes_on(venue):
    venue.feed = Feed(venue.machine.exchange, {}, venue.machine.index, events_kept=3, waiting_events=100)
    venue.come_and_go(5)
    venue.feed.market("ACME")
    for _ in range(5):
        head = venue.feed.sequence("ACME")
        assert venue.feed.updates_after("ACME", head - 4) is None
        assert [held.update.sequence for held in venue.feed.updates_after("ACME", head - 3)] == [
            head - 2,
            head - 1,
            head,
        ]
        venue.come_and_go(1)
