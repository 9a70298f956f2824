"""The engine against its oracle: whatever the log, the same events, books and orders after every entry."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Entry,
    Exchange,
    Malformed,
    NewOrder,
    Number,
    OrderType,
    Rejection,
    ReplaceOrder,
    Run,
    SetStatus,
    Side,
    Tick,
    TimeInForce,
    TradingStatus,
)
from raftbook.simulation.naive_exchange import NaiveExchange
from raftbook.simulation.workload import OrderFlow

CLOSED_ORDERS_KEPT = 3
"""So few that orders are forgotten within an example."""

SYMBOLS = ("ACME", "BTC-EUR", "NONE")
ACCOUNTS = ("alice", "bob")
CLIENT_ORDER_IDS = tuple(f"c{number}" for number in range(20))

INSTRUMENTS = (
    AddInstrument("ACME", 2, 0, Number(5, 2), Number(1, 0)),
    AddInstrument("BTC-EUR", 1, 3, Number(5, 1), Number(2, 3)),
)


def weighted(*choices):
    """One of the strategies, each as often as its weight says. (`one_of` would flatten them into equal parts.)"""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda s: s)


# Few prices and quantities, so that orders meet; now and then one that must be refused.
ticks = st.integers(198, 202).map(lambda tick: Number(5 * tick, 2))
odd_prices = st.sampled_from(
    [
        *(Number(10, 0), Number(100, 1), Number(1001, 2), Number(10_001, 3), Number(0, 0), Number(-5, 0)),
        *(Number(2**62, 0), Number(2**63 - 1, 2), Number(2**31, 0), Number(5 * 2**55, 2)),
    ]
)
prices = weighted((4, ticks), (1, odd_prices))
lots = st.integers(1, 12).map(lambda quantity: Number(quantity, 0))
odd_quantities = st.sampled_from(
    [
        *(Number(30, 1), Number(15, 1), Number(3, 3), Number(0, 0), Number(-1, 0), Number(50, 0)),
        *(Number(2**62, 0), Number(2**63 - 1, 0), Number(2**40, 0), Number(2**54, 0), Number(2**53, 0)),
    ]
)
quantities = weighted((4, lots), (1, odd_quantities))
lateness = weighted((9, st.none()), (1, st.integers(0, 300)))
accounts = st.sampled_from(ACCOUNTS)
symbols = st.sampled_from(("ACME", "ACME", "ACME", "ACME", "ACME", "ACME", "ACME", "BTC-EUR", "BTC-EUR", "NONE"))
sides = st.sampled_from(Side)
client_order_ids = st.sampled_from(CLIENT_ORDER_IDS)

# Every field is given: `builds` invents values for the fields of a NamedTuple that are not, even those with a default.
plain_orders = st.builds(
    NewOrder,
    st.just("ACME"),
    accounts,
    client_order_ids,
    sides,
    st.just(OrderType.LIMIT),
    st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)),
    ticks,
    lots,
    st.just(False),
    lateness,
)
any_orders = st.builds(
    NewOrder,
    symbols,
    accounts,
    client_order_ids,
    sides,
    weighted((6, st.just(OrderType.LIMIT)), (1, st.just(OrderType.MARKET))),
    weighted((4, st.just(TimeInForce.GTC)), (1, st.sampled_from(TimeInForce))),
    weighted((1, st.none()), (9, prices)),
    quantities,
    weighted((2, st.just(False)), (1, st.just(True))),
    lateness,
)
market_orders = st.builds(
    NewOrder,
    symbols,
    accounts,
    client_order_ids,
    sides,
    st.just(OrderType.MARKET),
    st.sampled_from(TimeInForce),
    st.none(),
    quantities,
    st.just(False),
    lateness,
)
names = weighted((1, st.tuples(st.none(), client_order_ids)), (3, st.tuples(st.integers(1, 30), st.none())))
cancels = st.builds(lambda account, name, not_after: CancelOrder(account, *name, not_after), accounts, names, lateness)
replaces = st.builds(
    lambda account, name, price, quantity, not_after: ReplaceOrder(account, *name, price, quantity, not_after),
    accounts,
    names,
    weighted((1, st.none()), (2, prices)),
    weighted((1, st.none()), (2, quantities)),
    lateness,
)
rare_commands = st.one_of(
    st.builds(CancelAll, accounts, st.one_of(st.none(), symbols), st.one_of(st.none(), sides), lateness),
    st.builds(SetStatus, symbols, st.sampled_from(TradingStatus), lateness),
    st.builds(SetStatus, st.just("ACME"), st.just(TradingStatus.TRADING), st.none()),
    st.builds(Tick, lateness),
    st.builds(Malformed, st.text(max_size=5), st.none()),
    st.builds(
        AddInstrument,
        st.sampled_from(("ACME", "NEW")),
        st.sampled_from((0, 2, 18, 19, -1)),
        st.sampled_from((0, 18, 19)),
        st.sampled_from((Number(1, 0), Number(1, 3), Number(0, 0), Number(2**63 - 1, 0))),
        st.sampled_from((Number(1, 0), Number(1, 3), Number(-1, 0))),
        lateness,
    ),
)
commands = weighted(
    (10, plain_orders), (5, any_orders), (1, market_orders), (3, cancels), (6, replaces), (1, rare_commands)
)
post_only_orders = st.builds(
    NewOrder,
    st.just("ACME"),
    accounts,
    st.sampled_from(CLIENT_ORDER_IDS[:6]),
    sides,
    st.just(OrderType.LIMIT),
    st.just(TimeInForce.GTC),
    ticks,
    lots,
    st.just(True),
    st.none(),
)


class Again(NamedTuple):
    """Stands for a copy of an order that was refused before, counted from the last; 5 may be written as 5.0 in it."""

    back: int
    with_another_zero: bool


order_commands = weighted(
    (3, commands),
    (3, post_only_orders),
    (1, any_orders),
    (
        1,
        st.builds(
            SetStatus, st.just("ACME"), st.sampled_from((TradingStatus.HALTED, TradingStatus.TRADING)), st.none()
        ),
    ),
    (8, st.builds(Again, st.integers(0, 5), st.booleans())),
)
lifetimes = weighted((1, st.none()), (5, st.integers(0, 20)), (3, st.integers(0, 200)), (1, st.integers(-5, -1)))
runs = st.builds(
    Run,
    st.sampled_from(("n1.1", "n2.1")),
    st.integers(1, 12),
    st.lists(commands, min_size=1, max_size=4).map(tuple),
)


def aimed(command, exchange: Exchange):
    """A cancel or replace by order id, turned on an order that is open: drawn blindly, hardly any would hit one."""
    if isinstance(command, CancelOrder | ReplaceOrder) and command.order_id is not None and command.order_id < 28:
        open_orders = exchange.orders()
        if open_orders:
            target = open_orders[command.order_id % len(open_orders)]
            return command._replace(order_id=target.order_id, account=target.account)
    return command


def without_words(executions):
    """The engine explains its refusals in words; the oracle does not."""
    return [
        execution._replace(
            events=tuple(
                event._replace(detail=None) if isinstance(event, Rejection) else event for event in execution.events
            )
        )
        for execution in executions
    ]


def assert_equal_state(exchange: Exchange, naive: NaiveExchange) -> None:
    assert exchange.log_index == naive.log_index
    assert exchange.time == naive.time
    assert list(exchange.instruments.values()) == [book.instrument for book in naive.books.values()]
    assert exchange.statuses == {symbol: book.status for symbol, book in naive.books.items()}
    for symbol, book in naive.books.items():
        assert exchange.level3(symbol) == book.level3()
        assert exchange.depth(symbol) == book.depth()
    assert exchange.orders(open_only=True) == naive.all_orders(open_only=True)
    assert exchange.orders(open_only=False) == naive.all_orders(open_only=False)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), commands), min_size=20, max_size=80), st.data())
def test_the_engine_does_what_the_naive_book_does(timed_commands, data):
    exchange, naive = Exchange(closed_orders_kept=CLOSED_ORDERS_KEPT), NaiveExchange(CLOSED_ORDERS_KEPT)
    time = 0
    all_commands = [*((0, instrument) for instrument in INSTRUMENTS), *timed_commands]
    restore_at = data.draw(st.integers(0, len(all_commands)), label="restore at")
    for index, (elapsed, command) in enumerate(all_commands, start=1):
        time += elapsed
        entry = Entry(time, (Run("n1.1", index, (aimed(command, exchange),)),))
        assert without_words(exchange.apply(index, entry)) == naive.apply(index, entry)
        exchange.check()
        assert_equal_state(exchange, naive)
        if index == restore_at:
            restored = Exchange.from_snapshot(exchange.to_snapshot())
            assert restored.to_snapshot() == exchange.to_snapshot()
            exchange = restored


def copy_of(again: Again, refused: list[NewOrder]) -> NewOrder | Tick:
    if not refused:
        return Tick()
    order = refused[-1 - again.back % len(refused)]
    quantity = order.quantity
    if again.with_another_zero and quantity.decimals < 18 and abs(quantity.mantissa) < 2**59:
        return order._replace(quantity=Number(quantity.mantissa * 10, quantity.decimals + 1))
    return order


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), order_commands, lifetimes), min_size=20, max_size=80), st.data())
def test_copies_of_refused_orders_are_answered_as_the_naive_book_answers_them(timed_commands, data):
    exchange, naive = Exchange(closed_orders_kept=CLOSED_ORDERS_KEPT), NaiveExchange(CLOSED_ORDERS_KEPT)
    setup = Entry(0, (Run("n1.1", 1, INSTRUMENTS),))
    assert exchange.apply(1, setup) == naive.apply(1, setup)
    restore_at = data.draw(st.integers(0, len(timed_commands)), label="restore at")
    time, refused = 0, []
    for number, (elapsed, drawn, lifetime) in enumerate(timed_commands, start=3):
        time += elapsed
        command = copy_of(drawn, refused) if isinstance(drawn, Again) else aimed(drawn, exchange)
        if isinstance(command, NewOrder):
            command = command._replace(not_after=None if lifetime is None else max(0, time + lifetime))
        entry = Entry(time, (Run("n1.1", number, (command,)),))
        [execution] = executions = exchange.apply(number, entry)
        assert without_words(executions) == naive.apply(number, entry)
        exchange.check()
        assert_equal_state(exchange, naive)
        if isinstance(command, NewOrder) and not execution.accepted:
            refused.append(command)
        if number == restore_at:
            restored = Exchange.from_snapshot(exchange.to_snapshot())
            assert restored.to_snapshot() == exchange.to_snapshot()
            exchange = restored


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), order_commands, lifetimes), min_size=20, max_size=80))
def test_once_refused_no_copy_is_accepted_whose_not_after_is_no_later(timed_commands):
    """The guarantee itself, for whoever does not exceed the bounds of memory."""
    exchange = Exchange()
    exchange.apply(1, Entry(0, (Run("n1.1", 1, INSTRUMENTS),)))
    latest_refused: dict[NewOrder, int] = {}
    time, refused = 0, []
    for number, (elapsed, drawn, lifetime) in enumerate(timed_commands, start=3):
        time += elapsed
        command = copy_of(drawn, refused) if isinstance(drawn, Again) else aimed(drawn, exchange)
        if isinstance(command, NewOrder):
            command = command._replace(not_after=None if lifetime is None else max(0, time + lifetime))
        [execution] = exchange.apply(number, Entry(time, (Run("n1.1", number, (command,)),)))
        if not isinstance(command, NewOrder) or command.not_after is None:
            continue
        content = command._replace(not_after=None, quantity=command.quantity.in_lowest_terms())
        if execution.accepted:
            assert execution.events[0].duplicate or command.not_after > latest_refused.get(content, -1)
        else:
            latest_refused[content] = max(latest_refused.get(content, -1), command.not_after)
            refused.append(command)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 50), st.lists(runs, max_size=3)), max_size=15))
def test_each_submission_is_executed_once_and_in_its_origins_order(entries):
    exchange, naive = Exchange(closed_orders_kept=CLOSED_ORDERS_KEPT), NaiveExchange(CLOSED_ORDERS_KEPT)
    setup = Entry(0, (Run("n1.1", 1, INSTRUMENTS),))
    assert exchange.apply(1, setup) == naive.apply(1, setup)
    next_sequences = {"n1.1": 1 + len(INSTRUMENTS), "n2.1": 1}
    for index, (timestamp, entry_runs) in enumerate(entries, start=2):
        entry = Entry(timestamp, tuple(entry_runs))
        executions = exchange.apply(index, entry)
        assert without_words(executions) == naive.apply(index, entry)
        for execution in executions:
            assert execution.sequence == next_sequences[execution.origin]
            next_sequences[execution.origin] += 1
        exchange.check()
        assert_equal_state(exchange, naive)
    assert exchange.watermarks == {
        origin: following - 1 for origin, following in next_sequences.items() if following > 1
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_engine_does_what_the_naive_book_does_on_realistic_flow(seed):
    flow = OrderFlow(seed, symbols=("ACME", "BTC"), accounts=("alice", "bob", "carol"))
    exchange, naive = Exchange(closed_orders_kept=50), NaiveExchange(50)
    numbers = random.Random(seed)
    restore_at = numbers.randrange(1, 1_000)
    for index, command in zip(
        range(1, 1_001), [*flow.instruments(), *(next(flow) for _ in range(1_000))], strict=False
    ):
        entry = Entry(index, (Run("n1.1", index, (command,)),))
        assert without_words(exchange.apply(index, entry)) == naive.apply(index, entry)
        if index % 50 == 0 or index == restore_at:
            exchange.check()
            assert_equal_state(exchange, naive)
        if index == restore_at:
            exchange = Exchange.from_snapshot(exchange.to_snapshot())
