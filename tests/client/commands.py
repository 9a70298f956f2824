"""Orders as a client sends them."""

from __future__ import annotations

from tests.support.sample_orders import order


def new(client_order_id, **fields):
    return {"op": "new", **order(client_order_id, **fields)}


def numbered(count, first=0):
    return [new(f"a{number}") for number in range(first, first + count)]
