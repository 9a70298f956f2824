"""The engine against its oracle: whatever the log, the same events, books and orders.

Two sources of commands: Hypothesis draws them rule by rule and shrinks what it finds; dense_flow.py draws whole lives
from seeds, which `python -m tests.engine.against_naive_book` goes on with as long as one likes.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Entry,
    EventKind,
    Exchange,
    Malformed,
    NewOrder,
    Number,
    OrderType,
    Reason,
    ReplaceOrder,
    Run,
    SelfTradePrevention,
    SetStatus,
    Side,
    Tick,
    TimeInForce,
    TradingStatus,
    Uncross,
)
from raftbook.engine.types import DAY_NS
from raftbook.simulation.workload import OrderFlow
from tests.engine.against_naive_book import COMMANDS_PER_LIFE, live
from tests.engine.side_by_side import SideBySide

CLOSED_ORDERS_KEPT = 3
"""So few that orders are forgotten within an example."""

ACCOUNTS = ("alice", "bob", "carol")
CLIENT_ORDER_IDS = tuple(f"c{number}" for number in range(20))
LASTING = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD)

ACME = AddInstrument("ACME", 2, 0, Number(5, 2), Number(1, 0))
BTC_EUR = AddInstrument("BTC-EUR", 1, 3, Number(5, 1), Number(2, 3))
INSTRUMENTS = (ACME, BTC_EUR)


def weighted(*choices):
    """One of the strategies, each as often as its weight says. (`one_of` would flatten them into equal parts.)"""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda s: s)


def perhaps(strategy):
    return st.none() | strategy


# Few prices and quantities, so that orders meet; now and then one that must be refused.
ticks = st.integers(198, 202).map(lambda tick: Number(5 * tick, 2))
odd_prices = st.sampled_from(
    [
        *(Number(10, 0), Number(100, 1), Number(1001, 2), Number(10_001, 3), Number(0, 0), Number(-5, 0)),
        *(Number(2**62, 0), Number(2**63 - 1, 2), Number(2**31, 0), Number(5 * 2**55, 2)),
    ]
)
prices = weighted((9, ticks), (1, odd_prices))
lots = st.integers(1, 12).map(lambda quantity: Number(quantity, 0))
odd_quantities = st.sampled_from(
    [
        *(Number(30, 1), Number(15, 1), Number(3, 3), Number(0, 0), Number(-1, 0), Number(250, 0)),
        *(Number(2**62, 0), Number(2**63 - 1, 0), Number(2**40, 0), Number(2**54, 0), Number(2**53, 0)),
    ]
)
quantities = weighted((9, lots), (1, odd_quantities))
tips = st.integers(1, 4).map(lambda quantity: Number(quantity, 0))
accounts = st.sampled_from(ACCOUNTS)
symbols = st.sampled_from(["ACME"] * 7 + ["BTC-EUR"] * 2 + ["NONE"])
sides = st.sampled_from(Side)
client_order_ids = st.sampled_from(CLIENT_ORDER_IDS)
modes = perhaps(st.sampled_from(SelfTradePrevention))
lifetimes = weighted((9, st.none()), (1, st.integers(-2, 300)))
percents = st.sampled_from((Number(5, 1), Number(1, 0), Number(150, 0)))


@st.composite
def orders(draw, *order_types: OrderType):
    """A new order of the right shape, but with `expire_time` and `not_after` counted from now."""
    order_type = draw(st.sampled_from(order_types or tuple(OrderType)))
    has_price = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    stop = order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
    time_in_force = draw(st.sampled_from([time for time in TimeInForce if not stop or time is not TimeInForce.FOK]))
    lasts = has_price and time_in_force in LASTING
    return NewOrder(
        draw(symbols),
        draw(accounts),
        draw(client_order_ids),
        draw(sides),
        order_type,
        time_in_force,
        draw(prices) if has_price else None,
        draw(quantities),
        post_only=lasts and not stop and draw(st.sampled_from((False, False, False, True))),
        not_after=draw(lifetimes),
        stop_price=draw(prices) if stop else None,
        display_quantity=draw(perhaps(tips)) if lasts else None,
        expire_time=draw(st.integers(-1, 30)) if time_in_force is TimeInForce.GTD else None,
        self_trade_prevention=draw(modes),
    )


def at(order: NewOrder, now: int) -> NewOrder:
    """Its times counted from the epoch."""
    expire_time = None if order.expire_time is None else now + order.expire_time
    return order._replace(not_after=None if order.not_after is None else now + order.not_after, expire_time=expire_time)


plain_orders = orders(OrderType.LIMIT).map(
    lambda order: order._replace(time_in_force=TimeInForce.GTC, expire_time=None)
)
whole_changes = st.fixed_dictionaries(
    {},
    optional={
        "price": prices,
        "quantity": quantities,
        "stop_price": prices,
        "display_quantity": weighted((3, tips), (1, st.just(Number(0, 0)))),
        "expire_time": st.integers(-1, 30),
    },
)
misshapen = st.sampled_from(
    (
        *({"price": None}, {"price": Number(10, 0)}, {"stop_price": Number(10, 0)}, {"stop_price": None}),
        *({"post_only": True}, {"display_quantity": Number(1, 0)}, {"display_quantity": Number(0, 0)}),
        *({"expire_time": 5}, {"time_in_force": TimeInForce.FOK}, {"order_type": OrderType.STOP}),
    )
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "min_quantity": st.just(Number(2, 0)),
        "max_quantity": st.just(Number(10, 0)),
        "min_notional": st.just(Number(30, 0)),
        "price_band": percents,
        "market_protection": percents,
        "max_open_orders": st.integers(1, 4),
        "self_trade_prevention": st.sampled_from(SelfTradePrevention),
    },
)
statuses = st.sampled_from(TradingStatus)
bad_instruments = st.builds(
    AddInstrument,
    st.sampled_from(("ACME", "NEW")),
    st.sampled_from((0, 2, 18, 19, -1)),
    st.sampled_from((0, 18, 19)),
    st.sampled_from((Number(1, 0), Number(1, 3), Number(0, 0), Number(2**63 - 1, 0))),
    st.sampled_from((Number(1, 0), Number(1, 3), Number(-1, 0))),
    st.none(),
    perhaps(st.sampled_from((Number(1, 0), Number(0, 0), Number(1, 18)))),
    perhaps(st.sampled_from((Number(1, 0), Number(2, 0), Number(-1, 0)))),
    perhaps(st.sampled_from((Number(1, 0), Number(1, 18), Number(2**63 - 1, 0)))),
    perhaps(st.sampled_from((Number(1, 0), Number(1, 2), Number(1, 3), Number(10_000, 0), Number(10_001, 0)))),
    perhaps(st.sampled_from((Number(1, 0), Number(1, 2), Number(1, 3), Number(10_000, 0), Number(10_001, 0)))),
    perhaps(st.sampled_from((1, 0, -1))),
    modes,
)
# Every field is given: `builds` invents values for the fields of a NamedTuple that are not, even those with a default.
ticks_of_the_clock = st.builds(Tick, perhaps(st.integers(0, 9)))
uneventful = ticks_of_the_clock | st.builds(Malformed, st.text(max_size=5), st.none()) | bad_instruments


class EngineBesideOracle(RuleBasedStateMachine):
    """Any command after any other; after each the engine's invariants hold, and all that can be seen is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.both = SideBySide(CLOSED_ORDERS_KEPT)
        self.now = 0

    @initialize(acme=limits, btc_eur=limits, before_midnight=st.integers(0, 40))
    def begins(self, acme, btc_eur, before_midnight):
        self.now = 3 * DAY_NS - before_midnight
        self.apply(ACME._replace(**acme), BTC_EUR._replace(**btc_eur))

    def apply(self, *commands):
        self.both.apply(self.now, commands)

    def live_order(self, number):
        """One of those that live, or None."""
        live_orders = self.both.exchange.orders(open_only=True)
        return live_orders[number % len(live_orders)] if live_orders else None

    @rule(order=plain_orders)
    def an_order_that_rests_or_trades(self, order):
        self.apply(at(order, self.now))

    @rule(order=orders())
    def an_order_of_any_kind(self, order):
        self.apply(at(order, self.now))

    @rule(order=orders(OrderType.STOP, OrderType.STOP_LIMIT))
    def a_stop(self, order):
        self.apply(at(order, self.now))

    @rule(order=orders(), change=misshapen)
    def an_order_of_a_shape_that_there_is_not(self, order, change):
        self.apply(at(order._replace(**change), self.now))

    @rule(number=st.integers(0, 20), by_id=st.booleans(), changes=whole_changes)
    def a_replace(self, number, by_id, changes):
        order = self.live_order(number)
        if order is not None:
            if "expire_time" in changes:
                changes["expire_time"] += self.now
            order_id, client_order_id = (order.order_id, None) if by_id else (None, order.client_order_id)
            unchanged = ReplaceOrder(order.account, order_id, client_order_id, None, None)
            self.apply(unchanged._replace(**changes))

    @rule(number=st.integers(0, 20), account=perhaps(accounts))
    def a_cancel(self, number, account):
        order = self.live_order(number)
        if order is not None:
            self.apply(CancelOrder(account or order.account, order.order_id, None))

    @rule(account=accounts, name=client_order_ids, not_after=st.integers(-3, 3))
    def names_of_orders_that_may_be_unknown(self, account, name, not_after):
        self.apply(
            CancelOrder(account, None, name, self.now + not_after),
            ReplaceOrder(account, None, name, None, Number(1, 0), self.now + not_after),
        )

    @rule(account=accounts, symbol=perhaps(symbols), side=perhaps(sides))
    def a_cancel_of_all(self, account, symbol, side):
        self.apply(CancelAll(account, symbol, side))

    @rule(symbol=symbols, status=statuses)
    def a_change_of_status(self, symbol, status):
        self.apply(SetStatus(symbol, status))

    @rule(symbol=symbols)
    def an_auction_begins(self, symbol):
        self.apply(SetStatus(symbol, TradingStatus.AUCTION))

    @rule(symbol=symbols, status=st.sampled_from((TradingStatus.TRADING, TradingStatus.TRADING, TradingStatus.CLOSED)))
    def an_uncross(self, symbol, status):
        self.apply(Uncross(symbol, status))

    @rule(first=orders(), second=orders(), third=plain_orders)
    def several_orders_in_one_entry(self, first, second, third):
        self.apply(*(at(order, self.now) for order in (first, second, third)))

    @rule(elapsed=st.integers(0, 40))
    def time_alone(self, elapsed):
        self.now += elapsed
        self.apply()

    @rule(command=uneventful)
    def a_command_about_nothing_much(self, command):
        self.apply(command)

    @rule()
    def the_engine_comes_back_from_a_snapshot(self):
        self.both.restore()

    @invariant()
    def engine_and_oracle_are_the_same(self):
        self.both.exchange.check()
        self.both.assert_equal_state()


TestEngineBesideOracle = EngineBesideOracle.TestCase
TestEngineBesideOracle.settings = settings(max_examples=50, stateful_step_count=60)


# Lives drawn from seeds: together 100,000 commands. Seeds are spread so that pytest-xdist can share them out.

LIVES_FOR_ALL_EVENTS = 20
LIVES = 260
CHUNK = 10


def test_the_flow_reaches_every_kind_of_event_and_every_reason():
    """Or the comparison would say less than it seems to."""
    reached = sum((live(seed).reached for seed in range(1, 1 + LIVES_FOR_ALL_EVENTS)), Counter())
    assert [kind.label for kind in EventKind if not reached[kind.label]] == []
    reasons = {name.partition(": ")[2] for name in reached}
    assert [reason for reason in Reason if reason.value not in reasons] == []


@pytest.mark.parametrize("first_seed", range(1 + LIVES_FOR_ALL_EVENTS, 1 + LIVES, CHUNK))
def test_the_engine_does_what_the_naive_book_does_in_life_after_life(first_seed):
    """`python -m tests.engine.against_naive_book --seed S --commands 1` repeats one life."""
    for seed in range(first_seed, first_seed + CHUNK):
        assert live(seed).commands >= COMMANDS_PER_LIFE


def test_a_life_is_the_same_every_time():
    assert live(1) == live(1)
    assert live(1).digest != live(2).digest


# Refused orders that come again, and submissions that come twice.


class Again(NamedTuple):
    """Stands for a copy of an order that was refused before, counted from the last; 5 may be written as 5.0 in it."""

    back: int
    with_another_zero: bool


post_only_orders = plain_orders.map(lambda order: order._replace(post_only=True, display_quantity=None))
halts = st.sampled_from((TradingStatus.HALTED, TradingStatus.TRADING, TradingStatus.AUCTION))
order_commands = weighted(
    (2, plain_orders),
    (3, orders()),
    (3, post_only_orders),
    (1, st.builds(SetStatus, st.just("ACME"), halts, st.none())),
    (8, st.builds(Again, st.integers(0, 5), st.booleans())),
)
refused_lifetimes = weighted(
    (1, st.none()), (5, st.integers(0, 20)), (3, st.integers(0, 200)), (1, st.integers(-5, -1))
)
timed_order_commands = st.lists(
    st.tuples(st.integers(0, 5), order_commands, refused_lifetimes), min_size=10, max_size=50
)


def command_of(drawn, refused: list[NewOrder], now: int, lifetime: int | None):
    """What was drawn, as a command of this moment."""
    if isinstance(drawn, SetStatus):
        return drawn
    if isinstance(drawn, NewOrder):
        order = at(drawn, now)
    elif refused:
        order = refused[-1 - drawn.back % len(refused)]
        quantity = order.quantity
        if drawn.with_another_zero and quantity.decimals < 18 and abs(quantity.mantissa) < 2**59:
            order = order._replace(quantity=Number(quantity.mantissa * 10, quantity.decimals + 1))
    else:
        return Tick()
    return order._replace(not_after=None if lifetime is None else max(0, now + lifetime))


@settings(max_examples=60)
@given(timed_order_commands, st.data())
def test_copies_of_refused_orders_are_answered_as_the_naive_book_answers_them(timed_commands, data):
    both = SideBySide(CLOSED_ORDERS_KEPT)
    both.apply(0, INSTRUMENTS)
    restore_at = data.draw(st.integers(0, len(timed_commands)), label="restore at")
    now, refused = 0, []
    for number, (elapsed, drawn, lifetime) in enumerate(timed_commands):
        now += elapsed
        command = command_of(drawn, refused, now, lifetime)
        executions = both.apply(now, [command])
        both.exchange.check()
        both.assert_equal_state()
        if isinstance(command, NewOrder) and not any(e.accepted for e in executions if e.origin):
            refused.append(command)
        if number == restore_at:
            both.restore()


@settings(max_examples=60)
@given(timed_order_commands)
def test_once_refused_no_copy_is_accepted_whose_not_after_is_no_later(timed_commands):
    """The guarantee itself, for whoever does not exceed the bounds of memory."""
    exchange = Exchange()
    exchange.apply(1, Entry(0, (Run("n1.1", 1, INSTRUMENTS),)))
    latest_refused: dict[NewOrder, int] = {}
    now, refused = 0, []
    for number, (elapsed, drawn, lifetime) in enumerate(timed_commands, start=3):
        now += elapsed
        command = command_of(drawn, refused, now, lifetime)
        executions = exchange.apply(number, Entry(now, (Run("n1.1", number, (command,)),)))
        [execution] = [execution for execution in executions if execution.origin]
        if not isinstance(command, NewOrder) or command.not_after is None:
            continue
        content = command._replace(not_after=None, quantity=command.quantity.in_lowest_terms())
        if execution.accepted:
            assert execution.events[0].duplicate or command.not_after > latest_refused.get(content, -1)
        else:
            latest_refused[content] = max(latest_refused.get(content, -1), command.not_after)
            refused.append(command)


runs = st.builds(
    Run,
    st.sampled_from(("n1.1", "n2.1")),
    st.integers(1, 12),
    st.lists(st.builds(Tick, st.none()) | plain_orders.map(lambda order: at(order, 20)), min_size=1, max_size=4).map(
        tuple
    ),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50), st.lists(runs, max_size=3)), max_size=8))
def test_each_submission_is_executed_once_and_in_its_origins_order(entries):
    both = SideBySide(CLOSED_ORDERS_KEPT)
    both.apply(0, INSTRUMENTS)
    next_sequences = {"n1.1": 1 + len(INSTRUMENTS), "n2.1": 1}
    for timestamp, entry_runs in entries:
        for execution in both.apply_entry(Entry(timestamp, tuple(entry_runs))):
            if execution.origin:
                assert execution.sequence == next_sequences[execution.origin]
                next_sequences[execution.origin] += 1
        both.exchange.check()
        both.assert_equal_state()
    assert both.exchange.watermarks == {
        origin: following - 1 for origin, following in next_sequences.items() if following > 1
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_engine_does_what_the_naive_book_does_on_realistic_flow(seed):
    flow = OrderFlow(seed, symbols=("ACME", "BTC"), accounts=("alice", "bob", "carol"))
    both = SideBySide(50)
    numbers = random.Random(seed)
    restore_at = numbers.randrange(1, 1_000)
    both.apply(0, flow.instruments())
    for number in range(1, 1_001):
        both.apply(number, [next(flow)])
        if number % 50 == 0 or number == restore_at:
            both.exchange.check()
            both.assert_equal_state()
        if number == restore_at:
            both.restore()
