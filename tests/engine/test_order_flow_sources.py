"""Where order flow comes from: the generator's shape and repeatability, the reader's reading and its complaints."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from raftbook.engine import (
    CancelOrder,
    Entry,
    Exchange,
    NewOrder,
    Number,
    OrderType,
    Reason,
    ReplaceOrder,
    Run,
    Side,
    TimeInForce,
    Trade,
)
from raftbook.errors import InvalidCommandError
from raftbook.simulation.recorded_flow import read_recorded_flow
from raftbook.simulation.workload import OrderFlow

HEADER = "row,op,id,side,price,qty,maker,kind"


class TestGeneratedFlow:
    def test_equal_seeds_give_equal_flows_and_others_do_not(self):
        first, again, other = (list(islice(OrderFlow(seed), 500)) for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_its_shape(self):
        symbols, accounts = ("ACME", "BTC"), ("alice", "bob", "carol")
        flow = OrderFlow(5, symbols, accounts, client_order_id_prefix="x-")
        commands = [*flow.instruments(), *islice(flow, 20_000)]
        kinds = Counter(type(command) for command in commands)
        orders = [command for command in commands if isinstance(command, NewOrder)]
        assert 0.36 < kinds[CancelOrder] / len(commands) < 0.44
        assert kinds[ReplaceOrder] > 500
        assert {order.symbol for order in orders} == set(symbols)
        assert {order.account for order in orders} == set(accounts)
        assert {order.order_type for order in orders} == {OrderType.LIMIT, OrderType.MARKET}
        assert {order.time_in_force for order in orders} == {TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK}
        assert len({order.client_order_id for order in orders}) == len(orders)
        assert all(order.client_order_id.startswith("x-") for order in orders)

        exchange = Exchange()
        entry = Entry(0, (Run("n1.1", 1, tuple(commands)),))
        executions = exchange.apply(1, entry)
        refused = Counter(execution.events[0].reason for execution in executions if not execution.accepted)
        trade_count = sum(isinstance(event, Trade) for execution in executions for event in execution.events)
        # What is refused is refused as in life: the order had traded before, or the price had moved.
        assert set(refused) <= {Reason.UNKNOWN_ORDER, Reason.POST_ONLY_WOULD_TRADE}
        assert sum(refused.values()) < 0.25 * len(commands)
        assert trade_count > 1_000
        for symbol in symbols:
            bids, asks = exchange.depth(symbol)
            assert len(bids) > 10
            assert len(asks) > 10

    def test_cancels_name_earlier_orders_of_their_account_and_each_once(self):
        placed, canceled = set(), set()
        for command in islice(OrderFlow(9), 5_000):
            if isinstance(command, NewOrder):
                placed.add((command.account, command.client_order_id))
            elif isinstance(command, CancelOrder):
                name = (command.account, command.client_order_id)
                assert name in placed
                assert name not in canceled
                canceled.add(name)

    def test_it_remembers_no_more_orders_than_it_may(self):
        flow = OrderFlow(4, max_placed=10)
        open_count = 0
        for command in islice(flow, 2_000):
            resting = isinstance(command, NewOrder) and command.time_in_force is TimeInForce.GTC
            open_count += resting - isinstance(command, CancelOrder)
            assert open_count <= 11


class TestRecordedFlow:
    def test_each_operation_as_a_command(self):
        lines = [
            HEADER,
            "1,new,P1,sell,2239500,100,,seed",
            "2,reduce,P1,sell,2239500,30,,msg",
            "2,reduce,P1,sell,2239500,70,,msg",
            "3,ioc,X3,buy,2239500,21,P1~2,msg",
            "4,cancel,P1~2,sell,2239500,9,,msg",
        ]
        price = Number(2_239_500, 4)
        assert list(read_recorded_flow(lines, symbol="AMZN", account="a")) == [
            (1, NewOrder("AMZN", "a", "P1", Side.SELL, OrderType.LIMIT, TimeInForce.GTC, price, Number(100, 0)), None),
            (2, ReplaceOrder("a", None, "P1", None, Number(70, 0)), None),
            (2, ReplaceOrder("a", None, "P1", None, Number(0, 0)), None),
            (3, NewOrder("AMZN", "a", "X3", Side.BUY, OrderType.LIMIT, TimeInForce.IOC, price, Number(21, 0)), "P1:2"),
            (4, CancelOrder("a", None, "P1:2"), None),
        ]

    @pytest.mark.parametrize(
        ("lines", "complaint"),
        [
            ([], "line 1: expected the columns row,op"),
            (["a,b,c"], "line 1: expected the columns row,op"),
            ([HEADER, "1,new,P1"], "line 2: expected row,op"),
            ([HEADER, "1,new,P1,sell,2239500,100,,seed", "2,swap,P2,sell,1,1,,msg"], "line 3: .*swap"),
            ([HEADER, "1,new,P1,long,2239500,100,,seed"], "line 2: .*long"),
            ([HEADER, "1,new,P1,sell,high,100,,seed"], "line 2: .*high"),
            ([HEADER, "1,reduce,P1,sell,2239500,100,,seed"], "line 2: .*reduce"),
            ([HEADER, ""], "line 2: "),
        ],
    )
    def test_a_line_that_is_no_command_is_named(self, lines, complaint):
        with pytest.raises(InvalidCommandError, match=complaint):
            list(read_recorded_flow(lines, symbol="AMZN", account="a"))
