"""The whole order flow of AMZN on Nasdaq, 2012-06-21, followed: the same book at every command."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from raftbook.engine import Entry, Exchange, Run, Side
from raftbook.market_data import MarketData
from raftbook.simulation.recorded_flow import read_recorded_flow, recorded_instrument
from tests.market_data.following import assert_equal_market, candles_of, through_json

if TYPE_CHECKING:
    from pathlib import Path

FLOW = "AMZN_flow_5.csv.gz"
LEVELS = 5
COMMANDS_PER_WHOLE_BOOK = 2_500


def test_nasdaqs_order_flow_is_followed(order_flow_data: Path):
    exchange = Exchange()
    followers = {"from the beginning": MarketData(trades_kept=10_000)}
    with gzip.open(order_flow_data / FLOW, "rt") as lines:
        recorded = read_recorded_flow(lines, symbol="AMZN", account="nasdaq")
        commands = [recorded_instrument("AMZN"), *(line.command for line in recorded)]

    for index, command in enumerate(commands, 1):
        executions = exchange.apply(index, Entry(index * 10**8, (Run("test", index, (command,)),)))
        expected_depth = exchange.depth("AMZN", LEVELS)
        for market_data in followers.values():
            [update] = market_data.apply(executions)
            depth = market_data["AMZN"].level2.depth(LEVELS)
            assert tuple([level[:2] for level in side] for side in depth) == expected_depth, update
        if index % COMMANDS_PER_WHOLE_BOOK == 0:
            for market_data in followers.values():
                assert_equal_market(market_data["AMZN"], exchange)
        if index == len(commands) * 7 // 8:
            followers["from the exchange"] = MarketData.of_exchange(exchange)
            snapshot = through_json(followers["from the beginning"].to_snapshot())
            followers["from a snapshot"] = MarketData.from_snapshot(snapshot)

    for market_data in followers.values():
        assert_equal_market(market_data["AMZN"], exchange)
    whole = followers["from the beginning"]["AMZN"]
    assert (index, len(whole.tape)) == (176_919, 8_974)
    for name, length in whole.candles.intervals.items():
        assert whole.candles.history(name) == candles_of(list(whole.tape), length)[-whole.candles.kept :]
    assert followers["from a snapshot"].to_snapshot() == followers["from the beginning"].to_snapshot()
    assert len(whole.level3) == sum(1 for side in Side for _ in whole.level3.orders(side))
