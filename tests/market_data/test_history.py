"""The tape and the candles: the latest trades, and what they come to."""

from __future__ import annotations

import pytest

from raftbook.engine import EventKind, Side, Trade
from raftbook.engine.types import DAY_NS
from raftbook.market_data import CANDLE_INTERVALS, Candle, Candles, MarketData, TradeTape
from tests.market_data.following import FollowedSession, through_json

MINUTE = 60 * 10**9


def trade(trade_id: int, price: int = 100, quantity: int = 1, timestamp: int = 0, *, auction: bool = False) -> Trade:
    maker, taker = (1, "m", "a"), (2, "t", "b")
    return Trade(
        EventKind.TRADE,
        "ACME",
        trade_id,
        trade_id,
        timestamp,
        trade_id,
        price,
        quantity,
        *maker,
        *taker,
        Side.BUY,
        auction,
    )


def tape_of(*trade_ids: int, kept: int = 100) -> TradeTape:
    tape = TradeTape(kept)
    for trade_id in trade_ids:
        tape.add(trade(trade_id))
    return tape


def ids(trades) -> list[int]:
    return [one.trade_id for one in trades]


# --- Tape ------------------------------------------------------------------------------------------------------------


def test_an_empty_tape():
    tape = tape_of()
    assert (len(tape), tape.last, tape.latest(5), tape.from_trade_id(0)) == (0, None, [], [])


def test_the_tape_keeps_the_latest_trades():
    tape = tape_of(1, 2, 5, 6, kept=3)
    assert ids(tape) == [2, 5, 6]
    assert tape.last.trade_id == 6


@pytest.mark.parametrize(("limit", "found"), [(0, []), (2, [5, 6]), (9, [1, 2, 5, 6])])
def test_the_latest_are_the_end_of_the_tape(limit, found):
    assert ids(tape_of(1, 2, 5, 6).latest(limit)) == found


@pytest.mark.parametrize(
    ("trade_id", "limit", "found"),
    [(0, None, [1, 2, 5, 6]), (2, None, [2, 5, 6]), (3, None, [5, 6]), (3, 1, [5]), (7, None, []), (1, 0, [])],
)
def test_trades_from_an_id_on(trade_id, limit, found):
    assert ids(tape_of(1, 2, 5, 6).from_trade_id(trade_id, limit)) == found


def test_trades_of_several_symbols_share_the_ids_and_not_the_tapes():
    session = FollowedSession()
    session.run(["instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1"])
    session.run(["instrument BTC price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1"])
    for number, symbol in enumerate(("ACME", "BTC", "ACME")):
        session.run_lines(f"a buy 1 {symbol} @ 10 id=b{number}\nb sell 1 {symbol} @ 10 id=s{number}")
    market_data = session.follower.market_data
    assert ids(market_data["ACME"].tape) == [1, 3]
    assert ids(market_data["BTC"].tape) == [2]


# --- Candles ---------------------------------------------------------------------------------------------------------


def candles_of(*trades: Trade, kept: int = 100) -> Candles:
    candles = Candles(CANDLE_INTERVALS, kept)
    for one in trades:
        candles.add(one)
    return candles


def test_a_candle_sums_up_its_interval():
    candles = candles_of(
        trade(1, 100, 2, 5 * MINUTE),
        trade(2, 120, 3, 5 * MINUTE + 1),
        trade(3, 90, 4, 6 * MINUTE - 2),
        trade(4, 110, 5, 6 * MINUTE - 1),
    )
    notional = 100 * 2 + 120 * 3 + 90 * 4 + 110 * 5
    assert candles.history("1m") == [Candle(5 * MINUTE, 100, 120, 90, 110, 14, 4, notional)]


def test_a_candle_begins_exactly_at_its_interval():
    candles = candles_of(trade(1, 100, 1, MINUTE - 1), trade(2, 101, 1, MINUTE))
    assert [(candle.start, candle.close) for candle in candles.history("1m")] == [(0, 100), (MINUTE, 101)]
    assert [(candle.start, candle.close) for candle in candles.history("5m")] == [(0, 101)]


def test_each_interval_has_its_own_candles_and_a_day_begins_at_midnight():
    moments = (0, 4 * MINUTE, 61 * MINUTE, DAY_NS - 1, DAY_NS)
    candles = candles_of(*(trade(number, 100, 1, moment) for number, moment in enumerate(moments, 1)))
    starts = {name: [candle.start for candle in candles.history(name)] for name in candles.intervals}
    assert starts == {
        "1m": [0, 4 * MINUTE, 61 * MINUTE, DAY_NS - MINUTE, DAY_NS],
        "5m": [0, 60 * MINUTE, DAY_NS - 5 * MINUTE, DAY_NS],
        "1h": [0, 60 * MINUTE, DAY_NS - 60 * MINUTE, DAY_NS],
        "1d": [0, DAY_NS],
    }


def test_an_interval_without_a_trade_has_no_candle():
    candles = candles_of(trade(1, 100, 1, 0), trade(2, 100, 1, 10 * MINUTE))
    assert [candle.start for candle in candles.history("1m")] == [0, 10 * MINUTE]


def test_trades_of_an_auction_count():
    assert candles_of(trade(1, 100, 7, auction=True)).history("1d")[0].volume == 7


def test_history_is_bounded_and_limited():
    candles = candles_of(*(trade(number, 100, 1, number * MINUTE) for number in range(1, 6)), kept=3)
    assert [candle.start for candle in candles.history("1m")] == [3 * MINUTE, 4 * MINUTE, 5 * MINUTE]
    assert [candle.start for candle in candles.history("1m", 2)] == [4 * MINUTE, 5 * MINUTE]
    assert candles.history("1m", 0) == []
    assert candles.history("1d")[0].trade_count == 5


def test_an_interval_that_is_not_kept_is_an_error():
    with pytest.raises(KeyError):
        candles_of().history("2m")


def test_sums_beyond_64_bits_stay_exact():
    [candle] = candles_of(trade(1, 2**62, 2**62), trade(2, 2**62, 2**62)).history("1d")
    assert (candle.volume, candle.notional) == (2**63, 2**125)
    restored = Candles.from_snapshot(through_json(candles_of(trade(1, 2**62, 2**62)).to_snapshot()))
    assert restored.history("1d")[0].notional == 2**124


def test_candles_of_an_exchange_say_since_when_they_count():
    session = FollowedSession()
    session.run_lines("""
        instrument ACME price_decimals=0 quantity_decimals=0 tick_size=1 lot_size=1
        at 70
        a buy 5 ACME @ 10 id=1
        b sell 1 ACME @ 10 id=2
        at 90
    """)
    session.run(["tick"])
    trades = list(session.market.tape)
    assert session.market.candles.known_from == 0
    assert MarketData.of_exchange(session.exchange)["ACME"].candles.known_from == 90
    with_trades = MarketData.of_exchange(session.exchange, {"ACME": trades})["ACME"]
    assert with_trades.candles.known_from == 70
    assert with_trades.candles.history("1m") == session.market.candles.history("1m")
    assert list(with_trades.tape) == trades
