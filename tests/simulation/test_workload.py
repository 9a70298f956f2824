"""The exotic part of the order flow: every kind of command comes, most are accepted, and without it nothing changes."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from itertools import islice

from raftbook.codec import encode_command
from raftbook.engine import (
    AddInstrument,
    Entry,
    EventKind,
    Exchange,
    NewOrder,
    OrderType,
    ReplaceOrder,
    Run,
    TimeInForce,
)
from raftbook.simulation.workload import OrderFlow

START_NS = 1_700_000_000_000_000_000
STEP_NS = 20_000_000


def exotic_flow(seed, now=lambda: START_NS):
    return OrderFlow(seed, accounts=("alice", "bob", "carol"), exotic_share=0.5, clock=now)


def test_without_a_share_the_flow_is_what_it_always_was():
    """Benchmarks are compared over releases, and recorded histories are made of it."""
    flow = OrderFlow(1, ("ACME", "BTC"))
    plain = [*flow.instruments(), *islice(flow, 5_000)]
    assert (
        blake2b(b"".join(map(encode_command, plain)), digest_size=16).hexdigest() == "6cbb5662bd4a4fb9064689fefcb04423"
    )


def test_one_seed_is_one_flow():
    first, again, other = (list(islice(exotic_flow(seed), 500)) for seed in (1, 1, 2))
    assert first == again != other


def test_every_kind_of_order_and_change_comes():
    commands = list(islice(exotic_flow(3), 3_000))
    orders = [command for command in commands if isinstance(command, NewOrder)]
    seen = {(order.order_type, order.time_in_force) for order in orders}
    of_stops = set(TimeInForce) - {TimeInForce.FOK}
    for order_type in (OrderType.STOP, OrderType.STOP_LIMIT):
        assert {time_in_force for seen_type, time_in_force in seen if seen_type is order_type} == of_stops
    assert seen >= {(OrderType.LIMIT, time_in_force) for time_in_force in TimeInForce}
    assert {order.self_trade_prevention for order in orders} > {None}
    assert {order.order_type for order in orders if order.display_quantity} == {OrderType.LIMIT, OrderType.STOP_LIMIT}
    assert all((order.expire_time is not None) == (order.time_in_force is TimeInForce.GTD) for order in orders)
    replaces = [command for command in commands if isinstance(command, ReplaceOrder)]
    for field in ("price", "quantity", "stop_price", "display_quantity", "expire_time"):
        assert any(getattr(replace, field) is not None for replace in replaces), field
    assert {(type(command).__name__, command.status.label) for command in commands if hasattr(command, "status")} >= {
        *(("SetStatus", "auction"), ("SetStatus", "halted"), ("SetStatus", "trading")),
        *(("Uncross", "trading"), ("Uncross", "closed")),
    }


def test_without_a_clock_no_order_names_its_expiry():
    orders = [command for command in islice(OrderFlow(3, exotic_share=0.5), 2_000) if isinstance(command, NewOrder)]
    assert TimeInForce.DAY in {order.time_in_force for order in orders}
    assert TimeInForce.GTD not in {order.time_in_force for order in orders}


def events_of(seed, count):
    """(command, execution) of each command of such a flow; the clock goes on with each."""
    exchange = Exchange()
    now = START_NS
    flow = exotic_flow(seed, lambda: now)
    for number, command in enumerate([*flow.instruments(), *islice(flow, count)], 1):
        now += STEP_NS
        for execution in exchange.apply(number, Entry(now, (Run("n1.1", number, (command,)),))):
            yield command, execution
    exchange.check()


def test_an_engine_that_is_fed_with_it_does_all_that_it_can():
    """Of each event and reason some are seen, so that lives which trade it live through all of them."""
    seen: Counter[str] = Counter()
    accepted = 0
    for command, execution in (pair for seed in range(6) for pair in events_of(seed, 1_200)):
        accepted += execution.accepted and not isinstance(command, AddInstrument)
        for event in execution.events:
            seen[event.kind.label] += 1
            seen[str(getattr(event, "reason", None))] += 1
            seen["auction trade"] += event.kind is EventKind.TRADE and event.auction
    for what in (
        *("trade", "auction trade", "order_triggered", "order_restated", "indicative_changed", "auction_uncrossed"),
        *("expired", "self_trade", "iceberg_refresh", "volatility", "market_protection", "no_liquidity", "ioc", "fok"),
        *("instrument_in_auction", "not_in_auction", "instrument_halted", "instrument_closed", "price_outside_band"),
        *("display_quantity_too_small", "quantity_too_small", "notional_too_small", "too_many_open_orders"),
        *("quantity_too_large", "post_only_would_trade", "unknown_order", "invalid_order"),
    ):
        assert seen[what] > 1, f"{what}: {seen}"
    assert accepted > 3_000
