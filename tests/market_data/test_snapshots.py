"""A snapshot is plain values; whatever is not one is refused, and names what is wrong."""

from __future__ import annotations

import copy

import pytest

from raftbook.errors import SnapshotError
from raftbook.market_data import MarketData, SymbolMarket
from tests.market_data.following import FollowedSession, through_json

VERSION, INSTRUMENT, STATUS, SEQUENCE, INDICATION, UNPRICED, UNCROSS, BOOK, TAPE, CANDLES = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    10,
    11,
    12,
)


@pytest.fixture(scope="module")
def session() -> FollowedSession:
    """Something of everything that a snapshot can hold."""
    session = FollowedSession()
    session.run_lines("""
        instrument ACME price_decimals=2 quantity_decimals=0 tick_size=0.01 lot_size=1 min_notional=1 price_band=5000
        a buy 20 ACME @ 10 id=1 display=4 gtd expire=99
        a buy 5 ACME @ 10 id=2
        b sell 6 ACME @ 10 id=3
        b sell 9 ACME @ 12 id=4 display=2
        a sell 9 ACME stop=9 id=5
        status ACME auction
        c sell 9 ACME market id=6
        uncross ACME
        status ACME auction
        b sell 1 ACME @ 10 id=7
        a buy 3 ACME market id=8
        c buy 4 ACME market id=9
    """)
    return session


def test_a_market_comes_back_as_it_was(session):
    snapshot = session.market.to_snapshot()
    assert SymbolMarket.from_snapshot(through_json(snapshot)).to_snapshot() == snapshot
    assert all(snapshot[place] for place in (UNPRICED, UNCROSS, BOOK, TAPE, CANDLES))


def test_market_data_come_back_as_they_were(session):
    snapshot = session.follower.market_data.to_snapshot()
    assert MarketData.from_snapshot(through_json(snapshot)).to_snapshot() == snapshot


def test_settings_come_back():
    market_data = MarketData(trades_kept=3, candles_kept=2, candle_intervals={"2s": 2 * 10**9})
    restored = MarketData.from_snapshot(market_data.to_snapshot())
    session = FollowedSession()
    session.run_lines("""
        instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1
        a buy 9 ACME @ 1 id=0
        b sell 1 ACME @ 1 id=1
        b sell 1 ACME @ 1 id=2
        b sell 1 ACME @ 1 id=3
        b sell 1 ACME @ 1 id=4
    """)
    restored.apply(session.executions)
    assert len(restored["ACME"].tape) == 3
    assert restored["ACME"].candles.intervals == {"2s": 2 * 10**9}
    assert restored["ACME"].candles.kept == 2


def test_equal_states_give_equal_snapshots_whatever_led_there(session):
    """But for history, which an exchange does not hold."""
    folded = session.follower.market_data.to_snapshot()
    begun = MarketData.of_exchange(session.exchange).to_snapshot()
    [folded_symbol], [begun_symbol] = folded[4], begun[4]
    assert folded_symbol[1:] == begun_symbol[1:]
    same = [place for place in range(13) if folded_symbol[0][place] == begun_symbol[0][place]]
    assert [place for place in range(13) if place not in same] == [UNCROSS, TAPE, CANDLES]


def paths(value, path=()):
    """Where every plain value and every list in it stands."""
    yield path
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from paths(item, (*path, place))


def changed(snapshot, path, new):
    if not path:
        return new
    result = copy.deepcopy(snapshot)
    target = result
    for place in path[:-1]:
        target = target[place]
    target[path[-1]] = new
    return result


@pytest.mark.parametrize("wrong", [1.5, {}, -1, [None, None, None]], ids=repr)
def test_no_value_of_a_wrong_kind_is_taken_anywhere(session, wrong):
    """Half a share, an object, a negative number and a list stand nowhere in a snapshot."""
    snapshot = session.follower.market_data.to_snapshot()
    count = 0
    for path in paths(snapshot):
        with pytest.raises(SnapshotError):
            MarketData.from_snapshot(changed(snapshot, path, wrong))
        count += 1
    assert count > 200


def test_no_shortened_or_lengthened_list_goes_unnoticed_in_a_record(session):
    snapshot = session.market.to_snapshot()
    for place in (INSTRUMENT, INDICATION, UNPRICED, UNCROSS, BOOK, TAPE, CANDLES):
        for value in (snapshot[place][:-1], [*snapshot[place], 0]):
            with pytest.raises(SnapshotError, match="must have"):
                SymbolMarket.from_snapshot(changed(snapshot, (place,), value))


def test_another_version_is_refused(session):
    for of in (session.market, session.follower.market_data):
        snapshot = of.to_snapshot()
        with pytest.raises(SnapshotError, match="market data: version 2 is not 1"):
            type(of).from_snapshot([2, *snapshot[1:]])


def test_what_contradicts_itself_is_refused(session):
    snapshot = session.follower.market_data.to_snapshot()
    [symbol] = snapshot[4]
    market, terms, unpriced = symbol
    first_bid = market[BOOK][0][0]
    contradictions = {
        "occurs twice": [
            ((4,), [symbol, symbol]),
            ((4, 0, 0, BOOK), [[first_bid, first_bid], []]),
            ((4, 0, 2), [[first_bid[0], *unpriced[0][1:]], *unpriced[1:]]),
        ],
        "must have": [((4, 0, 1), terms[:-1]), ((4, 0, 1), [*terms, terms[0]])],
        "the terms of order": [
            ((4, 0, 1), terms[::-1]),
            ((4, 0, 1, 0, 2), 1),
        ],
        "orders without a price are": [((4, 0, 2), unpriced[:-1]), ((4, 0, 0, UNPRICED), [0, 0, 0, 0])],
        "follows": [((4, 0, 0, TAPE, 1), market[TAPE][1][::-1])],
        "start at other times": [((4, 0, 0, CANDLES, 2, 0, 2, 0, 0), 1)],
    }
    for message, changes in contradictions.items():
        for path, value in changes:
            with pytest.raises(SnapshotError, match=message):
                MarketData.from_snapshot(changed(snapshot, path, value))
