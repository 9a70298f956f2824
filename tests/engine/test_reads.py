"""Reads by every combination of conditions, held against the list of all orders."""

from __future__ import annotations

from itertools import combinations

import pytest

from raftbook.engine import OrderStatus, Side
from tests.engine.exchanges import rich_exchange

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
