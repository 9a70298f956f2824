"""Exchanges that several tests start from, and the orders that made them."""

from __future__ import annotations

from raftbook.engine import (
    AddInstrument,
    CreateKey,
    Entry,
    Exchange,
    NewOrder,
    Number,
    OrderType,
    ReplaceOrder,
    RevokeKey,
    Role,
    Run,
    SelfTradePrevention,
    SetStatus,
    Side,
    TimeInForce,
    TradingStatus,
)
from raftbook.engine.types import CLOSED_ORDERS_KEPT, DAY_NS

CENT, ONE = Number(1, 2), Number(1, 0)
ACME = AddInstrument("ACME", 2, 0, CENT, ONE)


def limit(account, client_order_id, side, price_cents, quantity, time_in_force=TimeInForce.GTC):
    price = Number(price_cents, 2)
    return NewOrder("ACME", account, client_order_id, side, OrderType.LIMIT, time_in_force, price, Number(quantity, 0))


def exchange_with(*commands, closed_orders_kept=CLOSED_ORDERS_KEPT) -> Exchange:
    exchange = Exchange(closed_orders_kept=closed_orders_kept)
    for execution in exchange.apply(1, Entry(0, (Run("n1.1", 1, (ACME, *commands)),))):
        assert execution.accepted
    return exchange


def trading_exchange() -> Exchange:
    exchange = exchange_with(
        limit("alice", "b1", Side.BUY, 100, 5),
        limit("alice", "b2", Side.BUY, 100, 5),
        limit("bob", "b1", Side.BUY, 99, 5),
        limit("bob", "s1", Side.SELL, 101, 5),
        limit("bob", "s2", Side.SELL, 100, 2),
        closed_orders_kept=50,
    )
    refused = [
        limit("bob", "r1", Side.BUY, 101, 5)._replace(post_only=True, not_after=90),
        limit("alice", "r1", Side.SELL, 100, 5)._replace(post_only=True, not_after=90),
        limit("alice", "r2", Side.SELL, 100, 5)._replace(symbol="NONE", not_after=80),
        limit("alice", "r2", Side.SELL, 100, 0)._replace(price=None, not_after=80),
    ]
    for execution in exchange.apply(2, Entry(70, (Run("n1.1", 7, tuple(refused)),))):
        assert not execution.accepted
    return exchange


def rich_exchange() -> Exchange:
    """Something of everything: ACME is trading with limits of all kinds, CALL is in an auction, DARK is halted."""
    instruments = [
        ACME._replace(
            min_quantity=ONE,
            max_quantity=Number(500, 0),
            min_notional=ONE,
            price_band=Number(50, 0),
            market_protection=Number(20, 0),
            max_open_orders=30,
            self_trade_prevention=SelfTradePrevention.CANCEL_NEWEST,
        ),
        ACME._replace(symbol="CALL"),
        ACME._replace(symbol="DARK", tick_size=Number(5, 2), lot_size=Number(5, 0)),
    ]
    return exchange_of(
        Entry(DAY_NS // 2, (Run("n1.1", 1, (*instruments, *orders_of_acme())),)),
        Entry(DAY_NS // 2 + 10, (Run("n2.1", 1, tuple(orders_of_call())), Run("n2.2", 1, api_keys()))),
    )


def exchange_of(*entries) -> Exchange:
    exchange = Exchange(closed_orders_kept=6)
    for index, entry in enumerate(entries, 1):
        exchange.apply(index, entry)
    exchange.check()
    return exchange


def orders_of_acme():
    def sell_stop(account, name, stop_cents, **terms):
        order = limit(account, name, Side.SELL, 100, 5)
        stop_price = Number(stop_cents, 2)
        return order._replace(order_type=OrderType.STOP, price=None, stop_price=stop_price, **terms)

    later = DAY_NS // 2 + 100
    return (
        limit("alice", "iceberg", Side.BUY, 100, 20)._replace(display_quantity=Number(4, 0)),
        limit("alice", "plain", Side.BUY, 100, 5),
        limit("bob", "taker", Side.SELL, 100, 6),
        limit("bob", "changed", Side.SELL, 103, 7),
        ReplaceOrder("bob", None, "changed", Number(102, 2), None),
        limit("carol", "gtd", Side.SELL, 104, 5, TimeInForce.GTD)._replace(expire_time=later, post_only=True),
        limit("bob", "day", Side.SELL, 104, 5, TimeInForce.DAY),
        limit("carol", "gone", Side.SELL, 105, 5, TimeInForce.GTD)._replace(expire_time=DAY_NS // 2 + 5),
        limit("carol", "canceled", Side.SELL, 105, 5, TimeInForce.IOC),
        limit("carol", "own", Side.BUY, 104, 9)._replace(
            self_trade_prevention=SelfTradePrevention.DECREMENT_AND_CANCEL
        ),
        sell_stop("alice", "stop", 90),
        sell_stop("bob", "stop", 90, time_in_force=TimeInForce.DAY),
        sell_stop("carol", "stop", 80)._replace(
            order_type=OrderType.STOP_LIMIT, price=Number(79, 2), display_quantity=Number(2, 0)
        ),
        limit("carol", "buy-stop", Side.BUY, 120, 5)._replace(
            order_type=OrderType.STOP_LIMIT, stop_price=Number(115, 2)
        ),
        limit("bob", "refused", Side.BUY, 100, 900)._replace(
            not_after=later + 100, display_quantity=Number(4, 0), self_trade_prevention=SelfTradePrevention.NONE
        ),
        sell_stop("bob", "refused-too", 90, not_after=later + 100, quantity=Number(0, 0)),
        limit("alice", "dark", Side.BUY, 100, 5)._replace(symbol="DARK"),
        SetStatus("DARK", TradingStatus.HALTED),
    )


def new_key(key_id, role=Role.READ, *accounts):
    """Its public key is made of its id."""
    return CreateKey(key_id, "desk", role, accounts, f"{key_id:A>42}A")


def api_keys():
    """One of each role, and one that is revoked."""
    return (
        new_key("admin001", Role.ADMIN, "*"),
        new_key("trade001", Role.TRADE, "alice", "bob"),
        new_key("read0001"),
        new_key("revoked1", Role.READ, "carol"),
        RevokeKey("revoked1"),
    )


def orders_of_call():
    def order(account, name, side, cents, quantity, **terms):
        return limit(account, name, side, cents, quantity)._replace(symbol="CALL", **terms)

    market = {"order_type": OrderType.MARKET, "price": None, "time_in_force": TimeInForce.IOC}
    return (
        order("alice", "first", Side.SELL, 100, 1),
        order("bob", "first", Side.BUY, 100, 1),
        SetStatus("CALL", TradingStatus.AUCTION),
        order("alice", "call-1", Side.BUY, 103, 9, display_quantity=Number(2, 0)),
        order("bob", "call-2", Side.SELL, 98, 5),
        order("bob", "call-3", Side.SELL, 104, 5, time_in_force=TimeInForce.IOC),
        order("carol", "call-4", Side.BUY, 1, 3, **market),
        order("carol", "call-5", Side.BUY, 1, 2, **market),
        order("carol", "call-6", Side.SELL, 1, 2, **market),
        order("carol", "call-7", Side.BUY, 1, 2, **market)._replace(
            order_type=OrderType.STOP, stop_price=Number(100, 2), time_in_force=TimeInForce.GTC
        ),
        order("bob", "call-8", Side.BUY, 1, 2, **market)._replace(
            order_type=OrderType.STOP, stop_price=Number(110, 2), time_in_force=TimeInForce.GTC
        ),
    )
