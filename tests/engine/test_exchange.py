"""What scripts cannot show of the exchange: the log's side of it, what it remembers, and reads."""

from __future__ import annotations

import doctest
import itertools
from typing import TYPE_CHECKING

import pytest

import raftbook.engine
from raftbook.engine import (
    Entry,
    Exchange,
    OrderStatus,
    Run,
    Side,
    Tick,
    TimeInForce,
)
from raftbook.engine.order import Order
from raftbook.engine.types import CLOSED_ORDERS_KEPT
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from raftbook.engine.events import OrderState
from tests.engine.exchanges import exchange_with, limit, trading_exchange
from tests.support.compiled import replaces_names


def test_the_example_of_the_package_docstring_holds():
    assert doctest.testmod(raftbook.engine).failed == 0


class TestLog:
    def test_an_entry_must_come_after_every_earlier_one(self):
        exchange = exchange_with()
        with pytest.raises(AssertionError, match="entry 1 after entry 1"):
            exchange.apply(1, Entry(0, ()))
        exchange.apply(7, Entry(0, ()))
        assert exchange.log_index == 7

    def test_log_time_never_runs_backwards(self):
        exchange = Exchange()
        exchange.apply(1, Entry(50, ()))
        [execution] = exchange.apply(2, Entry(40, (Run("n1.1", 1, (Tick(),)),)))
        assert exchange.time == execution.timestamp == 50

    def test_what_was_executed_is_passed_over_and_what_follows_in_the_run_is_executed(self):
        exchange = Exchange()
        exchange.apply(1, Entry(0, (Run("n1.1", 1, (Tick(), Tick())),)))
        executions = exchange.apply(2, Entry(0, (Run("n1.1", 1, (Tick(), Tick(), Tick())),)))
        assert [execution.sequence for execution in executions] == [3]
        assert exchange.watermarks == {"n1.1": 3}

    def test_what_leaves_a_gap_is_passed_over_and_executed_when_it_comes_again(self):
        exchange = Exchange()
        assert exchange.apply(1, Entry(0, (Run("n1.1", 2, (Tick(),)),))) == []
        assert exchange.watermarks == {}
        executions = exchange.apply(2, Entry(0, (Run("n1.1", 1, (Tick(),)), Run("n1.1", 2, (Tick(),)))))
        assert [execution.sequence for execution in executions] == [1, 2]

    def test_an_empty_run_does_nothing(self):
        exchange = Exchange()
        assert exchange.apply(1, Entry(0, (Run("n1.1", 1, ()),))) == []
        assert exchange.watermarks == {}


class TestMemory:
    def test_ten_thousand_closed_orders_are_remembered_per_account(self):
        closing = [limit("alice", f"c{n}", Side.BUY, 1, 1, TimeInForce.IOC) for n in range(CLOSED_ORDERS_KEPT + 1)]
        exchange = exchange_with(limit("bob", "kept", Side.BUY, 1, 1, TimeInForce.IOC), *closing)
        assert exchange.order_by_client_id("alice", "c0") is None
        assert exchange.order_by_client_id("alice", "c1") is not None
        assert exchange.order_by_client_id("bob", "kept") is not None
        assert len(exchange.orders(open_only=False)) == CLOSED_ORDERS_KEPT + 1

    def test_as_many_refused_orders_are_remembered_per_account(self):
        exchange = exchange_with()

        def executed(command):
            sequence = exchange.watermarks["n1.1"] + 1
            [execution] = exchange.apply(sequence, Entry(0, (Run("n1.1", sequence, (command,)),)))
            exchange.check()
            return execution

        def refused(number):
            return limit("alice", f"r{number}", Side.BUY, 100, 0)._replace(not_after=9)

        entry = Entry(0, (Run("n1.1", 2, tuple(refused(number) for number in range(CLOSED_ORDERS_KEPT))),))
        exchange.apply(2, entry)
        exchange.apply(CLOSED_ORDERS_KEPT + 1, Entry(0, ()))
        assert executed(refused(0)).events[0].duplicate
        assert not executed(refused(CLOSED_ORDERS_KEPT)).events[0].duplicate
        assert executed(refused(1)).events[0].duplicate
        assert not executed(refused(0)).events[0].duplicate

    def test_refused_orders_are_forgotten_when_their_time_has_passed_whoever_sends_what(self):
        exchange = trading_exchange()
        for time, left in ((80, 4), (81, 2), (90, 2), (91, 0)):
            exchange.apply(time, Entry(time, ()))
            exchange.check()
            assert len(list(exchange.refused_orders)) == left
        assert exchange.refused_orders.accounts == {}
        assert len(exchange.refused_orders.by_expiry) == 0


class TestReads:
    @replaces_names
    def test_a_page_of_orders_costs_no_more_states_than_it_has(self, monkeypatch):
        exchange = trading_exchange()
        everything = exchange.orders(open_only=False)
        made: list[int] = []
        state = Order.state

        def counted_state(order: Order) -> OrderState:
            made.append(order.order_id)
            return state(order)

        monkeypatch.setattr(Order, "state", counted_state)
        page = list(itertools.islice(exchange.iterate_orders(None, None, None, tuple(OrderStatus), 2), 2))
        assert page == everything[1:3]
        assert made == [2, 3]

    def test_all_orders_of_an_account_are_its_part_of_all_orders(self):
        exchange = trading_exchange()
        for account in ("alice", "bob", "nobody"):
            expected = [order for order in exchange.orders(open_only=False) if order.account == account]
            assert exchange.orders(account, open_only=False) == expected
        assert any(order.status is not OrderStatus.OPEN for order in exchange.orders("bob", open_only=False))

    def test_orders_by_account_symbol_side_and_status(self):
        exchange = trading_exchange()

        def names(**conditions):
            return [(order.account, order.client_order_id) for order in exchange.orders(**conditions)]

        assert names() == [("alice", "b1"), ("alice", "b2"), ("bob", "b1"), ("bob", "s1")]
        assert names(open_only=False) == [*names(), ("bob", "s2")]
        assert names(account="bob") == [("bob", "b1"), ("bob", "s1")]
        assert names(account="bob", side=Side.SELL, open_only=False) == [("bob", "s1"), ("bob", "s2")]
        assert names(account="nobody") == names(symbol="NONE") == []
        assert names(symbol="ACME", side=Side.BUY) == [("alice", "b1"), ("alice", "b2"), ("bob", "b1")]

    def test_an_order_by_its_ids(self):
        exchange = trading_exchange()
        assert exchange.order(1) == exchange.order_by_client_id("alice", "b1") == exchange.orders()[0]
        assert exchange.order(99) is None
        assert exchange.order_by_client_id("alice", "s1") is None
        assert exchange.order_by_client_id("nobody", "b1") is None

    def test_depth_and_level3_best_first(self):
        exchange = trading_exchange()
        assert exchange.depth("ACME") == ([(100, 8), (99, 5)], [(101, 5)])
        assert exchange.depth("ACME", 1) == ([(100, 8)], [(101, 5)])
        bids, asks = exchange.level3("ACME", 1)
        assert [(order.client_order_id, order.leaves_quantity) for order in bids] == [("b1", 3), ("b2", 5)]
        assert [order.client_order_id for order in asks] == ["s1"]
        with pytest.raises(KeyError):
            exchange.depth("NONE")


def test_a_long_run_of_realistic_flow_keeps_every_invariant():
    flow = OrderFlow(3, symbols=("ACME", "BTC"), accounts=("alice", "bob"))
    exchange = Exchange(closed_orders_kept=200)
    exchange.apply(1, Entry(0, (Run("n1.1", 1, tuple(flow.instruments())),)))
    for index in range(2, 202):
        first = exchange.watermarks["n1.1"] + 1
        exchange.apply(index, Entry(index, (Run("n1.1", first, tuple(next(flow) for _ in range(50))),)))
        exchange.check()
    assert len(exchange.orders()) > 100
