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
from hypothesis import given, settings
from hypothesis import strategies as st

import raftbook.engine
from cli.bench.attack import INSTRUMENT, SYMBOL, Attack, Ground
from cli.bench.attacks import FLAT, GROWING
from raftbook.engine import (
    Exchange,
    NewOrder,
    Number,
    OrderType,
    Reason,
    Rejection,
    ReplaceOrder,
    SelfTradePrevention,
    SetStatus,
    Side,
    TimeInForce,
    TradingStatus,
    Uncross,
)
from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, MOST_PERCENT
from tests.support.compiled import skip_if_compiled

COUNTED_FOLDERS = tuple(str(Path(package.__file__).parent) for package in (raftbook.engine, sortedcontainers))

SIZE = 300
LINEAR = 2.1
"""Twice the size may cost at most so many times as much: a logarithm more than twice. A square would be 4."""

CONSTANT = 1.05
"""And so many times where nothing more happens: a logarithm's growth."""


def lines_executed(work) -> int:
    """How many lines `work` executes in the counted folders; a loop's line counts each time."""
    skip_if_compiled()
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
    Exchange.from_snapshot(ground.exchange.to_snapshot())
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


EDGES = (1, 2, 3, 2**31, 2**32, 2**61, 2**62 - 1, 2**62, MAX_INTEGER - 1, MAX_INTEGER)


class TestSixtyFourBits:
    """Prices, quantities and times at the edge: an answer to each, and no integer beyond it."""

    @staticmethod
    def answers(*commands, time=0):
        """The last event of each command."""
        ground = Ground(Attack([], [[command] for command in commands], {}, time=time))
        answers = []
        for index, entry in ground.entries:
            answers.append(ground.exchange.apply(index, entry)[-1].events[-1])
            ground.exchange.check()
            snapshot = ground.exchange.to_snapshot()
            assert_fits(snapshot)
            assert Exchange.from_snapshot(snapshot).to_snapshot() == snapshot
        return answers

    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize(
        ("price", "quantity", "fits"),
        [
            (MAX_INTEGER, 1, True),
            (1, MAX_INTEGER, True),
            (2, 2**62 - 1, True),
            (2, 2**62, False),
            (MAX_INTEGER, 2, False),
        ],
    )
    def test_an_order_fits_or_is_out_of_range(self, side, price, quantity, fits):
        [answer] = self.answers(limit_order("c1", side, price, quantity))
        assert answer.reason is (None if fits else Reason.OUT_OF_RANGE)

    def test_a_level_fits_or_the_last_order_is_out_of_range(self):
        half = 2**62
        rests, too_much, rests_too = self.answers(
            limit_order("c1", Side.BUY, 1, half),
            limit_order("c2", Side.BUY, 1, half),
            limit_order("c3", Side.BUY, 1, half - 1),
        )
        assert (rests.reason, too_much.reason, rests_too.reason) == (None, Reason.OUT_OF_RANGE, None)

    def test_a_trade_of_everything_there_is(self):
        for price, quantity in ((MAX_INTEGER, 1), (1, MAX_INTEGER)):
            _, trade = self.answers(
                limit_order("c1", Side.SELL, price, quantity), limit_order("c2", Side.BUY, price, quantity)
            )
            assert (trade.price, trade.quantity) == (price, quantity)

    def test_a_day_that_ends_beyond_all_time_ends_with_it(self):
        order = limit_order("c1", Side.BUY, 1, 1)._replace(time_in_force=TimeInForce.DAY)
        [accepted] = self.answers(order, time=MAX_INTEGER - 1)
        assert accepted.order.expire_time == MAX_INTEGER

    @given(data=st.data())
    @settings(max_examples=80)
    def test_whatever_stands_at_the_edge_is_answered(self, data):
        edge = st.sampled_from(EDGES)
        number = edge.map(partial(Number, decimals=0))
        percent = st.none() | st.sampled_from((Number(1, 2), Number(100, 0), Number(MOST_PERCENT, 2)))
        order = st.builds(
            NewOrder,
            st.just("EDGE"),
            st.sampled_from(("alice", "bob")),
            st.integers(0, 999).map("c{}".format),
            st.sampled_from(Side),
            st.sampled_from(OrderType),
            st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY)),
            st.none() | number,
            number,
            st.just(False),
            st.none(),
            stop_price=st.none() | number,
            display_quantity=st.none() | number,
            expire_time=st.none(),
            self_trade_prevention=st.none() | st.sampled_from(SelfTradePrevention),
        ).map(shaped)
        replace = st.builds(
            ReplaceOrder,
            st.sampled_from(("alice", "bob")),
            st.integers(1, 20),
            st.none(),
            st.none() | number,
            st.none() | number,
            st.none(),
            stop_price=st.none() | number,
            display_quantity=st.none() | number,
            expire_time=st.none(),
        )
        status = st.sampled_from((SetStatus("EDGE", TradingStatus.AUCTION), Uncross("EDGE")))
        decimals = st.sampled_from((0, 0, 1, MAX_DECIMALS))
        instrument = INSTRUMENT._replace(
            symbol="EDGE",
            price_decimals=data.draw(decimals),
            quantity_decimals=data.draw(decimals),
            price_band=data.draw(percent),
            market_protection=data.draw(percent),
        )
        if data.draw(st.booleans()):
            instrument = instrument._replace(tick_size=data.draw(number))
        commands = data.draw(st.lists(order | order | order | replace | status, max_size=40))
        for answer in self.answers(instrument, *commands, time=data.draw(st.sampled_from((0, MAX_INTEGER - 1)))):
            assert_fits(answer)


def shaped(order):
    """The same order with what its type needs, and without what it cannot have."""
    has_price = order.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    stops = order.order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
    rests = has_price and order.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK)
    return order._replace(
        price=(order.price or Number(1, 0)) if has_price else None,
        stop_price=(order.stop_price or Number(1, 0)) if stops else None,
        display_quantity=order.display_quantity if rests else None,
    )


def assert_fits(value):
    """No integer in it but those that a client entered is beyond 64 bits."""
    if isinstance(value, Rejection):
        return
    if isinstance(value, int):
        assert -MAX_INTEGER <= value <= MAX_INTEGER
    elif isinstance(value, list | tuple):
        for item in value:
            assert_fits(item)
