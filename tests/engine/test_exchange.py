"""What scripts cannot show of the exchange: the log's side of it, reads, snapshots that are none, broken states."""

from __future__ import annotations

import ast
import copy
import doctest
import inspect
import itertools
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import raftbook.engine
from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Entry,
    Exchange,
    NewOrder,
    Number,
    OrderStatus,
    OrderType,
    Reason,
    ReplaceOrder,
    Run,
    SelfTradePrevention,
    SetStatus,
    Side,
    Tick,
    TimeInForce,
    TradingStatus,
    invariants,
)
from raftbook.engine.order import Order
from raftbook.engine.types import CLOSED_ORDERS_KEPT, DAY_NS
from raftbook.simulation.workload import OrderFlow

if TYPE_CHECKING:
    from raftbook.engine.events import OrderState

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
        Entry(DAY_NS // 2 + 10, (Run("n2.1", 1, tuple(orders_of_call())),)),
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


class TestSnapshot:
    def test_equal_states_give_equal_snapshots_whatever_way_they_came_about(self):
        one = Exchange()
        one.apply(1, Entry(0, (Run("n1.1", 1, (ACME,)), Run("n2.1", 1, (Tick(),)))))
        other = Exchange()
        other.apply(1, Entry(0, (Run("n2.1", 1, (Tick(),)), Run("n1.1", 1, (ACME,)))))
        assert one.to_snapshot() == other.to_snapshot()

    def test_it_holds_nothing_but_plain_values(self):
        def types_in(value):
            if type(value) is list:
                return {list}.union(*(types_in(item) for item in value))
            return {type(value)}

        assert types_in(trading_exchange().to_snapshot()) <= {list, int, str, bool, type(None)}

    def test_tuples_do_as_well_as_lists(self):
        def with_tuples(value):
            return tuple(with_tuples(item) for item in value) if isinstance(value, list) else value

        snapshot = trading_exchange().to_snapshot()
        assert Exchange.from_snapshot(with_tuples(snapshot)).to_snapshot() == snapshot

    @pytest.mark.parametrize(
        "nonsense",
        [None, 7, "", [], [2], [3, 0, 0, 0, 0, 1, [], [], [], []], [2, 0, 0, 0, 0, 1, [], [], []], {}],
    )
    def test_what_is_no_snapshot_is_refused(self, nonsense):
        with pytest.raises(ValueError, match="snapshot: "):
            Exchange.from_snapshot(nonsense)

    @pytest.mark.parametrize(
        ("alteration", "complaint"),
        [
            ("refused.reverse()", "sorted by account"),
            ("refused.append(refused[-1])", "occurs twice"),
            ("refused[0][13] = 69", "forgotten when its time has passed"),
            ("refused[0][14] = 'bad_mood'", "reason has no value 'bad_mood'"),
            ("refused[0][14] = 'submission_expired'", "only what a copy could overturn"),
            ("refused[0][8] = [50, 1]", "the content is what copies have in common"),
            ("refused[0][0] = 'b1'", "an order's or has refusals, not both"),
            ("snapshot[5] = 2", "a bounded memory of refusals"),
        ],
    )
    def test_it_names_what_is_wrong_with_a_refused_order(self, alteration, complaint):
        snapshot = copy.deepcopy(trading_exchange().to_snapshot())
        exec(alteration, {"snapshot": snapshot, "refused": snapshot[9]})
        with pytest.raises(ValueError, match=f"snapshot: .*{complaint}"):
            Exchange.from_snapshot(snapshot)

    def test_the_exchange_of_the_next_tests_has_something_of_everything(self):
        exchange = rich_exchange()
        orders = exchange.orders(open_only=False)
        assert {order.status for order in orders} == set(OrderStatus) - {OrderStatus.REJECTED}
        assert set(exchange.statuses.values()) == set(TradingStatus) - {TradingStatus.CLOSED}
        assert any(order.visible_quantity < order.leaves_quantity for order in orders)
        assert any(order.quantity < 5 for order in orders if order.client_order_id == "gtd"), "it was decremented"
        assert all(exchange.indication("CALL"))
        assert exchange.next_expiry is not None
        assert len(list(exchange.refused_orders)) == 2
        assert exchange.registry.forgotten_net_quantity == {}
        assert Exchange.from_snapshot(exchange.to_snapshot()).to_snapshot() == exchange.to_snapshot()

    @pytest.mark.parametrize("nonsense", [None, True, -1, 0, 1, 2**63, "~"], ids=repr)
    def test_a_snapshot_with_nonsense_anywhere_is_refused_or_restores_to_what_it_says(self, nonsense):
        snapshot = rich_exchange().to_snapshot()
        refusals = 0
        for place, position in scalar_places(snapshot):
            value, place[position] = place[position], nonsense
            refusals += is_refused(snapshot)
            place[position] = value
        assert refusals > 100

    @given(data=st.data())
    def test_a_snapshot_altered_anywhere_is_refused_or_restores_to_what_it_says(self, data):
        snapshot = copy.deepcopy(rich_exchange().to_snapshot())
        for _ in range(data.draw(st.integers(1, 2))):
            place = snapshot
            while True:
                position = data.draw(st.integers(0, len(place) - 1))
                if isinstance(place[position], list) and place[position] and data.draw(st.integers(0, 9)):
                    place = place[position]
                else:
                    break
            others = st.sampled_from([copy.deepcopy(value) for value in place])
            junk = st.sampled_from(
                [None, True, -1, 0, 1, 2, 3, 100, DAY_NS, 2**63, "", "alice", "~", [], [[]], 1.0, b"x"]
            )
            place[position] = data.draw(junk | others)
        is_refused(snapshot)


def scalar_places(values):
    """(list, position) of everything in it that is no list."""
    for position, value in enumerate(values):
        if isinstance(value, list):
            yield from scalar_places(value)
        else:
            yield values, position


def is_refused(snapshot) -> bool:
    """Whatever is not refused is what the snapshot says, if need be in its canonical order, and can go on."""
    restored, refusal = None, ""
    try:
        restored = Exchange.from_snapshot(snapshot)
    except ValueError as error:
        refusal = str(error)
    if restored is None:
        assert refusal.startswith("snapshot: ")
        return True
    canonical = restored.to_snapshot()
    assert sorted(scalars(canonical)) == sorted(scalars(snapshot))
    assert Exchange.from_snapshot(canonical).to_snapshot() == canonical
    go_on(restored)
    return False


def scalars(values):
    """In words, so that they can be sorted, and True is not 1."""
    return [repr(place[position]) for place, position in scalar_places(values)]


def go_on(exchange):
    """Trade with everything, end every auction and halt, wait for every expiry, and cancel what is left."""
    index, time = exchange.log_index, exchange.time
    market = limit("dave", "", Side.BUY, 1, 5)._replace(order_type=OrderType.MARKET, price=None)
    orders = (
        market._replace(symbol=symbol, side=side, client_order_id=f"{symbol}-{side.label}")
        for symbol in exchange.instruments
        for side in Side
    )
    statuses = (SetStatus(symbol, TradingStatus.TRADING) for symbol in exchange.instruments)
    for entry in (
        Entry(time, (Run("n9.9", 1, (*orders, *statuses)),)),
        Entry(time + 2 * DAY_NS, ()),
        Entry(
            time, (Run("n9.9", 1 + 3 * len(exchange.instruments), tuple(map(CancelAll, ("alice", "bob", "carol")))),)
        ),
    ):
        index += 1
        exchange.apply(index, entry)
        exchange.check()


class TestCheck:
    """Each of these states is broken in one way, and `check` says in which."""

    @pytest.mark.parametrize(
        ("broken", "invariant"),
        [
            ("best_bid.quantity += 1", "sums are those over its orders"),
            ("best_bid.order_count += 1", "sums are those over its orders"),
            ("best_bid.tail = best_bid.head", "tail is its last order"),
            ("best_bid.head.next.previous = None", "linked both ways"),
            ("best_bid.head.filled_quantity += 1", "quantity = filled"),
            ("best_bid.head.leaves_quantity -= 1", "a live order has leaves, nothing canceled"),
            ("best_bid.head.notional = 0", "a notional comes from trades"),
            ("best_bid.head.status = OrderStatus.FILLED", "a filled order is filled"),
            ("best_bid.head.time_in_force = TimeInForce.IOC", "ioc orders wait for an uncross only"),
            ("best_bid.head.price = 99", "waits at its own price"),
            ("best_bid.price = 99", "the rank is the signed price"),
            ("book.bids.best = None", "the best level is the first"),
            ("book.bids.levels[-98] = PriceLevel(98, -98)", "no empty level remains"),
            ("book.bids.remove(best_bid.head)", "a live order waits somewhere"),
            ("book.asks.best.price = book.asks.best.rank = 100", "a level is found under its price"),
            ("registry.last_order_id = 1", "order ids rise and none repeats"),
            ("del registry.orders[1]", "found under its id"),
            ("registry.orders[9] = registry.orders[1]", "found under its own id"),
            ("registry.forgotten_net_quantity['ACME'] = 1", "bought = sold"),
            ("registry.accounts['bob'].closed_orders.clear()", "in the order in which they closed"),
            ("registry.closed_orders_kept = 0", "bounded memory"),
            ("exchange.instruments.clear()", "every instrument has one book"),
            ("exchange.watermarks['n1.1'] = 0", "an origin is known from its first"),
            ("exchange.journal.ticked()", "no event is left over"),
            ("book.sequence = 0", "the first event is the instrument's own"),
            ("refused.accounts['alice'].oldest_first.popitem()", "found under its client order id"),
            ("refused.accounts['alice'].oldest_first.move_to_end(2)", "listed oldest first"),
            ("refused.accounts['carol'] = refused.accounts['bob']", "found under its account"),
            ("refused.accounts['bob'].oldest_first.clear()", "a bounded memory of refusals, none empty"),
            ("refused.accounts['bob'].oldest_first[1].not_after = 95", "listed by its expiry"),
            ("exchange.journal.time = 81", "forgotten when its time has passed"),
            ("del refused.accounts['bob']", "every refusal is listed by its expiry"),
        ],
    )
    def test_it_names_the_broken_invariant(self, broken, invariant):
        from raftbook.engine.order_book import PriceLevel  # noqa: PLC0415 - names for the broken statements
        from raftbook.engine.types import OrderStatus  # noqa: PLC0415

        exchange = trading_exchange()
        exchange.check()
        book = exchange.books["ACME"]
        names = {
            "exchange": exchange,
            "registry": exchange.registry,
            "book": book,
            "best_bid": book.bids.best,
            "refused": exchange.refused_orders,
            "OrderStatus": OrderStatus,
            "TimeInForce": TimeInForce,
            "PriceLevel": PriceLevel,
        }
        exec(broken, names)
        with pytest.raises(AssertionError, match=f"broken invariant: .*{invariant}"):
            exchange.check()

    @pytest.mark.parametrize(
        ("broken", "invariant"),
        [
            # Terms.
            ("order('alice', 'plain').price = None", "a price is a limit order's"),
            ("order('alice', 'stop').price = 90", "a price is a limit order's"),
            ("order('alice', 'stop').stop_price = None", "a stop price is a stop's"),
            ("order('alice', 'plain').stop_price = 90", "a stop price is a stop's"),
            ("order('alice', 'plain').expire_time = DAY_NS", "a day or gtd order expires, no other does"),
            ("order('carol', 'gtd').expire_time = None", "a day or gtd order expires, no other does"),
            ("order('bob', 'day').expire_time += 1", "a day ends at midnight"),
            ("order('alice', 'stop').display_quantity = 2", "only an order that may rest shows a part"),
            ("order('carol', 'stop').post_only = True", "only a limit order that may rest is post_only"),
            ("order('bob', 'call-3').post_only = True", "only a limit order that may rest is post_only"),
            ("order('carol', 'stop').stop_price = 2**63", "prices and the tip are positive and fit 64 bits"),
            ("order('alice', 'iceberg').display_quantity = 0", "prices and the tip are positive and fit 64 bits"),
            ("order('carol', 'stop').quantity = order('carol', 'stop').leaves_quantity = 2**62", "the notional fits"),
            ("order('alice', 'dark').price = 101", "prices are on the tick"),
            ("order('alice', 'dark').quantity = order('alice', 'dark').leaves_quantity = 6", "multiples of the lot"),
            # Hidden quantity.
            ("order('alice', 'iceberg').hidden_quantity = -1", "what is hidden is part of the leaves"),
            ("order('alice', 'iceberg').hidden_quantity = 17", "what is hidden is part of the leaves"),
            ("order('alice', 'iceberg').hidden_quantity = 16", "a waiting order shows something"),
            ("order('alice', 'iceberg').hidden_quantity = 11", "an iceberg shows no more than its tip"),
            ("order('alice', 'iceberg').hidden_quantity = 13", "the sums are those over its orders"),
            ("order('alice', 'iceberg').display_quantity = None", "only an iceberg hides a part"),
            ("order('alice', 'plain').hidden_quantity = 1", "only an iceberg hides a part"),
            ("hide(order('carol', 'stop'))", "an untriggered stop hides nothing"),
            ("acme.bids.best.hidden_quantity += 1", "the sums are those over its orders"),
            ("acme.bids.best.quantity = 2**63", "what rests at one price fits 64 bits"),
            # Stops.
            ("acme.buy_stops.best.head.status = OrderStatus.OPEN", "an untriggered stop waits at its stop price"),
            (
                "order('alice', 'plain').status = OrderStatus.UNTRIGGERED",
                "only a stop that has not traded is untriggered",
            ),
            ("order('bob', 'call-8').side = Side.SELL", "an untriggered stop waits at its stop price"),
            ("order('carol', 'call-7').status = OrderStatus.UNTRIGGERED", "an order in the book is open"),
            ("order('alice', 'stop').arrival = 9", "stops wait in the order of their arrival"),
            ("acme.last_arrival = 0", "stops are counted as they arrive"),
            ("acme.last_price = 115", "no stop waits whose condition holds"),
            ("call.last_price = 111", "no stop waits whose condition holds"),
            ("acme.sell_stops.best = None", "the best level is the first"),
            ("acme.sell_stops.best.order_count += 1", "the sums are those over its orders"),
            ("acme.buy_stops.remove(acme.buy_stops.best.head)", "a live order waits somewhere"),
            ("acme.last_price = 0", "the last price fits 64 bits"),
            # Expiries.
            (
                "registry.expiries.discard(order('carol', 'gtd'))",
                "the expiries are those of the live orders that expire",
            ),
            ("order('carol', 'gtd').expire_time += 1", "listed by its expiry"),
            ("exchange.journal.time += 100", "ended when its time had come"),
            ("registry.expiries.add(order('carol', 'gone'))", "the expiries are those of the live orders that expire"),
            # Auctions.
            ("exchange.journal.auctions.clear()", "the auctions are the books in auction"),
            ("exchange.journal.auctions['ACME'] = acme", "the auctions are the books in auction"),
            ("acme.indication = call.indication", "what was told of the auction is true"),
            ("dark.indication = call.indication", "what was told of the auction is true"),
            ("call.until_uncross.clear()", "ioc orders wait for an uncross only"),
            ("call.until_uncross[1] = order('bob', 'call-2')", "ioc orders wait for an uncross only"),
            ("call.status = TradingStatus.TRADING", "while trading, market orders and ioc are gone"),
            ("cancel('carol'); call.status = TradingStatus.TRADING", "while trading, market orders and ioc are gone"),
            ("cancel('carol', 'call-3'); call.status = TradingStatus.TRADING", "the best bid is below the best ask"),
            ("call.bids.unpriced.quantity += 1", "the sums are those over its orders"),
            ("call.bids.unpriced.tail = call.bids.unpriced.head", "the queue's tail is its last order"),
            ("call.bids.unpriced.head.price = 100", "a price is a limit order's"),
            # Where orders are listed.
            ("order('alice', 'plain').quantity = 0", "the quantity is positive"),
            ("order('alice', 'plain').filled_quantity = -1", "no quantity is negative"),
            ("order('alice', 'stop').time_in_force = TimeInForce.FOK", "no stop is fok"),
            ("order('alice', 'plain').time_in_force = TimeInForce.FOK", "a fok never waits"),
            (
                "order('carol', 'gone').status = OrderStatus.REJECTED",
                "a known order is live, filled, canceled or expired",
            ),
            ("order('carol', 'canceled').status = OrderStatus.EXPIRED", "only an order that expires is expired"),
            ("order('carol', 'canceled').leaves_quantity = 1", "a canceled order has no leaves"),
            ("order('carol', 'gone').level = acme.bids.best", "a closed order is in no book"),
            ("dark.bids.remove(dark_order); dark_order.level = acme.bids.best", "every live order waits in its book"),
            ("dark_order.symbol = 'NONE'", "every order belongs to a known instrument"),
            ("dark_order.symbol = 'CALL'", "a waiting order is of this instrument"),
            ("del alice.open_orders['dark']", "every order is listed by its account"),
            ("del alice.open_orders['dark'], registry.orders[14]", "a waiting order is registered"),
            ("registry.accounts['dave'] = alice", "an account is found under its own name"),
            ("alice.open_orders['first'] = dark_order", "unique among open and remembered orders"),
            ("alice.open_orders['iceberg'] = alice.open_orders.pop('iceberg')", "open orders are in order-id order"),
            ("alice.open_orders['first'] = alice.closed_orders.pop('first'); alice.closing_order.pop()", "is live"),
            (
                "alice.closed_orders['dark'] = dark_order; alice.closing_order.append(alice.open_orders.pop('dark'))",
                "is closed",
            ),
            ("call.asks.level_at(104).rank = 1", "levels are sorted by rank"),
            # Refusals.
            ("refusal.reason = Reason.SUBMISSION_EXPIRED", "only what a copy could overturn"),
            ("bobs['day'] = bobs.pop('refused')", "an order's or has refusals, not both"),
            (
                "refusal.content = refusal.content._replace(not_after=1); bobs['refused'] = {refusal.content: refusal}",
                "the content is what copies have in common",
            ),
            # Counts of open orders.
            ("registry.limited_symbols['CALL'] = 9", "open orders are counted where an instrument limits them"),
            ("limit_acme(1)", "no more live orders than allowed"),
            ("registry.accounts['alice'].open_counts['ACME'] += 1", "its live orders are counted"),
            ("registry.accounts['alice'].open_counts['CALL'] = 1", "its live orders are counted"),
            ("del registry.accounts['carol'].open_counts['ACME']", "its live orders are counted"),
        ],
    )
    def test_it_names_the_broken_invariant_of_the_rarer_kinds(self, broken, invariant):
        exchange = rich_exchange()
        registry, acme = exchange.registry, exchange.books["ACME"]

        def cancel(account, *names_of_bob):
            commands = (CancelAll(account), *(CancelOrder("bob", None, name) for name in names_of_bob))
            exchange.apply(3, Entry(0, (Run("n3.1", 1, commands),)))

        def hide(order):
            level = order.level
            level.remove(order)
            order.hidden_quantity = 3
            level.append(order)

        def limit_acme(max_open_orders):
            registry.limited_symbols["ACME"] = max_open_orders
            acme.instrument = acme.instrument._replace(max_open_orders=max_open_orders)
            exchange.instruments["ACME"] = acme.instrument

        names = {
            "exchange": exchange,
            "registry": registry,
            "order": registry.find,
            "dark_order": registry.find("alice", "dark"),
            "alice": registry.accounts["alice"],
            "bobs": exchange.refused_orders.accounts["bob"].by_client_order_id,
            "refusal": next(iter(exchange.refused_orders)),
            "acme": acme,
            "call": exchange.books["CALL"],
            "dark": exchange.books["DARK"],
            "cancel": cancel,
            "hide": hide,
            "limit_acme": limit_acme,
            "DAY_NS": DAY_NS,
            "OrderStatus": OrderStatus,
            "Reason": Reason,
            "Side": Side,
            "TimeInForce": TimeInForce,
            "TradingStatus": TradingStatus,
        }
        exec(broken, names)
        with pytest.raises(AssertionError, match=f"broken invariant: .*{invariant}"):
            exchange.check()


def test_every_invariant_is_seen_to_break():
    """Each is named by what one of the broken states of TestCheck expects."""
    expected = [
        complaint
        for test in (
            TestCheck.test_it_names_the_broken_invariant,
            TestCheck.test_it_names_the_broken_invariant_of_the_rarer_kinds,
        )
        for mark in test.pytestmark
        for _, complaint in mark.args[1]
    ]
    required = [
        ast.unparse(node.args[1])
        for node in ast.walk(ast.parse(inspect.getsource(invariants)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_require"
    ]
    assert len(required) > 60
    # Follows from two others, as a closed order's leaves are zero: whatever breaks it breaks one of them before.
    expected.append("a closed order hides nothing")
    unseen = [invariant for invariant in required if not any(re.search(words, invariant) for words in expected)]
    assert unseen == []


def test_a_long_run_of_realistic_flow_keeps_every_invariant():
    flow = OrderFlow(3, symbols=("ACME", "BTC"), accounts=("alice", "bob"))
    exchange = Exchange(closed_orders_kept=200)
    exchange.apply(1, Entry(0, (Run("n1.1", 1, tuple(flow.instruments())),)))
    for index in range(2, 202):
        first = exchange.watermarks["n1.1"] + 1
        exchange.apply(index, Entry(index, (Run("n1.1", first, tuple(next(flow) for _ in range(50))),)))
        exchange.check()
    assert len(exchange.orders()) > 100
