"""Whatever an order flow looks like, its cost grows with what happens, and not with the square of it.

No clock: what is counted is the lines of Python that the engine and its sorted containers execute, which is the same on
every run and every machine. The attacks are those of `raftbook bench engine --adversarial`, which shows their times.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import sortedcontainers

import raftbook.engine
from cli.bench.attacks import FLAT, GROWING, INSTRUMENT, SYMBOL, Attack, Ground
from raftbook.engine import Exchange, NewOrder, Number, OrderType, SetStatus, Side, TimeInForce, TradingStatus

COUNTED_FOLDERS = tuple(str(Path(package.__file__).parent) for package in (raftbook.engine, sortedcontainers))

SIZE = 300
LINEAR = 2.1
"""Twice the size may cost at most so many times as much: a logarithm more than twice. A square would be 4."""

CONSTANT = 1.05
"""And so many times where nothing more happens: a logarithm's growth."""


def lines_executed(work) -> int:
    """How many lines `work` executes in the counted folders; a loop's line counts each time."""
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(COUNTED_FOLDERS):
            return None
        if event == "line":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def cost_of(attack) -> int:
    """The lines of the attack's blow; what it was to lead to has happened, and every invariant holds."""
    ground = Ground(attack)
    executions = []

    def strike():
        for index, entry in ground.entries:
            executions.extend(ground.exchange.apply(index, entry))

    count = lines_executed(strike)
    assert ground.missing(executions) is None
    ground.exchange.check()
    return count


def name_of(case):
    return case.attack_of_size.__name__


@pytest.mark.parametrize("case", GROWING, ids=name_of)
def test_twice_the_size_costs_no_more_than_twice_as_much(case):
    small, large = cost_of(case.attack_of_size(SIZE)), cost_of(case.attack_of_size(2 * SIZE))
    assert small > SIZE / 2, "the attack does something for each"
    assert large <= LINEAR * small


@pytest.mark.parametrize("case", FLAT, ids=name_of)
def test_what_only_waits_costs_nothing(case):
    small, large = cost_of(case.attack_of_size(SIZE)), cost_of(case.attack_of_size(2 * SIZE))
    assert large <= CONSTANT * small


def one_of_everything(size) -> Exchange:
    """Resting orders, icebergs, stops, orders that expire, closed and refused ones, and an auction."""
    ground = Ground(Attack(list(many_of_everything(size)), [], {}))
    assert len(ground.exchange.orders()) > 3 * size
    return ground.exchange


def many_of_everything(size):
    for number in range(size):
        order = limit_order(f"order-{number}", Side.SELL, 1_000 + number, 10)
        yield order._replace(client_order_id=f"resting-{number}")
        yield order._replace(client_order_id=f"iceberg-{number}", display_quantity=Number(1, 0))
        yield order._replace(
            client_order_id=f"stop-{number}", order_type=OrderType.STOP_LIMIT, stop_price=Number(2_000 + number, 0)
        )
        yield order._replace(
            client_order_id=f"expiring-{number}", time_in_force=TimeInForce.GTD, expire_time=10 + number
        )
        yield order._replace(client_order_id=f"closed-{number}", side=Side.BUY, time_in_force=TimeInForce.IOC)
        yield order._replace(client_order_id=f"refused-{number}", quantity=Number(0, 0), not_after=10)
    yield SetStatus(SYMBOL, TradingStatus.AUCTION)
    yield limit_order("crossing", Side.BUY, 1_000 + size, 10)


def many_instruments(size) -> Exchange:
    """As many instruments, each with an order, and one of as many orders."""
    symbols = [f"S{number}" for number in range(size)]
    commands = [
        *(INSTRUMENT._replace(symbol=symbol) for symbol in symbols),
        *(limit_order(f"order-{symbol}", Side.BUY, 100, 1)._replace(symbol=symbol) for symbol in symbols),
    ]
    return Ground(Attack(commands, [], {})).exchange


def limit_order(client_order_id, side, price, quantity):
    return NewOrder(
        SYMBOL, "alice", client_order_id, side, OrderType.LIMIT, TimeInForce.GTC, Number(price, 0), Number(quantity, 0)
    )


@pytest.mark.parametrize("exchange_of_size", [one_of_everything, many_instruments])
def test_twice_the_state_costs_twice_as_much_to_save_and_to_restore(exchange_of_size):
    costs = []
    for size in (SIZE // 2, SIZE):
        exchange = exchange_of_size(size)
        snapshot = exchange.to_snapshot()
        save, restore = lines_executed(exchange.to_snapshot), lines_executed(partial(Exchange.from_snapshot, snapshot))
        assert save > size
        assert restore > size
        costs.append((save, restore))
    (small_save, small_restore), (large_save, large_restore) = costs
    assert large_save <= LINEAR * small_save
    assert large_restore <= LINEAR * small_restore
