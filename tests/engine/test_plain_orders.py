"""A plain limit order is judged in a short way: with what all the checks, one by one, come to."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftbook.engine import Entry, Exchange, NewOrder, Number, OrderType, Run, SelfTradePrevention, Side, TimeInForce
from raftbook.engine.order import Terms
from raftbook.engine.types import MAX_INTEGER
from raftbook.engine.validation import judge_new_order, terms_of_new_order
from tests.engine.exchanges import ACME, ONE

TIME = 50
FULL_PRICE, LEAVES_OF_FULL_LEVEL = 9, 2**59
# Multiples of the tick of 3 and the lot of 2, and those beside them; what fits 64 bits, alone and together, and not.
MANTISSAS = (-3, 0, 1, 2, 3, 4, 6, FULL_PRICE, 300, 303, 306, 2**59, 2**59 + 2, 2**62, MAX_INTEGER - 1, MAX_INTEGER)

PLAIN = NewOrder("ACME", "bob", "b", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, Number(300, 2), Number(2, 0))


def exchange_between(bid, ask, **limits):
    """ACME with a bid and an ask, and a level whose orders together nearly fill 64 bits."""
    instrument = ACME._replace(tick_size=Number(3, 2), lot_size=Number(2, 0), **limits)
    full = PLAIN._replace(price=Number(FULL_PRICE, 2), quantity=Number(LEAVES_OF_FULL_LEVEL, 0))
    orders = [
        PLAIN._replace(client_order_id="bid", price=Number(bid, 2)),
        PLAIN._replace(client_order_id="ask", price=Number(ask, 2), side=Side.SELL),
        *[full._replace(client_order_id=f"full-{number}") for number in range(15)],
    ]
    exchange = Exchange()
    executions = exchange.apply(1, Entry(TIME, (Run("n1.1", 1, (instrument, *orders)),)))
    assert all(execution.accepted for execution in executions)
    return exchange


TRADING = exchange_between(300, 306)
LIMITED = exchange_between(300, 306, max_quantity=Number(2**59, 0))

numbers = st.builds(Number, st.sampled_from(MANTISSAS), st.sampled_from((0, 2, 2, 2, 3)))
quantities = st.builds(Number, st.sampled_from(MANTISSAS), st.sampled_from((0, 0, 0, 1)))
mostly_none = st.sampled_from((None, None, None, None, 1, TIME + 1))

new_orders = st.builds(
    NewOrder,
    st.just("ACME"),
    st.just("carol"),
    st.just("c"),
    st.sampled_from(Side),
    st.sampled_from((OrderType.LIMIT, OrderType.LIMIT, *OrderType)),
    st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, *TimeInForce)),
    st.none() | numbers,
    quantities,
    st.booleans(),
    st.none(),
    mostly_none.map(lambda value: value and Number(3 * value, 2)),
    mostly_none.map(lambda value: value and Number(2 * value, 0)),
    mostly_none,
    st.none() | st.sampled_from(SelfTradePrevention),
)


def judged(judge, exchange, order):
    terms = judge(order, exchange.books["ACME"], exchange.registry, TIME)
    return type(terms), terms


@settings(max_examples=50)
@given(new_orders, st.sampled_from((TRADING, LIMITED)))
def test_every_order_gets_the_terms_or_the_refusal_of_all_checks(order, exchange):
    assert judged(terms_of_new_order, exchange, order) == judged(judge_new_order, exchange, order)


@pytest.mark.parametrize("exchange", [TRADING, LIMITED], ids=["without limits", "with limits"])
def test_plain_orders_of_any_size_get_the_terms_or_the_refusal_of_all_checks(exchange):
    for side, price, quantity, post_only in product(Side, MANTISSAS, MANTISSAS, (False, True)):
        order = PLAIN._replace(side=side, price=Number(price, 2), quantity=Number(quantity, 0), post_only=post_only)
        assert judged(terms_of_new_order, exchange, order) == judged(judge_new_order, exchange, order)


@pytest.mark.parametrize(
    "special",
    [
        *[{"order_type": order_type} for order_type in OrderType],
        *[{"time_in_force": time_in_force} for time_in_force in TimeInForce],
        {"price": None},
        {"price": Number(3000, 3)},
        {"quantity": Number(20, 1)},
        {"stop_price": Number(300, 2)},
        {"display_quantity": ONE},
        {"display_quantity": Number(2, 0), "quantity": Number(4, 0)},
        {"expire_time": TIME + 1},
    ],
    ids=repr,
)
def test_orders_that_are_special_in_one_way_get_the_terms_or_the_refusal_of_all_checks(special):
    order = PLAIN._replace(**special)
    assert judged(terms_of_new_order, TRADING, order) == judged(judge_new_order, TRADING, order)


@pytest.mark.parametrize("changes", [{}, {"price": Number(303, 2), "post_only": True}, {"side": Side.SELL}], ids=repr)
def test_plain_orders_that_pass_are_accepted(changes):
    _, terms = judged(terms_of_new_order, TRADING, PLAIN._replace(**changes))
    assert terms == Terms(PLAIN._replace(**changes).price.mantissa, 2, None, None, None)
