"""What always holds of an exchange: `check` knows each of its invariants, and each is seen to break."""

from __future__ import annotations

import ast
import re
from itertools import product
from pathlib import Path

import pytest

from raftbook.engine import (
    CancelAll,
    CancelOrder,
    Entry,
    OrderStatus,
    OrderType,
    Reason,
    Run,
    Side,
    TimeInForce,
    TradingStatus,
    invariants,
)
from raftbook.engine.types import DAY_NS
from tests.engine.exchanges import rich_exchange, trading_exchange

SOURCE = Path(invariants.__file__).with_name("invariants.py")


class TestCheck:
    """Each of these states is broken in one way, and `check` says in which."""

    @pytest.mark.parametrize(
        ("broken", "invariant"),
        [
            ("best_bid.quantity += 1", "sums are those over its orders"),
            ("best_bid.order_count += 1", "sums are those over its orders"),
            ("best_bid.tail = best_bid.head", "tail is its last order"),
            ("best_bid.head.next.previous = None", "linked both ways"),
            ("best_bid.head.level = book.asks.best", "linked both ways"),
            ("best_bid.head.filled_quantity += 1", "quantity = filled"),
            ("best_bid.head.leaves_quantity -= 1", "a live order has leaves, nothing canceled"),
            ("best_bid.head.notional = 0", "a notional comes from trades"),
            ("best_bid.head.status = OrderStatus.FILLED", "a filled order is filled"),
            ("best_bid.head.time_in_force = TimeInForce.IOC", "ioc orders wait for an uncross only"),
            ("best_bid.head.price = 99", "waits at its own price"),
            ("best_bid.price = 99", "the rank is the signed price"),
            ("book.bids.best = None", "the best level is the first"),
            ("book.bids.add_level(PriceLevel(98, -98))", "no empty level remains"),
            ("book.bids.ranks.add(-97)", "the ranks are those of the levels"),
            ("book.bids.ranks.pop(0)", "the ranks are those of the levels"),
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
            # API keys.
            ("keys.most_keys = 3", "a bounded number of keys"),
            ("keys.key_ids.popitem()", "every public key belongs to one key"),
            ("keys.records['another1'] = keys.records.pop('read0001')", "is found under its id"),
            ("change_key('trade001', accounts=())", "its accounts go with its role"),
            ("change_key('trade001', accounts=('bob', 'alice'))", "its accounts are in rising order"),
            ("change_key('revoked1', revoked_at=1)", "was created, then revoked, in log time"),
            ("change_key('trade001', created_at=2 * DAY_NS)", "was created, then revoked, in log time"),
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

        def change_key(key_id, **changes):
            exchange.api_keys.records[key_id] = exchange.api_keys.records[key_id]._replace(**changes)

        names = {
            "exchange": exchange,
            "registry": registry,
            "keys": exchange.api_keys,
            "change_key": change_key,
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
        ast.unparse(node.args[-1])
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("_require", "_broken", "_broken_by")
        # Two of them pass on what they were told.
        if not any(isinstance(name, ast.Name) and name.id == "invariant" for name in ast.walk(node.args[-1]))
    ]
    assert len(required) > 90
    # Follows from two others, as a closed order's leaves are zero: whatever breaks it breaks one of them before.
    expected.append("a closed order hides nothing")
    unseen = [invariant for invariant in required if not any(re.search(words, invariant) for words in expected)]
    assert unseen == []


def test_what_is_passed_over_as_plain_is_what_the_long_way_finds_sound():
    """Of every order, and of each with one or two of its fields changed."""
    exchange = rich_exchange()
    numbers = [-1, 0, 1, 2, 3, 5, 6, 99, 100, 101, 2**62, 2**63 - 1, 2**63]
    optional = [None, *numbers]
    changes = [
        *(("price", value) for value in optional),
        *(("quantity", value) for value in numbers),
        *(("leaves_quantity", value) for value in numbers),
        *(("filled_quantity", value) for value in numbers),
        *(("notional", value) for value in numbers),
        *(("hidden_quantity", value) for value in numbers),
        *(("stop_price", value) for value in optional),
        *(("display_quantity", value) for value in optional),
        *(("expire_time", value) for value in (None, 1, DAY_NS)),
        *(("status", value) for value in OrderStatus),
        *(("order_type", value) for value in OrderType),
        *(("time_in_force", value) for value in TimeInForce),
        ("level", None),
    ]
    plain = sound = 0
    for order in exchange.registry.orders.values():
        instrument = exchange.instruments[order.symbol]
        for alterations in [(), *((change,) for change in changes), *product(changes[:27], changes[27:40])]:
            kept = [(name, getattr(order, name)) for name, _ in alterations]
            for name, value in alterations:
                setattr(order, name, value)
            is_plain, is_sound = invariants._is_plain_and_sound(order, instrument), True
            try:
                invariants._check_order(order)
                invariants._check_steps(order, instrument)
            except AssertionError:
                is_sound = False
            assert is_sound or not is_plain, (order.client_order_id, alterations)
            plain, sound = plain + is_plain, sound + is_sound
            for name, value in kept:
                setattr(order, name, value)
    assert 50 < plain < sound
