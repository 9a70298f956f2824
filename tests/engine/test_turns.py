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


def live_orders(exchange: Exchange) -> int:
    return sum(order.is_live for order in exchange.registry.orders.values())


def test_a_check_of_the_state_leaves_turns_for_every_order_and_for_every_one_that_waits():
    exchange = exchange_with_orders()
    sides = [side for book in exchange.books.values() for side in (book.bids, book.asks)]
    levels = sum(len(list(side.best_levels())) + 1 for side in sides)  # And those without a price.
    assert live_orders(exchange) > 50
    # All orders; those that an account lists as open; those in a queue; each queue, where little is looked at.
    assert turns_of(exchange.check) == len(exchange.registry.orders) + 2 * live_orders(exchange) + levels


def test_a_restore_leaves_turns_for_every_order_as_it_is_read_sorted_taken_in_and_put_into_its_queue():
    exchange = exchange_with_orders()
    snapshot, orders = exchange.to_snapshot(), exchange.registry.orders
    of_check, of_restore = turns_of(exchange.check), turns_of(lambda: Exchange.from_snapshot(snapshot))
    assert of_restore == of_check + 3 * len(orders) + live_orders(exchange)


def test_the_decoding_of_a_snapshot_leaves_a_turn_for_every_piece():
    raw = cbor2.dumps([0] * 1_000_000)
    assert turns_of(lambda: load_in_pieces(raw, max_depth=2)) > 10
