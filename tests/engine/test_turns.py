"""A thread that takes in a large state leaves turns to the others, also where the engine is machine code."""

from __future__ import annotations

import sys
from itertools import islice
from types import FunctionType

import cbor2

from raftbook.codec.cbor import load_in_pieces
from raftbook.engine import Entry, Exchange, Run
from raftbook.engine.turns import let_others_run
from raftbook.simulation.workload import OrderFlow


def exchange_with_orders() -> Exchange:
    flow, exchange = OrderFlow(1), Exchange()
    commands = (*flow.instruments(), *islice(flow, 4000))
    exchange.apply(1, Entry(timestamp=1, runs=(Run("n1.1", 1, commands),)))
    return exchange


def turns_of(work) -> int:
    """How often Python is called for the sake of others; machine code is seen as well."""
    turns = 0

    def count(frame, event, _argument):
        nonlocal turns
        turns += event == "call" and frame.f_code is let_others_run.__code__

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return turns


def test_it_is_python_and_never_machine_code():
    assert type(let_others_run) is FunctionType


def test_a_check_of_the_state_leaves_turns_for_every_order_and_for_every_one_that_waits():
    exchange = exchange_with_orders()
    orders = exchange.registry.orders
    live = sum(order.is_live for order in orders.values())
    assert live > 50
    # All orders; those that an account lists as open; those in a queue.
    assert turns_of(exchange.check) >= len(orders) + live + live


def test_a_restore_leaves_turns_for_every_order_as_it_is_read_sorted_and_taken_in():
    exchange = exchange_with_orders()
    snapshot, orders = exchange.to_snapshot(), exchange.registry.orders
    of_check = turns_of(exchange.check)
    assert turns_of(lambda: Exchange.from_snapshot(snapshot)) >= of_check + 3 * len(orders)


def test_the_decoding_of_a_snapshot_leaves_a_turn_for_every_piece():
    raw = cbor2.dumps([0] * 1_000_000)
    assert turns_of(lambda: load_in_pieces(raw, max_depth=2)) > 10
