"""Folded from events alone, the book is the engine's after every entry, wherever the fold begins."""

from __future__ import annotations

import doctest
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

import raftbook.market_data
from raftbook.engine import Entry, EventKind, Exchange, Reason, Run
from raftbook.market_data import MarketData
from raftbook.simulation.workload import OrderFlow
from tests.engine import scripting
from tests.engine.dense_flow import DenseFlow
from tests.market_data.following import FollowedSession, Follower, through_json

SCRIPTS = sorted((Path(scripting.__file__).parent / "scripts").glob("*.txt"))

DENSE_LIVES = 24
DENSE_COMMANDS = 400
ALL_TRADES = 100_000


def test_the_example_in_the_packages_docstring():
    assert doctest.testmod(raftbook.market_data) == (0, 9)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_of_the_engine(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scripting, "Session", FollowedSession)
    _, executions = scripting.run_script(path.read_text())
    assert executions


def live(entries, exchange: Exchange, numbers: Random, begins_again_share: float = 0.01) -> Counter[object]:
    """Follow all entries; now and then somebody takes over who has not seen what led there. Counts what was seen."""
    follower = Follower(exchange, MarketData(trades_kept=ALL_TRADES, candles_kept=ALL_TRADES))
    seen: Counter[object] = Counter()
    for entry in entries:
        executions = exchange.apply(exchange.log_index + 1, entry)
        updates = follower.follow(executions)
        seen.update(name for update in updates for name, value in update._asdict().items() if value)
        for execution in executions:
            seen.update((event.kind, getattr(event, "reason", None)) for event in execution.events)
        if numbers.random() < begins_again_share:
            follower.check_history()
            follower = begun_again(follower, numbers.choice(("exchange", "snapshot")))
            seen["begun again"] += 1
    follower.check_history()
    return seen


def begun_again(follower: Follower, from_what: str) -> Follower:
    exchange, market_data = follower.exchange, follower.market_data
    if from_what == "snapshot":
        snapshot = market_data.to_snapshot()
        begun = MarketData.from_snapshot(through_json(snapshot))
        assert begun.to_snapshot() == snapshot
    else:
        trades = {symbol: list(market_data[symbol].tape) for symbol in market_data}
        begun = MarketData.of_exchange(exchange, trades, trades_kept=ALL_TRADES, candles_kept=ALL_TRADES)
    return Follower(exchange, begun)


def dense_entries(flow: DenseFlow, exchange: Exchange, commands: int):
    """What comes next is drawn from what is there, so that commands meet orders."""
    now, submitted = flow.first_moment, 0
    next_commands = flow.instruments()
    while submitted < commands:
        yield Entry(now, (Run("test", submitted + 1, next_commands),) if next_commands else ())
        submitted += len(next_commands)
        now += flow.elapsed(now)
        next_commands = flow.commands(now, exchange.orders(), exchange.statuses)


def dense_life(seed: int) -> Counter[object]:
    numbers = Random(seed)
    flow = DenseFlow(numbers)
    exchange = Exchange(closed_orders_kept=flow.closed_orders_kept)
    return live(dense_entries(flow, exchange, DENSE_COMMANDS), exchange, numbers)


def test_dense_flow_of_every_kind_of_order_goes_wherever_a_fold_could_go_wrong():
    seen = sum(map(dense_life, range(DENSE_LIVES)), start=Counter())
    needed = [
        "begun again",
        *("orders", "levels", "trades", "top", "instrument", "status", "indication", "unpriced", "uncrossed"),
        (EventKind.ORDER_RESTATED, Reason.ICEBERG_REFRESH),
        (EventKind.ORDER_RESTATED, Reason.SELF_TRADE),
        *((EventKind.ORDER_CANCELED, reason) for reason in (Reason.EXPIRED, Reason.SELF_TRADE, Reason.NO_LIQUIDITY)),
        *((EventKind.ORDER_CANCELED, reason) for reason in (Reason.IOC, Reason.FOK, Reason.MARKET_PROTECTION)),
        (EventKind.ORDER_REPLACED, None),
        (EventKind.ORDER_TRIGGERED, None),
        (EventKind.STATUS_CHANGED, Reason.VOLATILITY),
    ]
    assert [name for name in needed if seen[name] < 3] == []


def realistic_entries(seed: int, count: int, step_ns: int = 50_000_000):
    """Every kind of order in three symbols, several commands to an entry now and then, and a clock."""
    numbers = Random(seed)
    now = [step_ns]
    flow = OrderFlow(
        seed,
        symbols=("ACME", "BTC", "ETH"),
        accounts=("alice", "bob", "carol"),
        exotic_share=0.4,
        clock=lambda: now[0],
    )
    submitted = 0
    commands = tuple(flow.instruments())
    for _ in range(count):
        yield Entry(now[0], (Run("test", submitted + 1, commands),) if commands else ())
        submitted += len(commands)
        now[0] += step_ns
        commands = tuple(islice(flow, numbers.choice((0, 1, 1, 1, 1, 5))))


@pytest.mark.parametrize("seed", range(3))
def test_realistic_flow_of_every_kind_of_order(seed):
    seen = live(realistic_entries(seed, 600), Exchange(), Random(seed))
    assert seen["begun again"]
    assert seen["trades"] > 50
