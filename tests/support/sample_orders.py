"""Orders in the JSON form, for tests that care about one of their fields."""

from __future__ import annotations

ACME = {"symbol": "ACME", "price_decimals": 2, "quantity_decimals": 0, "tick_size": "0.01", "lot_size": "1"}


def order(client_order_id="a1", **fields):
    return {
        "symbol": "ACME",
        "account": "alice",
        "client_order_id": client_order_id,
        "side": "buy",
        "price": "100.25",
        "quantity": "5",
        **fields,
    }


def sell(client_order_id="b1", **fields):
    return order(client_order_id, account="bob", side="sell", **fields)
