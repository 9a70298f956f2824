"""Reads by every combination of conditions, held against the list of all orders."""

from __future__ import annotations

from itertools import combinations

import pytest

from raftbook.engine import OrderStatus, Side
from tests.engine.exchanges import exchange_with, limit, rich_exchange

STATUSES = [chosen for count in range(len(OrderStatus) + 1) for chosen in combinations(OrderStatus, count)]


@pytest.mark.parametrize("account", [None, "alice", "bob", "nobody"])
@pytest.mark.parametrize("symbol", [None, "ACME", "NONE"])
@pytest.mark.parametrize("side", [None, Side.BUY, Side.SELL])
def test_the_orders_that_meet_all_conditions_are_those_of_all_orders_that_do(account, symbol, side):
    exchange = rich_exchange()
    everything = exchange.orders(open_only=False)
    assert len({order.status for order in everything}) > 2
    for statuses in STATUSES:
        for first in (0, 4):
            assert list(exchange.iterate_orders(account, symbol, side, statuses, first)) == [
                order
                for order in everything
                if order.status in statuses
                and order.order_id >= first
                and account in (None, order.account)
                and symbol in (None, order.symbol)
                and side in (None, order.side)
            ]


@pytest.mark.parametrize("levels", [None, 0, 1, 2, 3, 4])
def test_so_many_levels_of_either_side_best_first(levels):
    exchange = exchange_with(
        *(limit("alice", f"b{price}", Side.BUY, price, 5) for price in (98, 100, 99)),
        *(limit("bob", f"s{price}", Side.SELL, price, 5) for price in (102, 101, 103)),
    )
    bids, asks = [100, 99, 98][:levels], [101, 102, 103][:levels]
    assert exchange.depth("ACME", levels) == ([(price, 5) for price in bids], [(price, 5) for price in asks])
    assert [[order.price for order in side] for side in exchange.level3("ACME", levels)] == [bids, asks]
