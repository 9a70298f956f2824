"""Snapshots: what they hold, and that whatever is none is refused."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.engine import (
    CancelAll,
    Entry,
    Exchange,
    OrderStatus,
    OrderType,
    Role,
    Run,
    SetStatus,
    Side,
    Tick,
    TradingStatus,
)
from raftbook.engine.types import DAY_NS
from tests.engine.exchanges import ACME, limit, rich_exchange, trading_exchange


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
        [None, 7, "", [], [2], [4, 0, 0, 0, 0, 1, [], [], [], []], [2, 0, 0, 0, 0, 1, [], [], []], {}],
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

    @pytest.mark.parametrize(
        ("alteration", "complaint"),
        [
            ("order[0] = True", "order_id of an order must be of type int, not True"),
            ("order[7] = 1", "post_only of an order must be of type bool, not 1"),
            ("order[8] = '100'", "price of an order must be of type int or NoneType, not '100'"),
            ("order.append(None)", "order must have 20 fields, not 21"),
            ("order[1] = 'a b'", "client_order_id is not well formed: 'a b'"),
            ("order[2] = ''", "account is not well formed: ''"),
            ("order[3] = 'NONE'", "belongs to an unknown instrument, 'NONE'"),
            ("order[4] = 3", "has 3 where a kind or a status stands"),
            ("order[13] = 9", "has 9 where a kind or a status stands"),
            ("order[9] = 2**63", "the quantity is positive and fits 64 bits"),
            ("closed[17] = -1", "expires at -1, which is no time"),
            ("closed[2] = 'nobody'", "listed by an account that is not its own"),
            ("closed[0] = order[0]", "occurs twice"),
        ],
    )
    def test_it_names_what_is_wrong_with_an_order(self, alteration, complaint):
        snapshot = copy.deepcopy(trading_exchange().to_snapshot())
        exec(alteration, {"order": snapshot[7][0][6][0], "closed": snapshot[8][0][1][0]})
        with pytest.raises(ValueError, match=f"snapshot: .*{complaint}"):
            Exchange.from_snapshot(snapshot)

    def test_one_that_is_used_up_gives_the_same_and_its_orders_go_as_they_are_read(self):
        snapshot = rich_exchange().to_snapshot()
        used = copy.deepcopy(snapshot)
        assert Exchange.from_snapshot(used, use_up=True).to_snapshot() == snapshot
        assert [orders for book in used[7] for orders in book[6:]] == [[]] * 3 * len(snapshot[7])
        assert all(orders == [] for _, orders in used[8])
        assert Exchange.from_snapshot(snapshot).to_snapshot() == snapshot

    def test_however_far_apart_their_ids_are_orders_are_known_by_id(self):
        snapshot = copy.deepcopy(rich_exchange().to_snapshot())
        snapshot[3] *= 5_000
        listed = [orders for book in snapshot[7] for orders in book[6:]] + [orders for _, orders in snapshot[8]]
        for order in (order for orders in listed for order in orders):
            order[0] *= 5_000
        restored = Exchange.from_snapshot(snapshot)
        assert restored.to_snapshot() == snapshot
        assert list(restored.registry.orders) == sorted(order[0] for orders in listed for order in orders)

    def test_names_that_many_orders_share_are_one_object_each(self):
        snapshot = copy.deepcopy(rich_exchange().to_snapshot())
        fresh = json.loads(json.dumps(snapshot))
        orders = list(Exchange.from_snapshot(fresh).registry.orders.values())
        for names in ([order.account for order in orders], [order.symbol for order in orders]):
            assert len(names) > len(set(names)) == len({id(name) for name in names})

    @pytest.mark.parametrize(
        ("alteration", "complaint"),
        [
            ("keys[0][0] = keys[1][0]", "occurs twice"),
            ("keys[0][4] = keys[1][4]", "occurs twice"),
            ("keys[1][3].reverse()", "rising order"),
            ("keys[1][3] = []", "accounts go with its role"),
            ("keys[2][3] = [f'account-{number}' for number in range(9)]", "has 9 accounts, more than 8"),
            ("keys[0][2] = 4", "role has no value 4"),
            ("snapshot[10] = [10_000, []]", "where there are no keys, nothing is said of them"),
            ("snapshot[10][0] = 3", "a bounded number of keys"),
            ("snapshot[0] = 2", "must have 10 fields, not 11"),
            ("del snapshot[10]", "must have 11 fields, not 10"),
        ],
    )
    def test_it_names_what_is_wrong_with_an_api_key(self, alteration, complaint):
        snapshot = copy.deepcopy(rich_exchange().to_snapshot())
        exec(alteration, {"snapshot": snapshot, "keys": snapshot[10][1]})
        with pytest.raises(ValueError, match=f"snapshot: .*{complaint}"):
            Exchange.from_snapshot(snapshot)

    def test_before_there_is_a_key_it_is_what_older_releases_read_and_write(self):
        snapshot = trading_exchange().to_snapshot()
        assert snapshot[0] == 2
        assert len(snapshot) == 10
        assert Exchange.from_snapshot(snapshot).to_snapshot() == snapshot

    def test_the_exchange_of_the_next_tests_has_something_of_everything(self):
        exchange = rich_exchange()
        orders = exchange.orders(open_only=False)
        assert {order.status for order in orders} == set(OrderStatus) - {OrderStatus.REJECTED}
        assert set(exchange.statuses.values()) == set(TradingStatus) - {TradingStatus.CLOSED}
        assert any(order.visible_quantity < order.leaves_quantity for order in orders)
        assert any(order.quantity < 5 for order in orders if order.client_order_id == "gtd"), "it was decremented"
        assert all(exchange.indication("CALL"))
        assert exchange.next_expiry is not None
        assert {key.role for key in exchange.api_keys.records.values()} == set(Role)
        assert any(key.revoked_at is not None for key in exchange.api_keys.records.values())
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
